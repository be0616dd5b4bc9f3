"""``python -m stagelens.pipeline`` runs the command line."""

import sys

from stagelens.pipeline.cli import main

if __name__ == "__main__":
    sys.exit(main())
