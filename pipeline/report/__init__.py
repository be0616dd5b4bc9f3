"""What a person reads of a run: tables in the terminal, one page, and the schema of the summary."""
