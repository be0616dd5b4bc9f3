"""Recall from interactions alone."""
