"""What lifts a supernet's rank fidelity: its pace and length, the networks it trains, how it is judged.

The architectures that judge are drawn by seeds of their own, so that those of `nas fidelity` decide nothing. One supernet
is little evidence, for one of another seed may be .05 better or worse: every row is the mean of several.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from tables import replace_rows

import nas
from nas.experiment.config import SupernetConfig
from nas.experiment.context import Context
from nas.experiment.stages.fidelity import draw, trained_alone
from nas.experiment.stages.judging import supernet_evaluator
from nas.experiment.stages.recipe import recipe_of
from nas.model.supernet import LENGTH_POWER, Sampler, Supernet
from nas.model.training import Trainer
from nas.model.weights import Weights
from nas.search.fidelity import kendall, regret
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe

OUT = Path("results/benchmarks/supernet_ablation.json")
# Of a candidate's own epochs: slow ones, which settle its weights and do not move them far.
OWN_RATE = 0.002

VARIATIONS: tuple[dict[str, Any], ...] = (
    {},
    {"epochs": 0},
    {"epochs": 10},
    {"epochs": 60},
    {"learning_rate": 0.0005},
    {"learning_rate": 0.004},
    {"batches": 2, "epochs": 120},
    {"batches": 2, "epochs": 12, "learning_rate": 0.007},
    {"sizes": "any"},
    {"sizes": "any", "epochs": 60},
    {"length_power": 0.0},
    {"length_power": 1.0},
    {"own_epochs": 2},
)
"""What differs from the defaults, one row each."""


class AnySize(Sampler):
    """Chooses architectures of every hidden size."""

    def __call__(self) -> Architecture:
        """Return the next architecture."""
        return self.space.decode(self._deal())


SAMPLERS = {"widest": Sampler, "any": AnySize}


def scored(
    context: Context, recipe: Recipe, setting: dict[str, Any], seed: int, judges: list[Architecture]
) -> tuple[list[float], float, float]:
    """Return each judge's score by one supernet, the seconds of its training and those of a score."""
    space, started = context.experiment.search_space, time.perf_counter()
    settings = SupernetConfig(learning_rate=setting["learning_rate"], batches=setting["batches"])
    sampler = SAMPLERS[setting["sizes"]]
    supernet = Supernet(space, context.training, settings.recipe(recipe), seed, sampler)
    for _ in range(setting["epochs"]):
        supernet.epoch()
    trained = time.perf_counter()
    score = _score(context, recipe, supernet.weights, setting["own_epochs"], setting["length_power"])
    found = [score(judge) for judge in judges]
    return found, trained - started, (time.perf_counter() - trained) / len(judges)


def _score(
    context: Context, recipe: Recipe, weights: Weights, own_epochs: int, length_power: float
) -> Callable[[Architecture], float]:
    """Return what judges an architecture at the best of some epochs that are trained for it alone; 0: as it is."""
    metric, data, space = context.experiment.metric, context.training, context.experiment.search_space
    if not own_epochs:
        judge = supernet_evaluator(context, space.only("graph"), weights, length_power)
        return lambda architecture: judge(architecture)[metric]
    slow = recipe.model_copy(update={"learning_rate": OWN_RATE})

    def score(architecture: Architecture) -> float:
        trainer = Trainer(weights.extract(architecture, data.graph), data, slow, seed=0)
        looks = []
        for epoch in range(own_epochs + 1):
            if epoch:
                trainer.epoch(lambda: architecture)
            judge = supernet_evaluator(context, space, trainer.weights, length_power)
            looks.append(judge(architecture)[metric])
        return max(looks)

    return score


def main(
    run: Annotated[Path, typer.Argument(help="A finished run, whose data and recipe are used.")],
    n: Annotated[int, typer.Option(help="Architectures a draw.")] = 60,
    draws: Annotated[list[int], typer.Option(help="Seeds of the draws.")] = [1000, 1001],  # noqa: B006
    supernets: Annotated[int, typer.Option(help="Supernets a row, each with a seed of its own.")] = 4,
    out: Annotated[Path, typer.Option(help="The JSON file to write; other data sets' rows are kept.")] = OUT,
) -> None:
    """Train supernets of each setting, judge their scores by trainings of their own, and write a row each."""
    held = nas.Run(run)
    context = held.opened()
    recipe, experiment = recipe_of(held.folder.read_json("recipe.json")), context.experiment
    drawn = [draw(experiment.search_space.only("graph"), n, seed) for seed in draws]
    judges = list(dict.fromkeys(judge for one in drawn for judge in one))
    results = [trained_alone(context, judge, recipe, experiment.search.seed) for judge in judges]
    truth = {
        judge: result["validation"][experiment.metric] for judge, result in zip(judges, results, strict=True)
    }
    default = {
        **SupernetConfig().model_dump(),
        "sizes": "widest",
        "own_epochs": 0,
        "length_power": LENGTH_POWER,
    }
    rows = []
    for variation in VARIATIONS:
        setting = default | variation
        taus, regrets, seconds = [], [], []
        for seed in range(supernets):
            found, *spent = scored(context, recipe, setting, seed, judges)
            score = dict(zip(judges, found, strict=True))
            seconds.append(spent)
            for one in drawn:
                scores, trained = (np.array([by[judge] for judge in one]) for by in (score, truth))
                taus.append(kendall(scores, trained) or 0.0)
                regrets.append(regret(scores, trained, 5))
        rows.append({
            "data": held.experiment.name,
            "n": n,
            "draws": len(draws),
            "supernets": supernets,
            **setting,
            "kendall_tau": round(float(np.mean(taus)), 3),
            "range": [round(min(taus), 3), round(max(taus), 3)],
            "top5_regret": round(float(np.mean(regrets)), 4),
            "seconds_supernet": round(float(np.median([spent[0] for spent in seconds])), 1),
            "seconds_each": round(float(np.median([spent[1] for spent in seconds])), 4),
        })  # fmt: skip
        print(rows[-1], flush=True)
    replace_rows(out, rows)


if __name__ == "__main__":
    typer.run(main)
