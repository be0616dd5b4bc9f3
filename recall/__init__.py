"""Recall: from a user to a set of candidates.

Channels (``Popular``, ``Random``, ``ItemKNN``, ``Dense``, ``FromFile``) return lists; vectors (``PureSVD``,
``FileVectors``) are searched by ``Dense``; ``Mean``, ``Decayed``, ``LastN`` and ``Interests`` say how a
history becomes a query. Importing this room loads NumPy and pydantic only.
"""

from stagelens.recall.chance import Random
from stagelens.recall.dense import Dense
from stagelens.recall.fromfile import FileVectors, FromFile
from stagelens.recall.interaction.itemknn import ItemKNN
from stagelens.recall.interaction.puresvd import PureSVD
from stagelens.recall.popular import Popular
from stagelens.recall.queries import Decayed, Interests, LastN, Mean

__all__ = [
    "Decayed",
    "Dense",
    "FileVectors",
    "FromFile",
    "Interests",
    "ItemKNN",
    "LastN",
    "Mean",
    "Popular",
    "PureSVD",
    "Random",
]
