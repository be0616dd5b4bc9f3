"""The re-rank side of a study's work, on top of the recall side: rows, re-rankers and orders."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from stagelens.pipeline.blending import Blended, fit_rule, member_systems
from stagelens.pipeline.compose import Then, Union
from stagelens.pipeline.contracts import (
    Ensemble,
    FeatureGroup,
    FittedFeatureGroup,
    FittedReranker,
    Reranker,
    Saved,
)
from stagelens.pipeline.core import (
    Candidates,
    Dataset,
    Features,
    Queries,
    Rows,
    Split,
    content_hash,
)
from stagelens.pipeline.merge import completed, ranked_within
from stagelens.pipeline.pooling import scored_by
from stagelens.pipeline.progress import Progress, Silent, showing
from stagelens.pipeline.recipe import Recipe, fingerprint
from stagelens.pipeline.retrieval import KEPT_FITS, Retrieval, Treated
from stagelens.pipeline.rows import choose_users, informative, joined, no_features, no_rows, rows_of
from stagelens.pipeline.seeds import derive, tie_order
from stagelens.pipeline.store import LedgerEntry, Store, own_time
from stagelens.pipeline.tails import extended
from stagelens.pipeline.windows import Which, Window, resolve_refit, windows_of

CELLS = 200_000
"""Candidates whose features are in memory at once; keeps memory flat in the number of users."""
VALID_SHARE = 10
"""Early stopping reads at most ``max_rows`` over this many candidates of valid lists, all of each list."""


def temporary_store() -> Path:
    """Return a folder for artefacts that end with the process."""
    folder = Path(tempfile.mkdtemp(prefix="stagelens-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@dataclass(kw_only=True)
class Workbench(Retrieval):
    """What a study works with: one data set, split, protocol and seed.

    Attributes:
        lost: What happens to positives of training rows that recall lost.
        max_rows: Candidates of training lists at most.
        negatives: Candidates that are not relevant kept of each training list; None keeps all.
        lost_counts: Per union label: positives of the training lists and how many of them recall lost.
    """

    lost: Literal["drop", "inject", "weight"] = "drop"
    max_rows: int = 1_000_000
    negatives: int | None = 30
    lost_counts: dict[str, dict[str, int]] = field(default_factory=dict, init=False)
    _groups: OrderedDict[tuple[Any, ...], FittedFeatureGroup] = field(default_factory=OrderedDict, init=False)
    _rerankers: dict[str, FittedReranker] = field(default_factory=dict, init=False)
    _rows: tuple[str, Rows, Rows] | None = field(default=None, init=False)

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        split: Split,
        *,
        seed: int,
        store: Store | Path,
        refit: Literal["auto", "none", "full", "cross"] = "auto",
        n_folds: int = 5,
        fit_on: Which = "train",
        input_on: Which = "train",
        mask: Which = "train+valid",
        lost: Literal["drop", "inject", "weight"] = "drop",
        max_rows: int = 1_000_000,
        negatives: int | None = 30,
        block: int = 8192,
        progress: Progress | None = None,
        treated: tuple[Treated, ...] = (),
        whole: Split | None = None,
    ) -> Workbench:
        """Lay out the windows of a split and open the store; ``whole``: what a thinned split was made from."""
        windows = windows_of(
            split,
            tie_order(seed, dataset.n_items),
            refit=resolve_refit(refit, split),
            n_folds=n_folds,
            fit_on=fit_on,
            input_on=input_on,
            mask=mask,
            seed=seed,
            whole=whole,
        )
        return cls(
            dataset=dataset,
            windows=windows,
            seed=seed,
            store=store if isinstance(store, Store) else Store(store),
            lost=lost,
            max_rows=max_rows,
            negatives=negatives,
            block=block,
            progress=progress or Silent(),
            treated=treated,
        )

    @property
    def completes(self) -> bool:
        """Whether evidence is completed: items enter training lists that no channel returned."""
        return self.lost == "inject" or self.dataset.impressions is not None

    def evidence(self, recall: Union, window: Window, queries: Queries, candidates: Candidates) -> Candidates:
        """Return the candidates with the evidence that re-rankers read."""
        if not self.completes:
            return candidates
        scores = [self.fitted(part, window).score(queries, candidates.item) for part in recall.parts]
        score = np.stack(scores, axis=2)
        if recall.ensemble is not None:
            whole = ranked_within(candidates, candidates.channels, score, queries.tie)
            return scored_by(self.rule(recall), whole, queries.tie)
        weights = self.weights(recall)
        return completed(candidates, score, queries.tie, weights=weights, rrf_k=recall.rrf_k)

    def group(self, group: Recipe, recall: Union, window: Window) -> FittedFeatureGroup:
        """Return a feature group fitted on the fit window, for candidates of the union."""
        channels = tuple(part.label for part in recall.parts)
        key = (group, window.fit_key, self.side(window), channels)
        if key not in self._groups:
            data = self.data_of(window, "rerank")
            made = cast(FeatureGroup, group).fit(
                data, channels, seed=derive(self.seed, "features", group.label)
            )
            self._groups[key] = made
            while len(self._groups) > 4 * KEPT_FITS:
                self._groups.popitem(last=False)
        return self._groups[key]

    def features(
        self,
        groups: Sequence[Recipe],
        recall: Union,
        window: Window,
        queries: Queries,
        candidates: Candidates,
    ) -> Features:
        """Return the columns of several groups, each name once (equal names are equal columns)."""
        parts: list[Features] = []
        names: set[str] = set()
        for group in groups:
            made = self.group(group, recall, window).compute(queries, candidates)
            new = tuple(name for name in made.names if name not in names)
            names.update(new)
            parts.append(made if len(new) == len(made.names) else made.columns(new))
        return Features.joined(parts)

    def columns(self, groups: Sequence[Recipe], recall: Union) -> tuple[str, ...]:
        """Return the column names of these groups, in order."""
        names: dict[str, None] = {}
        for group in groups:
            names.update(dict.fromkeys(self.group(group, recall, self.windows.valid).names))
        return tuple(names)

    def training_rows(self, recall: Union, groups: Sequence[Recipe]) -> tuple[Rows, Rows]:
        """Return training and valid rows with the columns of all ``groups``; the last pair made is kept."""
        distinct = {fingerprint(group): group for group in groups}
        groups = [distinct[key] for key in sorted(distinct)]
        key = fingerprint("rows", recall, groups)
        if self._rows is not None and self._rows[0] == key:
            return self._rows[1], self._rows[2]
        self._rows = None
        self.lost_counts.pop(recall.label, None)
        share = max(self.max_rows // len(self.windows.rows), recall.size)
        limit = max(self.max_rows // VALID_SHARE, recall.size)
        with own_time() as own:
            made = (
                rows
                for window in self.windows.rows
                for rows in self._window_rows(recall, groups, window, share, True)
            )
            train = joined(made, capacity=share * len(self.windows.rows))
            valid = joined(
                self._window_rows(recall, groups, self.windows.valid, limit, False), capacity=limit
            )
        self.store.ledger[key] = LedgerEntry("rows", f"rows of {recall.label}", key, True, own[0])
        self._rows = (key, train, valid)
        return train, valid

    def valid_rows(self, system: Then, max_rows: int) -> Rows:
        """Return valid rows with the columns of one system, from at most ``max_rows`` candidates."""
        groups = cast("tuple[Recipe, ...]", cast(Reranker, system.rerank).features)
        limit = max(max_rows, system.recall.size)
        return joined(
            self._window_rows(system.recall, groups, self.windows.valid, limit, False), capacity=limit
        )

    def _window_rows(
        self, recall: Union, groups: Sequence[Recipe], window: Window, limit: int, training: bool
    ) -> Iterator[Rows]:
        users = choose_users(
            window.truth.user, recall.size, limit, seed=derive(self.seed, "row-users", window.name)
        )
        window = window.only(users)
        counts = self.lost_counts.setdefault(
            recall.label, {"positives": 0, "lost": 0, "lists": 0, "lists_used": 0}
        )
        if not len(window):
            yield no_rows(self.columns(groups, recall), weighted=training and self.lost == "weight")
        step = max(1, CELLS // recall.size)
        with self.progress.task(f"features of {window.name} rows", len(window)) as task:
            for start, stop in window.blocks(step):
                queries, truth = window.queries(start, stop), window.truth.rows(np.arange(start, stop))
                candidates, _ = self.candidates(recall, window, start, stop)
                recalled = np.bincount(truth.pair_row, truth.ranks(candidates) > 0, minlength=len(truth.user))
                if training:
                    counts["positives"] += int(truth.count.sum())
                    counts["lost"] += int(truth.count.sum() - recalled.sum())
                    counts["lists"] += len(truth.user)
                    counts["lists_used"] += int((recalled > 0).sum())
                    candidates = extended(
                        self.lost, self.dataset.impressions, window, queries, truth, candidates
                    )
                taught = np.flatnonzero(
                    informative(candidates, truth.gains(candidates))
                )  # the rest teach no order
                queries, truth, candidates = queries.rows(taught), truth.rows(taught), candidates.rows(taught)
                candidates = self.evidence(recall, window, queries, candidates)
                features = self.features(groups, recall, window, queries, candidates)
                weight = None
                if training and self.lost == "weight":
                    weight = (truth.count / np.maximum(recalled[taught], 1)).astype(np.float32)
                yield rows_of(
                    candidates,
                    features,
                    truth.gains(candidates),
                    seed=derive(self.seed, "row-order", window.name),
                    weights=weight,
                    negatives=self.negatives if training else None,
                )
                task.advance(stop - start)

    def reranker(self, system: Then, groups: Sequence[Recipe] = ()) -> FittedReranker:
        """Return the re-ranker of a system, fitted over the windows; a blend after its members.

        Args:
            system: The system.
            groups: Groups of other systems on the same union, so that rows are built once for all of them.
        """
        key = self.reranker_key(system)
        if key not in self._rerankers:
            blended = isinstance(system.rerank, Blended)
            self._rerankers[key] = (self._blend if blended else self._alone)(system, key, groups)
        return self._rerankers[key]

    def _alone(self, system: Then, key: str, groups: Sequence[Recipe]) -> FittedReranker:
        recipe = cast(Reranker, system.rerank)
        own = cast("tuple[Recipe, ...]", recipe.features)

        def make() -> Saved:
            if not own:
                empty = no_rows(())
                return recipe.fit(empty, empty, seed=derive(self.seed, "rerank", recipe.label)).save()
            train, valid = self.training_rows(system.recall, (*groups, *own))
            names = self.columns(own, system.recall)
            seed = derive(self.seed, "rerank", recipe.label)
            started = time.perf_counter()
            with showing(self.progress):
                saved = recipe.fit(train.columns(names), valid.columns(names), seed=seed).save()
            lost = self.lost_counts[system.recall.label]
            return Saved(saved.arrays, {**saved.meta, "fit_s": time.perf_counter() - started, "lists": lost})

        saved = self.store.saved("rerank", system.label + _read(own), key, make)
        self.fit_seconds[key] = float(saved.meta.get("fit_s", 0.0))
        if "lists" in saved.meta:
            self.lost_counts[system.recall.label] = dict(saved.meta["lists"])
        return recipe.load(saved)

    def _blend(self, system: Then, key: str, groups: Sequence[Recipe]) -> FittedReranker:
        """Fit the members as systems of their own, then the rule on their scores."""
        blend = cast(Blended, system.rerank)
        shared = (*groups, *cast("tuple[Recipe, ...]", cast(Reranker, blend).features))
        systems = member_systems(system)
        members = tuple(self.reranker(member, shared) for member in systems)
        name = f"rule of {system.label}"
        saved = self.store.saved("rule", name, key, lambda: fit_rule(self, system, members).save())
        apart = sum(self.fit_seconds[self.reranker_key(member)] for member in systems)
        self.fit_seconds[key] = apart + float(saved.meta["wall_s"])
        return blend.joined(members, cast(Ensemble, blend.rule).load(saved), self.windows.valid.tie)

    def has_reranker(self, system: Then) -> bool:
        """Say whether the store holds the fitted re-ranker of a system."""
        members = member_systems(system)
        kind = "rule" if members else "rerank"
        whole = (self.store.place(kind, self.reranker_key(system)) / "meta.json").is_file()
        return whole and all(self.has_reranker(member) for member in members)

    def reranker_key(self, system: Then) -> str:
        """Return the fingerprint of a fitted re-ranker."""
        place = ("rerank", system)
        if place in self._keys:
            return self._keys[place]
        rows = [window.key for window in (*self.windows.rows, self.windows.valid)]
        shown = self.dataset.impressions
        self._keys[place] = fingerprint(
            "rerank",
            system.rerank,
            system.recall,
            [self.fit_key(part, window) for part in system.recall.parts for window in self.windows.rows],
            [self.fit_key(part, self.windows.valid) for part in system.recall.parts],
            self.hashes(system.rerank, self.windows.valid, "rerank"),
            system.rerank.inputs(),
            rows,
            [self.lost, self.max_rows, self.negatives, None if shown is None else shown.fingerprint()],
            self._columns_key,
            self.seed,
            *([] if self.held is None else [self.weights(system.recall)]),
        )
        return self._keys[place]

    @cached_property
    def _columns_key(self) -> str:
        columns = {
            **self.dataset.item_columns,
            **{f"user {k}": v for k, v in self.dataset.user_columns.items()},
        }
        return content_hash(*[part for name in sorted(columns) for part in (name, columns[name])])

    def reorder(self, system: Then, window: Window, queries: Queries, candidates: Candidates) -> Candidates:
        """Return candidates in the order of a system's re-ranker."""
        evidence = self.evidence(system.recall, window, queries, candidates)
        groups = cast("tuple[Recipe, ...]", cast(Reranker, system.rerank).features)
        features = (
            self.features(groups, system.recall, window, queries, evidence)
            if groups
            else no_features(evidence)
        )
        return evidence.rescored(self.reranker(system).score(evidence, features), queries.tie)

    def orders(
        self, systems: Sequence[Then], window: Window
    ) -> Iterator[tuple[int, int, Candidates, list[Candidates]]]:
        """Yield block by block the candidates of one union and the order of every system on it.

        Features are computed once for all systems. All systems must share the union.
        """
        recall = systems[0].recall
        groups: dict[str, Recipe] = {}
        for system in systems:
            for group in cast("tuple[Recipe, ...]", cast(Reranker, system.rerank).features):
                groups[fingerprint(group)] = group
        fitted = [self.reranker(system, tuple(groups.values())) for system in systems]
        for start, stop, queries, candidates, evidence, features in self.read(
            recall, tuple(groups.values()), window
        ):
            ordered = []
            for system, model in zip(systems, fitted, strict=True):
                read = features
                if getattr(system.rerank, "sees_truth", False):
                    gains = window.truth.rows(np.arange(start, stop)).gains(evidence)
                    read = Features(("gain",), gains[..., None].astype(np.float32))
                ordered.append(evidence.rescored(model.score(evidence, read), queries.tie))
            yield start, stop, candidates, ordered

    def read(
        self, recall: Union, groups: Sequence[Recipe], window: Window
    ) -> Iterator[tuple[int, int, Queries, Candidates, Candidates, Features]]:
        """Yield block by block its bounds, queries, candidates as recalled, the same with evidence, and columns."""
        for start, stop in window.blocks(max(1, CELLS // recall.size)):
            queries = window.queries(start, stop)
            candidates, _ = self.candidates(recall, window, start, stop)
            evidence = self.evidence(recall, window, queries, candidates)
            made = (
                self.features(groups, recall, window, queries, evidence) if groups else no_features(evidence)
            )
            yield start, stop, queries, candidates, evidence, made


def _read(groups: Sequence[Recipe]) -> str:
    names = sorted(frozenset().union(*(group.reads for group in groups)))
    return f" reading {', '.join(names)}" if names else ""
