"""Training of any torch module: seeded, stopped early on valid, gone on with after a kill."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stagelens.pipeline.nn.checkpoint import Checkpoint
from stagelens.pipeline.nn.device import one_thread
from stagelens.pipeline.progress import Progress, Silent
from stagelens.pipeline.seeds import derive

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long, in which portions, and when to stop.

    Attributes:
        epochs: Passes at most.
        batch: Examples of a step.
        patience: Epochs without a better valid mean before training stops; None: never.
        smoothing: Epochs whose valid values are averaged before they decide: a single value jumps.
        averaging: Share of the past in a running mean of the weights, which is what is judged and kept; 0: none.
    """

    epochs: int
    batch: int
    patience: int | None = None
    smoothing: int = 1
    averaging: float = 0.0


@dataclass(frozen=True, slots=True)
class Trained:
    """How a training went; the module holds the weights of its best epoch.

    Attributes:
        curve: Valid value after every epoch; empty where nothing was judged.
        best: Epoch kept, from 1; 0 where none was trained.
        epochs: Epochs trained.
    """

    curve: list[float]
    best: int
    epochs: int


@dataclass
class Trainer:
    """One training.

    On the CPU it runs on one thread, so the same seed gives the same weights whatever the number of threads. Every
    source of randomness is its own, so trainings side by side do not disturb each other.

    Attributes:
        model: What is trained; its parameters lie on the device of the training.
        optimiser: Of its parameters.
        loss: Loss of a step, given its examples (int64) and the generator of noise (dropout and the like).
        draw: Draws the examples of an epoch, in order; most often a permutation.
        schedule: How long.
        rng: Draws the order.
        seed: Of the noise.
        judge: Value on valid, higher is better; reads ``model``. None: all epochs are trained and the last is kept.
        checkpoint: Written after every epoch, gone on from where it is there, removed by who keeps the result.
        progress: Told of every epoch.
        name: Shown there.
    """

    model: Any
    optimiser: Any
    loss: Callable[[Places, Any], Any]
    draw: Callable[[np.random.Generator], Places]
    schedule: Schedule
    rng: np.random.Generator
    seed: int
    judge: Callable[[], float] | None = None
    checkpoint: Checkpoint | None = None
    progress: Progress = field(default_factory=Silent)
    name: str = "training"

    def __post_init__(self) -> None:
        device = next((one.device for one in self.model.parameters()), torch.device("cpu"))
        self._noise = torch.Generator(device=device)
        self._noise.manual_seed(derive(self.seed, "noise"))
        self._mean = self._weights() if self.schedule.averaging else {}
        self._kept: dict[str, Any] = {}
        self._curve: list[float] = []
        self._best = self._epoch = self._step = 0
        self._peak = -math.inf

    def run(self) -> Trained:
        """Train, and leave the weights of the best epoch in the model.

        Raises:
            ArithmeticError: The loss is no number any more.
            OSError: A checkpoint cannot be written.
        """
        with one_thread(), self.progress.task(self.name, self.schedule.epochs) as task:
            self._resume()
            task.advance(self._epoch)
            while self._epoch < self.schedule.epochs and not self._stopped():
                self._pass()
                self._judge()
                if self.checkpoint is not None:
                    self.checkpoint.write(self._state())
                task.advance()
            if self._kept:
                self.model.load_state_dict(self._kept)
            self.model.eval()
        return Trained(list(self._curve), self._best, self._epoch)

    def _pass(self) -> None:
        self.model.train()
        order = self.draw(self.rng)
        for at in range(0, len(order), self.schedule.batch):
            self.optimiser.zero_grad(set_to_none=True)
            loss = self.loss(order[at : at + self.schedule.batch], self._noise)
            loss.backward()
            self.optimiser.step()
            self._average()
        self._epoch += 1
        if len(order) and not math.isfinite(float(loss.detach())):
            raise FloatingPointError(
                f"{self.name}: the loss of epoch {self._epoch} is {float(loss.detach())}; lower learning_rate"
            )

    def _average(self) -> None:
        self._step += 1
        if self._mean:
            # the mean is young at first: what it started from is soon forgotten
            past = min(self.schedule.averaging, self._step / (self._step + 9))
            with torch.no_grad():
                for name, value in self.model.state_dict().items():
                    self._mean[name].lerp_(value, 1 - past)

    def _judge(self) -> None:
        candidate = self._mean or None
        if self.judge is None:
            self._best, self._kept = self._epoch, self._weights(candidate)
            return
        own = self._weights() if candidate else None
        if candidate:
            self.model.load_state_dict(candidate)
        self.model.eval()
        with torch.no_grad():
            self._curve.append(float(self.judge()))
        if own is not None:
            self.model.load_state_dict(own)
        width = min(self.schedule.smoothing, self.schedule.epochs)
        if len(self._curve) >= width:
            value = math.fsum(self._curve[-width:]) / width
            if value > self._peak or not self._kept:
                self._peak, self._best, self._kept = value, self._epoch, self._weights(candidate)

    def _stopped(self) -> bool:
        patience = self.schedule.patience
        return (
            self.judge is not None
            and patience is not None
            and bool(self._kept)
            and self._epoch - self._best >= patience
        )

    def _weights(self, of: dict[str, Any] | None = None) -> dict[str, Any]:
        found = self.model.state_dict() if of is None else of
        return {name: value.detach().clone() for name, value in found.items()}

    def _state(self) -> dict[str, Any]:
        """Return everything the epochs to come follow from."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "mean": self._mean,
            "kept": self._kept,
            "noise": self._noise.get_state(),
            "order": json.dumps(self.rng.bit_generator.state),
            "curve": self._curve,
            "epoch": self._epoch,
            "best": self._best,
            "step": self._step,
            "peak": self._peak,
        }

    def _resume(self) -> None:
        state = self.checkpoint.read() if self.checkpoint is not None else None
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        device = self._noise.device
        self._mean = {name: value.to(device) for name, value in state["mean"].items()}
        self._kept = {name: value.to(device) for name, value in state["kept"].items()}
        self._noise.set_state(state["noise"])
        self.rng.bit_generator.state = json.loads(state["order"])
        self._curve = list(state["curve"])
        self._epoch, self._best, self._step = state["epoch"], state["best"], state["step"]
        self._peak = state["peak"]
