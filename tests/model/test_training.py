from collections.abc import Callable
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
import torch

from nas.data import Interactions
from nas.model.fitting import new_trainer
from nas.model.history import histories_of
from nas.model.losses import LOSSES
from nas.model.ranking import DivergedError
from nas.model.timeline import ages_of
from nas.model.training import (
    Trainer,
    TrainingData,
    batches,
    epoch_cost,
    in_one_unit,
    pair_weights,
    steps_of,
)
from nas.model.weights import Weights, parameters_of_space, start
from nas.space import Architecture, Recipe, SearchSpace

ATTENTION = SearchSpace.load("presets/gat").decode({})


@pytest.fixture(scope="module")
def data(small: Interactions) -> TrainingData:
    return TrainingData.of(small)


def trained(data: TrainingData, seed: int = 0, epochs: int = 2, **recipe: object) -> Trainer:
    trainer = new_trainer(ATTENTION, data, Recipe.model_validate({"batches": 3, **recipe}), seed)
    for _ in range(epochs):
        trainer.epoch(lambda: ATTENTION)
    return trainer


def same(one: Weights, other: Weights) -> bool:
    return all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


@pytest.mark.parametrize("recipe", [{"loss": loss, "negatives": n} for loss in LOSSES for n in (5, 4096)])
def test_equal_seeds_give_bit_identical_weights_and_others_do_not(
    recipe: dict[str, object], data: TrainingData
) -> None:
    one = trained(data, weight_decay=0.01, **recipe)
    assert same(one.weights, trained(data, weight_decay=0.01, **recipe).weights)
    assert not same(one.weights, trained(data, seed=1, weight_decay=0.01, **recipe).weights)


def test_training_that_resumes_is_the_uninterrupted_one_bit_for_bit(data: TrainingData) -> None:
    recipe = {"weight_decay": 0.01, "loss": "bpr"}
    whole = trained(data, epochs=4, **recipe)
    half = trained(data, epochs=2, **recipe)
    saved = {name: tensor.clone() for name, tensor in half.state().items()}
    resumed = trained(data, epochs=0, **recipe)
    resumed.load(saved, 2)
    for _ in range(2):
        resumed.epoch(lambda: ATTENTION)
    assert whole.epochs == resumed.epochs == 4
    found, expected = resumed.state(), whole.state()
    assert set(found) == set(expected) == set(saved)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_saved_state_does_not_follow_the_training(data: TrainingData) -> None:
    trainer = trained(data, epochs=1)
    saved = trainer.state()
    copies = {name: tensor.clone() for name, tensor in saved.items()}
    trainer.epoch(lambda: ATTENTION)
    assert all(torch.equal(saved[name], copies[name]) for name in saved)


def test_a_supernet_that_resumes_is_the_uninterrupted_one(data: TrainingData) -> None:
    # Tensors that no step used yet have no moments to save.
    space = SearchSpace.load("lightgcn_like")
    parameters = parameters_of_space(space.branches.graph, data.graph.n_users, data.graph.n_items)
    rare = space.decode({"layers": 2, "readout": "learned", "aggregator_1": "mean"})
    usual = space.decode({"layers": 1, "hidden_size": 16})

    def run(trainer: Trainer, chosen: Architecture) -> None:
        turns = cycle([usual, chosen])
        trainer.epoch(lambda: next(turns))

    def new() -> Trainer:
        return Trainer(start(parameters, data.graph, "svd", 0), data, Recipe(), 0)

    whole, half, resumed = new(), new(), new()
    run(whole, usual)
    run(half, usual)
    assert "adam/step/readout" not in half.state()
    resumed.load(half.state(), 1)
    run(whole, rare)
    run(resumed, rare)
    expected, found = whole.state(), resumed.state()
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("parts", [1, 3])
def test_batches_hold_every_user_once_with_all_its_items(
    parts: int, tiny: Interactions, small: Interactions
) -> None:
    for interactions in (tiny, small):
        data = TrainingData.of(interactions)
        found = list(batches(data, parts, np.random.default_rng(0)))
        users = torch.cat([batch.users for batch in found]).tolist()
        assert sorted(users) == sorted(set(interactions.user.tolist()))
        pairs = [
            (int(batch.users[owner]), int(item))
            for batch in found
            for owner, item in zip(batch.owner, batch.items, strict=True)
        ]
        assert sorted(pairs) == list(zip(interactions.user.tolist(), interactions.item.tolist(), strict=True))
        assert all(bool((batch.owner.diff() >= 0).all()) for batch in found)
    assert len(found) == parts
    assert max(len(batch.users) for batch in found) - min(len(batch.users) for batch in found) <= 1


def test_a_pair_weighs_by_its_rating_and_its_age(small: Interactions) -> None:
    rng = np.random.default_rng(0)
    rated = replace(
        small,
        rating=rng.integers(1, 6, len(small)).astype(np.float32),
        timestamp=rng.integers(0, 9, len(small)) * 60,
    )
    found = pair_weights(rated, Recipe(rating=0.3, recency=2.0))
    assert found is not None
    due = histories_of(rated, 0.3).data / (1 + ages_of(rated) / 2)
    np.testing.assert_allclose(found.numpy(), due / due.mean(), rtol=1e-5)
    assert pair_weights(rated, Recipe()) is None
    # Where the data has neither, all count alike.
    assert pair_weights(replace(rated, rating=None, timestamp=None), Recipe(rating=0.3, recency=2.0)) is None
    # Each pair takes its weight along into whatever batch it comes.
    pairs = dict(zip(zip(rated.user.tolist(), rated.item.tolist(), strict=True), found.tolist(), strict=True))
    for batch in batches(TrainingData.of(rated), 3, rng, found):
        assert batch.weights is not None
        owners = batch.users[batch.owner].tolist()
        for user, item, weight in zip(owners, batch.items.tolist(), batch.weights.tolist(), strict=True):
            assert weight == pairs[user, item]


def test_training_follows_the_weights_of_its_pairs(data: TrainingData) -> None:
    timed = replace(data.interactions, timestamp=np.arange(len(data.interactions)))
    by_age = trained(TrainingData.of(timed), recency=1.0)
    assert not same(by_age.weights, trained(TrainingData.of(timed)).weights)
    assert same(by_age.weights, trained(TrainingData.of(timed), recency=1.0).weights)


def test_batches_are_made_of_read_only_columns_without_a_warning(tiny: Interactions) -> None:
    item = tiny.item.copy()
    item.flags.writeable = False
    data = TrainingData(TrainingData.of(tiny).graph, replace(tiny, item=item))
    expected = list(batches(TrainingData.of(tiny), 2, np.random.default_rng(0)))
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # not only the first time in a process
    try:
        found = list(batches(data, 2, np.random.default_rng(0)))
    finally:
        torch.set_warn_always(before)
    assert all(torch.equal(a.items, b.items) for a, b in zip(found, expected, strict=True))


def test_no_batch_is_empty_however_many_parts(tiny: Interactions) -> None:
    found = list(batches(TrainingData.of(tiny), 100, np.random.default_rng(0)))
    assert [len(batch.users) for batch in found] == [1] * 7


@pytest.mark.parametrize(
    ("users", "items", "each", "negatives", "expected"),
    [
        # scores = users * min(items, negatives), edges = 2 * users * each; steps = scores / (10 * edges), 2 or more.
        (200, 2000, 1, 4096, 100),
        (200, 2000, 1, 500, 25),
        (200, 2000, 50, 4096, 2),
        (200, 40, 20, 4096, 2),
        (3, 2000, 1, 4096, 3),
        (1, 40, 4, 4096, 1),
    ],
)
def test_an_epoch_has_as_many_steps_as_make_propagation_cost_what_the_loss_does(
    users: int, items: int, each: int, negatives: int, expected: int
) -> None:
    pairs = np.arange(users * each)
    interactions = Interactions(
        (pairs // each).astype(np.int32),
        (pairs % each).astype(np.int32),
        tuple(map(str, range(users))),
        tuple(map(str, range(items))),
    )
    assert steps_of(TrainingData.of(interactions), Recipe(negatives=negatives)) == expected


def test_an_epoch_costs_its_propagations_its_nodes_and_its_loss() -> None:
    # Two steps over 400 edges and 50 nodes, and 40 x 10 scores.
    assert epoch_cost(40, 10, 200) == 2 * (400 + 10 * 50) + 40 * 10 / 10


def test_batches_follow_their_stream(data: TrainingData) -> None:
    def order(seed: int) -> list[int]:
        return torch.cat([b.users for b in batches(data, 2, np.random.default_rng(seed))]).tolist()

    assert order(0) == order(0) != order(1)


def test_each_epoch_has_batches_and_dropout_of_its_own(data: TrainingData) -> None:
    # One batch and weights that stand still: only the dropout can change the loss.
    trainer = trained(data, epochs=0, batches=1, dropout=0.5, learning_rate=1e-12)
    losses = [trainer.epoch(lambda: ATTENTION) for _ in range(4)]
    assert min(abs(np.diff(sorted(losses)))) > 1e-4


def test_a_learning_rate_beyond_reason_raises(data: TrainingData) -> None:
    with pytest.raises(DivergedError, match="diverged"):
        trained(data, epochs=3, learning_rate=1e25)


def test_training_lowers_the_loss(data: TrainingData) -> None:
    trainer = trained(data, epochs=0, start="noise", dropout=0.0, learning_rate=0.01)
    losses = [trainer.epoch(lambda: ATTENTION) for _ in range(15)]
    assert losses[-1] < losses[0] - 0.3


def test_in_one_unit_no_ranking_changes_and_no_scale_is_left() -> None:
    generator = torch.Generator().manual_seed(0)
    users, items = (torch.randn(n, 8, generator=generator, dtype=torch.float64) for n in (20, 50))
    longer = users * torch.logspace(-3, 3, 20)[:, None]
    one, other = in_one_unit(users, items), in_one_unit(longer, 1000 * items)
    torch.testing.assert_close(one, other)
    scores = one[0] @ one[1].t()
    assert torch.equal(scores.argsort(dim=1), (users @ items.t()).argsort(dim=1))
    # Items keep what tells them apart in length; on average they are as long as those of cosine scores.
    torch.testing.assert_close(
        one[1].norm(dim=1) / one[1].norm(dim=1)[0], items.norm(dim=1) / items.norm(dim=1)[0]
    )
    assert float(one[1].square().sum(1).mean()) == pytest.approx(1)
    assert all(torch.isfinite(part).all() for part in in_one_unit(0 * users, 0 * items))


def test_a_loss_does_not_depend_on_how_long_the_states_are(data: TrainingData) -> None:
    arch = SearchSpace.load("presets/lightgcn").decode({})
    short, long = (new_trainer(arch, data, Recipe(dropout=0.0, batches=1), 0) for _ in range(2))
    with torch.no_grad():
        for tensor in long.weights.tensors.values():
            tensor.mul_(30)
    assert short.epoch(lambda: arch) == pytest.approx(long.epoch(lambda: arch), rel=1e-5)


def test_a_step_whose_gradient_is_no_number_moves_nothing(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, sound = trained(data, epochs=1), Trainer._loss
    before = trainer.state()
    # The root of 0 is a number, its gradient is none.
    monkeypatch.setattr(
        Trainer,
        "_loss",
        lambda self, *words: sound(self, *words) + (0 * self.weights.tensors["users"]).sum().sqrt(),
    )
    with pytest.raises(DivergedError, match="diverged"):
        trainer.epoch(lambda: ATTENTION)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.state().items())
    assert trainer.epochs == 1


def test_nodes_without_interactions_have_gradients_of_ordinary_size(data: TrainingData) -> None:
    kept = np.flatnonzero(data.interactions.item != 0)
    lonely = TrainingData.of(data.interactions.select(kept))
    arch = SearchSpace.load("graph").decode({"layers": 0, "score": "cosine"})
    trainer = new_trainer(arch, lonely, Recipe(dropout=0.0, batches=1), 0)
    trainer.epoch(lambda: arch)
    rows = trainer.weights.tensors["items"].grad.norm(dim=1)
    assert 0 < rows[0] < 1000 * rows[1:].max()


def test_weight_decay_shortens_the_embeddings(data: TrainingData) -> None:
    lengths = [
        float(trained(data, epochs=10, weight_decay=decay).weights.tensors["items"].detach().norm())
        for decay in (0.0, 0.1, 1.0)
    ]
    assert lengths[0] > lengths[1] > lengths[2]


def test_weight_decay_is_the_squared_length_of_what_the_step_uses(
    data: TrainingData, randomise: Callable[..., Weights]
) -> None:
    space = SearchSpace.load("lightgcn_like")
    arch = space.decode({"layers": 1, "hidden_size": 16})
    parameters = parameters_of_space(space.branches.graph, data.graph.n_users, data.graph.n_items)
    store = randomise(parameters, 0)

    def loss(decay: float) -> float:
        recipe = Recipe(batches=1, dropout=0.0, weight_decay=decay)
        return Trainer(Weights(store.tensors), data, recipe, 0).epoch(lambda: arch)

    users, items = (store.tensors[name].detach()[:, :16] for name in ("users", "items"))
    expected = users.square().sum(1).mean() + items.square().sum(1).mean()
    assert loss(0.5) - loss(0.0) == pytest.approx(0.5 * float(expected), rel=1e-4)
