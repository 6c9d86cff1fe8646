import sys
from pathlib import Path

from hypothesis import settings

# pytest imports each test file by itself; this folder holds a module that two of them share
sys.path.insert(0, str(Path(__file__).parent))
# how long an example takes says how busy the machine is, and nothing about the theory
settings.register_profile("theory", deadline=None)
settings.load_profile("theory")
