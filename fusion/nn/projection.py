"""One linear map of the signals, side by side, trained on who chose what beside what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from stagelens.pipeline.core import Bool, Float32, Float64, Interactions
from stagelens.pipeline.nn.trainer import Schedule, Trainer
from stagelens.pipeline.seeds import generator

if TYPE_CHECKING:
    from stagelens.fusion.projected import Projected


class _Pool(torch.autograd.Function):  # type: ignore[misc]  # its base is untyped in torch
    """Sums of rows, by a sparse matrix that SciPy multiplies in a fixed order."""

    @staticmethod
    def forward(ctx: Any, matrix: csr_array, rows: torch.Tensor) -> torch.Tensor:
        ctx.matrix = matrix
        return torch.from_numpy(matrix @ rows.detach().numpy())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[None, torch.Tensor]:
        return None, torch.from_numpy(ctx.matrix.T.tocsr() @ gradients[0].numpy())


class _Map(torch.nn.Module):  # type: ignore[misc]  # its base is untyped in torch
    """One matrix."""

    def __init__(self, start: Float32) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.from_numpy(start))


def trained(
    rows: Float32, start: Float64, window: Interactions, present: Bool, recipe: Projected, *, seed: int
) -> Float32:
    """Return the trained map.

    Args:
        rows: float32 [I, D], the scaled signals side by side.
        start: float64 [D, k], where training starts.
        window: The fit window; only users with at least two different items that have a vector teach.
        present: bool [I], items that have a vector.
        recipe: Its options.
        seed: Draws the pairs and their order.

    Returns:
        float32 [D, k].
    """
    matrix = window.where(present[window.item]).matrix()
    matrix = matrix[np.flatnonzero(np.diff(matrix.indptr) >= 2)]
    if not matrix.nnz or not start.size:
        return start.astype(np.float32)
    user = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    item = matrix.indices
    share = np.bincount(item, minlength=matrix.shape[1]).clip(1) / len(item)
    log_share = np.log(share).astype(np.float32)
    model = _Map(start.astype(np.float32))

    def loss(pairs: NDArray[np.int64], noise: Any) -> Any:
        return _loss(model.weight, rows, matrix, user[pairs], item[pairs], log_share)

    Trainer(
        model=model,
        optimiser=torch.optim.Adam(model.parameters(), lr=recipe.learning_rate),
        loss=loss,
        draw=lambda rng: rng.permutation(len(item))[: recipe.pairs],
        schedule=Schedule(recipe.epochs, recipe.batch),
        rng=generator(seed, "pairs"),
        seed=seed,
    ).run()
    learned: Float32 = model.weight.detach().numpy()
    return learned


def _loss(weight: Any, rows: Float32, matrix: csr_array, user: Any, item: Any, log_share: Float32) -> Any:
    """Return the softmax loss of every pair against the other items of the batch."""
    asked, place = np.unique(user, return_inverse=True)
    part = matrix[asked]
    used, column = np.unique(np.concatenate([part.indices, item]), return_inverse=True)
    own = csr_array((part.data, column[: part.nnz], part.indptr), shape=(len(asked), len(used)))
    vectors = torch.from_numpy(rows[used]) @ weight  # [N, k]
    chosen = vectors[torch.from_numpy(column[part.nnz :])]  # [B, k]
    others = (np.diff(part.indptr)[place] - 1).astype(np.float32)
    users = _Pool.apply(own, vectors)[torch.from_numpy(place)] - chosen  # [B, k], the positive left out
    users = users / torch.from_numpy(others)[:, None]
    same = item[:, None] == item
    np.fill_diagonal(same, False)  # the pair's own item counts once
    offset = np.where(same, np.float32(-np.inf), -log_share[item])
    score = users @ chosen.T + torch.from_numpy(offset)  # [B, B]
    return torch.nn.functional.cross_entropy(score, torch.arange(len(item)))
