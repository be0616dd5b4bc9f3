"""List-wise losses on padded lists, relevance 0 or 1."""

from __future__ import annotations

from typing import Any

import torch

LOWEST = -1e9
"""Score of padding: exp of it is 0, and no gradient of it is NaN."""


def softmax(score: Any, relevant: Any, found: Any) -> Any:
    """Return float32 [B]: cross entropy of the list's softmax against its relevant items, each with an equal share.

    Args:
        score: float32 [B, K].
        relevant: float32 [B, K], 1 or 0; 0 on padding.
        found: bool [B, K], False on padding.

    References:
        Cao et al. 2007, doi:10.1145/1273496.1273513 (ListNet, top one); Bruch et al. 2019,
        doi:10.1145/3341981.3344221 (bounds ndcg).
    """
    logs = torch.log_softmax(score.masked_fill(~found, LOWEST), dim=1)
    return -(logs * relevant).sum(dim=1) / relevant.sum(dim=1).clamp(min=1)


def lambda_loss(score: Any, relevant: Any, found: Any, truncation: int) -> Any:
    """Return float32 [B]: logistic loss of every pair, weighed by what exchanging the two would do to ndcg.

    Pairs count of which one stands in the first ``truncation`` places, as in LambdaMART. Places are those of the scores
    now; no gradient flows through them.

    Args:
        score: float32 [B, K].
        relevant: float32 [B, K], 1 or 0; 0 on padding.
        found: bool [B, K], False on padding.
        truncation: Places.

    References:
        Wang et al. 2018, doi:10.1145/3269206.3271784 (LambdaLoss; the weights are LambdaRank's, Burges 2010). The sum
        of a list is divided by the sum of its weights, in the place of LightGBM's normalised lambdas.
    """
    with torch.no_grad():
        order = score.masked_fill(~found, LOWEST).argsort(dim=1, descending=True, stable=True)  # [B, K]
        places = torch.arange(score.shape[1], device=score.device).expand_as(order)
        place = torch.empty_like(order).scatter_(1, order, places)  # from 0
        discount = 1 / torch.log2(place.to(score.dtype) + 2)  # [B, K]
        top = place < truncation
        pair = relevant[:, :, None] * ((relevant == 0) & found)[:, None, :]  # [B, K, K]
        pair *= top[:, :, None] | top[:, None, :]
        pair *= (discount[:, :, None] - discount[:, None, :]).abs_()
    ahead = score[:, :, None] - score[:, None, :]  # [B, K, K]
    loss = (torch.nn.functional.softplus(-ahead) * pair).sum(dim=(1, 2))
    return loss / pair.sum(dim=(1, 2)).clamp(min=1e-9)
