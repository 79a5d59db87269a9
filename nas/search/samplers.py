"""Optuna's samplers by name; an addition is a function and its line in `SAMPLERS`.

Each call makes a fresh sampler from a seed. A search makes one a trial, seeded by how many trials are complete, so
that a search which resumes goes on exactly as it would have: Optuna does not store a sampler's random state.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler


@dataclass(frozen=True, slots=True)
class Strategy:
    """How a search proposes architectures.

    Attributes:
        make: (seed, population) -> sampler.
        conditional: whether only the genes that matter are suggested; the evolutionary samplers cross over only
            what every trial has, so they get the whole fixed-length genome.
        sequential: whether a proposal depends on the value of the one before it.
    """

    make: Callable[[int, int], BaseSampler]
    conditional: bool = False
    sequential: bool = False


def _tpe(seed: int, population: int) -> BaseSampler:
    return TPESampler(
        seed=seed, n_startup_trials=population, multivariate=True, group=True, constant_liar=False
    )


SAMPLERS: dict[str, Strategy] = {
    "nsga2": Strategy(lambda seed, population: NSGAIISampler(seed=seed, population_size=population)),
    "nsga3": Strategy(lambda seed, population: NSGAIIISampler(seed=seed, population_size=population)),
    "tpe": Strategy(_tpe, conditional=True, sequential=True),
    "random": Strategy(lambda seed, _population: RandomSampler(seed=seed), conditional=True),
}


def make_sampler(name: str, seed: int, population: int) -> BaseSampler:
    """Return a fresh sampler; `seed` is cut to the 32 bits that Optuna takes."""
    with warnings.catch_warnings():
        # NSGA-III and TPE's `group` are called experimental; the version of Optuna is pinned, the behaviour tested.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return SAMPLERS[name].make(seed % 2**32, population)
