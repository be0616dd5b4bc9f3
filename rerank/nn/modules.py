"""Networks that score one candidate from its columns: residual blocks, or cross layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn


class Residual(nn.Module):  # type: ignore[misc]  # its base is untyped in torch
    """A block that adds to what it is given: x + W2 relu(W1 norm(x)), dropout before W2.

    References:
        He et al. 2016, doi:10.1109/CVPR.2016.90; Xiong et al. 2020, arXiv:2002.04745 (the norm comes first).
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        self.dropout = dropout

    def forward(self, hidden: Any, first: Any, noise: Any) -> Any:
        """Return float32 [R, W]."""
        inner = torch.relu(self.inner(self.norm(hidden)))
        return hidden + self.outer(dropped(inner, self.dropout, noise))


class Cross(nn.Module):  # type: ignore[misc]  # its base is untyped in torch
    """A cross layer: x + x0 * (W x + b), which multiplies what it is given with the first columns.

    References:
        Wang et al. 2021, doi:10.1145/3442381.3450078 (DCN-v2). Variant: full W, on a linear map of the columns.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.dropout = dropout

    def forward(self, hidden: Any, first: Any, noise: Any) -> Any:
        """Return float32 [R, W]."""
        return hidden + first * dropped(self.inner(hidden), self.dropout, noise)


LAYERS = {"residual": Residual, "cross": Cross}


class Network(nn.Module):  # type: ignore[misc]  # its base is untyped in torch
    """A linear map of the columns, layers, a norm, and one score a candidate."""

    def __init__(self, columns: int, width: int, depth: int, layers: str, dropout: float) -> None:
        super().__init__()
        self.entry = nn.Linear(columns, width)
        self.layers = nn.ModuleList(LAYERS[layers](width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 1)

    def forward(self, inputs: Any, noise: Any = None) -> Any:
        """Return float32 [R] of columns float32 [R, X]; dropout only with ``noise``, a generator."""
        first = self.entry(inputs)  # [R, W]
        hidden = first
        for layer in self.layers:
            hidden = layer(hidden, first, noise)  # [R, W]
        return self.head(self.norm(hidden)).squeeze(1)  # [R]


def dropped(hidden: Any, share: float, noise: Any) -> Any:
    """Return the same with a share of zeros, the rest scaled up; unchanged without ``noise``.

    torch's own dropout draws from the process's generator, which trainings side by side would share.
    """
    if noise is None or not share:
        return hidden
    mask = torch.empty_like(hidden).bernoulli_(1 - share, generator=noise)
    return hidden * mask.div_(1 - share)


def initialised(network: Network, rng: np.random.Generator) -> Network:
    """Fill the weights: even in +-1/sqrt(width of the input), offsets 0, norms 1."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            drawn = rng.uniform(-bound, bound, tuple(module.weight.shape)).astype(np.float32)
            with torch.no_grad():
                module.weight.copy_(torch.from_numpy(drawn))
                module.bias.zero_()
    return network
