"""Integration: one space from many modalities before scoring, or one list from many after it."""

from stagelens.fusion.blend import Blend
from stagelens.fusion.early import PCA, Concat, Sum
from stagelens.fusion.projected import Projected
from stagelens.fusion.rules import Borda, CombMNZ, CombSUM, ReciprocalRank
from stagelens.fusion.stacking import Stacking
from stagelens.fusion.weighted import WeightedSum

__all__ = [
    "PCA",
    "Blend",
    "Borda",
    "CombMNZ",
    "CombSUM",
    "Concat",
    "Projected",
    "ReciprocalRank",
    "Stacking",
    "Sum",
    "WeightedSum",
]
