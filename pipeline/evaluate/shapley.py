"""Who gets the credit: Shapley effects of (modality, stage) players, as weights over the cells of a factorial.

Every effect is linear in the cells, so the contribution of each held-out pair to an effect is the same
combination of its contributions to the cells, and the standard errors of ``significance`` hold for effects too.

Cell c of n players is an integer in 0 .. 2^n - 1: player j is on in it where bit j of c is set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import factorial
from typing import Literal, NamedTuple

import numpy as np

from stagelens.pipeline.core import Float64

Stage = Literal["recall", "rerank"]
Kind = Literal["effect", "stage_difference", "interaction"]

ALL = "all"
"""In place of a modality: the sum over all content modalities."""
INTERACTION = "interaction"
"""In place of a modality: the base system; no content, so no part of the sums over content."""
ANSWERS = {
    "helps": "recall more",
    "hurts": "re-ranking more",
    "no difference": "no difference within the margin",
    "cannot tell": "cannot tell",
}
"""What the verdict on a stage difference (effect at recall minus effect at re-rank) says."""


class Player(NamedTuple):
    """One modality at one stage, on or off."""

    modality: str
    stage: Stage


class Name(NamedTuple):
    """What one row of weights measures.

    Attributes:
        kind: ``effect``, ``stage_difference`` (recall minus re-rank) or ``interaction`` (of the two stages).
        modality: A modality, ``all`` (content summed), or ``interaction + all`` (everything on minus
            everything off, where interaction is a player).
        stage: ``recall`` or ``rerank`` of an effect; else ``both``.
    """

    kind: Kind
    modality: str
    stage: Literal["recall", "rerank", "both"]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Effects as linear combinations of cells.

    Attributes:
        names: What each row measures.
        matrix: float64 [effects, cells]; every row sums to 0.
        total: The row of v(all on) - v(all off).
    """

    names: tuple[Name, ...]
    matrix: Float64
    total: int

    def combined(self, cells: Iterable[Float64]) -> Float64:
        """Return every effect from the values of the cells, one cell in memory at a time.

        Args:
            cells: For each cell, in order, an array of any one shape (contributions [S, P], means, ...).

        Returns:
            float64 [effects, ...].

        Raises:
            ValueError: Not one array per cell.
        """
        result: Float64 | None = None
        seen = 0
        for seen, value in enumerate(cells, start=1):
            if seen > self.matrix.shape[1]:
                break
            if result is None:
                result = np.zeros((len(self.names), *np.shape(value)))
            for row in np.flatnonzero(self.matrix[:, seen - 1]):
                result[row] += self.matrix[row, seen - 1] * value
        if result is None or seen != self.matrix.shape[1]:
            raise ValueError(f"{self.matrix.shape[1]} cells carry weights, {seen} or more were given")
        return result


def shapley(n: int) -> Float64:
    """Return float64 [n, 2^n]: row j turns the values of the cells into the Shapley value of player j.

    phi_j = sum over the sets S without j of |S|! (n - |S| - 1)! / n! x (v(S + j) - v(S)): what j adds, averaged over
    all orders in which the players could be switched on. Effects sum to v(all) - v(none).

    Raises:
        ValueError: No player.

    Example:
        Two players: half of what each adds first, half of what it adds last.

        >>> shapley(2).tolist()
        [[-0.5, 0.5, -0.5, 0.5], [-0.5, -0.5, 0.5, 0.5]]

    References:
        Shapley 1953, doi:10.1515/9781400881970-018.
    """
    if n < 1:
        raise ValueError(f"{n} players; allowed: at least 1")
    share = [Fraction(factorial(s) * factorial(n - s - 1), factorial(n)) for s in range(n)]
    matrix = np.zeros((n, 1 << n))
    for player in range(n):
        for cell in _without(n, 1 << player):
            weight = float(share[cell.bit_count()])
            matrix[player, cell | 1 << player] = weight
            matrix[player, cell] = -weight
    return matrix


def interaction_index(n: int, first: int, second: int) -> Float64:
    """Return float64 [2^n]: the Shapley interaction index of two players.

    I = sum over the sets S without both of |S|! (n - |S| - 2)! / (n - 1)! x (v(S + both) - v(S + first) - v(S +
    second) + v(S)). Above 0 the two do more together than apart; below 0 one makes up for the other's absence.

    Raises:
        ValueError: Not two of the players.

    Example:
        >>> interaction_index(2, 0, 1).tolist()
        [1.0, -1.0, -1.0, 1.0]

    References:
        Grabisch & Roubens 1999, doi:10.1007/s001820050125 (pairs only).
    """
    if first == second or not {first, second} <= set(range(n)):
        raise ValueError(f"players {first} and {second}; allowed: two different ones of 0..{n - 1}")
    share = [Fraction(factorial(s) * factorial(n - s - 2), factorial(n - 1)) for s in range(n - 1)]
    one, other = 1 << first, 1 << second
    row = np.zeros(1 << n)
    for cell in _without(n, one | other):
        weight = float(share[cell.bit_count()])
        row[[cell, cell | one | other]] = weight
        row[[cell | one, cell | other]] = -weight
    return row


def stage_weights(players: Sequence[Player]) -> Weights:
    """Return the weights of everything that is said about modalities and stages.

    In this order: the Shapley effect of every player; where there are several content modalities, their sum at each
    stage; the total, v(all on) - v(all off); the stage difference (effect at recall minus effect at re-rank) of every
    modality and of all content; the stage interaction (Shapley interaction index of the modality's two players) of
    every modality.

    Args:
        players: Distinct; every modality at both stages.

    Raises:
        ValueError: A player stands twice, or a modality lacks a stage.
    """
    place = {player: at for at, player in enumerate(players)}
    modalities = list(dict.fromkeys(player.modality for player in players))
    if len(place) != 2 * len(modalities) or len(place) != len(players):
        raise ValueError(f"players {list(players)}: every modality must stand once at each stage")
    n = len(players)
    values = shapley(n)
    recall, rerank = (
        {name: values[place[Player(name, stage)]] for name in modalities} for stage in ("recall", "rerank")
    )
    content = [name for name in modalities if name != INTERACTION]
    rows: list[tuple[Name, Float64]] = [
        (Name("effect", *player), values[at]) for at, player in enumerate(players)
    ]
    if len(content) > 1:
        rows.append((Name("effect", ALL, "recall"), sum_of(recall, content)))
        rows.append((Name("effect", ALL, "rerank"), sum_of(rerank, content)))
    everything = np.zeros(1 << n)
    everything[[0, -1]] = -1.0, 1.0
    total = len(rows)
    rows.append((Name("effect", name_of_total(modalities), "both"), everything))
    rows += [(Name("stage_difference", m, "both"), recall[m] - rerank[m]) for m in modalities]
    if content:
        gap = sum_of(recall, content) - sum_of(rerank, content)
        rows.append((Name("stage_difference", ALL, "both"), gap))
    for m in modalities:
        pair = interaction_index(n, place[Player(m, "recall")], place[Player(m, "rerank")])
        rows.append((Name("interaction", m, "both"), pair))
    return Weights(tuple(name for name, _ in rows), np.stack([row for _, row in rows]), total)


def name_of_total(modalities: Sequence[str]) -> str:
    """Return what stands in place of a modality for v(all on) - v(all off)."""
    content = [ALL] if any(name != INTERACTION for name in modalities) else []
    return " + ".join([name for name in modalities if name == INTERACTION] + content)


def share_of(effect: float, total: float, low: float, high: float) -> float | None:
    """Return effect / total; None unless the total's interval [low, high] excludes 0."""
    return effect / total if low > 0 or high < 0 else None


def sum_of(rows: dict[str, Float64], names: Sequence[str]) -> Float64:
    """Return the sum of the rows of these modalities."""
    result: Float64 = np.sum([rows[name] for name in names], axis=0)
    return result


def _without(n: int, players: int) -> list[int]:
    """Return the cells in which none of these players (a bit mask) is on."""
    return [cell for cell in range(1 << n) if not cell & players]
