"""Options of ``simulate tune``."""

from __future__ import annotations

from typing import Any, Literal

import pydantic
from pydantic import Field

from stagelens.pipeline.evaluate.metrics import Metric
from stagelens.pipeline.experiment.option_table import Options

TRIALS = 50
"""Trials of every arm where no budget is given."""
Sampler = Literal["tpe", "random"]


class TuneOptions(Options):
    """What is tuned, with which budget, towards what."""

    channels: tuple[str | dict[str, Any], ...] = ()
    """Recall channels and vectors, by name or as a table whose fields are then held; empty: those of ``recall.base``
    that have a search space."""
    rerankers: tuple[str | dict[str, Any], ...] = ()
    """Re-rankers, likewise, in place of channels; they order the candidates of the study's recall stage."""
    trials: int | None = Field(None, ge=1)
    """Trials of every arm, the first with its defaults; 50 where no budget is given."""
    seconds: float | None = Field(None, gt=0)
    """Seconds of every arm: no trial begins later. Beside ``trials``: whichever ends first."""
    metric: str | None = None
    """What is raised on valid; ``recall@20`` for channels, ``ndcg@10`` for re-rankers."""
    sampler: Sampler = "tpe"
    """tpe: tree-structured Parzen estimator after ten random trials; random: random throughout."""

    @pydantic.field_validator("metric")
    @classmethod
    def _metric_decides(cls, text: str | None) -> str | None:
        if text is not None and Metric.parse(text).kind == "dcg":
            raise ValueError("dcg grows with the number of relevant items and decides nothing; use ndcg")
        return text

    @pydantic.model_validator(mode="after")
    def _one_stage(self) -> TuneOptions:
        if self.channels and self.rerankers:
            raise ValueError(
                "channels and re-rankers are measured on different lists: tune one kind at a time"
            )
        return self

    @property
    def most(self) -> int | None:
        """Trials of every arm; None where seconds alone count."""
        return TRIALS if self.trials is None and self.seconds is None else self.trials

    @property
    def target(self) -> str:
        """The metric in force."""
        return self.metric or ("ndcg@10" if self.rerankers else "recall@20")
