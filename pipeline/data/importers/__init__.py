"""Other layouts turned into the folder that StageLens reads."""

from stagelens.pipeline.data.importers.amazon import Amazon
from stagelens.pipeline.data.importers.mmrec import MMRec
from stagelens.pipeline.data.importers.recbole import RecBole
from stagelens.pipeline.recipe import Recipe

FORMATS: dict[str, type[Recipe]] = {
    "amazon": Amazon,
    "mmrec": MMRec,
    "recbole": RecBole,
}
"""Importer by its name on the command line."""

__all__ = ["FORMATS", "Amazon", "MMRec", "RecBole"]
