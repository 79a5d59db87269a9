"""Spaces whose architectures have several branches."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import UserError
from nas.space import Architecture, SearchSpace
from nas.space.architecture import Fusion
from nas.space.closed_form import ItemBranch, SpectralBranch, UserBranch
from nas.space.closed_form_space import ItemSpace, SpectralSpace

SMALL: dict[str, Any] = {
    "name": "small",
    "branches": {
        "graph": {"layers": [0, 1], "aggregator": ["lightgcn", "gcn"], "score": ["dot", "cosine"]},
        "spectral": {"rank": [4, 8], "low_pass": [0, 0.5]},
        "item": {"kind": ["ease", "cosine"], "dropout": [0, 0.5], "neighbours": [1, 2]},
    },
    "fusion": {"graph": [0, 1], "spectral": [0, 1, 2], "item": [0, 2]},
}
SPACE = SearchSpace.parse(SMALL, "small")
FULL = SearchSpace.load("full")


@given(st.integers(0, 10_000))
def test_what_is_drawn_is_inside_and_is_found_again(seed: int) -> None:
    for space in (SPACE, FULL):
        drawn = space.sample(np.random.default_rng(seed))
        assert drawn == drawn.canonical() == Architecture.model_validate(drawn.values())
        assert space.contains(drawn)
        assert space.decode(space.encode(drawn)) == drawn


@pytest.mark.parametrize(
    "fusion",
    [
        SMALL["fusion"],
        {"graph": [0], "spectral": [0, 1], "item": [0, 2]},
        {"graph": [0], "spectral": [0, 1000], "item": [0, 1]},
        {"graph": [0], "spectral": [0], "item": [0, 0.9996]},
        {"graph": [0, 1], "spectral": [0], "item": [0, 2]},
    ],
)
def test_a_space_is_what_its_genomes_decode_to_and_a_branch_of_weight_0_is_in_none(
    fusion: dict[str, Any],
) -> None:
    space = SearchSpace.parse(SMALL | {"fusion": fusion}, "small")
    genes = space.genes()
    found = {space.decode(dict(zip(genes, chosen, strict=True))) for chosen in product(*genes.values())}
    assert space.size() == len(found)
    for one in found:
        assert one == one.canonical()
        assert space.contains(one)
        assert space.decode(space.encode(one)) == one
        assert set(space.neighbours(one)) < found
        assert not any(fusion[name] == [0] for name in one.branches)
    for name, branch in SPACE.decode({f"fusion.{name}": 1.0 for name in fusion}).branches.items():
        alone = Architecture.model_validate({name: branch})
        assert space.contains(alone) == (alone in found) == (fusion[name] != [0])


def test_the_size_counts_every_architecture_once() -> None:
    rng = np.random.default_rng(0)
    found = {SPACE.sample(rng) for _ in range(30_000)}
    assert len(found) == SPACE.size()
    assert len({one.id for one in found}) == len(found)
    assert len({str(one) for one in found}) == len(found)


def some(*choices: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(choices), min_size=1, max_size=2, unique=True)


ITEMS = st.fixed_dictionaries(
    {
        "kind": st.lists(
            st.sampled_from(["ease", "slim", "next", "cosine"]), min_size=1, max_size=4, unique=True
        ),
        **{name: some(1, 2.0, 3) for name in ("regularisation", "l1")},
        **{name: some(0, 0.5) for name in ("dropout", "user_norm", "features", "rating", "debias")},
    }
).map(ItemSpace.model_validate)
SPECTRA = st.fixed_dictionaries({"rank": some(4, 8), "low_pass": some(0, 0.5), "neighbours": some(0, 3)}).map(
    SpectralSpace.model_validate
)


@given(ITEMS | SPECTRA)
def test_the_size_of_a_branch_counts_every_branch_once(space: ItemSpace | SpectralSpace) -> None:
    assert space.size() == len(set(space.varied(space.genes().keys())))


def test_some_settings_are_varied_and_the_others_stay_at_their_first_choices() -> None:
    space = ItemSpace.model_validate({"kind": ["slim", "ease"], "l1": [0.3, 2], "rating": [0.1, 0]})
    assert set(space.varied(["kind"])) == {
        ItemBranch(kind="slim", l1=0.3, rating=0.1),
        ItemBranch(kind="ease", rating=0.1),
    }


def test_weights_that_are_multiples_are_one_fusion() -> None:
    graph = SPACE.decode({}).model_copy(update={"fusion": None})
    branches = {"spectral": SpectralBranch(rank=4), "item": ItemBranch()}
    one, other = (
        Architecture.model_validate({**branches, "fusion": {"spectral": a, "item": 2 * a}}).canonical()
        for a in (0.5, 3)
    )
    assert one == other
    assert one.fusion == Fusion(spectral=0.3333, item=0.6667)
    assert one.canonical() == one
    alone = Architecture.model_validate({**branches, "fusion": {"spectral": 1}}).canonical()
    assert alone == Architecture(spectral=SpectralBranch(rank=4))
    assert graph.weights == {"graph": 1}


def test_fusions_without_the_user_branch_keep_the_ids_that_they_had_before_there_was_one() -> None:
    without = {"graph": {"hidden_size": 4}, "item": {}, "fusion": {"graph": 0.5, "item": 0.5}}
    assert Architecture.model_validate(without).id == "ce61794f2f"
    assert "user" not in Architecture.model_validate(without).values()["fusion"]
    fused = Architecture.model_validate(without | {"user": {}, "fusion": {"graph": 0.5, "user": 0.5}})
    assert fused.values()["fusion"] == {"graph": 0.5, "spectral": 0.0, "item": 0.0, "user": 0.5}


def test_an_item_branch_without_what_is_new_keeps_its_id() -> None:
    plain = Architecture(item=ItemBranch())
    for name in ("debias", "features"):
        assert name not in plain.values()["item"]
        branch = ItemBranch.model_validate({name: 0.2})
        assert branch.model_dump()[name] == 0.2
        assert Architecture(item=branch).id != plain.id
        assert str(branch) == f"item ease, {name} 0.2"


def test_the_user_branch_says_all_of_its_settings() -> None:
    assert str(UserBranch()) == "users, neighbours 50, power 3, rarity 0.5"
    assert str(UserBranch(recency=3)) == "users, neighbours 50, power 3, rarity 0.5, recency 3"


def test_without_any_weight_the_first_branch_is_alone() -> None:
    found = SPACE.decode({"fusion.graph": 0.0, "fusion.spectral": 0.0, "fusion.item": 0.0})
    assert list(found.branches) == ["graph"]


def test_settings_that_change_nothing_are_spelt_one_way() -> None:
    cosine = ItemBranch(kind="cosine", dropout=0.5, proximity=3.0, user_norm=0.5, neighbours=0)
    assert cosine.canonical() == ItemBranch(kind="cosine")
    assert SpectralBranch(rank=7, low_pass=0).canonical() == SpectralBranch(rank=9, low_pass=0).canonical()


def test_a_settled_branch_has_no_choice_left() -> None:
    branch = ItemBranch(regularisation=30.0, proximity=10.0, neighbours=0)
    settled = FULL.settled(branch)
    assert not [name for name in settled.free_genes() if name.startswith("item.")]
    assert settled.decode({"fusion.item": 3.0}).item == branch
    assert "spectral" not in settled.without("spectral").branches.names
    assert settled.without("spectral").decode({}).item == branch
    assert settled.only("graph").sample(np.random.default_rng(0)).branches.keys() == {"graph"}


@pytest.mark.parametrize(("preset", "branch"), [("ease", "item"), ("gfcf", "spectral")])
def test_ease_and_gfcf_are_points_of_the_full_space(preset: str, branch: str) -> None:
    known = SearchSpace.load(f"presets/{preset}").decode({})
    assert list(known.branches) == [branch]
    settings = known.branches[branch].model_dump()
    # Whatever the strength of its regularisation.
    settings |= {"regularisation": 300.0} if branch == "item" else {}
    assert FULL.contains(Architecture.model_validate({branch: settings}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"branches": {}}, "small: branches: give at least one branch: graph, spectral, item or user"),
        ({"branches": {"item": {"dropout": [0.5, 1]}}}, "dropout: expected less than 1, but got 1"),
        (
            {"branches": {"item": {"kind": "knn"}}},
            "kind: expected 'ease', 'slim', 'next' or 'cosine', but got 'knn'",
        ),
        (
            {"branches": {"item": {"debias": [0, "lots"]}}},
            "branches.item: debias: expected a valid number, but got 'lots'",
        ),
        ({"recipe": {"recency": [0, "soon"]}}, "recency: expected a valid number, but got 'soon'"),
        ({"recipe": {"recencyy": [0, 5]}}, "unknown setting 'recencyy'; did you mean 'recency'?"),
        ({"branches": {"spectral": {"rank": {"min": 0.5, "max": 2.5}}}}, "rank: give choices"),
        (
            {"branches": {"spectral": {"ranks": [4]}}},
            "branches.spectral.ranks: unknown key; did you mean 'rank'?",
        ),
        ({"fusion": {"item": [-1]}}, "fusion: item: expected a list of weights of at least 0"),
        ({"fusion": {"graph": [float("nan"), 1]}}, "graph: expected a list of weights of at least 0"),
        ({"fusion": {"graph": [float("inf"), 1]}}, "at most 1,000,000, but got inf 1"),
        ({"fusion": {"graph": [1e308], "item": [1e308]}}, "at most 1,000,000, but got 1e+308"),
        ({"fusion": {"graph": [10**400]}}, "at most 1,000,000, but got 1000"),
        (
            {"fusion": {"graph": [1], "item": [1e-5]}},
            "fusion: weights above 0 may differ by a factor of 1,000 at most, but got 1e-05 and 1",
        ),
        (
            {"fusion": {"graph": {"choices": [0, 1], "per": "tied"}}},
            "fusion.graph: only aggregator and heads",
        ),
        (
            {"branches": SMALL["branches"] | {"item": {"l1": {"choices": [1, 2], "per": "tied"}}}},
            "branches.item.l1: only aggregator and heads have choices of each layer; leave out per: tied",
        ),
        ({"recipe": {"loss": {"choices": ["bpr"], "per": "tied"}}}, "recipe.loss: only aggregator and heads"),
        ({"fusion": {"user": [0, 1]}}, "fusion.user: there is no such branch; expected weights of ['graph',"),
        (
            {"fusion": {"graph": 0, "spectral": 0, "item": [0]}},
            "at least one branch must have a weight above 0",
        ),
        ({"fusion": {"items": [1]}}, "fusion.items: unknown key; did you mean 'item'?"),
    ],
)
def test_a_faulty_space_is_told_where(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        SearchSpace.parse(SMALL | change, "small")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "at least one branch"),
        ({"item": {}, "fusion": {"graph": 1}}, "fusion.graph: there is no such branch"),
        ({"item": {}, "fusion": {}}, "at least one weight must be above 0"),
    ],
)
def test_a_faulty_fusion_is_refused(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Architecture.model_validate(value)
