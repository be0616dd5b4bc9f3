"""The training windows: who is fitted on what, asked with what, and judged by what.

Everything in a training row is computed without that row's fold or window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from stagelens.pipeline.core import Bool, Int32, Int64, Interactions, Lists, Queries, Split, content_hash
from stagelens.pipeline.data.splits import folds
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.seeds import derive

Refit = Literal["none", "full", "cross"]
Which = Literal["train", "train+valid"]


@dataclass(frozen=True)
class Window:
    """One set of queries with the recall that may answer them and the truth that judges the answers.

    Attributes:
        name: ``labels``, ``fold 1``, ..., ``valid``, ``test``.
        fit: What recall and feature groups are fitted on.
        input: The query input.
        mask: What must not be returned.
        target: The relevant pairs.
        tie: int32 [I], the seeded order that breaks ties.
    """

    name: str
    fit: Interactions
    input: Interactions
    mask: Interactions
    target: Interactions
    tie: Int32

    @cached_property
    def truth(self) -> Truth:
        """The relevant items of every user of the window."""
        return Truth.of(self.target)

    @cached_property
    def _history(self) -> Lists:
        return self.input.lists()

    @cached_property
    def _seen(self) -> Lists:
        return self.mask.lists()

    @cached_property
    def fit_key(self) -> str:
        """Fingerprint of the fit window."""
        return self.fit.fingerprint()

    @cached_property
    def key(self) -> str:
        """Fingerprint of everything."""
        parts = (self.fit_key, self.input.fingerprint(), self.mask.fingerprint(), self.target.fingerprint())
        return content_hash(*parts, self.tie)

    def __len__(self) -> int:
        return len(self.truth.user)

    def queries(self, start: int, stop: int) -> Queries:
        """Return the queries of the users at the places [start, stop) of ``truth.user``."""
        return self.queries_at(np.arange(start, stop))

    def queries_at(self, places: Int64) -> Queries:
        """Return the queries of the users at these places of ``truth.user``."""
        users = self.truth.user[places]
        return Queries(users, self._history.rows(users), self._seen.rows(users).sorted(), self.tie)

    def blocks(self, size: int, start: int = 0) -> Iterator[tuple[int, int]]:
        """Yield (start, stop) of consecutive blocks."""
        for begin in range(start, len(self), size):
            yield begin, min(begin + size, len(self))

    def only(self, users: Int32) -> Window:
        """Return the window for these users only."""
        keep = np.isin(self.target.user, users)
        return Window(self.name, self.fit, self.input, self.mask, self.target.where(keep), self.tie)


@dataclass(frozen=True)
class Windows:
    """The windows of one split under one protocol and seed.

    Attributes:
        refit: The refit in force.
        rows: Windows whose candidates become training rows.
        valid: Chooses weights and stops early; asked of the recall that serves test.
        test: Opened once per study.
    """

    refit: Refit
    rows: tuple[Window, ...]
    valid: Window
    test: Window

    def complete(self) -> None:
        """Make what a window keeps once it is asked for: truth, histories and keys."""
        for window in (*self.rows, self.valid, self.test):
            window.queries_at(np.arange(min(1, len(window))))
            _ = window.key


def resolve_refit(refit: Literal["auto", "none", "full", "cross"], split: Split) -> Refit:
    """Return the refit in force: with a real clock ``full``, otherwise ``cross``."""
    if refit == "auto":
        return "full" if split.clock == "real" else "cross"
    return refit


def windows_of(
    split: Split,
    tie: Int32,
    *,
    refit: Refit,
    n_folds: int = 5,
    fit_on: Which = "train",
    input_on: Which = "train",
    mask: Which = "train+valid",
    seed: int = 0,
    whole: Split | None = None,
) -> Windows:
    """Lay out the windows.

    ``none``: recall fitted on history serves everything. ``full``: rows from history-recall, then recall is refitted
    on train. ``cross``: folds of train; out-of-fold recall gives rows; recall refitted on all of train serves.
    ``fit_on``, ``input_on`` and ``mask`` concern test; valid always sees train alone.

    Of a thinned split, ``whole`` is what it was made from: what is withheld is neither fitted on nor part of a query
    nor taught from, and it is masked in every window. Folds are those of the whole.
    """
    train = split.train
    everything = train if whole is None else whole.train
    serving = split.history if refit == "none" else train

    def chosen(which: Which, short: Interactions, long: Interactions) -> Interactions:
        return long.merged(split.valid) if which == "train+valid" else short

    if refit == "cross":
        rows = _folds(train, everything, n_folds, tie, seed)
    else:
        seen = split.history
        if whole is not None:
            withheld = whole.labels.where(~_among(whole.labels, train))
            seen = whole.history.merged(withheld)
        rows = [Window("labels", split.history, split.history, seen, split.labels, tie)]
    valid = Window("valid", serving, train, everything, split.valid, tie)
    test = Window(
        "test",
        chosen(fit_on, serving, train),
        chosen(input_on, train, train),
        chosen(mask, everything, everything),
        split.test,
        tie,
    )
    return Windows(refit, tuple(rows), valid, test)


def _folds(
    train: Interactions, everything: Interactions, n_folds: int, tie: Int32, seed: int
) -> list[Window]:
    """Return the windows of ``cross``; ``train`` is the part of ``everything`` that is not withheld."""
    place = folds(everything, n_folds, seed=derive(seed, "folds"))
    kept = _among(everything, train) if train is not everything else np.ones(len(train), dtype=bool)
    rows = []
    for fold in range(n_folds):
        held = (place == fold) & kept
        rest = everything.where((place != fold) & kept)
        seen = rest if train is everything else everything.where(~held)
        rows.append(Window(f"fold {fold + 1}", rest, rest, seen, everything.where(held), tie))
    return rows


def _among(log: Interactions, kept: Interactions) -> Bool:
    """Return bool [N]: the pairs of ``log`` that occur in ``kept``."""
    here, there = (one.user.astype(np.int64) * max(one.n_items, 1) + one.item for one in (log, kept))
    return np.isin(here, there)
