"""Choose the recipe on validation data, by training the LightGCN preset.

The recipe cannot be chosen on the supernet, which is itself trained by one. LightGCN is trained in a second or two, its
best recipes suit its relatives, and its best training is the LightGCN baseline: tuned with the winner's own budget.
"""

from typing import Any

import optuna
from optuna.trial import TrialState

from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.experiment.storage import open_storage, study_name
from nas.model.fitting import fit
from nas.randomness import seed_of
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe
from nas.space.search_space import SearchSpace

_WARM_UP = 8


def lightgcn() -> Architecture:
    """Return the LightGCN preset."""
    return SearchSpace.load("presets/lightgcn").decode({})


def choose_recipe(context: Context) -> dict[str, Any]:
    """Return {recipe, epochs, validation, trials, seconds}: the best recipe and LightGCN's result with it."""
    return context.done("recipe.json", lambda: _choose(context))


def _choose(context: Context) -> dict[str, Any]:
    experiment = context.experiment
    space, settings = experiment.search_space, experiment.recipe
    study = optuna.create_study(
        storage=open_storage(context.experiment, context.folder.path),
        study_name=study_name(context.experiment, "recipe"),
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_WARM_UP, n_warmup_steps=10),
    )
    trials = settings.trials if space.free_recipe() else 1
    with stage("recipe", trials) as steps:
        finished = len(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.PRUNED]))
        steps.begin_at(finished)
        for number in range(finished, trials):
            seed = seed_of(experiment.search.seed, f"recipe/{number}") % 2**32
            study.sampler = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=_WARM_UP, multivariate=True, constant_liar=False
            )
            _try_one(context, study, first=number == 0)
            steps.advance(f"best {experiment.metric} {study.best_value:.4f}")
    best = study.best_trial
    return {
        "recipe": best.user_attrs["recipe"],
        "epochs": best.user_attrs["epochs"],
        "validation": best.user_attrs["validation"],
        "trials": trials,
        # Of all trainings, those of an interrupted run included.
        "seconds": sum(t.duration.total_seconds() for t in study.trials if t.duration is not None),
    }


def _try_one(context: Context, study: optuna.Study, first: bool) -> None:
    experiment, space = context.experiment, context.experiment.search_space
    if first:
        chosen = space.recipe_defaults()
        study.enqueue_trial({name: getattr(chosen, name) for name in space.free_recipe()})
    trial = study.ask()
    recipe = space.suggest_recipe(trial)

    def report(epoch: int, value: float) -> None:
        trial.report(value, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        fitted = fit(
            lightgcn(),
            recipe,
            context.training,
            context.valid,
            context.patience,
            metric=experiment.metric,
            ks=experiment.ks,
            seed=experiment.search.seed,
            report=report,
        )
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        return
    trial.set_user_attr("recipe", recipe.model_dump(mode="json"))
    trial.set_user_attr("epochs", fitted.epochs)
    trial.set_user_attr("validation", fitted.evaluation.means)
    study.tell(trial, fitted.evaluation.means[experiment.metric])


def recipe_of(result: dict[str, Any]) -> Recipe:
    """Read the recipe out of what `choose_recipe` returned."""
    return Recipe.model_validate(result["recipe"])
