import sys
from pathlib import Path

# pytest imports each test file by itself; these two folders hold modules that several of them share
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "engines")]
