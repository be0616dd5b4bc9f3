"""The fuzzers' own modules, which ``run.py`` imports as its neighbours."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
