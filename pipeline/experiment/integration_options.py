"""Options of ``simulate compare``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from stagelens.pipeline.experiment.option_table import Options

Confound = Literal["fit-on-valid", "select-on-test", "unnormalised-ndcg", "mask"]


class CompareOptions(Options):
    """Fusion against ensemble: which of each, from which interaction signal, with which confounds.

    The study fills in the signals. A weight may be given by signal, the interaction signal under the name
    ``interaction``: published ensembles are ``{use = "fusion.WeightedSum", normalise = "raw", weights =
    {interaction = 1, text = 1, visual = 0.4}}`` (MGCL; MGCE with 0.6) and ``{interaction = 0.05, text = 0.95, visual =
    0.95}`` (LightGT).
    """

    interaction: dict[str, Any] = Field(default_factory=lambda: {"use": "recall.PureSVD"})
    """Vectors of the interaction signal, the same for both kinds."""
    fusion: tuple[dict[str, Any], ...] = Field(
        (
            {"use": "fusion.Concat"},
            {"use": "fusion.Sum"},
            {"use": "fusion.PCA"},
            {"use": "fusion.Projected"},
        ),
        min_length=1,
    )
    """Fusions; ``Projected`` is left out, and that is said, where it stands here by default and torch is absent."""
    ensemble: tuple[dict[str, Any], ...] = Field(
        (
            {"use": "fusion.CombSUM"},
            {"use": "fusion.CombMNZ"},
            {"use": "fusion.ReciprocalRank"},
            {"use": "fusion.Borda"},
            {"use": "fusion.WeightedSum"},
            {"use": "fusion.Stacking"},
        ),
        min_length=1,
    )
    """Ensembles; ``{merge = "quota"}`` and ``{merge = "round-robin"}`` are the merges of a union, at recall alone."""
    trials: int = Field(4, ge=1, le=8)
    """Settings tried on valid for every system at most; a field that its table gives is not varied."""
    confound: tuple[Confound, ...] = ()
    """Published confounds, each switched on for one system alone, beside its honest self."""
    confounded: str = "ensemble"
    """Who gets the confounds: ``fusion`` or ``ensemble`` (the one chosen on valid), or a system's name."""
