"""Choose a recipe on validation data, by training one architecture with each.

The recipe cannot be chosen on the supernet, which is itself trained by one. So LightGCN is tuned first: it trains in
seconds, its best recipe serves its relatives, and its best training is the LightGCN baseline. Its score (dot product or
cosine) and its layers (two or three) are tuned along, for each score needs a temperature of its own. The best retrained
candidates are then tuned each for itself, starting from there, with fewer trainings than LightGCN had.
"""

from typing import Any

from nas.experiment.context import Context
from nas.experiment.stages.tuning import tune
from nas.space.architecture import Architecture
from nas.space.dimension import Value
from nas.space.recipe import Recipe
from nas.space.search_space import SearchSpace

_LAYERS = (2, 3)


def lightgcn(score: Value, layers: Value) -> Architecture:
    """Return the LightGCN preset with this score and so many layers; published are `dot` and three."""
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


def recipe_of(result: dict[str, Any]) -> Recipe:
    """Read the recipe out of what `choose_recipe` or `tune_candidate` returned."""
    return Recipe.model_validate(result["recipe"])


def tuned_lightgcn(result: dict[str, Any]) -> Architecture:
    """Read LightGCN, with the score and layers that were chosen, out of what `choose_recipe` returned."""
    return Architecture.model_validate(result["architecture"])
