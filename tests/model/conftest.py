"""Planted structure: answers two hops away on a ring, where popularity is no better than chance."""

from dataclasses import dataclass

import pytest

from nas.baselines import BASELINES
from nas.data import PlantedConfig, Split, SplitConfig, planted, split
from nas.model.evaluation import evaluate
from nas.model.ranking import Scorer
from nas.model.training import TrainingData


@dataclass(frozen=True)
class Planted:
    """The parts, and what popularity reaches on the validation part."""

    parts: Split
    data: TrainingData
    popularity: float

    def ndcg(self, scorer: Scorer) -> float:
        """Validation NDCG@10."""
        return evaluate(scorer, self.parts.train, self.parts.valid, (10,)).means["ndcg@10"]


@pytest.fixture(scope="session")
def ring() -> Planted:
    """100 users and 100 items; popularity finds .04."""
    whole = planted(PlantedConfig(kind="two_hop", users=100, items=100, interactions_per_user=6))
    parts = split(whole, SplitConfig(strategy="fixed"))
    unfinished = Planted(parts, TrainingData.of(parts.train), 0.0)
    popularity = unfinished.ndcg(BASELINES["popularity"].fit(parts.train, {}))
    return Planted(parts, unfinished.data, popularity)
