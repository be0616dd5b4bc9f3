"""What a comparison of this size could have seen."""

from __future__ import annotations

import scipy  # its parts are loaded when first used


def detectable(se: float, df: float, critical: float, power: float = 0.8) -> float:
    """Return the smallest true difference that is found with probability ``power``.

    A difference is found when it exceeds ``critical`` standard errors, so it has to be larger by the t
    quantile of the power: (critical + t) * se.

    Args:
        se: Standard error of the difference, in metric units.
        df: Its degrees of freedom.
        critical: The (simultaneous) critical value of |t|.
        power: Between 0 and 1.

    Example:
        At a critical value of 1.96 and many degrees of freedom, 80 % power needs 1.96 + 0.84 = 2.8 standard
        errors.

        >>> round(detectable(0.01, 1e6, 1.96), 4)
        0.028
    """
    return float((critical + scipy.special.stdtrit(df, power)) * se)


def too_small(verdict: str | None, margin: float | None, detectable: float | None) -> bool:
    """Say whether a ``cannot tell`` says nothing: it has less than 80 % power against an effect of the margin.

    Without a smallest effect that would have shown, none would have.
    """
    if verdict != "cannot tell":
        return False
    return detectable is None or (margin is not None and detectable > margin)


def in_words(verdict: str | None, margin: float | None, detectable: float | None) -> str | None:
    """Return a verdict, or ``too small to tell``."""
    return "too small to tell" if too_small(verdict, margin, detectable) else verdict
