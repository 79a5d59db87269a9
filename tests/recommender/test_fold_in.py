"""Folding in against the torch network: the same final states, for every architecture of the space."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from fold_in import contents_of, exported
from numpy.typing import NDArray
from torch import Tensor

from nas.data import Interactions, PlantedConfig, planted
from nas.graph import Graph, Operator
from nas.graph.aggregators import AGGREGATORS
from nas.model.evaluation import costs, final_states
from nas.model.fitting import refit
from nas.model.network import ACTIVATIONS, Propagation
from nas.model.training import TrainingData
from nas.model.weights import Weights, parameters_of
from nas.recommender import ArtefactError, Recommender, recommender
from nas.recommender.recommender import GraphNetwork, Ranking
from nas.space import Architecture, Recipe, SearchSpace, graph_space

READOUTS, SKIPS, SCORES = (
    ("last", "mean", "learned", "concat"),
    ("none", "residual", "initial", "dense"),
    ("dot", "cosine"),
)
LINEAR = [name for name, aggregator in AGGREGATORS.items() if aggregator.linear]
Floats = NDArray[np.float64]
Randomise = Callable[..., Weights]

RIDGE = 0.03


def architecture(*names: str, size: int = 8, heads: int = 2, **rest: str) -> Architecture:
    layers = [{"aggregator": name, "heads": heads if AGGREGATORS[name].attention else 1} for name in names]
    return Architecture.model_validate({"graph": {"hidden_size": size, "layers": layers, **rest}})


def every_architecture() -> list[Architecture]:
    """Every aggregator with every readout; skips, activations and scores take turns; then some mixtures."""
    turns = itertools.cycle(itertools.product(SCORES, SKIPS, ACTIVATIONS))
    found = [
        architecture(name, name, readout=readout, score=score, skip=skip, activation=activation)
        for (name, readout), (score, skip, activation) in zip(
            itertools.product(AGGREGATORS, READOUTS), turns, strict=False
        )
    ]
    found += [
        architecture("sage", "gat", "gcn", skip=skip, activation=activation, readout="mean")
        for skip, activation in itertools.product(SKIPS, ACTIVATIONS)
    ]
    found += [architecture(score=score) for score in SCORES]
    space, rng = SearchSpace.load("graph"), np.random.default_rng(0)
    return found + [space.sample(rng) for _ in range(20)]


EVERY = every_architecture()


def history_of(interactions: Interactions, user: int) -> NDArray[np.int32]:
    return interactions.item[interactions.offsets[user] : interactions.offsets[user + 1]]


@pytest.fixture(scope="module")
def make(
    small: Interactions, randomise: Randomise, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Architecture], tuple[Recommender, Weights, Graph]]:
    """A recommender exported from random weights, the weights, and the graph."""
    data = TrainingData.of(small)

    def made(arch: Architecture) -> tuple[Recommender, Weights, Graph]:
        weights = randomise(parameters_of(arch.learned, small.n_users, small.n_items), 3)
        for name, tensor in weights.tensors.items():
            if "." in name and tensor.ndim == 2:
                # Wide layers would else enlarge the states, and with them the network's rounding in float32.
                tensor.data.mul_((8 / len(tensor)) ** 0.5)
        folder = tmp_path_factory.mktemp("export") / "recommender"
        return exported(contents_of(arch, weights, data, RIDGE), folder), weights, data.graph

    return made


Make = Callable[[Architecture], tuple[Recommender, Weights, Graph]]


def network_of(model: Recommender) -> GraphNetwork:
    return model._network


def alike(found: Floats, due: Floats) -> None:
    np.testing.assert_allclose(found, due, rtol=1e-5, atol=1e-5 * np.abs(due).max())


@pytest.mark.parametrize("arch", EVERY, ids=str)
def test_a_trained_user_with_its_own_history_gets_its_own_state(
    arch: Architecture, make: Make, small: Interactions
) -> None:
    model, weights, graph = make(arch)
    due = final_states(arch, weights, graph)[0].double().numpy()
    for user in range(small.n_users):
        had = history_of(small, user)
        alike(network_of(model).of_known(user, had, had), due[user])


@pytest.mark.parametrize("arch", EVERY, ids=str)
def test_costs_are_the_bytes_of_the_arrays(arch: Architecture, make: Make, small: Interactions) -> None:
    model, *_ = make(arch)
    held = sum(
        np.dtype(one["dtype"]).itemsize * math.prod(one["shape"]) for one in model.manifest["arrays"].values()
    )
    assert costs(arch, small.n_users, small.n_items, len(small))["artefact_bytes"] == held


class Unnoticed(Propagation):
    """Propagation over a graph with one more user, whom no item notices."""

    def __init__(self, weights: Weights, graph: Graph, width: int, trained: list[Tensor]) -> None:
        super().__init__(weights, graph, width)
        self._trained = trained

    def states(self, branch: Any) -> list[Tensor]:
        found = [self._embeddings]
        for n, trained in enumerate(self._trained[1:]):
            made = self._layer(branch, n, found)
            items = trained[self._graph.n_users - 1 :]
            found.append(torch.cat([made[: self._graph.n_users], items]))
        return found


def with_one_more(interactions: Interactions, history: list[int], trained: Graph) -> Graph:
    """The graph with a user who had `history`; the items keep the degrees that they had."""
    user = np.r_[interactions.user, np.full(len(history), interactions.n_users)].astype(np.int32)
    more = replace(
        interactions,
        user=user,
        item=np.r_[interactions.item, np.array(sorted(history))].astype(np.int32),
        user_ids=(*interactions.user_ids, "new"),
    )
    graph, of_items = Graph.from_interactions(more), trained.edges.degree[interactions.n_users :]
    degree = torch.cat([graph.edges.degree[: more.n_users], of_items])
    root, with_loop = degree.clamp(min=1).rsqrt(), (degree + 1).rsqrt()
    graph.__dict__["symmetric"] = Operator(graph.edges, root, root)
    graph.__dict__["symmetric_with_loops"] = Operator(graph.edges, with_loop, with_loop, loops=True)
    graph.__dict__["mean_neighbour_degree"] = trained.mean_neighbour_degree
    return graph


@pytest.mark.parametrize("arch", EVERY, ids=str)
def test_someone_new_gets_what_the_network_computes_for_one_more_node(
    arch: Architecture, make: Make, small: Interactions
) -> None:
    model, weights, graph = make(arch)
    history, branch = [2, 3, 11, 17, 29], arch.learned
    estimate = network_of(model)._estimates(np.array(history, dtype=np.int32)).sum(0)
    initial = torch.from_numpy(estimate.astype(np.float32))[None]
    with torch.no_grad():
        trained = Propagation(weights, graph, branch.hidden_size).states(branch)
        more = Weights(weights.tensors | {"users": torch.cat([weights.tensors["users"], initial])})
        users, _ = Unnoticed(more, with_one_more(small, history, graph), branch.hidden_size, trained)(arch)
    alike(network_of(model).of_new(np.array(history, dtype=np.int32)), users[-1].double().numpy())


@pytest.mark.parametrize("names", [*[(name,) for name in AGGREGATORS], ("gat", "gin"), ()], ids=str)
@pytest.mark.parametrize("readout", READOUTS)
def test_an_exported_recommender_ranks_as_the_trained_network(
    names: tuple[str, ...], readout: str, small: Interactions, tmp_path: Path
) -> None:
    score = SCORES[(len(names) + READOUTS.index(readout)) % 2]
    arch, data = architecture(*names, readout=readout, score=score, activation="elu"), TrainingData.of(small)
    weights = refit(arch, Recipe(), data, epochs=3, seed=0)
    model = exported(contents_of(arch, weights, data, RIDGE), tmp_path / "out")
    users, items, _ = final_states(arch, weights, data.graph)
    due = (users.double() @ items.double().t()).numpy()
    index = {item: n for n, item in enumerate(small.item_ids)}
    for user, user_id in enumerate(small.user_ids):
        answers = model.recommend(user_id, small.n_items, exclude_seen=False)
        scores = {index[one.item]: one.score for one in answers}
        found = np.array([scores[item] for item in range(small.n_items)])
        alike(found, due[user])
        # What is folded in with the own initial embedding is ranked by the same scores.
        had = history_of(small, user)
        alike(items.double().numpy() @ network_of(model).of_known(user, had, had), due[user])
        # The ten best, up to ties.
        left = np.setdiff1d(np.arange(small.n_items), had)
        best = [index[one.item] for one in model.recommend(user_id, 10)]
        np.testing.assert_allclose(due[user][best], np.sort(due[user][left])[::-1][:10], rtol=1e-5, atol=1e-6)


ONES = [architecture(), *(architecture(name, name, readout="mean", activation="elu") for name in AGGREGATORS)]


@pytest.mark.parametrize("arch", ONES, ids=str)
def test_order_and_repetition_change_nothing(arch: Architecture, make: Make) -> None:
    model, *_ = make(arch)
    ids = ["i3", "i17", "i8", "i25"]
    due = model.fold_in(ids, 30)
    assert due == model.fold_in(ids, 30)
    for order in itertools.permutations(ids):
        assert model.fold_in([*order, order[0]], 30) == due
    later = model.recommend("u1", 30, new=ids)
    assert all(
        model.recommend("u1", 30, new=[*order, order[0]]) == later for order in itertools.permutations(ids)
    )


@pytest.mark.parametrize("name", [None, "lightgcn", "sage", "gat"])
def test_strangers_get_what_their_kind_likes(name: str | None, tmp_path: Path) -> None:
    # Five blocks of items; popularity, or chance, puts a fifth of a list into the block of a user.
    whole = planted(PlantedConfig(users=200, items=150, blocks=5, interactions_per_user=12))
    new = whole.user % 10 == 0
    data = TrainingData.of(whole.select(~new))
    arch = architecture(
        *([name] if name else []), size=16, readout="mean" if name else "last", score="cosine"
    )
    model = exported(
        contents_of(arch, refit(arch, Recipe(), data, epochs=30, seed=0), data, RIDGE), tmp_path / "out"
    )
    shares = []
    for user in range(0, 200, 10):
        history = [whole.item_ids[item] for item in history_of(whole, user)]
        answers = (model.fold_in(history), model.recommend(whole.user_ids[user], new=history))
        assert answers[0] == answers[1]
        found = [whole.item_ids.index(one.item) for one in answers[0]]
        shares.append(np.mean(np.array(found) // 30 == user // 40))
    assert np.mean(shares) > 0.8


def names_of(ranking: Ranking) -> list[str]:
    return [one.item for one in ranking]


@pytest.mark.parametrize("arch", ONES, ids=str)
def test_new_events_count_at_once(arch: Architecture, make: Make, small: Interactions) -> None:
    model, *_ = make(arch)
    had = [f"i{item}" for item in history_of(small, 1)]
    plain = model.recommend("u1", 30)
    # Nothing new is nothing else, to the bit.
    assert model.recommend("u1", 30, new=had) == model.recommend("u1", 30, new=[]) == plain
    new = names_of(plain)[-2:]
    after = model.recommend("u1", 30, new=new)
    assert not {*new, *had} & {*names_of(after)}
    assert {*names_of(after), *new} == {*names_of(plain)}
    assert [one.score for one in after] != [one.score for one in plain if one.item not in new]
    assert {*names_of(model.recommend("u1", 30, new=new, exclude_seen=False))} == {*small.item_ids}
    chosen = names_of(after)[::3]
    assert model.recommend("u1", 30, new=new, only=chosen) == [one for one in after if one.item in chosen]
    assert model.recommend("u1", 30, new=new, without=chosen) == [
        one for one in after if one.item not in chosen
    ]
    assert model.rerank("u1", chosen, new=new) == [one for one in after if one.item in chosen]
    # What is asked does not stay.
    assert model.recommend("u1", 30) == plain


def test_new_events_move_the_initial_embedding_as_they_move_its_estimate(
    make: Make, small: Interactions
) -> None:
    model, weights, _ = make(architecture())
    had, items = history_of(small, 1), weights.tensors["items"].detach().double().numpy()
    history = np.union1d(had, np.array([4, 9], dtype=np.int32))
    map_ = network_of(model)._fold_in
    moved = (items[history].mean(0) - items[had].mean(0)) @ map_
    alike(
        network_of(model).of_known(1, had, history),
        weights.tensors["users"][1].detach().double().numpy() + moved,
    )


def test_a_known_user_without_history_is_folded_in(
    tiny: Interactions, randomise: Randomise, tmp_path: Path
) -> None:
    arch, data = architecture("lightgcn", "gcn", readout="mean"), TrainingData.of(tiny)
    weights = randomise(parameters_of(arch.learned, tiny.n_users, tiny.n_items), 3)
    model = exported(contents_of(arch, weights, data, RIDGE), tmp_path / "out")
    # i10 was had by nobody: its degree is 0.
    assert model.recommend("u7", 11, new=["i2", "i10"]) == model.fold_in(["i2", "i10"], 11)
    assert {one.fallback for one in model.recommend("u7", 11)} == {"popularity"}


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("readout", ["last", "mean", "learned"])
@pytest.mark.parametrize("name", LINEAR)
def test_the_parts_of_a_linear_network_add_up(
    name: str, readout: str, skip: str, score: str, make: Make, small: Interactions
) -> None:
    model, *_ = make(architecture(name, name, readout=readout, skip=skip, score=score))
    network = network_of(model)
    for user in (0, 5):
        had, why = history_of(small, user), model.explain(f"u{user}", "i4")
        # What is left without any item of the history: a network that is linear has no other terms.
        rest = (network._initial[user] - network._estimates(had).sum(0))[None]
        alone = network._final(rest, had, np.zeros((1, len(had))))[0]
        whole = network._final(network._initial[[user]].astype(np.float64), had)[0]
        norm = np.linalg.norm(whole) if score == "cosine" else 1
        assert why.personal == pytest.approx(alone @ model._items[4] / norm, rel=1e-4, abs=1e-5)


def test_the_parts_of_lightgcn_are_its_messages(make: Make, small: Interactions) -> None:
    model, weights, _ = make(architecture("lightgcn", readout="mean"))
    items, had = weights.tensors["items"].detach().double().numpy(), history_of(small, 0)
    degree = np.bincount(small.item, minlength=small.n_items)
    messages = items[had] / np.sqrt(degree[had] * len(had))[:, None]
    estimates = model._items[had].astype(np.float64) @ network_of(model)._fold_in / len(had)
    due = (messages + estimates) / 2 @ model._items[4]
    why = model.explain("u0", "i4")
    found = {one.item: one.contribution for one in why.contributions}
    assert found == pytest.approx(
        {f"i{item}": part for item, part in zip(had, due, strict=True)}, rel=1e-4, abs=1e-5
    )


@pytest.mark.parametrize("name", AGGREGATORS)
def test_explanations_in_blocks_are_the_same(name: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model, *_ = make(architecture(name, name, readout="mean", activation="elu", score="cosine"))
    whole = model.explain("u3", "i5")
    monkeypatch.setattr(recommender, "NUMBERS_PER_BLOCK", 80)
    parts = model.explain("u3", "i5")
    assert [one.contribution for one in parts.contributions] == pytest.approx(
        [one.contribution for one in whole.contributions], abs=1e-9
    )


def test_the_tables_are_those_of_the_network() -> None:
    assert list(recommender.AGGREGATORS) == list(AGGREGATORS)
    assert list(recommender.LINEAR) == LINEAR
    assert list(recommender.ACTIVATIONS) == list(ACTIVATIONS)
    assert recommender.MOST_LAYERS == graph_space._MOST_LAYERS
    sizes = {"d": 6, "1": 1}
    for name, aggregator in AGGREGATORS.items():
        shapes = {
            key: tuple(sizes[one] for one in shape) for key, shape in recommender.AGGREGATORS[name][1].items()
        }
        assert shapes == {key: parameter.shape for key, parameter in aggregator.parameters(6, 2).items()}


BRANCHES: dict[str, tuple[dict[str, Any], str]] = {
    "skip": ({"skip": "over"}, "skip must be one of none, residual, initial, dense, but is 'over'"),
    "unhashable": ({"readout": ["mean"]}, "readout must be one of"),
    "activation": ({"activation": None}, "activation must be one of"),
    "score": ({"score": 1}, "score must be one of"),
    "hidden size": ({"hidden_size": "8"}, "hidden_size must be a number of at least 1"),
    "no size": ({"hidden_size": 0}, "hidden_size must be a number of at least 1"),
    "yes": ({"hidden_size": True}, "hidden_size must be a number of at least 1"),
    "large": ({"hidden_size": 10**30}, "must be float32"),
    "layers": ({"layers": {"aggregator": "gat"}}, "layers must be a list of at most 16 aggregators"),
    "aggregator": ({"layers": [{"aggregator": "magic", "heads": 1}]}, "layers must be a list"),
    "list": ({"layers": [{"aggregator": ["gat"], "heads": 1}]}, "layers must be a list"),
    "text": ({"layers": ["gat"]}, "layers must be a list"),
    "many": ({"layers": [{"aggregator": "identity", "heads": 1}] * 17}, "layers must be a list"),
    "heads": ({"layers": [{"aggregator": "gat", "heads": 3}]}, "heads that divide 8"),
    "no heads": ({"layers": [{"aggregator": "gat", "heads": 0}]}, "heads that divide 8"),
    "fewer layers": ({"layers": []}, "graph_0_attention, .* are missing or too many"),
    "another layer": ({"layers": [{"aggregator": "gin", "heads": 1}]}, "are missing or too many"),
    "readout": ({"readout": "learned"}, "graph_readout are missing or too many"),
    "concat": ({"readout": "concat"}, r"must be float32"),
}


def parts_of(model: Recommender, folder: Path) -> tuple[dict[str, Any], list[str], list[str], Any]:
    arrays = safetensors.numpy.load((folder / "weights.safetensors").read_bytes())
    return model.manifest, model.user_ids, model.item_ids, arrays


@pytest.fixture(scope="module")
def gatv2(small: Interactions, randomise: Randomise, tmp_path_factory: pytest.TempPathFactory) -> Any:
    arch, folder = architecture("gatv2"), tmp_path_factory.mktemp("hostile") / "out"
    weights = randomise(parameters_of(arch.learned, small.n_users, small.n_items), 3)
    return parts_of(exported(contents_of(arch, weights, TrainingData.of(small), RIDGE), folder), folder)


@pytest.mark.parametrize("name", BRANCHES)
def test_a_hostile_architecture_is_refused(name: str, gatv2: Any) -> None:
    change, match = BRANCHES[name]
    manifest, users, items, arrays = gatv2
    graph = manifest["architecture"]["graph"] | change
    with pytest.raises(ArtefactError, match=match) as caught:
        Recommender(manifest | {"architecture": {"graph": graph}}, users, items, None, arrays)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("architecture", [[], None, {"graph": None}, {"graph": "gat"}])
def test_an_architecture_that_is_none_is_refused(architecture: Any, gatv2: Any) -> None:
    manifest, users, items, arrays = gatv2
    with pytest.raises(ArtefactError, match="must be objects"):
        Recommender(manifest | {"architecture": architecture}, users, items, None, arrays)


def test_every_array_of_the_graph_branch_is_checked(gatv2: Any) -> None:
    manifest, users, items, arrays = gatv2
    names = [name for name in arrays if name.startswith("graph_")]
    assert len(names) == 8
    for name in names:
        good = arrays[name]
        for bad in (good[:-1], good.astype(np.float64), np.full_like(good, np.nan), np.full_like(good, 2e9)):
            with pytest.raises(ArtefactError, match=name):
                Recommender(manifest, users, items, None, arrays | {name: bad})
        with pytest.raises(ArtefactError, match=f"{name} are missing"):
            Recommender(
                manifest, users, items, None, {key: one for key, one in arrays.items() if key != name}
            )


def test_what_overflows_on_the_way_is_one_error(make: Make) -> None:
    model, *_ = make(architecture("ngcf", "ngcf", "ngcf", "ngcf"))
    for _, _, tensors, _, _ in network_of(model)._layers:
        tensors["weight_product"][:] = 1e9
    network_of(model)._layers[0][1][:] = 1e9
    with pytest.raises(ArtefactError, match="not finite or beyond 1e"):
        model.fold_in(["i1"])
