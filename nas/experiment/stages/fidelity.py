"""Measure the supernet's rank fidelity: draw architectures, train each alone, compare the two rankings."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from nas.errors import UserError
from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.stages.judging import supernet_evaluator
from nas.experiment.team import Job
from nas.model.weights import Weights
from nas.randomness import stream
from nas.search.fidelity import FEWEST, rank_fidelity, strata
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe
from nas.space.search_space import SearchSpace

_TRIVIAL = ("parameters", "refresh_macs", "hidden size", "layers")
# Draws for each that is wanted; a space may hold fewer.
_ATTEMPTS = 50


def check_measurable(experiment: Experiment, n: int, n_seeds: int, seed: int) -> None:
    """Raise UserError if these are no numbers to measure with, or the space holds too few graph branches."""
    for name, value, least in (("n", n, FEWEST), ("seeds", n_seeds, 1), ("seed", seed, 0)):
        if type(value) is not int or value < least:
            raise UserError(f"{name}: expected a whole number of at least {least}, but got {value!r}")
    held = len(draw(experiment.search_space.only("graph"), n, seed))
    if held < FEWEST:
        raise UserError(
            f"search_space: the graph branches that can be drawn are {held}; a ranking needs a space of "
            f"at least {FEWEST} of them"
        )


def measure_fidelity(
    context: Context, weights: Weights, recipe: Recipe, n: int, n_seeds: int, seed: int
) -> dict[str, Any]:
    """Return what `rank_fidelity` does of n graph branches, and {seed, metric, rows, seconds, seconds_each}.

    The architectures are drawn by `seed` and written down before one is trained. Every training is kept when it is
    finished, so a measurement that was interrupted goes on, and a larger n or more seeds add to a smaller one.
    """
    space, metric = context.experiment.search_space.only("graph"), context.experiment.metric
    drawn = draw(space, n, seed)
    plan = {"seed": seed, "metric": metric, "architectures": [one.values() for one in drawn]}
    context.folder.write_json("fidelity/plan.json", plan)
    seeds = [context.experiment.search.seed + number for number in range(n_seeds)]
    trained: dict[str, list[float]] = defaultdict(list)
    seconds = []
    wanted = [(architecture, training_seed) for training_seed in seeds for architecture in drawn]
    done = [(context.folder.path / _file(*pair)).exists() for pair in wanted]
    with stage("fidelity", len(wanted)) as steps:
        steps.begin_at(sum(done))
        jobs = [
            Job(trained_alone, _file(one, of), {"architecture": one, "recipe": recipe, "seed": of})
            for one, of in wanted
        ]
        for number, _ in enumerate(context.team.each(jobs)):
            architecture, training_seed = wanted[number]
            result = trained_alone(context, architecture, recipe, training_seed)
            trained[architecture.id].append(result["validation"][metric])
            seconds.append(result["seconds"])
            if not done[number]:
                steps.advance(f"{metric} {trained[architecture.id][-1]:.4f}")
    rows, cost = _ranked(context, weights, drawn, trained)
    found = rank_fidelity(
        np.array([row["supernet"] for row in rows], dtype=np.float64),
        np.array([row["trained"] for row in rows], dtype=np.float64),
        {name: np.array([row[name] for row in rows], dtype=np.float64) for name in _TRIVIAL},
        strata([architecture.learned for architecture in drawn]),
        seed,
    )
    return found | {
        "seed": seed,
        "metric": metric,
        "rows": rows,
        "seconds": sum(seconds),
        "seconds_each": {"training": float(np.median(seconds)), "supernet": float(np.median(cost))},
    }


def _ranked(
    context: Context,
    weights: Weights,
    drawn: list[Architecture],
    trained: Mapping[str, list[float]],
) -> tuple[list[dict[str, Any]], list[float]]:
    """Return a row an architecture, with what the supernet says of it, and the seconds that took."""
    space, metric = context.experiment.search_space.only("graph"), context.experiment.metric
    judge = supernet_evaluator(context, space, weights)
    rows: list[dict[str, Any]] = []
    cost: list[float] = []
    with stage("supernet's ranking", len(drawn)) as steps:
        for architecture in drawn:
            started = time.perf_counter()
            values = judge(architecture)
            cost.append(time.perf_counter() - started)
            sizes = {
                "hidden size": architecture.learned.hidden_size,
                "layers": len(architecture.learned.layers),
            }
            known = {name: {**values, **sizes}[name] for name in _TRIVIAL}
            rows.append({
                "id": architecture.id,
                "description": str(architecture),
                "supernet": values[metric],
                "trained": trained[architecture.id],
                **known,
            })  # fmt: skip
            steps.advance()
    return rows, cost


def draw(space: SearchSpace, n: int, seed: int) -> list[Architecture]:
    """Return n different graph branches: layers and hidden sizes in equal shares as far as the space holds them, every
    other gene uniform.

    The first of a longer draw are a shorter one's. Fewer are returned where the space holds no more.
    """
    rng = stream(seed, "fidelity architectures")
    genes = space.genes()
    decks = {name: _deck(genes[name], rng) for name in ("layers", "hidden_size")}
    found: dict[str, Architecture] = {}
    for _ in range(_ATTEMPTS * n):
        if len(found) == n:
            break
        genome = {name: choices[int(rng.integers(len(choices)))] for name, choices in genes.items()}
        architecture = space.decode(genome | {name: next(deck) for name, deck in decks.items()})
        found.setdefault(architecture.id, architecture)
    return list(found.values())


def _deck(choices: tuple[Any, ...], rng: np.random.Generator) -> Iterator[Any]:
    while True:
        yield from (choices[int(n)] for n in rng.permutation(len(choices)))


def trained_alone(context: Context, architecture: Architecture, recipe: Recipe, seed: int) -> dict[str, Any]:
    """Return {validation, epochs, seconds} of an architecture that is trained from scratch, once a run."""

    def train() -> dict[str, Any]:
        fitted = context.trainings.fit(architecture, recipe, seed)
        return {"validation": fitted.evaluation.means, "epochs": fitted.epochs, "seconds": fitted.seconds}

    return context.done(_file(architecture, seed), train)


def _file(architecture: Architecture, seed: int) -> str:
    return f"fidelity/{architecture.id}-{seed}.json"
