"""Laws of the search, for every sampler, on an evaluator that takes no time."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from nas.graph.aggregators import AGGREGATORS
from nas.model.evaluation import costs
from nas.search import loop
from nas.search.hypervolume import hypervolume_history
from nas.search.loop import Candidate, SearchSettings, candidates, open_study, search
from nas.search.pareto import front, losses
from nas.search.samplers import SAMPLERS, Strategy, make_sampler
from nas.search.suggest import suggest
from nas.shipped import shipped
from nas.space import Architecture, SearchSpace

OBJECTIVES = ("ndcg@20", "refresh_macs")
GRAPH = SearchSpace.load("graph")
PRESETS = tuple(
    preset
    for path in sorted((shipped("search_spaces") / "presets").glob("*.yaml"))
    if GRAPH.contains(preset := SearchSpace.load(f"presets/{path.stem}").decode({}))
)


def worth(arch: Architecture) -> dict[str, float]:
    """LightGCN layers, width, the mean of dense states are good; only macs cost."""
    branch = arch.graph
    names = [layer.aggregator for layer in branch.layers]
    quality = (names.count("lightgcn") + 0.5 * names.count("gat")) / 4 + branch.hidden_size / 256
    quality += 0.3 * (branch.readout == "mean") + 0.2 * (branch.skip == "dense")
    return {"ndcg@20": quality} | costs(arch, 100, 100, 1000)


def settings(sampler: str, trials: int, seed: int = 0, **rest: Any) -> SearchSettings:
    return SearchSettings(sampler, trials, rest.pop("population", 10), seed, OBJECTIVES, **rest)


def in_memory() -> optuna.Study:
    return open_study(optuna.storages.InMemoryStorage(), "search", OBJECTIVES)


def found(
    sampler: str,
    trials: int,
    seed: int = 0,
    space: SearchSpace = GRAPH,
    evaluate: Callable[[Architecture], dict[str, float]] = worth,
    **rest: Any,
) -> list[Candidate]:
    return list(search(in_memory(), space, evaluate, settings(sampler, trials, seed, **rest)))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_seconds_count_what_proposing_takes(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    propose = loop._propose

    def proposed(*arguments: Any) -> Any:
        clock.now += 2
        return propose(*arguments)

    def judged(arch: Architecture) -> dict[str, float]:
        clock.now += 3
        return worth(arch)

    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(loop, "_propose", proposed)
    run = found(sampler, 30, evaluate=judged)
    assert [candidate.seconds for candidate in run] == [5.0] * 30


def facts(run: list[Candidate]) -> list[tuple[int, str, dict[str, float], bool]]:
    return [(c.number, c.architecture.id, c.values, c.cached) for c in run]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_that_resumes_is_the_uninterrupted_one(sampler: str, tmp_path: Path) -> None:
    wanted = settings(sampler, 40, first=PRESETS[:2])

    def study() -> optuna.Study:
        # Opened anew, as another process would.
        return open_study(RDBStorage(f"sqlite:///{tmp_path / 'study.db'}"), "search", OBJECTIVES)

    whole = list(search(in_memory(), GRAPH, worth, wanted))
    run = list(islice(search(study(), GRAPH, worth, wanted), 7))
    assert facts(candidates(study())) == facts(run)
    run += list(islice(search(study(), GRAPH, worth, wanted), 16))
    run += list(search(study(), GRAPH, worth, wanted))
    assert facts(run) == facts(whole) == facts(candidates(study()))
    assert [c.number for c in run] == list(range(40))
    assert list(search(study(), GRAPH, worth, wanted)) == []


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_killed_evaluation_leaves_no_trace(sampler: str) -> None:
    study, whole = in_memory(), found(sampler, 12)

    def killed(_arch: Architecture) -> dict[str, float]:
        raise KeyboardInterrupt

    run = list(islice(search(study, GRAPH, worth, settings(sampler, 12)), 5))
    with pytest.raises(KeyboardInterrupt):
        next(search(study, GRAPH, killed, settings(sampler, 12)))
    assert len(study.trials) == 5
    run += list(search(study, GRAPH, worth, settings(sampler, 12)))
    assert facts(run) == facts(whole)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_decides_the_trials(sampler: str) -> None:
    assert facts(found(sampler, 20)) == facts(found(sampler, 20))
    assert facts(found(sampler, 20)) != facts(found(sampler, 20, seed=1))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_architecture_is_evaluated_twice_in_a_large_space(sampler: str) -> None:
    evaluated: list[Architecture] = []

    def evaluate(arch: Architecture) -> dict[str, float]:
        evaluated.append(arch)
        return worth(arch)

    run = found(sampler, 100, evaluate=evaluate, population=60)
    assert [c.architecture for c in run] == evaluated
    assert len(set(evaluated)) == 100
    assert not any(c.cached for c in run)
    assert all(GRAPH.contains(arch) for arch in evaluated)
    used = {layer.aggregator for arch in evaluated for layer in arch.graph.layers}
    assert used == set(AGGREGATORS)


TINY = SearchSpace.parse(
    {
        "name": "tiny",
        "branches": {"graph": {"layers": [0, 2], "hidden_size": 8, "aggregator": ["gcn", "mean"]}},
    },
    "tiny",
)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_exhausted_space_is_seen_whole_and_then_tells_known_values(sampler: str) -> None:
    assert TINY.size() == 5
    evaluated: list[Architecture] = []

    def evaluate(arch: Architecture) -> dict[str, float]:
        evaluated.append(arch)
        return worth(arch)

    run = found(sampler, 12, space=TINY, evaluate=evaluate, population=4)
    assert len(evaluated) == len(set(evaluated)) == 5
    assert [c.cached for c in run] == [False] * 5 + [True] * 7
    assert all(c.values == worth(c.architecture) for c in run)


class Stubborn(optuna.samplers.BaseSampler):
    """Proposes the first choices for ever."""

    def infer_relative_search_space(self, *_: Any) -> dict[str, Any]:
        return {}

    def sample_relative(self, *_: Any) -> dict[str, Any]:
        return {}

    def sample_independent(self, _study: Any, _trial: Any, _name: Any, distribution: Any) -> Any:
        return distribution.choices[0]


def test_where_a_sampler_insists_its_proposal_s_neighbours_take_the_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(SAMPLERS, "stubborn", Strategy(lambda _seed, _population: Stubborn()))
    proposal, neighbours = GRAPH.decode({}), set(GRAPH.neighbours(GRAPH.decode({})))
    run = found("stubborn", 6)
    assert run[0].architecture == proposal
    assert {c.architecture for c in run[1:]} <= neighbours
    assert len({c.architecture for c in run}) == 6
    # Where they are exhausted, anything else that is not known does.
    run = found("stubborn", len(neighbours) + 3)
    assert neighbours < {c.architecture for c in run[1:]}
    assert len({c.architecture for c in run}) == len(neighbours) + 3
    assert not any(c.cached for c in run)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_to_come_first_comes_first(sampler: str) -> None:
    run = found(sampler, len(PRESETS) + 2, first=PRESETS)
    assert [c.architecture for c in run[: len(PRESETS)]] == list(PRESETS)
    assert all(c.architecture not in PRESETS for c in run[len(PRESETS) :])


def test_an_architecture_named_twice_is_evaluated_once() -> None:
    run = found("nsga2", 4, first=(PRESETS[0], PRESETS[0], PRESETS[1]))
    assert [run[0].architecture, run[2].architecture] == list(PRESETS[:2])
    assert len({c.architecture for c in run}) == 4


def test_a_finished_study_is_an_ordinary_optuna_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = open_study(RDBStorage(url), "search", OBJECTIVES)
    run = list(search(study, GRAPH, worth, settings("nsga2", 20)))
    loaded = optuna.load_study(study_name="search", storage=url)
    assert [trial.state for trial in loaded.trials] == [TrialState.COMPLETE] * 20
    assert [trial.number for trial in loaded.trials] == list(range(20))
    assert [direction.name for direction in loaded.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert loaded.metric_names == list(OBJECTIVES)
    ours = {tuple(c.values[name] for name in OBJECTIVES) for c in front(run, OBJECTIVES)}
    assert {tuple(trial.values) for trial in loaded.best_trials} == ours
    for trial, candidate in zip(loaded.trials, run, strict=True):
        assert trial.values == [candidate.values[name] for name in OBJECTIVES]
        assert trial.user_attrs["id"] == candidate.architecture.id
        # Every gene that was asked for decodes to what was evaluated.
        assert GRAPH.decode(trial.params) == candidate.architecture


def test_opening_a_study_twice_is_opening_one(tmp_path: Path) -> None:
    storage = RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    list(search(open_study(storage, "search", OBJECTIVES), GRAPH, worth, settings("random", 3)))
    assert len(open_study(storage, "search", OBJECTIVES).trials) == 3
    assert len(open_study(storage, "other", OBJECTIVES).trials) == 0


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_conditional_samplers_are_asked_for_active_genes_only(sampler: str) -> None:
    study = in_memory()
    run = list(search(study, GRAPH, worth, settings(sampler, 30)))
    for trial, candidate in zip(study.trials, run, strict=True):
        branch = candidate.architecture.graph
        if not SAMPLERS[sampler].conditional:
            assert set(trial.params) == set(GRAPH.free_genes())
            continue
        layers = range(1, len(branch.layers) + 1)
        names = [layer.aggregator for layer in branch.layers]
        expected = {"layers", "hidden_size", "score", *(f"aggregator_{n}" for n in layers)}
        expected |= {
            f"heads_{n}" for n, name in zip(layers, names, strict=True) if AGGREGATORS[name].attention
        }
        expected |= {"skip", "readout"} if names else set()
        expected |= {"activation"} if any(not AGGREGATORS[name].linear for name in names) else set()
        assert set(trial.params) == expected


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "random"])
def test_a_sampler_that_learns_beats_random_search(sampler: str) -> None:
    def volume(run: list[Candidate], other: list[Candidate]) -> float:
        """Of `run`, in the box of both."""
        values = losses([*run, *other], OBJECTIVES)
        return float(hypervolume_history(values)[len(run) - 1])

    learned, drawn = ([c for seed in range(2) for c in found(name, 50, seed)] for name in (sampler, "random"))
    assert volume(learned, drawn) > volume(drawn, learned)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_take_any_seed(name: str) -> None:
    def asked(seed: int) -> list[dict[str, Any]]:
        study = in_memory()
        study.sampler = make_sampler(name, seed, 10)
        return [suggest(study.ask(), GRAPH, SAMPLERS[name].conditional) for _ in range(5)]

    assert asked(2**63 - 1) == asked(2**63 - 1) != asked(0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_generation_can_be_evaluated_at_once_and_in_any_order(sampler: str) -> None:
    batches: list[int] = []

    def backwards(evaluator: Any, architectures: Any) -> Any:
        batches.append(len(architectures))
        values = {architecture: evaluator(architecture) for architecture in reversed(architectures)}
        return [values[architecture] for architecture in architectures]

    wanted = settings(sampler, 30, population=8)
    at_once = list(search(in_memory(), GRAPH, worth, wanted, each=backwards))
    assert facts(at_once) == facts(found(sampler, 30, population=8))
    assert batches == ([8] + [1] * 22 if sampler == "tpe" else [8, 8, 8, 6])
