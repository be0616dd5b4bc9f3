"""Recall: from a user to a set of candidates.

Channels (``Popular``, ``Random``, ``ItemKNN``, ``UserKNN``, ``P3alpha``, ``RP3beta``, ``EASE``, ``SLIM``,
``SLIMBPR``, ``Dense``, ``FromFile``) return lists; vectors (``PureSVD``, ``IALS``, ``MFBPR``, ``NMF``,
``FileVectors``) are searched by ``Dense``; ``Mean``, ``Decayed``, ``LastN`` and ``Interests`` say how a history
becomes a query. Importing this room loads NumPy and pydantic only.
"""

from stagelens.recall.chance import Random
from stagelens.recall.dense import Dense
from stagelens.recall.fromfile import FileVectors, FromFile
from stagelens.recall.interaction.bpr import MFBPR
from stagelens.recall.interaction.ease import EASE
from stagelens.recall.interaction.ials import IALS
from stagelens.recall.interaction.itemknn import ItemKNN
from stagelens.recall.interaction.nmf import NMF
from stagelens.recall.interaction.puresvd import PureSVD
from stagelens.recall.interaction.slim import SLIM, SLIMBPR
from stagelens.recall.interaction.userknn import UserKNN
from stagelens.recall.interaction.walks import P3alpha, RP3beta
from stagelens.recall.popular import Popular
from stagelens.recall.queries import Decayed, Interests, LastN, Mean

__all__ = [
    "EASE",
    "IALS",
    "MFBPR",
    "NMF",
    "SLIM",
    "SLIMBPR",
    "Decayed",
    "Dense",
    "FileVectors",
    "FromFile",
    "Interests",
    "ItemKNN",
    "LastN",
    "Mean",
    "P3alpha",
    "Popular",
    "PureSVD",
    "RP3beta",
    "Random",
    "UserKNN",
]
