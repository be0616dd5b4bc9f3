"""Fusions trained with torch."""
