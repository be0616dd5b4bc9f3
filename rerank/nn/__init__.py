"""Re-rankers trained with torch."""
