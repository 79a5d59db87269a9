"""What architectures share changes nothing but the time."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nas.data import Interactions
from nas.graph import Graph, Operator
from nas.model.network import Propagation, propagate
from nas.model.sharing import Memory
from nas.model.weights import Weights, parameters_of_space, start
from nas.space import Architecture, SearchSpace

SPACE = SearchSpace.load("graph")


@pytest.fixture(scope="module")
def graph(small: Interactions) -> Graph:
    return Graph.from_interactions(small)


@pytest.fixture(scope="module")
def supernet(graph: Graph) -> Weights:
    parameters = parameters_of_space(SPACE.branches.graph, graph.n_users, graph.n_items)
    weights = start(parameters, graph, "noise", 0)
    generator = torch.Generator().manual_seed(1)
    # Every bias and gain counts: the defaults would hide a wrong one.
    with torch.no_grad():
        for tensor in weights.tensors.values():
            tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=0.1)
    return weights


def drawn(n: int, seed: int) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    return [SPACE.sample(rng) for _ in range(n)]


@pytest.mark.parametrize("most_bytes", [0, 20_000, 2**30])
@pytest.mark.parametrize("seed", range(4))
def test_a_generation_has_the_states_of_each_architecture_alone_to_the_bit(
    graph: Graph, supernet: Weights, most_bytes: int, seed: int
) -> None:
    shared = Propagation(supernet, graph, 128, most_bytes=most_bytes)
    with torch.no_grad():
        for architecture in drawn(60, seed):
            for found, alone in zip(
                shared(architecture), propagate(architecture, supernet, graph), strict=True
            ):
                assert torch.equal(found, alone), architecture


def test_products_are_taken_once_for_all_that_need_them(
    graph: Graph, supernet: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    product: Callable[[Operator, torch.Tensor, float], torch.Tensor] = Operator._product

    def counted(self: Operator, x: torch.Tensor, loops: float) -> torch.Tensor:
        taken.append(x.shape[1])
        return product(self, x, loops)

    monkeypatch.setattr(Operator, "_product", counted)
    shared = Propagation(supernet, graph, 128, most_bytes=2**30)

    def run(aggregators: list[str], size: int) -> list[int]:
        taken.clear()
        layers = [{"aggregator": name} for name in aggregators]
        shared(
            Architecture.model_validate(
                {"graph": {"hidden_size": size, "layers": layers, "activation": "relu"}}
            )
        )
        return list(taken)

    with torch.no_grad():
        assert run(["lightgcn", "mean"], 64) == [64, 64]
        assert run(["lightgcn", "mean", "mean"], 32) == [32]
        assert run(["ngcf"], 64) == []
        assert run(["lightgcn", "sage"], 16) == []
        assert run(["gin", "gin"], 64) == [64, 64]
        assert run(["gin"], 32) == []
        # After a layer that is not linear, a width is no slice of another.
        assert run(["sage", "gcn"], 16) == [16, 16]
        assert run(["sage", "gcn"], 32) == [32, 32]
        assert run(["sage", "gcn", "lightgcn"], 32) == [32]
        assert run(["lightgcn", "mean"], 128) == [128, 128]


def test_memory_keeps_to_its_limit_and_forgets_what_was_not_used() -> None:
    made: list[str] = []

    def wanted(memory: Memory, key: str, size: int = 4) -> torch.Tensor:
        def make() -> torch.Tensor:
            made.append(key)
            return torch.arange(3 * size, dtype=torch.float32).view(3, size)

        return memory.get(key, size, make)

    memory = Memory(2 * 3 * 4 * 4)
    for key in "abacabb":
        wanted(memory, key)
    # c displaced b, which was not used since; then b displaced c.
    assert made == ["a", "b", "c", "b"]
    assert torch.equal(wanted(memory, "a", 2), torch.tensor([[0.0, 1.0], [4.0, 5.0], [8.0, 9.0]]))
    assert len(made) == 4
    # Too wide for the memory: made each time, and nothing else is lost.
    assert wanted(memory, "d", 100).shape == wanted(memory, "d", 100).shape == (3, 100)
    assert made[4:] == ["d", "d"]
    wanted(memory, "b")
    assert len(made) == 6
