"""A list in a text cell, as Python, JSON and numpy print one."""

import json

import duckdb
import numpy as np

from flatspot.readers.cells import list_cells_sql

CASES = [
    ("[0, 1]", ["0", "1"]),
    ("[0.50,1e-3 , -2]", ["0.50", "1e-3", "-2"]),
    ("[True, False]", ["True", "False"]),
    ("[0. 1.]", ["0.", "1."]),
    (str(np.array([0.25, 1.0, -3e-7])), ["2.5e-01", "1.0e+00", "-3.0e-07"]),
    (str([np.float64(0.25), np.float64(1)]), ["0.25", "1.0"]),
    ("[tensor(0.5), tensor(1.)]", ["0.5", "1."]),
    (json.dumps([0, None, float("nan")]), ["0", "null", "NaN"]),
    ("['1', \"0\"]", ["1", "0"]),
    (" [ ] ", []),
    ("[0, 1,]", ["0", "1"]),
    ("[0,\n 1]", ["0", "1"]),
    ("[0, 1", None),
    ("0, 1]", None),
    ("[0,,1]", None),
    ("[, 1]", None),
    ("[[0], [1]]", None),
    ("[0] [1]", None),
    (str(np.zeros(2000)), None),
    ("0.5", None),
    ("", None),
    ("[0, 1] and more", None),
]


def test_a_list_in_a_cell():
    with duckdb.connect() as db:
        db.execute("CREATE TABLE cells AS SELECT unnest($1) AS c", [[cell for cell, _ in CASES]])
        found = db.execute(f"SELECT c, {list_cells_sql('c')} FROM cells").fetchall()
    assert found == CASES
