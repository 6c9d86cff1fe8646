"""The folder goes on the path for `stub_server`, which pytest's importlib mode leaves off."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
