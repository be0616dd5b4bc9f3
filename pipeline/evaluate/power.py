"""What a comparison of this size could have seen."""

from __future__ import annotations

import scipy  # its parts are loaded when first used

MOST_LEAN = 0.5
"""Largest share by which skewness moves what the power asks for: beyond it a first-order term says nothing."""


def detectable(se: float, df: float, critical: float, *, skewness: float = 0.0, power: float = 0.8) -> float:
    """Return the smallest true gain that is found with probability ``power``.

    A gain is found when it exceeds ``critical`` standard errors, so it has to be larger by the t quantile of
    the power: (critical + t) * se, were estimate and error independent. Where few users gain much they are not:
    a sample with fewer of them has a smaller mean and a smaller error too, to first order 1 + skewness * z / 2
    times its usual where the estimate lies z errors off. Low estimates so meet a lower bar, and the gain needed
    is (critical + t * (1 - critical * skewness / 2)) * se.

    Args:
        se: Standard error of the difference, in metric units.
        df: Its degrees of freedom.
        critical: The (simultaneous) critical value of |t|.
        skewness: Of the estimate: third central moment over se^3. Its term counts up to ``MOST_LEAN``.
        power: Between 0 and 1.

    References:
        Johnson 1978, doi:10.1080/01621459.1978.10480051 (t statistics of skewed populations; first order).

    Example:
        At a critical value of 1.96 and many degrees of freedom, 80 % power needs 1.96 + 0.84 = 2.8 standard
        errors.

        >>> round(detectable(0.01, 1e6, 1.96), 4)
        0.028
        >>> round(detectable(0.01, 1e6, 1.96, skewness=0.2), 4)
        0.0264
    """
    lean = min(max(critical * skewness / 2, -MOST_LEAN), MOST_LEAN)
    return float((critical + scipy.special.stdtrit(df, power) * (1 - lean)) * se)


def skewness_of(third_user: float, third_excess: float, excess: float, se: float) -> float:
    """Return the skewness of an estimate: what items add counts where they add to the variance."""
    return (third_user + (third_excess if excess > 0 else 0.0)) / se**3 if se > 0 else 0.0


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
