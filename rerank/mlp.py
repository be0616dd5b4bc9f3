"""A small network that orders lists, through torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from stagelens.pipeline.contracts import Saved
from stagelens.pipeline.core import Candidates, Features, Float32, Rows, content_hash
from stagelens.pipeline.errors import require
from stagelens.pipeline.progress import shown_here
from stagelens.pipeline.recipe import Recipe, Role, fingerprint, recipe
from stagelens.pipeline.seeds import derive
from stagelens.pipeline.space import Choice, Real, Space, Whole
from stagelens.pipeline.unfinished import unfinished_here
from stagelens.rerank.inputs import Inputs, Scale
from stagelens.rerank.learned import need_lists, only_groups, trained_columns
from stagelens.rerank.network import Network

BLOCK = 65_536
"""Candidates scored together; bounds memory."""


@recipe
class MLP(Recipe):
    """A network of residual blocks or cross layers over the columns, trained list-wise.

    It reads what LambdaMART reads. Columns are scaled by what the training rows say (``scale``); a missing value is
    the mean, beside an indicator. The epoch is chosen on valid by ndcg@10. Trained by torch, scored without it.

    References:
        Qin et al. 2021, openreview.net/forum?id=Ut1vF_q_vC (networks beside boosted trees in ranking: scaled inputs and
        list-wise losses make them comparable). Layers and losses: ``rerank/nn``.
    """

    role: ClassVar[Role] = "reranker"
    seeded: ClassVar[bool] = True
    space: ClassVar[Space] = {
        "learning_rate": Real(1e-3, 2e-2, log=True),
        "width": Whole(16, 64, log=True),
        "depth": Whole(1, 3),
        "dropout": Real(0.0, 0.5),
        "weight_decay": Real(1e-4, 1.0, log=True),
        "loss": Choice(("softmax", "lambda")),
        "layers": Choice(("residual", "cross")),
    }

    features: tuple[Recipe, ...] = ()
    """Feature groups it reads."""
    layers: Literal["residual", "cross"] = "residual"
    """residual: blocks with the norm first; cross: products with the first columns (DCN-v2)."""
    width: int = Field(32, ge=1, le=4096)
    """Units of every layer."""
    depth: int = Field(2, ge=0, le=64)
    """Layers between entry and head; 0: linear in the inputs, but for a norm."""
    scale: Scale = "both"
    """How a column is scaled: by its quantiles, by a signed logarithm, or both side by side."""
    loss: Literal["softmax", "lambda"] = "softmax"
    """softmax: cross entropy of the list; lambda: pairs weighed by their ndcg difference."""
    truncation: int = Field(30, ge=1)
    """Places whose pairs ``lambda`` learns from."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of the units of a layer that a step leaves out."""
    learning_rate: float = Field(0.005, gt=0)
    """Step size of AdamW."""
    weight_decay: float = Field(0.01, ge=0)
    """How strongly AdamW draws weights to 0."""
    batch: int = Field(64, ge=1)
    """Lists of a step."""
    epochs: int = Field(30, ge=1)
    """Passes over the lists at most."""
    patience: int = Field(5, ge=1)
    """Epochs without a better valid average before training stops."""
    smoothing: int = Field(3, ge=1)
    """Epochs over which valid ndcg@10 is averaged before it decides."""
    averaging: float = Field(0.99, ge=0, lt=1)
    """Share of the past in the running mean of the weights, which is what is kept; 0: the weights themselves."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it is trained; auto: a GPU where there is one. Scores are made on the CPU."""

    _are_groups = field_validator("features")(only_groups)

    def fit(self, rows: Rows, valid_rows: Rows, *, seed: int) -> FittedMLP:
        """Train on ``rows``, choose the epoch on ``valid_rows`` (empty: the last, said in the meta).

        On the CPU the same seed gives the same weights, whatever the number of threads.

        Raises:
            ConfigError: No column, or no such device here.
            DataError: No training list.
            MissingExtra: torch is not installed.
        """
        require("torch", "neural")
        from stagelens.rerank.nn.fitting import trained

        need_lists(self.label, rows)
        valid = valid_rows.columns(rows.names)
        inputs = Inputs.fit(rows, self.scale)
        every = np.arange(len(rows.names), dtype=np.int32)
        weights, done = trained(
            self,
            rows,
            inputs.of(rows.values, np.arange(len(rows.label)), every),
            valid,
            inputs.of(valid.values, np.arange(len(valid.label)), every),
            seed=derive(seed, self.label),
            checkpoint=self._checkpoint(rows, valid, seed),
            progress=shown_here(),
        )
        meta = {
            "names": list(rows.names),
            "layers": self.layers,
            "best_epoch": done.best,
            "epochs": done.epochs,
            "valid_ndcg@10": done.curve,
            "lists": len(rows.group),
            "rows": len(rows.label),
            "valid_lists": len(valid.group),
            "note": self._note(done.curve, done.epochs, done.best),
        }
        return FittedMLP(rows.names, inputs, Network.read(weights, self.layers), meta)

    def _checkpoint(self, rows: Rows, valid: Rows, seed: int) -> Any:
        from stagelens.pipeline.nn.checkpoint import Checkpoint

        folder = unfinished_here()
        if folder is None:
            return None
        parts = [part for table in (rows, valid) for part in (table.values, table.label, table.group)]
        weight = [] if rows.weight is None else [rows.weight]
        return Checkpoint(folder / "MLP.pt", fingerprint(self, seed, content_hash(*parts, *weight)))

    def _note(self, curve: list[float], epochs: int, best: int) -> str:
        if not curve:
            return f"no valid lists: the last of {epochs} epochs is kept"
        ended = "stopped early" if epochs < self.epochs else "all epochs trained"
        return f"epoch {best} of {epochs} kept, {ended}"

    def load(self, saved: Saved) -> FittedMLP:
        """Read a saved fit back."""
        weights = {
            name.removeprefix("weight "): array
            for name, array in saved.arrays.items()
            if name.startswith("weight ")
        }
        network = Network.read(weights, str(saved.meta["layers"]))
        return FittedMLP(tuple(saved.meta["names"]), Inputs.read(saved.arrays), network, saved.meta)


@dataclass(frozen=True, slots=True, eq=False)
class FittedMLP:
    """A trained network.

    Attributes:
        names: Columns, in the order of training.
        inputs: How columns are scaled.
        network: The weights.
        meta: Best epoch, valid curve, and a note for people.
    """

    names: tuple[str, ...]
    inputs: Inputs
    network: Network
    meta: Mapping[str, Any]

    @property
    def parameters(self) -> int:
        """Weights."""
        return self.network.parameters

    def score(self, candidates: Candidates, features: Features) -> Float32:
        """Return float32 [Q, K], NaN on padding; a score follows from the candidate's own columns alone.

        Raises:
            ValueError: A column of the training is absent, or the shapes differ.
        """
        columns = trained_columns(self.names, candidates, features)
        values = features.values.reshape(-1, len(features.names))
        found = np.flatnonzero(candidates.found)
        score = np.full(candidates.item.size, np.nan, np.float32)
        for start in range(0, len(found), BLOCK):
            part = found[start : start + BLOCK]
            score[part] = self.network.score(self.inputs.of(values, part, columns))
        return score.reshape(candidates.item.shape)

    def save(self) -> Saved:
        """Return scales and weights as arrays, and the meta."""
        weights = {f"weight {name}": value for name, value in self.network.arrays().items()}
        return Saved({**self.inputs.arrays(), **weights}, self.meta)
