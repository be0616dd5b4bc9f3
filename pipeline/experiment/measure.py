"""Measuring arms: one rank per held-out pair and system, from which everything per user derives."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from stagelens.pipeline.compose import Then, Union
from stagelens.pipeline.contracts import Reranker, Saved
from stagelens.pipeline.core import Bool, Candidates, Float64, Int32, Int64
from stagelens.pipeline.evaluate.importance import gain_by_group, permutation_importance
from stagelens.pipeline.evaluate.lists import Exposure
from stagelens.pipeline.evaluate.neighbours import agreement, tied_share
from stagelens.pipeline.recipe import Recipe, fingerprint
from stagelens.pipeline.seeds import derive
from stagelens.pipeline.store import LedgerEntry, own_time
from stagelens.pipeline.windows import Window
from stagelens.pipeline.workbench import Workbench

SHOWN = (10,)
"""Cut-offs of coverage and mean popularity."""


@dataclass(frozen=True, eq=False)
class CandidateSet:
    """What a recall stage handed over on one window.

    Attributes:
        ranks: int32 [P] rank of each pair in the candidate set, 0 where it was not recalled.
        found: bool [P]: in the candidate set because a channel returned it, not as a fill.
        reachable: bool [P]: not masked as seen, and some channel has a finite score.
        exact: bool [P]: in the candidate set with every index exact; None where all are.
        exact_found: bool [P]: as ``found``, of the same.
        agreement: For each approximate channel, the mean share of exact neighbours found.
        filled: Mean share of a list that was filled by popularity.
        tied: Mean share of a list with a tied score.
        digest: Hash of all lists; conditional metrics are compared only where it is equal.
        exposure: int64 [I], how often each item stands in the first 10.
        scored: bool [P]: as ``reachable``, without those that only a fill placed.
    """

    ranks: Int32
    found: Bool
    reachable: Bool
    exact: Bool | None
    exact_found: Bool | None
    agreement: dict[str, float]
    filled: float
    tied: float
    digest: str
    exposure: Int64
    scored: Bool

    def unfilled(self) -> CandidateSet:
        """Return the set with short lists left short; ``exposure`` and the lists' hash stay those of the filled."""
        ranks = np.where(self.found, self.ranks, 0).astype(np.int32)
        reachable = self.scored | self.found
        return replace(self, ranks=ranks, reachable=reachable, exact=self.exact_found, filled=math.nan)


@dataclass(frozen=True, eq=False)
class FinalLists:
    """What a re-ranker made of the candidate sets of one window.

    Attributes:
        ranks: int32 [P] rank of each pair in the final list, 0 where it was not recalled.
        exposure: int64 [I], how often each item stands in the first 10.
    """

    ranks: Int32
    exposure: Int64


def recall_key(bench: Workbench, recall: Union, window: Window) -> str:
    """Return the fingerprint of a union's candidate sets on a window."""
    fits = [bench.fit_key(part, window) for part in recall.parts]
    how = bench.weights(recall) if recall.ensemble is None else bench.rule_key(recall)
    return fingerprint(recall, fits, how, window.key)


def candidate_set(bench: Workbench, recall: Union, window: Window) -> CandidateSet:
    """Measure the candidate sets of a union, through the store."""
    key = fingerprint("candidate-set", "with found and scored", recall_key(bench, recall, window))
    saved = bench.store.saved(
        "measured",
        f"candidates of {recall.label} on {window.name}",
        key,
        lambda: _candidate_set(bench, recall, window),
    )
    arrays, meta = saved.arrays, saved.meta
    return CandidateSet(
        arrays["ranks"],
        arrays["found"],
        arrays["reachable"],
        arrays.get("exact"),
        arrays.get("exact_found"),
        dict(meta["agreement"]),
        float(meta["filled"]),
        float(meta["tied"]),
        str(meta["digest"]),
        arrays["exposure"],
        arrays["scored"],
    )


def _candidate_set(bench: Workbench, recall: Union, window: Window) -> Saved:
    digest = hashlib.sha256()
    filled, tied = [], []  # added up at the end: a running sum would depend on the block
    exposure = np.zeros(bench.dataset.n_items, dtype=np.int64)
    ranks, found = [], []
    with bench.progress.task(f"{recall.label}: {window.name} candidates", len(window)) as task:
        for start, stop in window.blocks(max(1, min(bench.block, 400_000 // recall.size))):
            candidates, short = bench.candidates(recall, window, start, stop)
            digest.update(np.ascontiguousarray(candidates.item).tobytes())
            filled.append(short)
            tied.append(tied_share(candidates))
            exposure += Exposure.of(candidates, n_items=bench.dataset.n_items, cuts=SHOWN).shown[0]
            rank, by_channel = _ranked(window, start, stop, candidates)
            ranks.append(rank)
            found.append(by_channel)
            task.advance(stop - start)
    arrays: dict[str, Any] = {"ranks": _joined(ranks), "found": _all(found), "exposure": exposure}
    arrays["scored"] = bench.reachable(recall, window)
    arrays["reachable"] = arrays["scored"] | (arrays["ranks"] > 0)
    shares: dict[str, float] = {}
    if not recall.is_exact:
        exact = recall.exact()
        shadow = [
            _ranked(window, start, stop, bench.candidates(exact, window, start, stop, like=recall)[0])
            for start, stop in window.blocks(max(1, min(bench.block, 400_000 // recall.size)))
        ]
        arrays["exact"] = _joined([rank for rank, _ in shadow]) > 0
        arrays["exact_found"] = _all([by_channel for _, by_channel in shadow])
        shares = _agreement(bench, recall, exact, window)
    n = max(len(window), 1)
    meta = {
        "filled": float(sum(short.sum() for short in filled)) / recall.size / n,
        "tied": math.fsum(np.concatenate(tied)) / n if tied else 0.0,
        "digest": digest.hexdigest(),
        "agreement": shares,
    }
    return Saved(arrays, meta)


def _ranked(window: Window, start: int, stop: int, candidates: Candidates) -> tuple[Int32, Bool]:
    """Return the ranks of a block's pairs, and whether a channel returned them."""
    truth = window.truth.rows(np.arange(start, stop))
    ranks = truth.ranks(candidates)
    evidence = candidates.channel_rank[truth.pair_row, np.maximum(ranks - 1, 0)]
    return ranks, np.asarray((ranks > 0) & (evidence > 0).any(axis=1))


def _agreement(bench: Workbench, recall: Union, exact: Union, window: Window) -> dict[str, float]:
    """Return ``agreement@k`` of every approximate channel, by score threshold."""
    shares: dict[str, float] = {}
    depth = recall.size
    for part, twin in zip(recall.parts, exact.parts, strict=True):
        if part == twin:
            continue
        approx, truth = bench.lists(part, window, depth), bench.lists(twin, window, depth)
        values: list[Float64] = [
            agreement(approx.read("score", start, stop), truth.read("score", start, stop), min(100, depth))
            for start, stop in window.blocks(bench.block)
        ]
        shares[part.label] = float(np.nanmean(np.concatenate(values)))
    return shares


def final_lists(bench: Workbench, systems: Sequence[Then], window: Window) -> list[FinalLists]:
    """Measure the orders of several re-rankers on one union's candidate sets, features computed once for all."""
    recall = systems[0].recall
    base = recall_key(bench, recall, window)
    keys = [
        fingerprint("final", base, bench.reranker_key(system), bench.hashes(system.rerank, window, "rerank"))
        for system in systems
    ]
    absent = [
        place
        for place, key in enumerate(keys)
        if not (bench.store.place("measured", key) / "meta.json").is_file()
    ]
    made: dict[int, Saved] = {}
    if absent:
        with own_time() as own:
            made = dict(
                zip(absent, _orders(bench, [systems[place] for place in absent], window), strict=True)
            )
        share = own[0] / len(absent)
        block = fingerprint("orders", [keys[place] for place in absent])
        name = f"features and orders of {len(absent)} re-rankers of {recall.label} on {window.name}"
        bench.store.ledger[block] = LedgerEntry("orders", name, block, True, own[0])
        made = {place: Saved(saved.arrays, {"order_s": share}) for place, saved in made.items()}
    lists = []
    for place, (system, key) in enumerate(zip(systems, keys, strict=True)):
        name = f"order of {system.label} on {window.name}"

        def make(place: int = place, system: Then = system) -> Saved:
            return made[place] if place in made else _orders(bench, [system], window)[0]

        saved = bench.store.saved("measured", name, key, make)
        lists.append(FinalLists(saved.arrays["ranks"], saved.arrays["exposure"]))
    return lists


def _orders(bench: Workbench, systems: Sequence[Then], window: Window) -> list[Saved]:
    n_items = bench.dataset.n_items
    ranks: list[list[Int32]] = [[] for _ in systems]
    exposure = np.zeros((len(systems), n_items), dtype=np.int64)
    with bench.progress.task(f"{len(systems)} orders of {window.name} lists", len(window)) as task:
        for start, stop, _, orders in bench.orders(systems, window):
            truth = window.truth.rows(np.arange(start, stop))
            for place, ordered in enumerate(orders):
                ranks[place].append(truth.ranks(ordered))
                exposure[place] += Exposure.of(ordered, n_items=n_items, cuts=SHOWN).shown[0]
            task.advance(stop - start)
    return [Saved({"ranks": _joined(r), "exposure": e}) for r, e in zip(ranks, exposure, strict=True)]


def _all(parts: Sequence[Bool]) -> Bool:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)


def _joined(parts: Sequence[Int32]) -> Int32:
    out: Int32 = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)
    return out


def latency(
    bench: Workbench, system: Union | Then, window: Window, queries: int
) -> tuple[list[float], list[float]]:
    """Return milliseconds of single queries: for recall, and for the re-rank stage (empty for a union)."""
    recall = system if isinstance(system, Union) else system.recall
    model = (
        [bench.reranker_key(system), bench.hashes(system.rerank, window, "rerank")]
        if isinstance(system, Then)
        else []
    )
    key = fingerprint("latency", recall_key(bench, recall, window), system, model, queries)

    def make() -> Saved:
        stage: list[list[float]] = [[], []]
        count = min(queries, len(window))
        chosen: list[int] = np.linspace(0, max(len(window) - 1, 0), count).astype(int).tolist()
        for place in [*chosen[:2], *chosen]:  # the first two warm up
            one = window.queries(place, place + 1)
            begin = time.perf_counter()
            candidates = bench.retrieve(recall, window, one)
            middle = time.perf_counter()
            stage[0].append((middle - begin) * 1e3)
            if isinstance(system, Then):
                bench.reorder(system, window, one, candidates)
                stage[1].append((time.perf_counter() - middle) * 1e3)
        return Saved({}, {"recall": stage[0][2:], "rerank": stage[1][2:]})

    meta = bench.store.saved("latency", f"latency of {system.label}", key, make).meta
    return list(meta["recall"]), list(meta["rerank"])


def importance(bench: Workbench, system: Then, max_rows: int) -> list[dict[str, Any]]:
    """Return what a re-ranker leans on: share of the gain by group, and ndcg@10 lost when it is permuted.

    All columns that read a modality are one group, evidence of its channels included; the others stand by feature
    group. The columns of a group are permuted together, on valid rows.
    """
    key = fingerprint("importance by modality", bench.reranker_key(system), max_rows)

    def make() -> Saved:
        model = bench.reranker(system)
        groups = _columns_by_modality(bench, system)
        rows = bench.valid_rows(system, max_rows)
        drops = permutation_importance(model, rows, groups, seed=derive(bench.seed, "importance"))
        gain = gain_by_group(model.importance() if hasattr(model, "importance") else {}, groups)
        total = sum(gain.values()) or 1.0
        records = [
            {"group": g, "gain": gain[g] / total, "permutation": drops[g]["drop"], "sd": drops[g]["sd"]}
            for g, names in groups.items()
            if names
        ]
        return Saved({}, {"groups": records})

    saved = bench.store.saved("importance", f"importance in {system.label}", key, make)
    records = [dict(record) for record in saved.meta["groups"]]
    if any(record["gain"] for record in records):
        return records
    return [{**record, "gain": None} for record in records]  # nobody grew a tree: not known, which is not 0


def _columns_by_modality(bench: Workbench, system: Then) -> dict[str, list[str]]:
    """Return the columns of a re-ranker by what they read: a modality, or the feature group they come from."""
    readers = {part.label: part.reads for part in system.recall.parts if part.reads}
    groups: dict[str, list[str]] = {}
    for group in cast("tuple[Recipe, ...]", cast(Reranker, system.rerank).features):
        for name in bench.group(group, system.recall, bench.windows.valid).names:
            by_channel = [reads for label, reads in readers.items() if f": {label} " in name]
            reads = group.reads or (by_channel[0] if by_channel else frozenset())
            label = " and ".join(sorted(reads)) if reads else group.label
            groups.setdefault(label, []).append(name)
    return groups
