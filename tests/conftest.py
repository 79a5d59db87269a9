"""Small interactions, their graph, and weights that no default hides behind."""

import os

# Before torch is loaded, here and in what tests start: tests run beside each other, and threads that wait for work on
# cores that others need take twice the time of one. Tests of what threads do set their number themselves.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import settings
from pyg_twins import import_pyg

from nas.data import Interactions
from nas.graph import Graph
from nas.graph.aggregators import Parameter
from nas.model.weights import Weights

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

Pairs = Iterable[tuple[int, int]]
MakeInteractions = Callable[[Pairs, int, int], Interactions]
Randomise = Callable[[Mapping[str, Parameter], int], Weights]


def interactions_of(pairs: Pairs, n_users: int, n_items: int) -> Interactions:
    """Interactions of distinct (user, item) pairs in any order."""
    columns = np.array(sorted(pairs), dtype=np.int32).reshape(-1, 2)
    return Interactions(
        user=columns[:, 0],
        item=columns[:, 1],
        user_ids=tuple(f"u{n}" for n in range(n_users)),
        item_ids=tuple(f"i{n}" for n in range(n_items)),
    )


def random_pairs(seed: int, n_users: int, n_items: int, share: float) -> list[tuple[int, int]]:
    """About `share` of all pairs; every user and every item has one at least."""
    rng = np.random.default_rng(seed)
    mask = rng.random((n_users, n_items)) < share
    mask[np.arange(n_users), rng.integers(n_items, size=n_users)] = True
    mask[rng.integers(n_users, size=n_items), np.arange(n_items)] = True
    return [(int(u), int(i)) for u, i in np.argwhere(mask)]


def random_weights(parameters: Mapping[str, Parameter], seed: int) -> Weights:
    """Every tensor normal: the starts (identity, zeros, ones) would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    return Weights({name: 0.5 * torch.randn(p.shape, generator=generator) for name, p in parameters.items()})


@pytest.fixture(scope="session")
def make_interactions() -> MakeInteractions:
    """`interactions_of`."""
    return interactions_of


@pytest.fixture(scope="session")
def randomise() -> Randomise:
    """`random_weights`."""
    return random_weights


@pytest.fixture(scope="session")
def tiny() -> Interactions:
    """8 users and 11 items; the last user and the last item have no interactions."""
    return interactions_of(random_pairs(0, 7, 10, 0.3), 8, 11)


@pytest.fixture(scope="session")
def graph(tiny: Interactions) -> Graph:
    """The graph of `tiny`, with an isolated node on each side."""
    return Graph.from_interactions(tiny)


@pytest.fixture(scope="session")
def small() -> Interactions:
    """40 users and 30 items, nobody isolated."""
    return interactions_of(random_pairs(1, 40, 30, 0.15), 40, 30)


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """The number that torch and our kernels use: one, and more than this machine may have."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pyg() -> ModuleType:
    """PyG, the oracle."""
    return import_pyg()
