"""Early fusion without an interaction loss: concatenation, weighted sum, principal components."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field, PositiveInt

from stagelens.fusion.signals import FittedFusion, Weighted
from stagelens.pipeline.core import TrainingData
from stagelens.pipeline.recipe import recipe


@recipe
class Concat(Weighted):
    """The signals side by side.

    A weight multiplies a signal's share of every inner product, as it multiplies a member's score in an
    ensemble. Scaled signals are compared by the dot product, raw ones by cosine.

    References:
        Kessy, Lewin & Strimmer 2018, doi:10.1080/00031305.2016.1277159 (whitening; here along principal axes,
        which gives the inner products of ZCA); Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4
        (shrinkage towards the mean variance; here by a given share).
    """

    scale: Literal["raw", "l2", "whitened"] = "l2"
    """``raw``: as they are, centred; ``l2``: scaled; ``whitened``: decorrelated, then scaled."""
    shrinkage: float = Field(default=0.1, ge=0, le=1)
    """Whitening only: share of the mean variance in the variance of every axis."""

    def fit(self, data: TrainingData, *, seed: int) -> FittedFusion:
        """Scale the signals and put them side by side.

        Raises:
            ConfigError: No such modality.
        """
        from stagelens.fusion.axes import projected, whitening

        signals = self.signals(data, seed=seed)
        learned = 0
        for place, signal in enumerate(signals):
            if self.scale == "whitened":
                matrix = whitening(signal.rows, signal.taught, self.shrinkage)
                signal = replace(signal, rows=projected(signal.rows, matrix))
                learned += matrix.size
            signals[place] = signal if self.scale == "raw" else signal.scaled()
        item = np.concatenate([s.rows * np.float32(np.sqrt(s.weight)) for s in signals], axis=1)
        return self.fused(item, signals, learned, "cosine" if self.scale == "raw" else "dot")


@recipe
class Sum(Weighted):
    """The weighted sum of the scaled signals, brought to one width by the principal axes of each.

    Compared by the dot product. Axes of different signals mean different things: the sum is sound where
    signals share a space (encoders trained together); elsewhere it is the plain baseline of the literature.
    """

    width: PositiveInt | None = None
    """Width of the space; None: that of the narrowest signal. A signal of just this width is not rotated; a
    narrower one is padded with zeros."""

    def fit(self, data: TrainingData, *, seed: int) -> FittedFusion:
        """Project the signals and add them up.

        Raises:
            ConfigError: No such modality.
        """
        from stagelens.fusion.axes import principal, projected

        signals = [signal.scaled() for signal in self.signals(data, seed=seed)]
        width = self.width or min(signal.rows.shape[1] for signal in signals)
        item = np.zeros((data.interactions.n_items, width), np.float32)
        learned = 0
        for signal in signals:
            rows = signal.rows
            if rows.shape[1] > width:
                axes, _ = principal(rows, signal.taught, width)
                rows = projected(rows, axes)
                learned += axes.size
            item[:, : rows.shape[1]] += np.float32(signal.weight) * rows
        return self.fused(item, signals, learned)


@recipe
class PCA(Weighted):
    """The principal components of the concatenation of the scaled signals; compared by the dot product.

    Axes go through the origin of the (centred) signals. A weight multiplies a signal's share of every inner
    product, as in ``Concat``.
    """

    width: PositiveInt = 64
    """Components; fewer where the signals span fewer dimensions."""

    def fit(self, data: TrainingData, *, seed: int) -> FittedFusion:
        """Find the axes on the items of the window and project every item.

        Raises:
            ConfigError: No such modality.
        """
        from stagelens.fusion.axes import principal, projected

        signals = [signal.scaled() for signal in self.signals(data, seed=seed)]
        rows = np.concatenate([s.rows * np.float32(np.sqrt(s.weight)) for s in signals], axis=1)
        taught = np.any([signal.taught for signal in signals], axis=0)
        axes, _ = principal(rows, taught, self.width)
        return self.fused(projected(rows, axes), signals, axes.size)
