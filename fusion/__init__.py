"""Integration: one space from many modalities before scoring, or one list from many after it."""

__all__: list[str] = []
