"""Options of ``simulate knockouts``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from stagelens.pipeline.experiment.option_table import Options, Stage

When = Literal["fit", "serve", "both"]
Setting = Literal["single", "whole", "alone"]


class KnockoutOptions(Options):
    """Which knock-outs, of what, where and when."""

    treatments: tuple[dict[str, Any], ...] = (
        {"use": "pipeline.Constant", "value": "zero"},
        {"use": "pipeline.Noise", "kind": "matched"},
        {"use": "pipeline.PermuteRows"},
    )
    """What is done to a modality: any treatments."""
    drop: bool = True
    """Also leave modalities out: a composition without them."""
    settings: tuple[Setting, ...] = Field(("single", "whole"), min_length=1)
    """single: one modality is treated. whole: all are. alone: all but one, which is used alone."""
    stages: tuple[Stage, ...] = Field(("recall", "rerank", "both"), min_length=1)
    """Whose input is treated."""
    when: tuple[When, ...] = Field(("both",), min_length=1)
    """fit: in what is learned or chosen. serve: on test, by models that learned from the real vectors. both."""
