from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.model.losses import LOSSES, Batch, bpr, softmax
from nas.space import Recipe

pytestmark = pytest.mark.usefixtures("threads")


def numbers(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def batch() -> Batch:
    """Users 4, 1 and 3 with 2, 1 and 3 items of 9."""
    return Batch(
        users=torch.tensor([4, 1, 3]),
        owner=torch.tensor([0, 0, 1, 2, 2, 2]),
        items=torch.tensor([1, 8, 1, 0, 4, 5]),
    )


@pytest.fixture
def users() -> Tensor:
    return numbers(5, 3, seed=0)


@pytest.fixture
def items() -> Tensor:
    return numbers(9, 3, seed=1)


def assert_same(found: Tensor, expected: Tensor, leaves: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves))


@pytest.mark.parametrize("chunk", [2**19, 9])
def test_softmax_is_the_cross_entropy_of_each_pair(
    users: Tensor, items: Tensor, batch: Batch, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A user a chunk: three pieces of work.
    monkeypatch.setattr("nas.model.losses._CHUNK", chunk)
    recipe = Recipe(temperature=0.3, negatives=9)
    rows = users[batch.users][batch.owner] @ items.t() / 0.3
    expected = F.cross_entropy(rows, batch.items)
    assert_same(softmax(users, items, batch, recipe, stream()), expected, (users, items))


def test_sampled_softmax_is_the_cross_entropy_over_its_weighted_sample(
    users: Tensor, items: Tensor, batch: Batch
) -> None:
    recipe = Recipe(temperature=0.3, negatives=5)
    drawn = torch.randint(9, (5,), generator=stream(7))
    total = []
    for owner, item in zip(batch.owner, batch.items, strict=True):
        user = users[batch.users[owner]] / 0.3
        others = (user @ items[drawn].t()).exp().sum() * 9 / 5
        total.append(torch.log(others + (user @ items[item]).exp()) - user @ items[item])
    expected = torch.stack(total).mean()
    assert_same(softmax(users, items, batch, recipe, stream(7)), expected, (users, items))


def test_each_chunk_of_users_has_a_sample_of_its_own(
    users: Tensor, items: Tensor, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.model.losses._CHUNK", 10)
    recipe = Recipe(temperature=0.3, negatives=5)
    drawn = torch.randint(9, (2, 5), generator=stream(7))
    assert not torch.equal(*drawn)
    total = []
    for owner, item in zip(batch.owner, batch.items, strict=True):
        user = users[batch.users[owner]] / 0.3
        sample = drawn[0] if owner < 2 else drawn[1]
        others = (user @ items[sample].t()).exp().sum() * 9 / 5
        total.append(torch.log(others + (user @ items[item]).exp()) - user @ items[item])
    expected = torch.stack(total).mean()
    assert_same(softmax(users, items, batch, recipe, stream(7)), expected, (users, items))


def test_sampled_softmax_estimates_the_partition_sum_without_bias(users: Tensor, items: Tensor) -> None:
    # For one pair, exp(loss) - 1 is the estimate of sum(exp(scores)) / exp(positive score), exp(loss) of the whole.
    pair = Batch(torch.tensor([2]), torch.tensor([0]), torch.tensor([6]))
    users, items = users.detach(), items.detach()
    whole = float(softmax(users, items, pair, Recipe(temperature=1, negatives=9), stream()).exp())
    sampled = Recipe(temperature=1, negatives=4)
    found = np.array(
        [float(softmax(users, items, pair, sampled, stream(seed)).exp()) - 1 for seed in range(2000)]
    )
    error = float(found.std()) / np.sqrt(len(found))
    assert error < 0.05 * whole
    assert abs(float(found.mean()) - whole) < 4 * error


def test_many_negatives_come_close_to_the_whole_catalogue(batch: Batch) -> None:
    users, items = numbers(5, 3, seed=0).detach(), numbers(4000, 3, seed=1).detach()
    whole = softmax(users, items, batch, Recipe(temperature=1, negatives=4000), stream())
    sampled = softmax(users, items, batch, Recipe(temperature=1, negatives=3999), stream())
    few = softmax(users, items, batch, Recipe(temperature=1, negatives=4), stream())
    assert abs(float(sampled - whole)) < 0.1 < abs(float(few - whole))


def test_bpr_is_its_formula(users: Tensor, items: Tensor, batch: Batch) -> None:
    drawn = torch.randint(9, (6,), generator=stream(3))
    total = []
    for owner, item, negative in zip(batch.owner, batch.items, drawn, strict=True):
        user = users[batch.users[owner]]
        total.append(-torch.sigmoid((user @ items[item] - user @ items[negative]) / 0.3).log())
    expected = torch.stack(total).mean()
    assert_same(bpr(users, items, batch, Recipe(temperature=0.3), stream(3)), expected, (users, items))


@pytest.mark.parametrize(("name", "negatives"), [("softmax", 9), ("softmax", 5), ("bpr", 9)])
def test_a_pair_counts_its_weight(
    name: str, negatives: int, users: Tensor, items: Tensor, batch: Batch
) -> None:
    loss, recipe = LOSSES[name], Recipe(temperature=0.3, negatives=negatives)
    weights = torch.tensor([2.0, 0.5, 1.0, 0.25, 3.0, 0.75], dtype=torch.float64)
    # A loss is linear in the weights: what counts 2 and what counts 3 more is what counts 5.
    other = weights.flip(0)
    parts = [loss(users, items, replace(batch, weights=one), recipe, stream(5)) for one in (weights, other)]
    whole = loss(users, items, replace(batch, weights=weights + other), recipe, stream(5))
    assert_same(whole, parts[0] + parts[1], (users, items))
    plain, ones = (
        loss(users, items, replace(batch, weights=one), recipe, stream(5))
        for one in (None, torch.ones_like(weights))
    )
    assert_same(ones, plain, (users, items))


@pytest.mark.parametrize("chunk", [2**19, 9])
def test_weighted_softmax_is_the_weighted_cross_entropy(
    users: Tensor, items: Tensor, batch: Batch, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.model.losses._CHUNK", chunk)
    weights = torch.tensor([2.0, 0.5, 1.0, 0.25, 3.0, 0.75], dtype=torch.float64)
    rows = users[batch.users][batch.owner] @ items.t() / 0.3
    expected = (F.cross_entropy(rows, batch.items, reduction="none") * weights).mean()
    found = softmax(
        users, items, replace(batch, weights=weights), Recipe(temperature=0.3, negatives=9), stream()
    )
    assert_same(found, expected, (users, items))


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_least_where_positives_score_best(name: str, batch: Batch) -> None:
    users, recipe = torch.eye(5), Recipe(negatives=9, temperature=0.1)
    wanted = torch.zeros(9, 5)
    wanted[batch.items, batch.users[batch.owner]] = 1.0
    good, flat, bad = (
        float(LOSSES[name](users, items, batch, recipe, stream()))
        for items in (wanted, torch.zeros(9, 5), -wanted)
    )
    assert good < flat < bad


def test_recipes_know_every_loss() -> None:
    assert set(LOSSES) == set(Recipe.model_fields["loss"].annotation.__args__)  # type: ignore[union-attr]
