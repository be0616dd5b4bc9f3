"""The interval of a share of trials: how often a verdict was false, how often an interval covered."""

from __future__ import annotations

import math

import scipy  # its parts are loaded when first used


def wilson(count: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Return the Wilson interval of ``count`` out of ``n``; (0, 1) without trials.

    Raises:
        ValueError: ``count`` is not within 0 .. ``n``.

    Example:
        >>> low, high = wilson(3, 30)
        >>> round(low, 4), round(high, 4)
        (0.0346, 0.2562)

    References:
        Wilson 1927, doi:10.1080/01621459.1927.10502953 (score interval, no continuity correction).
    """
    if not 0 <= count <= n:
        raise ValueError(f"{count} of {n}: the count lies outside 0..{n}")
    if n == 0:
        return 0.0, 1.0
    z = -float(scipy.special.ndtri(alpha / 2))
    share, spread = count / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    low = 0.0 if count == 0 else middle - half
    high = 1.0 if count == n else middle + half
    return low, high
