"""Content vectors as they are compared: centred by the training data alone, scaled to length 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Bool, Float32, Float64, ModalityTable

NO_DIRECTION = 1e-6
"""A row shorter than this share of its uncentred length is the mean itself; the rest is rounding noise."""
BLOCK = 65_536


def prepared(
    table: ModalityTable, trained: Bool, *, centre: bool, unit: bool
) -> tuple[Float32, Bool, NDArray[np.float64]]:
    """Return the rows of a modality as they are searched.

    Args:
        table: The modality.
        trained: bool [I], items of the fit window: the mean is theirs alone.
        centre: Subtract the mean.
        unit: Scale to length 1.

    Returns:
        float32 [I, D], zero where absent; bool [I], present, without rows that have no direction; the mean,
        float64 [D].
    """
    from stagelens.pipeline.gather import normalise

    present = table.present.copy()
    rows = np.zeros(table.values.shape, np.float32)
    mean: Float64 = np.zeros(table.width, np.float64)
    for start in range(0, len(rows), BLOCK):
        block = np.asarray(table.values[start : start + BLOCK], dtype=np.float32)
        rows[start : start + BLOCK] = np.where(present[start : start + BLOCK, None], block, 0.0)
    taught = np.flatnonzero(present & trained)
    if centre and len(taught):
        total = np.zeros(table.width, np.float64)
        for start in range(0, len(taught), BLOCK):
            total += rows[taught[start : start + BLOCK]].sum(axis=0, dtype=np.float64)
        mean = total / len(taught)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        length = np.sqrt(np.einsum("nd,nd->n", block, block, dtype=np.float64))
        if centre:
            block[:] = np.where(present[start : start + BLOCK, None], block - mean, 0.0)
        left = np.sqrt(np.einsum("nd,nd->n", block, block, dtype=np.float64))
        present[start : start + BLOCK] &= left > NO_DIRECTION * length
    rows[~present] = 0.0
    if unit:
        normalise(rows)
    return rows, present, mean
