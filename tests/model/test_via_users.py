from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from nas.data import Interactions
from nas.graph import Graph
from nas.model.evaluation import costs
from nas.model.history import histories_of
from nas.model.spectral import fit_spectral
from nas.model.via_users import ViaUsers
from nas.space import Architecture
from nas.space.closed_form import SpectralBranch

pytestmark = pytest.mark.usefixtures("threads")


def dense(interactions: Interactions) -> np.ndarray:
    return histories_of(interactions).toarray()


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_scores_are_those_of_the_formed_matrix(
    make_interactions: Callable[..., Interactions], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    pairs = [(int(u), int(i)) for u, i in np.argwhere(rng.random((13, 9)) < 0.3)]
    interactions = make_interactions(pairs, 14, 10)
    a, b = rng.random(10, np.float32), rng.standard_normal(14).astype(np.float32)
    x = dense(interactions).astype(np.float64)
    weights = a[:, None] * (x.T @ (b[:, None] * x)) * a
    histories = rng.random((6, 10), np.float32) * (rng.random((6, 10)) < 0.4)
    found = ViaUsers(interactions, a, b).scores(csr_array(histories))
    torch.testing.assert_close(found.double(), torch.from_numpy(histories @ weights), rtol=1e-5, atol=1e-5)


def test_nobody_and_nothing_score_nothing(tiny: Interactions) -> None:
    via = ViaUsers(tiny, np.ones(11, np.float32), np.ones(8, np.float32))
    assert via.scores(csr_array((3, 11), dtype=np.float32)).abs().max() == 0


@pytest.mark.parametrize("low_pass", [0.0, 0.3])
def test_a_large_catalogue_has_the_same_filter(
    low_pass: float, small: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    branch, graph = SpectralBranch(rank=6, low_pass=low_pass), Graph.from_interactions(small)
    whole = fit_spectral(branch, small, graph, 0)
    monkeypatch.setattr("nas.model.spectral._WHOLE", 10)
    via = fit_spectral(branch, small, graph, 0)
    assert isinstance(via.weights, ViaUsers)
    users = torch.arange(small.n_users)
    torch.testing.assert_close(via(users), whole(users), rtol=1e-4, atol=1e-5)
    cut = fit_spectral(branch.model_copy(update={"neighbours": 5}), small, graph, 0)
    assert not isinstance(cut.weights, ViaUsers)


def test_its_costs_count_what_is_done_and_kept(small: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.model.spectral._WHOLE", 10)
    branch = SpectralBranch(rank=6, low_pass=0.3)
    model = fit_spectral(branch, small, Graph.from_interactions(small), 0)
    found = costs(Architecture(spectral=branch), 40, 30, len(small), {"spectral": model})
    x = dense(small)
    to_users = int(((x @ x.T) * (x > 0).sum(1)).sum())
    there = int(x.sum(0) @ x.sum(0))
    assert there < found["refresh_macs"] - len(small) * 6 - 40 * 30 * 6 <= there + to_users
    histories = 2 * 41 + len(small) + 30
    assert found["artefact_bytes"] == 4 * (histories + 30 + 40 + 2 * 30 * 6)
