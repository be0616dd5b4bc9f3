"""Trees as arrays: read from LightGBM's model text, scored without LightGBM.

Scoring needs no OpenMP runtime then, so it runs beside FAISS and torch in one process on every platform, and
one query costs no more than its trees. The scores equal LightGBM's raw predictions bit by bit.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Bool, Float32, Float64, Int32, Int64
from stagelens.pipeline.native import threads

PART = 1 << 15
"""Rows a thread takes at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """T regression trees, nodes and leaves one tree after the other.

    Attributes:
        root: int32 [T]: the first node of each tree, or ``~leaf`` where the tree is a single leaf.
        feature: int32 [N] column compared.
        threshold: float32 [N]; a value at most this goes left.
        nan_left: bool [N]; where NaN goes.
        left: int32 [N]; a node, or ``~leaf``.
        right: int32 [N]; likewise.
        leaf: float64 [L] values.
        gain: float64 [N] loss reduction of each split.
    """

    root: Int32
    feature: Int32
    threshold: Float32
    nan_left: Bool
    left: Int32
    right: Int32
    leaf: Float64
    gain: Float64

    @classmethod
    def read(cls, text: str) -> Forest:
        """Build from a model text.

        Raises:
            ValueError: A tree has categorical splits or linear leaves, which are never trained here.
        """
        roots: list[int] = []
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in _PARTS}
        nodes = leaves = 0
        for block in text.partition("end of trees")[0].split("\nTree=")[1:]:
            field = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            if int(field.get("num_cat", 0)) or int(field.get("is_linear", 0)):
                raise ValueError("only numerical splits and constant leaves can be read")
            size = int(field["num_leaves"])
            roots.append(nodes if size > 1 else ~leaves)
            for name, (key, dtype) in _PARTS.items():
                if size > 1 or name == "leaf":
                    values = np.array(field[key].split(), dtype=np.float64).astype(dtype)
                    if name in ("left", "right"):
                        values = np.where(values >= 0, values + nodes, values - leaves).astype(np.int32)
                    parts[name].append(values)
            nodes, leaves = nodes + size - 1, leaves + size
        arrays = {
            name: np.concatenate([np.zeros(0, dtype), *parts[name]]) for name, (_, dtype) in _PARTS.items()
        }
        kind, threshold = arrays.pop("kind"), arrays.pop("threshold")
        # Bits 2-3 say what counts as missing: 2 NaN, which goes by bit 1; 0 nothing, and NaN is read as 0.
        if ((kind >> 2) == 1).any():
            raise ValueError("models that read zero as missing cannot be read")
        nan_left = np.where(kind >> 2 == 2, kind & 2 != 0, threshold >= 0)
        return cls(
            root=np.array(roots, dtype=np.int32),
            threshold=_float32_below(threshold),
            nan_left=nan_left,
            **arrays,
        )

    @property
    def parameters(self) -> int:
        """Leaves and splits."""
        return len(self.leaf) + len(self.feature)

    def gains(self, width: int) -> Float64:
        """Return float64 [F]: the loss reduction summed over the splits of each of ``width`` columns."""
        total: Float64 = np.bincount(self.feature, weights=self.gain, minlength=width).astype(np.float64)
        return total

    def predict(self, values: Float32, rows: Int64, columns: Int32) -> Float64:
        """Return float64 [len(rows)]: the sum of the leaves that each row falls into.

        Args:
            values: float32 [N, F'], any table that holds the columns.
            rows: int64 positions in ``values``.
            columns: int32 [F]: where in ``values`` each trained column stands.
        """
        from stagelens.rerank.traversal import traverse

        out = np.zeros(len(rows))
        feature = columns[self.feature] if len(self.feature) else self.feature

        def part(start: int) -> None:
            stop = start + PART
            traverse(
                values,
                rows[start:stop],
                self.root,
                feature,
                self.threshold,
                self.nan_left,
                self.left,
                self.right,
                self.leaf,
                out[start:stop],
            )

        starts = range(0, len(rows), PART)
        if len(starts) > 1 and threads() > 1:
            with ThreadPoolExecutor(threads()) as pool:
                list(pool.map(part, starts))
        else:
            for start in starts:
                part(start)
        return out


def _float32_below(value: Float64) -> Float32:
    """Return the largest float32 at most each value: float32 numbers compare with both alike."""
    with np.errstate(over="ignore"):  # LightGBM writes the largest float64 where everything goes left
        near = value.astype(np.float32)
    below: Float32 = np.where(near > value, np.nextafter(near, np.float32(-np.inf)), near)
    return below


_PARTS: dict[str, tuple[str, Any]] = {
    "feature": ("split_feature", np.int32),
    "threshold": ("threshold", np.float64),
    "kind": ("decision_type", np.int8),
    "left": ("left_child", np.int32),
    "right": ("right_child", np.int32),
    "leaf": ("leaf_value", np.float64),
    "gain": ("split_gain", np.float64),
}
