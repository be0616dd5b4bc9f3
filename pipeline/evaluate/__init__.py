"""Measurement: ranks of held-out pairs, metrics, losses, slices, significance, cost."""
