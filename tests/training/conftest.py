"""Puts the folders of shared helpers on the path, which pytest's importlib mode leaves off."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "engines"), str(HERE.parent / "faults")]
