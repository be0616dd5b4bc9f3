"""Feature groups: ranker columns of candidates, computed from the fit window and the queries alone."""
