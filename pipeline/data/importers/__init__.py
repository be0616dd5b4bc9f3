"""Other layouts turned into the folder that StageLens reads."""

from stagelens.pipeline.data.importers.amazon import Amazon
from stagelens.pipeline.data.importers.lists import Lists
from stagelens.pipeline.data.importers.matrices import Matrices
from stagelens.pipeline.data.importers.microlens import MicroLens
from stagelens.pipeline.data.importers.mmrec import MMRec
from stagelens.pipeline.data.importers.recbole import RecBole
from stagelens.pipeline.data.importers.trec import Trec
from stagelens.pipeline.recipe import Recipe

FORMATS: dict[str, type[Recipe]] = {
    "amazon": Amazon,
    "lists": Lists,
    "matrices": Matrices,
    "microlens": MicroLens,
    "mmrec": MMRec,
    "recbole": RecBole,
    "trec": Trec,
}
"""Importer by its name on the command line."""

__all__ = ["FORMATS", "Amazon", "Lists", "MMRec", "Matrices", "MicroLens", "RecBole", "Trec"]
