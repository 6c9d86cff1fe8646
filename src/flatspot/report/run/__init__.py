"""The report of one run: HTML and terminal."""
