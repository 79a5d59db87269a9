import statistics
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_experiment import TINY

from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.stages.retrain import retrain
from nas.experiment.stages.test import _spread
from nas.experiment.statistics import deviation
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe


def test_a_deviation_is_that_of_what_the_sample_was_drawn_from() -> None:
    values = [0.31, 0.29, 0.33]
    assert deviation(values) == pytest.approx(statistics.stdev(values))
    assert deviation(values[:1]) == 0
    spread = _spread([SimpleNamespace(means={"ndcg@20": value}) for value in values])  # type: ignore[misc]
    assert spread["number"] == 3
    assert spread["deviation"]["ndcg@20"] == deviation(values)


def test_the_spread_of_a_training_is_over_its_seeds(tmp_path: Path) -> None:
    values = TINY | {"retrain": TINY["retrain"] | {"seeds": 3}}
    context = Context.open(Experiment.parse(values, "here", tmp_path), tmp_path / "run")
    network, recipe = Architecture.model_validate({"graph": {"hidden_size": 4}}), Recipe()
    found = retrain(context, network, recipe)
    metric = context.experiment.metric
    each = [context.trainings.fit(network, recipe, seed).evaluation.means[metric] for seed in found["seeds"]]
    assert len(set(each)) > 1
    assert found["spread"][metric] == pytest.approx(statistics.stdev(each))
