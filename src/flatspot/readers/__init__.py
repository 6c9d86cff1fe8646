"""Files of rows, read without a guess: every cell as it is written, every bad row by its line.

One reader for logs, prompt files and label files. CSV gives text, JSON gives the text of each value, Parquet keeps its own types; what a
cell means is for the caller's own schema. No types are told from the first rows, and nothing in a path or a row is a pattern, a comment
or a key.

blocks.py         what a reader hands on: blocks of rows, and what it noticed
encodings.py      bytes to UTF-8 text
csv_rows.py       CSV and TSV
json_text.py      where the values of JSON text start and end
json_rows.py      JSON lines
json_document.py  one JSON document
parquet_rows.py   Parquet as Python values, for prompts
parquet_columns.py  the columns of many Parquet files
files.py          a file of any of the text formats
in_memory.py      tables and rows that are in memory already
cells.py          a text cell that holds a list of rewards
parts.py          blocks of many files into a few Parquet files
notices.py        what was noticed, in sentences
log.py            many files to the SQL view `log`
"""
