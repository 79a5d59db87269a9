"""Choose a recipe on validation data, by training one architecture with each.

The recipe cannot be chosen on the supernet, which is itself trained by one. So LightGCN is tuned first: it trains in
seconds, its best recipe serves its relatives, and its best training is the LightGCN baseline. The best retrained
candidates are then tuned each for itself, starting from there, with fewer trainings than LightGCN had.
"""

from typing import Any

import optuna
from optuna.trial import TrialState

from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.storage import open_storage, study_name
from nas.randomness import seed_of
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe
from nas.space.search_space import SearchSpace

_RANDOM_FIRST = 8
_PATIENT_EPOCHS = 10


def lightgcn() -> Architecture:
    """Return the LightGCN preset."""
    return SearchSpace.load("presets/lightgcn").decode({})


def choose_recipe(context: Context) -> dict[str, Any]:
    """Return {recipe, epochs, validation, trials, seconds}: the best recipe, and LightGCN's result with it."""
    space, trials = context.experiment.search_space, context.experiment.recipe.trials
    first = space.recipe_defaults()
    return context.done("recipe.json", lambda: tune(context, "recipe", lightgcn(), space, first, trials))


def tune_candidate(context: Context, architecture: Architecture, first: Recipe) -> dict[str, Any]:
    """Return the same for a retrained architecture, `first` being the recipe that it was retrained with."""
    name, trials = f"tuning-{architecture.id}", context.experiment.retrain.recipes
    space = context.experiment.search_space
    return context.done(f"{name}.json", lambda: tune(context, name, architecture, space, first, trials))


def tune(
    context: Context, name: str, architecture: Architecture, space: SearchSpace, first: Recipe, trials: int
) -> dict[str, Any]:
    """Return {recipe, epochs, validation, trials, seconds} of the best of `trials` recipes of `space`, `first` first."""
    experiment = context.experiment
    study = optuna.create_study(
        storage=open_storage(experiment, context.folder.path),
        study_name=study_name(experiment, name),
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_RANDOM_FIRST, n_warmup_steps=_PATIENT_EPOCHS),
    )
    if not space.free_recipe():
        trials = 1
    with stage(name, trials) as steps:
        finished = len(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.PRUNED]))
        steps.begin_at(finished)
        for number in range(finished, trials):
            study.sampler = optuna.samplers.TPESampler(
                seed=seed_of(experiment.search.seed, f"{name}/{number}") % 2**32,
                n_startup_trials=_RANDOM_FIRST,
                multivariate=True,
                constant_liar=False,
            )
            _try_one(context, study, architecture, space, first if number == 0 else None)
            steps.advance(f"best {experiment.metric} {study.best_value:.4f}")
    best = study.best_trial
    return {
        **{key: best.user_attrs[key] for key in ("recipe", "epochs", "validation")},
        "trials": trials,
        # Of all trainings, those of an interrupted run included.
        "seconds": sum(t.duration.total_seconds() for t in study.trials if t.duration is not None),
    }


def _try_one(
    context: Context,
    study: optuna.Study,
    architecture: Architecture,
    space: SearchSpace,
    first: Recipe | None,
) -> None:
    if first is not None:
        study.enqueue_trial({name: getattr(first, name) for name in space.free_recipe()})
    trial = study.ask()
    recipe = space.suggest_recipe(trial)

    def report(epoch: int, value: float) -> None:
        trial.report(value, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        fitted = context.fit(architecture, recipe, context.experiment.search.seed, report)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        return
    trial.set_user_attr("recipe", recipe.model_dump(mode="json"))
    trial.set_user_attr("epochs", fitted.epochs)
    trial.set_user_attr("validation", fitted.evaluation.means)
    study.tell(trial, fitted.evaluation.means[context.experiment.metric])


def recipe_of(result: dict[str, Any]) -> Recipe:
    """Read the recipe out of what `choose_recipe` or `tune_candidate` returned."""
    return Recipe.model_validate(result["recipe"])
