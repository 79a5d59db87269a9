"""Choose a recipe on validation data, by training one architecture with each.

The recipe cannot be chosen on the supernet, which is itself trained by one. So LightGCN is tuned first: it trains in
seconds, its best recipe serves its relatives, and its best training is the LightGCN baseline. Its score (dot product or
cosine) and its layers (two or three) are tuned along, for each score needs a temperature of its own. The best retrained candidates are then
tuned each for itself, starting from there, with fewer trainings than LightGCN had.
"""

import time
from typing import Any

import optuna
from optuna.trial import TrialState

from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.storage import open_journal, study_name
from nas.experiment.team import Job
from nas.experiment.trainings import fit_file
from nas.randomness import seed_of
from nas.space.architecture import Architecture
from nas.space.dimension import Value
from nas.space.recipe import Recipe
from nas.space.search_space import SearchSpace

# Random recipes before TPE chooses, and trainings before one may be stopped early, at most; of few trials, a third.
_RANDOM_FIRST = 8
_LAYERS = (2, 3)
_ARCHITECTURE = "architecture"


def lightgcn(score: Value = "dot", layers: Value = 3) -> Architecture:
    """Return the LightGCN preset, by dot product and of three layers as published, or otherwise."""
    preset = SearchSpace.load("presets/lightgcn").decode({}).learned
    change = {"score": score, "layers": preset.layers[:1] * int(layers)}
    return Architecture(graph=preset.model_copy(update=change))


def choose_recipe(context: Context) -> dict[str, Any]:
    """Return {architecture, recipe, epochs, validation, trials, seconds}: the best recipe, and LightGCN's result with it."""
    space, trials = context.experiment.search_space, context.experiment.recipe.trials
    graph = space.branches.graph
    assert graph is not None
    layers = [count for count in graph.layers.choices if count in _LAYERS] or _LAYERS[-1:]
    known = tuple(lightgcn(score, count) for count in reversed(layers) for score in graph.score.choices)
    first = space.recipe_defaults()

    def choose() -> dict[str, Any]:
        found = tune(context, "recipe", known, space, first, trials)
        # What the branches stand beside, and a candidate of its own, maybe in another process.
        context.trainings.keep(tuned_lightgcn(found), recipe_of(found), context.experiment.search.seed)
        return found

    return context.done("recipe.json", choose)


def tune_candidate(context: Context, architecture: Architecture, first: Recipe) -> dict[str, Any]:
    """Return the same for a retrained architecture, `first` being the recipe that it was retrained with."""
    name, trials = f"tuning-{architecture.id}", context.experiment.retrain.recipes
    space = context.experiment.search_space
    return context.done(f"{name}.json", lambda: tune(context, name, (architecture,), space, first, trials))


def tune(
    context: Context,
    name: str,
    architectures: tuple[Architecture, ...],
    space: SearchSpace,
    first: Recipe,
    trials: int,
) -> dict[str, Any]:
    """Return {architecture, recipe, epochs, validation, trials, seconds} of the best of `trials` trainings.

    Each is of one of the architectures by a recipe of `space`; every architecture is tried with `first` first.
    """
    experiment = context.experiment
    if not space.free_recipe():
        trials = min(trials, len(architectures))
    random_first = min(_RANDOM_FIRST, trials // 3)
    # These know nothing of each other, so that they can be tried at once.
    at_once = min(trials, max(random_first, len(architectures)))
    # As long as a training may take to leave its start: what learns slowly is often the best in the end.
    patient = 2 * experiment.retrain.looks * experiment.retrain.every
    study = optuna.create_study(
        storage=open_journal(experiment, context.folder.path, name),
        study_name=study_name(experiment, name),
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=at_once, n_warmup_steps=patient),
    )
    for _ in study.get_trials(deepcopy=False, states=[TrialState.WAITING]):
        # Enqueued by a process that was killed before it asked: taken, and left unfinished like what it did ask for.
        study.ask()
    with stage(name, trials) as steps:
        number = len(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.PRUNED]))
        steps.begin_at(number)
        while number < trials:
            batch = []
            for ahead in range(number, max(number + 1, at_once)):
                study.sampler = optuna.samplers.TPESampler(
                    seed=seed_of(experiment.search.seed, f"{name}/{ahead}") % 2**32,
                    n_startup_trials=random_first,
                    multivariate=True,
                    constant_liar=False,
                )
                batch.append(_proposed(study, architectures, space, first, ahead))
            jobs = [_training(context, one, recipe) for _, one, recipe in batch] if len(batch) > 1 else []
            for _ in context.team.each(jobs):
                pass
            for trial in batch:
                _try_one(context, study, *trial)
                steps.advance(f"best {experiment.metric} {study.best_value:.4f}")
            number += len(batch)
    best = study.best_trial
    return {
        **{key: best.user_attrs[key] for key in ("architecture", "recipe", "epochs", "validation")},
        "trials": trials,
        # Of all trainings, those of an interrupted run included.
        "seconds": sum(t.user_attrs.get("seconds", 0.0) for t in study.trials),
    }


def _proposed(
    study: optuna.Study,
    architectures: tuple[Architecture, ...],
    space: SearchSpace,
    first: Recipe,
    number: int,
) -> tuple[optuna.Trial, Architecture, Recipe]:
    """Return a trial of the study, with what it is to train: the first ones every architecture by `first`."""
    if number < len(architectures):
        enqueued = {key: getattr(first, key) for key in space.free_recipe()}
        study.enqueue_trial(enqueued | {_ARCHITECTURE: architectures[number].id})
    trial, known = study.ask(), {architecture.id: architecture for architecture in architectures}
    return trial, known[trial.suggest_categorical(_ARCHITECTURE, list(known))], space.suggest_recipe(trial)


def _training(context: Context, architecture: Architecture, recipe: Recipe) -> Job:
    seed = context.experiment.search.seed
    arguments = {"architecture": architecture, "recipe": recipe, "seed": seed}
    return Job(keep_fit, fit_file(architecture, recipe, seed), arguments)


def keep_fit(context: Context, architecture: Architecture, recipe: Recipe, seed: int) -> None:
    """Train a network and leave it in the run folder."""
    context.trainings.keep(architecture, recipe, seed)


def _try_one(
    context: Context, study: optuna.Study, trial: optuna.Trial, architecture: Architecture, recipe: Recipe
) -> None:
    told, started = set[int](), time.perf_counter()

    def report(epoch: int, value: float) -> None:
        told.add(epoch)
        trial.report(value, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        fitted = context.trainings.fit(architecture, recipe, context.experiment.search.seed, report)
    except optuna.TrialPruned:
        trial.set_user_attr("seconds", time.perf_counter() - started)
        study.tell(trial, state=TrialState.PRUNED)
        return
    for epoch, value in fitted.curve[1:]:
        # Of a training that was there already.
        if epoch not in told:
            trial.report(value, epoch)
    trial.set_user_attr("seconds", fitted.seconds)
    trial.set_user_attr("architecture", architecture.values())
    trial.set_user_attr("recipe", recipe.model_dump(mode="json"))
    trial.set_user_attr("epochs", fitted.epochs)
    trial.set_user_attr("validation", fitted.evaluation.means)
    study.tell(trial, fitted.evaluation.means[context.experiment.metric])


def recipe_of(result: dict[str, Any]) -> Recipe:
    """Read the recipe out of what `choose_recipe` or `tune_candidate` returned."""
    return Recipe.model_validate(result["recipe"])


def tuned_lightgcn(result: dict[str, Any]) -> Architecture:
    """Read LightGCN, with the score and layers that were chosen, out of what `choose_recipe` returned."""
    return Architecture.model_validate(result["architecture"])
