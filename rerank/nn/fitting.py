"""Training of a network on lists: flat rows through the network, padded lists into the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from stagelens.pipeline.core import Float32, Rows
from stagelens.pipeline.nn.checkpoint import Checkpoint
from stagelens.pipeline.nn.device import device_named
from stagelens.pipeline.nn.trainer import Schedule, Trained, Trainer
from stagelens.pipeline.progress import Progress
from stagelens.pipeline.seeds import generator
from stagelens.rerank.nn.losses import lambda_loss, softmax
from stagelens.rerank.nn.modules import Network, initialised

if TYPE_CHECKING:
    from stagelens.rerank.mlp import MLP

JUDGED_ROWS = 16_384
"""Rows that are scored together on valid."""


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists on a device.

    Attributes:
        inputs: float32 [R, X].
        place: int64 [G, K], the row of every candidate; R on padding.
        relevant: float32 [G, K], 1 or 0; 0 on padding.
        size: int64 [G], candidates of each list, on the CPU.
        weight: float32 [G], mean 1.
    """

    inputs: Any
    place: Any
    relevant: Any
    size: NDArray[np.int64]
    weight: Any

    @classmethod
    def of(cls, rows: Rows, inputs: Float32, device: Any) -> Lists:
        """Move rows to a device."""
        size = rows.group.astype(np.int64)
        starts = np.cumsum(size) - size
        inside = np.arange(size.max(initial=1)) < size[:, None]  # [G, K]
        place = np.where(inside, starts[:, None] + np.arange(inside.shape[1]), len(rows.label))
        relevant = np.zeros(inside.shape, np.float32)
        relevant[inside] = rows.label > 0
        weight = np.ones(len(size), np.float32)
        if rows.weight is not None and len(size):
            weight = rows.weight[starts] / rows.weight[starts].mean()
        moved = [torch.from_numpy(part).to(device) for part in (inputs, place, relevant, weight)]
        return cls(moved[0], moved[1], moved[2], size, moved[3])

    def batch(self, lists: NDArray[np.int64]) -> tuple[Any, Any, Any, Any]:
        """Return inputs float32 [R, X], and bool, int64 and float32 [B, K] of some lists, cut to the longest.

        They are: who is there, which of the returned rows, and what is relevant.
        """
        longest = int(self.size[lists].max())
        chosen = torch.from_numpy(lists).to(self.place.device)
        place = self.place[chosen, :longest]  # [B, K]
        found = place < len(self.inputs)
        own = torch.cumsum(found.reshape(-1), 0).reshape(found.shape) - 1
        return self.inputs[place[found]], found, own.clamp(min=0), self.relevant[chosen, :longest]


def trained(
    recipe: MLP,
    rows: Rows,
    inputs: Float32,
    valid: Rows,
    valid_inputs: Float32,
    *,
    seed: int,
    checkpoint: Checkpoint | None,
    progress: Progress,
) -> tuple[dict[str, Float32], Trained]:
    """Return the weights by name, and how the training went.

    Args:
        recipe: Its options.
        rows: Training lists.
        inputs: float32 [R, X] of them.
        valid: Lists that choose the epoch; none: the last is kept.
        valid_inputs: float32 [V, X] of them.
        seed: Of the first weights, the order and the dropout.
        checkpoint: Of this training.
        progress: Told of every epoch.
    """
    device = device_named(recipe.device)
    network = Network(inputs.shape[1], recipe.width, recipe.depth, recipe.layers, recipe.dropout)
    model = initialised(network, generator(seed, "weights")).to(device)
    lists = Lists.of(rows, inputs, device)

    def loss(places: NDArray[np.int64], noise: Any) -> Any:
        flat, found, own, relevant = lists.batch(places)
        score = model(flat, noise)[own].masked_fill(~found, 0.0)  # [B, K]
        if recipe.loss == "lambda":
            each = lambda_loss(score, relevant, found, recipe.truncation)
        else:
            each = softmax(score, relevant, found)
        weight = lists.weight[torch.from_numpy(places).to(device)]
        return (each * weight).sum() / len(places)

    trainer = Trainer(
        model=model,
        optimiser=torch.optim.AdamW(_apart(model, recipe.weight_decay), lr=recipe.learning_rate, fused=True),
        loss=loss,
        draw=lambda rng: rng.permutation(len(rows.group)),
        schedule=Schedule(recipe.epochs, recipe.batch, recipe.patience, recipe.smoothing, recipe.averaging),
        rng=generator(seed, "order"),
        seed=seed,
        judge=_judge(model, valid, valid_inputs, device) if len(valid.group) else None,
        checkpoint=checkpoint,
        progress=progress,
        name=f"training {recipe.label}",
    )
    done = trainer.run()
    return {name: value.cpu().numpy().copy() for name, value in model.state_dict().items()}, done


def _apart(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Return the parameters in two groups: only matrices are drawn to 0."""
    matrices = [one for one in model.parameters() if one.ndim > 1]
    others = [one for one in model.parameters() if one.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _judge(model: Any, valid: Rows, inputs: Float32, device: Any) -> Callable[[], float]:
    """Return what gives the mean ndcg@10 of the valid lists, ties in the order of rows (which is shuffled)."""
    lists = Lists.of(valid, inputs, device)
    found = lists.place < len(inputs)
    place = lists.place.clamp(max=len(inputs) - 1)
    count = lists.relevant.sum(dim=1).clamp(max=10).long()
    discount = 1 / torch.log2(torch.arange(2, 12, device=device))
    best = torch.cat([torch.zeros(1, device=device), discount.cumsum(0)])[count].clamp(min=1e-9)

    def ndcg() -> float:
        score = torch.cat([model(part) for part in lists.inputs.split(JUDGED_ROWS)])
        listed = score[place].masked_fill(~found, -torch.inf)
        order = listed.argsort(dim=1, descending=True, stable=True)[:, :10]
        got = (lists.relevant.gather(1, order) * discount[: order.shape[1]]).sum(dim=1)
        return round(float((got / best).double().mean()), 12)

    return ndcg
