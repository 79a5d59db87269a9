from typing import Any

import numpy as np
import pytest
from scipy import stats

from nas.search.fidelity import family, kendall, rank_fidelity, spearman, strata
from nas.space.architecture import GraphBranch


def made(noise: float, n: int = 60, seed: int = 0) -> tuple[Any, Any, Any]:
    """Scores, trainings by two seeds, and sizes that explain a half of the quality."""
    rng = np.random.default_rng(seed)
    size, rest = rng.choice([16.0, 32.0, 64.0], n), rng.normal(size=n)
    truth = 0.3 + 0.01 * (size / 32 + rest)
    trained = truth[:, None] + rng.normal(0, 0.002, (n, 2))
    return truth + rng.normal(0, noise, n), trained, size


def test_correlations_are_scipys() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(5, size=30).astype(float), rng.integers(5, size=30).astype(float)
    assert kendall(a, b) == pytest.approx(stats.kendalltau(a, b, variant="b").statistic)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert kendall(a, np.ones(30)) is None
    assert kendall(a[:1], b[:1]) is None


def test_a_perfect_score_has_tau_one_and_no_regret() -> None:
    _, trained, size = made(0.0)
    found = rank_fidelity(trained.mean(1), trained, {"size": size}, {}, 0)
    assert found["kendall_tau"] == found["spearman"] == found["top_quarter"] == pytest.approx(1.0)
    assert found["interval"] == pytest.approx([1.0, 1.0])
    assert found["top1_regret"] == found["top5_regret"] == 0.0
    assert 0.5 < found["ceiling"] < 1.0
    low, mean, high = found["trivial"]["size"]["lead"]
    assert 0 < low < mean < high
    assert mean == pytest.approx(1.0 - stats.kendalltau(size, trained.mean(1)).statistic)


def test_a_predictor_of_which_less_is_better_knows_as_much() -> None:
    scores, trained, size = made(0.01)
    found = rank_fidelity(scores, trained, {"up": size, "down": -size}, {}, 0)["trivial"]
    assert found["down"]["kendall_tau"] == pytest.approx(-found["up"]["kendall_tau"])
    assert found["down"]["lead"] == pytest.approx(found["up"]["lead"])
    best = rank_fidelity(scores, trained, {"all": -trained.mean(1)}, {}, 0)["trivial"]["all"]
    assert best["lead"][2] < 0, "a perfect predictor, upside down, is behind no score"


def test_more_noise_less_tau_and_the_interval_holds_it() -> None:
    taus = []
    for noise in (0.001, 0.01, 0.1):
        scores, trained, size = made(noise)
        found = rank_fidelity(scores, trained, {"size": size}, {}, 0)
        assert found["interval"][0] <= found["kendall_tau"] <= found["interval"][1]
        taus.append(found["kendall_tau"])
    assert taus == sorted(taus, reverse=True)
    assert taus[0] > 0.8
    assert abs(taus[-1]) < 0.3


def test_regret_is_what_the_favourites_lack() -> None:
    truth = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.25])
    scores = np.array([6.0, 5.0, 4.0, 3.0, 1.0, 2.0])
    found = rank_fidelity(scores, truth[:, None], {}, {}, 0)
    assert found["top1_regret"] == pytest.approx(0.8)
    assert found["top5_regret"] == pytest.approx(0.2), "0.4 is among the five"
    assert found["top10_regret"] == 0.0
    assert found["ceiling"] is None, "one seed says nothing about seeds"
    assert found["top_quarter"] is None, "two architectures are no ranking"


def test_same_seed_same_intervals() -> None:
    scores, trained, size = made(0.01)
    first, again, other = (rank_fidelity(scores, trained, {"size": size}, {}, seed) for seed in (3, 3, 4))
    assert first == again
    assert first["interval"] != other["interval"]
    assert first["kendall_tau"] == other["kendall_tau"]


def test_a_score_that_is_a_constant_ranks_nothing() -> None:
    _, trained, size = made(0.0)
    found = rank_fidelity(np.ones(60), trained, {"size": size}, {}, 0)
    assert found["kendall_tau"] is None
    assert found["interval"] == [0.0, 0.0]


def branch(size: int, *aggregators: str) -> GraphBranch:
    layers = [{"aggregator": name} for name in aggregators]
    return GraphBranch.model_validate({"hidden_size": size, "layers": layers})


def test_strata_cover_each_architecture_once_a_dimension() -> None:
    branches = [branch(16), branch(16, "lightgcn"), branch(64, "gcn", "gat"), branch(64, "mean", "gcn")]
    assert [family(one) for one in branches] == ["no layers", "linear", "attention", "weights"]
    found = strata(branches)
    for dimension in ("hidden size", "layers", "family"):
        masks = [mask for name, mask in found.items() if name.startswith(dimension)]
        assert np.array_equal(np.sum(masks, axis=0), np.ones(4))
    assert found["hidden size 16"].tolist() == [True, True, False, False]
    scores = np.arange(12.0)
    groups = {"six": scores < 6, "four": scores < 4}
    assert rank_fidelity(scores, scores[:, None], {}, groups, 0)["strata"] == {
        "six": {"n": 6, "kendall_tau": pytest.approx(1.0)}
    }
