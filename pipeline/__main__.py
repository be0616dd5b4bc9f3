"""``python -m stagelens.pipeline`` runs the command line."""

from stagelens.pipeline.cli import main

if __name__ == "__main__":
    main()
