"""A trained network as arrays, applied without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Float32
from stagelens.pipeline.threads import over_rows

ROWS = 1024
"""Rows that pass through all layers together, so that they stay in the cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Weights by the names that torch gives them, in torch's shapes.

    Attributes:
        weights: ``entry``, ``layers.N.inner`` (residual: also ``norm`` and ``outer``), ``norm``, ``head``; each with
            ``.weight`` and ``.bias``, float32.
        depth: Layers.
        residual: Whether the layers are residual blocks; else cross layers.
    """

    weights: Mapping[str, Float32]
    depth: int
    residual: bool

    @classmethod
    def read(cls, arrays: Mapping[str, NDArray[Any]], layers: str) -> Network:
        """Make a network of arrays."""
        weights = {
            name: np.ascontiguousarray(array, dtype=np.float32) for name, array in sorted(arrays.items())
        }
        depth = sum(name.endswith("inner.weight") for name in weights)
        turned = {
            # the kernel runs along the units of the next layer
            name: np.ascontiguousarray(value.T) if value.ndim == 2 else value
            for name, value in weights.items()
        }
        return cls(turned, depth, layers == "residual")

    @property
    def parameters(self) -> int:
        """Learned numbers."""
        return sum(weight.size for weight in self.weights.values())

    def arrays(self) -> dict[str, Float32]:
        """Return what ``read`` reads back."""
        return {
            name: np.ascontiguousarray(value.T) if value.ndim == 2 else value
            for name, value in self.weights.items()
        }

    def score(self, inputs: Float32) -> Float32:
        """Return float32 [R] of inputs float32 [R, X]; a row's score depends on nothing but the row."""
        made = np.empty(len(inputs), np.float32)
        work = sum(value.size for value in self.weights.values())

        def part(start: int, stop: int) -> None:
            for at in range(start, stop, ROWS):
                until = min(at + ROWS, stop)
                made[at:until] = self._forward(inputs[at:until])

        over_rows(len(inputs), part, steps=work / 4)
        return made

    def _forward(self, inputs: Float32) -> Float32:
        first = self._linear("entry", inputs)  # [R, W]
        hidden = first
        for layer in range(self.depth):
            name = f"layers.{layer}"
            if self.residual:
                inner = self._linear(f"{name}.inner", self._norm(f"{name}.norm", hidden))
                hidden = hidden + self._linear(f"{name}.outer", np.maximum(inner, 0))
            else:
                hidden = hidden + first * self._linear(f"{name}.inner", hidden)
        return self._linear("head", self._norm("norm", hidden))[:, 0]

    def _linear(self, name: str, rows: Float32) -> Float32:
        from stagelens.rerank.dense_kernels import linear

        weight = self.weights[f"{name}.weight"]
        made = np.empty((len(rows), weight.shape[1]), np.float32)
        linear(rows, weight, self.weights[f"{name}.bias"], made)
        return made

    def _norm(self, name: str, rows: Float32) -> Float32:
        from stagelens.rerank.dense_kernels import normed

        made = np.empty_like(rows)
        normed(rows, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], made)
        return made
