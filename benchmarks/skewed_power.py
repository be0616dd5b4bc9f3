"""How often a true gain of exactly ``detectable`` is found where few users gain much.

Draws samples of users with gains of skewed laws, calls a gain found when its mean exceeds the critical value of its own
standard error, and prints the rate of 80 % that is meant: at the plain (critical + t) x se, at ``detectable`` as it is
reported, both taken from a typical sample; and the latter taken from one pilot a study.

    python benchmarks/skewed_power.py [--samples 20000]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from stagelens.pipeline.evaluate.power import detectable

CRITICAL = 2.27
"""Of |t|: simultaneous, a family of two."""
Draw = Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]
LAWS: dict[str, Draw] = {
    "6 % gain 1": lambda rng, size: (rng.random(size) < 0.06) + 0.05 * rng.normal(size=size),
    "exponential": lambda rng, size: rng.exponential(size=size),
    "10 % exponential": lambda rng, size: rng.exponential(size=size) * (rng.random(size) < 0.1),
    "gains and losses": lambda rng, size: (
        (rng.random(size) < 0.1) * rng.random(size) - (rng.random(size) < 0.02) * rng.random(size)
    ),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--samples", type=int, default=20_000)
    samples = parser.parse_args().samples
    rng = np.random.default_rng(0)
    print(f"{'law':<18}{'users':>6}{'skewness':>10}{'plain':>8}{'reported':>10}{'of a pilot':>12}")
    for users in (150, 400, 1000):
        for name, draw in LAWS.items():
            drawn = draw(rng, (samples, users))
            mean, sd = drawn.mean(axis=1), drawn.std(axis=1, ddof=1)
            third = ((drawn - mean[:, None]) ** 3).mean(axis=1)
            se, skewness = sd / np.sqrt(users), third / sd**3 / np.sqrt(users)
            error = mean - drawn.mean()
            plain = (CRITICAL + stdtrit(users - 1, 0.8)) * se
            said = np.array(
                [detectable(s, users - 1, CRITICAL, skewness=g) for s, g in zip(se, skewness, strict=True)]
            )
            rates = [
                np.mean(error + gain > CRITICAL * se)
                for gain in (plain.mean(), said.mean(), rng.permutation(said))
            ]
            print(
                f"{name:<18}{users:>6}{skewness.mean():>10.2f}{rates[0]:>8.3f}{rates[1]:>10.3f}{rates[2]:>12.3f}"
            )


if __name__ == "__main__":
    main()
