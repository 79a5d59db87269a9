"""Interactions: reading, cleaning, splitting, generating them."""

from nas.data.config import DataConfig, SplitConfig
from nas.data.interactions import Interactions, ItemTable
from nas.data.load import load
from nas.data.movielens_100k import ml_100k
from nas.data.planted import PlantedConfig, planted
from nas.data.readers import READERS
from nas.data.splits import SPLITS, Split, split

__all__ = [
    "READERS",
    "SPLITS",
    "DataConfig",
    "Interactions",
    "ItemTable",
    "PlantedConfig",
    "Split",
    "SplitConfig",
    "load",
    "ml_100k",
    "planted",
    "split",
]
