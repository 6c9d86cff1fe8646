import sys
from pathlib import Path

# pytest imports each test file by itself; this folder holds a module that two of them share
sys.path.insert(0, str(Path(__file__).parent))
