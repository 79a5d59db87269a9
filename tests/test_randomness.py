import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.randomness import seed_of, stream, torch_stream


@given(st.lists(st.tuples(st.integers(0, 2**40), st.text()), unique=True, max_size=50))
def test_streams_of_different_names_or_seeds_are_different(keys: list[tuple[int, str]]) -> None:
    seeds = {seed_of(seed, name) for seed, name in keys}
    assert len(seeds) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_stream_is_its_seed_and_name() -> None:
    assert stream(1, "a").integers(2**60) == stream(1, "a").integers(2**60)
    assert stream(1, "a").integers(2**60) != stream(1, "b").integers(2**60)
    assert stream(1, "a").integers(2**60) != stream(2, "a").integers(2**60)
    one, same, other = (torch.rand(3, generator=torch_stream(1, name)) for name in ("a", "a", "b"))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_seeds_are_a_contract() -> None:
    # Published runs name their seed: the same seed has to go on meaning the same streams.
    assert seed_of(0, "split") == 3769940940748469125


def test_streams_leave_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    torch.rand(3, generator=torch_stream(0, "a"))
    stream(0, "a").random()
    assert torch.equal(torch.get_rng_state(), before)
