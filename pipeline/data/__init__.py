"""Data sets: files to typed arrays, splits, statistics, checks, and controlled changes of a modality."""
