"""Studies: options, arms, runs, what is measured, and the folder that a run leaves."""
