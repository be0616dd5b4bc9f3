"""Order: from a set to a list.

Re-rankers (``LambdaMART``, ``MLP``, and the floor and ceiling ``KeepOrder``, ``RandomOrder``, ``Oracle``), the feature
groups they read, and what their columns are worth.
"""

from stagelens.rerank.baselines import KeepOrder, Oracle, RandomOrder
from stagelens.rerank.features.evidence import Evidence
from stagelens.rerank.features.history import History
from stagelens.rerank.features.modality import Similarity
from stagelens.rerank.features.popularity import Popularity
from stagelens.rerank.features.side import Side
from stagelens.rerank.lambdamart import LambdaMART
from stagelens.rerank.mlp import MLP

__all__ = [
    "MLP",
    "Evidence",
    "History",
    "KeepOrder",
    "LambdaMART",
    "Oracle",
    "Popularity",
    "RandomOrder",
    "Side",
    "Similarity",
]
