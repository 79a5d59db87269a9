"""What lifts a supernet's rank fidelity: its epochs, the networks of a step, the epochs a candidate has of its own.

The architectures that judge are drawn by a seed of their own, so that those of `nas fidelity` decide nothing.
"""

import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from tables import replace_rows

import nas
from nas.experiment.context import Context
from nas.experiment.stages.fidelity import draw, trained_alone
from nas.experiment.stages.judging import supernet_evaluator
from nas.experiment.stages.recipe import recipe_of
from nas.model.averaging import Average
from nas.model.supernet import supernet_weights, train_epoch
from nas.model.training import Trainer
from nas.model.weights import Weights
from nas.search.fidelity import rank_fidelity, strata
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe

OUT = Path("results/benchmarks/supernet_ablation.json")


def trained_supernet(context: Context, recipe: Recipe, epochs: int, random: int) -> tuple[Weights, float]:
    """Return the average of the shared weights over so many epochs, and the seconds they took; 0 leave their start."""
    experiment, started = context.experiment, time.perf_counter()
    space, seed, recipe = (
        experiment.search_space,
        experiment.search.seed,
        experiment.supernet.recipe(recipe),
    )
    trainer = Trainer(supernet_weights(space, context.training, recipe, seed), context.training, recipe, seed)
    average = Average(trainer.weights)
    for _ in range(epochs):
        train_epoch(trainer, space, random)
        average.add(trainer.weights)
    return average.weights, time.perf_counter() - started


def judged(
    context: Context,
    recipe: Recipe,
    weights: Weights,
    tuning: int,
    judges: list[Architecture],
    truth: list[float],
) -> dict[str, Any]:
    """Return how the scores of one supernet, after `tuning` epochs of each candidate, agree with training."""
    settings = context.experiment.supernet.model_copy(update={"tuning": tuning})
    changed = replace(context, experiment=context.experiment.model_copy(update={"supernet": settings}))
    judge = supernet_evaluator(changed, changed.experiment.search_space.only("graph"), weights, recipe)
    started = time.perf_counter()
    scores = np.array([judge(architecture)[context.experiment.metric] for architecture in judges])
    seconds = (time.perf_counter() - started) / len(judges)
    groups = strata([architecture.learned for architecture in judges])
    found = rank_fidelity(scores, np.array(truth)[:, None], {}, groups, 0)
    sizes = [one["kendall_tau"] for name, one in found["strata"].items() if name.startswith("hidden size")]
    known = [tau for tau in sizes if tau is not None]
    return {
        "kendall_tau": round(found["kendall_tau"], 3),
        "interval": [round(end, 3) for end in found["interval"]],
        "within_sizes": round(float(np.mean(known)), 3) if known else None,
        "top5_regret": round(found["top5_regret"], 4),
        "seconds_each": round(seconds, 3),
    }


def main(
    run: Annotated[Path, typer.Argument(help="A finished run, whose data and recipe are used.")],
    n: Annotated[int, typer.Option(help="Architectures that judge.")] = 60,
    seed: Annotated[int, typer.Option(help="Of their draw.")] = 1000,
    epochs: Annotated[list[int], typer.Option(help="Of the supernet.")] = [0, 4, 12, 20, 60],  # noqa: B006
    random: Annotated[list[int], typer.Option(help="Random networks a step.")] = [1],  # noqa: B006
    tuning: Annotated[list[int], typer.Option(help="Epochs of each candidate's own.")] = [0, 1, 2, 8],  # noqa: B006
    out: Annotated[Path, typer.Option(help="The JSON file to write; other data sets' rows are kept.")] = OUT,
) -> None:
    """Train a supernet for each setting, judge its scores, and write a row each."""
    held = nas.Run(run)
    context = held.opened()
    recipe = recipe_of(held.folder.read_json("recipe.json"))
    judges = draw(context.experiment.search_space.only("graph"), n, seed)
    results = [trained_alone(context, judge, recipe, context.experiment.search.seed) for judge in judges]
    truth = [result["validation"][context.experiment.metric] for result in results]
    rows = []
    for length, others in product(epochs, random):
        weights, seconds = trained_supernet(context, recipe, length, others)
        for own in tuning:
            found = judged(context, recipe, weights, own, judges, truth)
            setting = {"supernet_epochs": length, "random": others, "tuning": own}
            rows.append({"data": held.experiment.name, "n": len(judges), "seed": seed, **setting, **found})
            rows[-1] |= {"seconds_supernet": round(seconds, 1)}
            print(rows[-1], flush=True)
    replace_rows(out, rows)


if __name__ == "__main__":
    typer.run(main)
