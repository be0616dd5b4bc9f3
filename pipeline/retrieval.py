"""The recall side of a study's work: fits, lists on disk, merge weights and candidate sets.

Everything goes through the store under the fingerprint of what it is made from, so arms that share a channel share
its work, a killed run continues, and a repeated run fits nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, cast

import numpy as np

from stagelens.pipeline.compose import Union
from stagelens.pipeline.contracts import (
    Channel,
    Ensemble,
    FittedChannel,
    FittedEnsemble,
    FittedVectors,
    Saved,
    Vectors,
)
from stagelens.pipeline.core import (
    Bool,
    Candidates,
    Dataset,
    Float32,
    Int32,
    Int64,
    ModalityTable,
    Queries,
    TrainingData,
)
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.merge import choose_weights, merge_lists, popularity_order
from stagelens.pipeline.pooling import aimed, ensemble_lists, joined_lists, pooled
from stagelens.pipeline.progress import Progress, Silent
from stagelens.pipeline.recipe import Recipe, fingerprint
from stagelens.pipeline.seeds import derive, generator
from stagelens.pipeline.store import RowFiles, Store
from stagelens.pipeline.warming import warm
from stagelens.pipeline.windows import Window, Windows

WEIGHT_USERS = 10_000
"""Users of valid on whom merge weights are chosen, and of valid and of the row windows on whom the rule of an ensemble
is fitted, at most (a seeded sample)."""
KEPT_FITS = 12
"""Fitted channels in memory at once."""


Stage = Literal["recall", "rerank"]


@dataclass(frozen=True, eq=False)
class Treated:
    """A treated table that takes the place of a modality.

    Attributes:
        stage: Whose recipes read it.
        modality: The name it answers to.
        when: ``fit``: in everything learned or chosen (training rows, valid); ``serve``: on test; or ``both``.
        table: The table.
    """

    stage: Stage
    modality: str
    when: Literal["fit", "serve", "both"]
    table: ModalityTable


@dataclass(kw_only=True)
class Retrieval:
    """What recall works with; see the module.

    Attributes:
        dataset: With treated modalities under names of their own.
        treated: Tables that take the place of a modality at one stage, at fit, at serving or both.
        windows: Laid out by the protocol.
        seed: The study seed.
        store: Artefacts and the ledger.
        block: Users asked of a channel at once.
        progress: Shown while lists are made.
        held: Whose merge weights and fitted rules apply; None: its own are chosen.
        fit_seconds: Fingerprint of a fit -> seconds it took when it was made.
    """

    dataset: Dataset
    windows: Windows
    seed: int
    store: Store
    treated: tuple[Treated, ...] = ()
    block: int = 8192
    progress: Progress = field(default_factory=Silent)
    held: Retrieval | None = None
    fit_seconds: dict[str, float] = field(default_factory=dict, init=False)
    _fits: OrderedDict[str, FittedChannel] = field(default_factory=OrderedDict, init=False)
    _keys: dict[tuple[Any, ...], str] = field(default_factory=dict, init=False)
    _lists: dict[tuple[Recipe, str, int], RowFiles] = field(default_factory=dict, init=False)
    _weights: dict[Union, tuple[float, ...]] = field(default_factory=dict, init=False)
    _rules: dict[str, FittedEnsemble] = field(default_factory=dict, init=False)
    _fillers: dict[str, Int32] = field(default_factory=dict, init=False)

    def side(self, window: Window) -> Literal["fit", "serve"]:
        """Return ``serve`` for test where tables are treated; valid, which chooses, belongs to fitting."""
        return "serve" if self.treated and window.name == "test" else "fit"

    def data_of(self, window: Window, stage: Stage) -> TrainingData:
        """Return what recipes of a stage may see when they fit for a window."""
        data = self.dataset.training(window.fit)
        side = self.side(window)
        tables = {
            one.modality: one.table
            for one in self.treated
            if one.stage == stage and one.when in (side, "both")
        }
        share = partial(self.vectors, window, stage)
        return replace(data, modalities={**data.modalities, **tables}, share=share)

    def vectors(
        self, window: Window, stage: Stage, part: Recipe, seconds: list[float] | None = None
    ) -> FittedVectors:
        """Return vectors fitted on the fit window: one fit for both stages where they read the same tables.

        ``seconds`` is told what the fit took when it was made.
        """
        seed = self.seed if part.seeded else None
        tables = self.hashes(part, window, stage)
        key = fingerprint("vectors", part, window.fit_key, tables, part.inputs(), seed)
        made = cast(Vectors, part)
        data = self.data_of(window, stage)

        def make() -> Saved:
            warm(part)
            return made.fit(data, seed=derive(self.seed, "vectors", part.label)).save()

        saved = self.store.saved("vectors", f"{part.label} on {window.name}", key, make)
        if seconds is not None:
            seconds.append(float(saved.meta["wall_s"]))
        return made.load(saved)

    def hashes(self, part: Recipe, window: Window, stage: Stage) -> list[str]:
        """Return the digests of the tables that a recipe reads for a window."""
        data = self.data_of(window, stage)
        return [data.modality(name).digest for name in sorted(part.reads)]

    def fit_key(self, part: Recipe, window: Window) -> str:
        """Return the fingerprint of a channel fitted on the fit window."""
        place = ("fit", part, window.fit_key, self.side(window))
        if place not in self._keys:
            seed = self.seed if part.seeded else None
            self._keys[place] = fingerprint(
                "fit", part, window.fit_key, self.hashes(part, window, "recall"), part.inputs(), seed
            )
        return self._keys[place]

    def fitted(self, part: Recipe, window: Window) -> FittedChannel:
        """Return a channel fitted on the fit window."""
        key = self.fit_key(part, window)
        if key not in self._fits:
            channel = cast(Channel, part)
            data = self.data_of(window, "recall")
            seed = derive(self.seed, "recall", part.label)
            shared: list[float] = []

            def share(vectors: Recipe) -> FittedVectors:
                return self.vectors(window, "recall", vectors, shared)

            def make() -> Saved:
                warm(part)
                made = channel.fit(replace(data, share=share), seed=seed).save()
                return Saved(made.arrays, {**made.meta, "shared_s": sum(shared)})

            saved = self.store.saved("fit", f"{part.label} on {window.name}", key, make)
            self._fits[key] = channel.load(saved)
            self.fit_seconds[key] = float(saved.meta["wall_s"]) + float(saved.meta["shared_s"])
            while len(self._fits) > KEPT_FITS:
                self._fits.popitem(last=False)
        self._fits.move_to_end(key)
        return self._fits[key]

    def lists(self, part: Recipe, window: Window, depth: int) -> RowFiles:
        """Return one channel's lists for every query of a window, on disk."""
        place = (part, window.key, depth)
        if place in self._lists:
            return self._lists[place]
        key = fingerprint("lists", self.fit_key(part, window), window.key, depth)

        def blocks(done: int) -> Iterator[Mapping[str, Any]]:
            fitted = self.fitted(part, window)
            with self.progress.task(f"{part.label}: {window.name} lists", len(window) - done) as task:
                for start, stop in window.blocks(self.block, done):
                    found = fitted.retrieve(window.queries(start, stop), depth)
                    task.advance(stop - start)
                    yield {"item": found.item, "score": found.score}

        columns = {"item": ("int32", depth), "score": ("float32", depth)}
        name = f"{part.label} for {window.name}"
        self._lists[place] = self.store.rows("lists", name, key, len(window), columns, blocks)
        return self._lists[place]

    def filler(self, window: Window) -> Int32:
        """Return int32 [I], the catalogue in the order that fills short lists."""
        key = window.fit_key
        if key not in self._fillers:
            self._fillers[key] = popularity_order(window.fit.item_degree(), window.tie)
        return self._fillers[key]

    def weights(self, recall: Union) -> tuple[float, ...]:
        """Return the merge weights, chosen on valid where the union says so; of an ensemble, what its rule gives.

        A rule without weights counts every channel 1.
        """
        if recall.ensemble is not None:
            given: Mapping[str, float] = getattr(self.rule(recall), "weights", {})
            return tuple(given.get(part.label, 1.0) for part in recall.parts)
        if isinstance(recall.weights, tuple):
            return recall.weights
        if recall.weights == "equal" or recall.merge != "rrf" or len(recall.parts) == 1:
            return tuple(1.0 for _ in recall.parts)
        if self.held is not None:
            return self.held.weights(recall)
        if recall in self._weights:
            return self._weights[recall]
        valid = self.windows.valid
        keys = [self.fit_key(part, valid) for part in recall.parts]
        key = fingerprint("weights", keys, recall.size, recall.rrf_k, valid.key)

        def make() -> Saved:
            places = _sampled(len(valid), WEIGHT_USERS)
            item = np.stack([self._taken(part, valid, recall.size, places, "item") for part in recall.parts])
            chosen, value, trials = choose_weights(
                tuple(part.label for part in recall.parts),
                item,
                valid.queries_at(places),
                valid.truth.rows(places),
                size=recall.size,
                filler=self.filler(valid),
                rrf_k=recall.rrf_k,
                seed=derive(self.seed, "merge-weights"),
            )
            return Saved({}, {"weights": list(chosen), "valid_recall": value, "trials": trials})

        meta = self.store.saved("weights", f"weights of {recall.label}", key, make).meta
        self._weights[recall] = tuple(float(weight) for weight in meta["weights"])
        return self._weights[recall]

    def rule_key(self, recall: Union) -> str:
        """Return the fingerprint of a union's fitted rule: of everything that it may read."""
        if self.held is not None:
            return self.held.rule_key(recall)
        place = ("rule", recall)
        if place not in self._keys:
            windows = (*self.windows.rows, self.windows.valid)
            self._keys[place] = fingerprint(
                "rule",
                aimed(cast(Recipe, recall.ensemble), f"recall@{recall.size}"),
                [[self.fit_key(part, window) for part in recall.parts] for window in windows],
                [window.key for window in windows],
                recall.size,
                self.seed if cast(Recipe, recall.ensemble).seeded else None,
            )
        return self._keys[place]

    def rule(self, recall: Union) -> FittedEnsemble:
        """Return the fitted rule of a union with an ensemble.

        What is learned comes from the row windows (label window, or out-of-fold), what is tuned from valid, both from
        everything that the channels return for at most ``WEIGHT_USERS`` users. Lists that no rule reads are not made.
        """
        if self.held is not None:
            return self.held.rule(recall)
        key = self.rule_key(recall)
        if key not in self._rules:
            recipe = aimed(cast(Recipe, recall.ensemble), f"recall@{recall.size}")
            rule, names = cast(Ensemble, recipe), tuple(part.label for part in recall.parts)
            learns = getattr(recipe, "learns", frozenset({"rows", "valid"}))
            rows, valid = self.windows.rows, self.windows.valid

            def make() -> Saved:
                share = WEIGHT_USERS // len(rows)
                taught = [self._pool(recall, window, share) for window in rows if "rows" in learns]
                held = [self._pool(recall, valid, WEIGHT_USERS)] if "valid" in learns else []
                seed = derive(self.seed, "ensemble", recipe.label)
                return rule.fit(*joined_lists(taught, names), *joined_lists(held, names), seed=seed).save()

            saved = self.store.saved("rule", f"rule of {recall.label}", key, make)
            self._rules[key] = rule.load(saved)
            self.fit_seconds[key] = float(saved.meta["wall_s"])
        return self._rules[key]

    def _pool(self, recall: Union, window: Window, limit: int) -> tuple[Candidates, Truth]:
        """Return everything the channels return for a sample of a window's users, and its truth."""
        places = _sampled(len(window), limit)
        item, score = (
            np.stack([self._taken(part, window, recall.size, places, column) for part in recall.parts])
            for column in ("item", "score")
        )
        names = tuple(part.label for part in recall.parts)
        return pooled(names, item, score, window.queries_at(places)), window.truth.rows(places)

    def _taken(self, part: Recipe, window: Window, depth: int, places: Int64, column: str) -> Any:
        files = self.lists(part, window, depth)
        taken = [
            files.read(column, start, stop)[places[(places >= start) & (places < stop)] - start]
            for start, stop in window.blocks(self.block)
        ]
        return np.concatenate(taken) if taken else files.read(column, 0, 0)

    def candidates(
        self, recall: Union, window: Window, start: int, stop: int, like: Union | None = None
    ) -> tuple[Candidates, Int32]:
        """Return the merged lists of the queries [start, stop) and how many places of each were filled.

        ``like`` is another union of the same channels whose weights or rule apply (a shadow run with exact indexes
        keeps those of the union it shadows).
        """
        files = [self.lists(part, window, recall.size) for part in recall.parts]
        item = np.stack([lists.read("item", start, stop) for lists in files])
        score = np.stack([lists.read("score", start, stop) for lists in files])
        return self._merged(like or recall, window, window.queries(start, stop), item, score)

    def retrieve(self, recall: Union, window: Window, queries: Queries) -> Candidates:
        """Return the merged lists of any queries, asked now: what serving would do."""
        lists = [self.fitted(part, window).retrieve(queries, recall.size) for part in recall.parts]
        item = np.stack([found.item for found in lists])
        score = np.stack([found.score for found in lists])
        return self._merged(recall, window, queries, item, score)[0]

    def _merged(
        self, recall: Union, window: Window, queries: Queries, item: Int32, score: Float32
    ) -> tuple[Candidates, Int32]:
        names = tuple(part.label for part in recall.parts)
        size, filler = recall.size, self.filler(window)
        if recall.ensemble is not None:
            return ensemble_lists(self.rule(recall), names, item, score, queries, size=size, filler=filler)
        return merge_lists(
            names,
            item,
            score,
            queries,
            weights=self.weights(recall),
            size=size,
            filler=filler,
            how=recall.merge,
            rrf_k=recall.rrf_k,
        )

    def reachable(self, recall: Union, window: Window) -> Bool:
        """Return bool [P]: some channel of the union has a finite score for the pair and it is not masked as seen."""
        truth, parts = window.truth, []
        for start, stop in window.blocks(min(self.block, 2048)):
            queries, block = window.queries(start, stop), truth.rows(np.arange(start, stop))
            items, at = padded(block)
            finite = np.zeros(items.shape, dtype=bool)
            for part in recall.parts:
                finite |= np.isfinite(self.fitted(part, window).score(queries, items))
            parts.append(finite[at] & ~masked(queries, block))
        return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)


def _sampled(total: int, limit: int) -> Int64:
    """Return at most ``limit`` of the places [0, total), increasing."""
    places = np.arange(total)
    if total <= limit:
        return places
    return np.sort(generator(0, "weight-users").choice(places, limit, replace=False))


def padded(truth: Truth) -> tuple[Int32, tuple[Any, Any]]:
    """Return the relevant items as int32 [Q, max R] with -1, and where each pair stands in it."""
    width = int(truth.count.max()) if len(truth.count) else 0
    column = np.arange(len(truth.pair_row)) - np.repeat(truth.relevant.indptr[:-1], truth.count)
    padded = np.full((len(truth.user), width), -1, dtype=np.int32)
    padded[truth.pair_row, column] = truth.pair_item
    return padded, (truth.pair_row, column)


def masked(queries: Queries, truth: Truth) -> Bool:
    """Return bool [P]: the pair's item is in the query's seen list."""
    n = queries.n_items
    row = np.repeat(np.arange(len(queries), dtype=np.int64), queries.seen.lengths)
    seen = row * n + queries.seen.items
    pairs = truth.pair_row.astype(np.int64) * n + truth.pair_item
    return np.isin(pairs, seen)
