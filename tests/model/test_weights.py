"""A supernet's slices are stand-alone networks, bit for bit."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from nas.data import Interactions
from nas.graph import Graph
from nas.graph.aggregators import AGGREGATORS
from nas.model.network import propagate
from nas.model.training import Trainer, TrainingData
from nas.model.weights import Weights, count, parameters_of, parameters_of_space, start
from nas.space import Architecture, GraphBranch, Layer, Recipe, SearchSpace
from nas.space.graph_space import _WORDS

SIZES, HEADS = (4, 8, 12, 64), (1, 2, 4)
SPACE = SearchSpace.parse(
    {
        "name": "everything",
        "branches": {
            "graph": {
                "layers": {"min": 0, "max": 3},
                "hidden_size": list(SIZES),
                "aggregator": list(AGGREGATORS),
                "heads": list(HEADS),
                **{word: list(_WORDS[word]) for word in ("skip", "readout", "activation", "score")},
            }
        },
    },
    "everything",
)


@pytest.fixture(scope="module")
def data(small: Interactions) -> TrainingData:
    return TrainingData.of(small)


@pytest.fixture(scope="module")
def supernet(data: TrainingData, randomise: Callable[..., Weights]) -> Weights:
    graph = data.graph
    return randomise(parameters_of_space(SPACE.branches.graph, graph.n_users, graph.n_items), 4)


def assert_slice_is_extract(arch: Architecture, supernet: Weights, graph: Graph) -> None:
    extracted = supernet.extract(arch, graph)
    wanted = parameters_of(arch.graph, graph.n_users, graph.n_items)
    assert {name: t.shape for name, t in extracted.tensors.items()} == {n: p.shape for n, p in wanted.items()}
    for sliced, owned in zip(
        propagate(arch, supernet, graph), propagate(arch, extracted, graph), strict=True
    ):
        torch.testing.assert_close(sliced, owned, rtol=0, atol=0)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_a_slice_scores_as_its_extract_bit_for_bit(name: str, supernet: Weights, data: TrainingData) -> None:
    heads = HEADS if AGGREGATORS[name].attention else (1,)
    for size, head, skip, readout in product(SIZES, heads, _WORDS["skip"], _WORDS["readout"]):
        layer = Layer(aggregator=name, heads=head)
        branch = GraphBranch.model_validate(
            {
                "hidden_size": size,
                "layers": (layer, layer),
                "skip": skip,
                "readout": readout,
                "activation": "tanh",
            }
        )
        assert_slice_is_extract(Architecture(graph=branch), supernet, data.graph)


def test_mixed_stacks_and_cosine_scores_too(supernet: Weights, data: TrainingData) -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        assert_slice_is_extract(SPACE.sample(rng), supernet, data.graph)


def test_an_extract_owns_its_tensors(supernet: Weights, data: TrainingData) -> None:
    arch = SPACE.decode({"layers": 1, "aggregator_1": "gcn", "hidden_size": SIZES[-1]})
    extracted = supernet.extract(arch, data.graph)
    before = supernet.state()
    with torch.no_grad():
        for tensor in extracted.tensors.values():
            tensor.add_(1.0)
    assert all(torch.equal(supernet.tensors[name], before[name]) for name in before)


def test_a_step_on_one_architecture_changes_its_own_slices_only(
    supernet: Weights, data: TrainingData
) -> None:
    arch = SPACE.decode(
        {"layers": 2, "hidden_size": 8, "aggregator_1": "gcn", "aggregator_2": "gatv2"}
        | {"heads_2": 2, "readout": "learned", "activation": "tanh"}
    )
    recipe = Recipe(batches=1, dropout=0.0)
    shared = Weights(supernet.tensors)
    Trainer(shared, data, recipe, seed=0).epoch(lambda: arch)
    own = supernet.extract(arch, data.graph)
    Trainer(own, data, recipe, seed=0).epoch(lambda: arch)

    def with_slice(whole: Tensor, part: Tensor | None) -> Tensor:
        expected = whole.detach().clone()
        if part is not None:
            expected[tuple(slice(n) for n in part.shape)] = part.detach()
        return expected

    for name, tensor in shared.tensors.items():
        expected = with_slice(supernet.tensors[name], own.tensors.get(name))
        torch.testing.assert_close(tensor.detach(), expected, rtol=0, atol=0, msg=name)
    for name, tensor in own.tensors.items():
        assert not torch.equal(tensor, supernet(name, tuple(tensor.shape))), name


def test_a_supernet_holds_the_largest_shape_of_each_tensor_and_no_more() -> None:
    space = SearchSpace.parse(
        {
            "name": "space",
            "branches": {
                "graph": {
                    "layers": [1, 2],
                    "hidden_size": [4, 6],
                    "aggregator": ["gcn", "gat", "lightgcn"],
                    "heads": [1, 3],
                    "readout": ["last", "learned"],
                }
            },
        },
        "space",
    )
    genes = space.genes()
    largest: dict[str, tuple[int, ...]] = {}
    for values in product(*genes.values()):
        branch = space.decode(dict(zip(genes, values, strict=True))).graph
        for name, parameter in parameters_of(branch, 7, 5).items():
            old = largest.get(name, parameter.shape)
            largest[name] = tuple(map(max, zip(old, parameter.shape, strict=True)))
    held = parameters_of_space(space.branches.graph, 7, 5)
    assert {name: parameter.shape for name, parameter in held.items()} == largest


@pytest.mark.parametrize("embeddings", ["svd", "noise"])
def test_a_start_depends_on_its_seed_alone_and_is_what_it_says(embeddings: str, data: TrainingData) -> None:
    parameters = parameters_of_space(SPACE.branches.graph, data.graph.n_users, data.graph.n_items)
    one, same, other = (start(parameters, data.graph, embeddings, seed).state() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    eye = torch.eye(SIZES[-1])
    for name, parameter in parameters.items():
        tensor, begins = one[name], parameter.start
        if begins in ("zeros", "ones"):
            assert torch.equal(tensor, torch.full(parameter.shape, float(begins == "ones")))
            continue
        assert not torch.equal(tensor, other[name])
        if name in ("users", "items") and embeddings == "svd":
            continue
        noise = tensor - parameter.gain * eye if begins == "identity" else tensor
        assert float(noise.abs().max()) < 0.06
        assert 0.005 < float(noise.std()) < 0.015


def test_state_and_load_copy(supernet: Weights) -> None:
    store = Weights(supernet.tensors)
    saved = store.state()
    with torch.no_grad():
        store.tensors["users"].zero_()
    assert not torch.equal(saved["users"], store.tensors["users"])
    store.load(saved)
    assert all(torch.equal(store.tensors[name], saved[name]) for name in saved)


def test_count_is_the_number_of_numbers(supernet: Weights, data: TrainingData) -> None:
    parameters = parameters_of_space(SPACE.branches.graph, data.graph.n_users, data.graph.n_items)
    assert count(parameters.values()) == sum(t.numel() for t in supernet.tensors.values())
