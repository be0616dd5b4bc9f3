"""Coverage of the intervals, and false verdicts where nothing differs, in simulated worlds.

A contribution of user u and item i is (user effect + item effect + noise) / R_u; items are drawn by
popularity (rank to the power of minus the skew). Prints how often each nominal 5 % test rejects the true
mean, which is 1 minus the coverage of its 95 % interval; at the end, the coverage of the two-way interval for
every shape of the differences, over all its worlds with Wilson's 95 % interval, and in its settings.

    python benchmarks/interval_coverage.py [--worlds 1000] [--users 1000]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stagelens.pipeline.core import Float64, Interactions
from stagelens.pipeline.evaluate.proportions import wilson
from stagelens.pipeline.evaluate.significance import Paired, judge
from stagelens.pipeline.evaluate.truth import Truth

Draw = Callable[[np.random.Generator, int], Float64]

EFFECTS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "t, 3 df": lambda rng, n: rng.standard_t(3, n) / np.sqrt(3),
    "rare jumps": lambda rng, n: rng.choice([-1.0, 0.0, 1.0], n, p=[0.05, 0.9, 0.05]) * np.sqrt(10),
}


@dataclass(frozen=True)
class World:
    """One kind of simulated comparison: sizes, skew of the item popularity, shares of the variance."""

    users: int
    items: int
    skew: float
    user_share: float
    item_share: float
    effect: str

    def draw(self, rng: np.random.Generator, columns: int = 1) -> tuple[Truth, Float64]:
        """Return a truth and contributions float64 [columns, P] with mean 0."""
        weight = (1.0 + np.arange(self.items)) ** -self.skew
        count = rng.integers(1, 8, self.users)
        user = np.repeat(np.arange(self.users), count)
        item = rng.choice(self.items, len(user), p=weight / weight.sum())
        truth = Truth.of(Interactions.of(user, item, n_users=self.users, n_items=self.items))
        draw = EFFECTS[self.effect]
        shares = (self.user_share, self.item_share, 1 - self.user_share - self.item_share)
        values = np.stack(
            [
                np.sqrt(shares[0]) * draw(rng, self.users)[truth.pair_row]
                + np.sqrt(shares[1]) * draw(rng, self.items)[truth.pair_item]
                + np.sqrt(shares[2]) * draw(rng, truth.pairs)
                for _ in range(columns)
            ]
        )
        return truth, values / truth.count[truth.pair_row]


def rates(world: World, worlds: int, seed: int = 0, family: int = 5) -> dict[str, float]:
    """Return the shares of worlds in which each statement about the true mean 0 is wrong."""
    rng = np.random.default_rng(seed)
    wrong = np.zeros(4)
    for _ in range(worlds):
        truth, values = world.draw(rng, family)
        judged = judge([Paired(row[None], 0.0) for row in values], truth, draws=999)
        first = judged[0]
        wrong += [
            first.p < 0.05,
            first.p_user < 0.05,
            first.p_sign_flip < 0.05,
            any(result.low > 0 or result.high < 0 for result in judged),
        ]
    names = ("two-way", "users only", "sign flip", f"any of {family}, simultaneous")
    return dict(zip(names, (wrong / worlds).tolist(), strict=True))


def coverage(effect: str, rejected: Sequence[float], worlds: int) -> str:
    """Return one line: the two-way interval's coverage over the settings of one shape of differences."""
    total = len(rejected) * worlds
    inside = total - round(sum(rejected) * worlds)
    low, high = wilson(inside, total)
    return (
        f"{effect:<11} {inside / total:.4f} [{low:.4f}, {high:.4f}] over {total:,} worlds; in its settings "
        f"{1 - max(rejected):.3f} to {1 - min(rejected):.3f}"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=1000)
    parser.add_argument("--users", type=int, default=1000)
    given = parser.parse_args()
    print(
        f"{given.worlds} worlds of {given.users} users each; standard error of a 5 % rate "
        f"{np.sqrt(0.05 * 0.95 / given.worlds):.3f}"
    )
    print(f"{'effects':<11}{'items':>6}{'skew':>6}{'user':>6}{'item':>6}   rejection of the true value")
    two_way: dict[str, list[float]] = {}
    for effect in EFFECTS:
        for items, skew in ((40, 0.0), (300, 0.0), (300, 0.7), (2000, 1.0), (2000, 1.2)):
            for user_share, item_share in ((0.0, 0.0), (0.1, 0.02), (0.3, 0.1)):
                world = World(given.users, items, skew, user_share, item_share, effect)
                found = rates(world, given.worlds)
                two_way.setdefault(effect, []).append(found["two-way"])
                cells = "  ".join(f"{name} {rate:.3f}" for name, rate in found.items())
                print(f"{effect:<11}{items:>6}{skew:>6}{user_share:>6}{item_share:>6}   {cells}", flush=True)
    print("coverage of the two-way 95 % interval")
    for effect, rejected in two_way.items():
        print(coverage(effect, rejected, given.worlds))


if __name__ == "__main__":
    main()
