"""LambdaMART: boosted trees that order lists, through LightGBM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from stagelens.pipeline.contracts import Saved
from stagelens.pipeline.core import Candidates, Features, Float32, Rows
from stagelens.pipeline.native import isolate_lightgbm, threads
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.seeds import derive
from stagelens.pipeline.space import Real, Space, Whole
from stagelens.rerank.forest import Forest
from stagelens.rerank.learned import need_lists, only_groups, trained_columns

OBJECTIVES = {"lambdarank": "lambdarank", "xendcg": "rank_xendcg", "binary": "binary"}


@recipe
class LambdaMART(Recipe):
    """Gradient boosted trees, trained list-wise, pair-wise in the top of the list, or point-wise.

    What is decided here and easy to get wrong: groups come from the rows; rows are shuffled inside a list;
    relevance is 0 or 1 with label gains 0 and 1; the number of trees is chosen on valid by a smoothed ndcg@10
    with a floor.

    References:
        Burges 2010, MSR-TR-2010-82 (LambdaMART); Ke et al. 2017 (LightGBM). Variant: LightGBM's
        ``lambdarank`` with normalised lambdas, the ndcg difference weighed over pairs of which one stands in
        the first ``truncation`` places. ``xendcg``: Bruch 2021, doi:10.1145/3442381.3449794.
    """

    role: ClassVar[Role] = "reranker"
    seeded: ClassVar[bool] = True
    space: ClassVar[Space] = {
        "leaves": Whole(4, 127, log=True),
        "learning_rate": Real(0.02, 0.3, log=True),
        "min_rows_leaf": Whole(10, 1000, log=True),
        "l2": Real(0.0, 20.0),
        "column_share": Real(0.3, 1.0),
        "truncation": Whole(10, 100, log=True),
    }

    features: tuple[Recipe, ...] = ()
    """Feature groups it reads."""
    objective: Literal["lambdarank", "xendcg", "binary"] = "lambdarank"
    """lambdarank: pairs weighed by their ndcg difference; xendcg: cross entropy of a list; binary: rows."""
    trees: int = Field(300, ge=1)
    """Trees at most."""
    leaves: int = Field(15, ge=2, le=1024)
    """Leaves of a tree at most."""
    learning_rate: float = Field(0.08, gt=0, le=1)
    """Shrinkage of every tree."""
    min_rows_leaf: int = Field(100, ge=1)
    """Rows in a leaf at least."""
    l2: float = Field(0.0, ge=0)
    """Weight of the squared leaf values."""
    column_share: float = Field(1.0, gt=0, le=1)
    """Share of the columns drawn for each tree."""
    truncation: int = Field(30, ge=1)
    """Places whose pairs lambdarank learns from; above the metric's 10, so that items just below move up."""
    smoothing: int = Field(15, ge=1)
    """Rounds over which valid ndcg@10 is averaged before it decides."""
    min_trees: int = Field(30, ge=1)
    """Trees at least, however early the valid curve peaks (``trees``, where that is less)."""
    patience: int = Field(30, ge=1)
    """Rounds without a better average before training stops."""

    _are_groups = field_validator("features")(only_groups)

    def fit(self, rows: Rows, valid_rows: Rows, *, seed: int) -> FittedLambdaMART:
        """Train on ``rows``, choose the number of trees on ``valid_rows`` (empty: all, said in the meta).

        Raises:
            ConfigError: No column.
            DataError: No training list.
            MissingExtra: LightGBM or its OpenMP library is not installed.
        """
        from stagelens.rerank.boosting import Stopping, boost, boost_apart

        need_lists(self.label, rows)
        params = self.lightgbm(seed)
        stopping = Stopping(self.smoothing, min(self.min_trees, self.trees), self.patience)
        train = boost_apart if isolate_lightgbm() else boost
        made = train(params, self.trees, stopping, rows, valid_rows.columns(rows.names))
        del params["num_threads"]  # changes speed, never a result
        meta = {
            "names": list(rows.names),
            "best_iteration": made.best,
            "rounds": made.rounds,
            "valid_ndcg@10": made.curve,
            "lists": len(rows.group),
            "rows": len(rows.label),
            "valid_lists": len(valid_rows.group),
            "lightgbm": params,
            "note": self._note(made.curve, made.rounds, made.best),
        }
        return FittedLambdaMART(rows.names, Forest.read(made.text), made.text, meta)

    def lightgbm(self, seed: int) -> dict[str, Any]:
        """Return the parameters handed to LightGBM."""
        return {
            "objective": OBJECTIVES[self.objective],
            "metric": "ndcg",
            "eval_at": [10],
            "label_gain": [0, 1],
            "lambdarank_truncation_level": self.truncation,
            "lambdarank_norm": True,
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.min_rows_leaf,
            "lambda_l2": self.l2,
            "feature_fraction": self.column_share,
            "seed": derive(seed, self.label) % (2**31 - 1),
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": threads(),
            "verbosity": -1,
        }

    def _note(self, curve: list[float], rounds: int, best: int) -> str:
        if not curve:
            return f"no valid lists: all {rounds} trees are kept"
        ended = "stopped early" if rounds < self.trees else "all rounds trained"
        return f"{best} of {rounds} trees kept, {ended}"

    def load(self, saved: Saved) -> FittedLambdaMART:
        """Read a saved fit back."""
        text = np.asarray(saved.arrays["model"], dtype=np.uint8).tobytes().decode()
        return FittedLambdaMART(tuple(saved.meta["names"]), Forest.read(text), text, saved.meta)


@dataclass(frozen=True, slots=True, eq=False)
class FittedLambdaMART:
    """Trained trees.

    Attributes:
        names: Columns, in the order of training.
        forest: The trees as arrays.
        text: LightGBM's model text; ``lightgbm.Booster(model_str=text)`` reads it.
        meta: Best round, valid curve, LightGBM's parameters, and a note for people.
    """

    names: tuple[str, ...]
    forest: Forest
    text: str
    meta: Mapping[str, Any]

    @property
    def parameters(self) -> int:
        """Leaves and splits."""
        return self.forest.parameters

    def score(self, candidates: Candidates, features: Features) -> Float32:
        """Return float32 [Q, K], NaN on padding.

        Raises:
            ValueError: A column of the training is absent, or the shapes differ.
        """
        columns = trained_columns(self.names, candidates, features)
        found = np.flatnonzero(candidates.found)
        score = np.full(candidates.item.size, np.nan, np.float32)
        score[found] = self.forest.predict(features.values.reshape(-1, len(features.names)), found, columns)
        return score.reshape(candidates.item.shape)

    def importance(self) -> dict[str, float]:
        """Return the loss reduction of each column, summed over its splits."""
        return dict(zip(self.names, self.forest.gains(len(self.names)).tolist(), strict=True))

    def save(self) -> Saved:
        """Return the model text as bytes, and the meta."""
        return Saved({"model": np.frombuffer(self.text.encode(), dtype=np.uint8)}, self.meta)
