"""One method of search with one seed, against the clock; an addition is a function and its line in `METHODS`."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import optuna
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.storages import InMemoryStorage

from nas.experiment.context import Context
from nas.experiment.stages.judging import supernet_evaluator
from nas.graph.aggregators import AGGREGATORS
from nas.model.evaluation import evaluate, scorer_of
from nas.model.fitting import new_trainer
from nas.model.supernet import Supernet
from nas.randomness import seed_of, stream
from nas.search.loop import Candidate, Evaluator, SearchSettings, open_study, search
from nas.search.pareto import front
from nas.search.samplers import make_sampler
from nas.search.suggest import suggest
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe

# Of our pipeline's time, at most.
SUPERNET_SHARE, SEARCH_SHARE = 0.1, 0.5
# Random trials before TPE begins, where each is a training.
RANDOM_FIRST = 10
REDUCTION = 3


class OutOfTimeError(Exception):
    """The time is over; what has not ended does not count."""


@dataclass
class Race:
    """One method against the clock.

    Attributes:
        context: data and settings, of this method and seed alone.
        recipe: of every training.
        seconds: how long it may take.
        trained: what was trained from scratch so far.
        scored: architectures that a cheap score was made of.
    """

    context: Context
    recipe: Recipe
    seconds: float
    trained: list[dict[str, Any]] = field(default_factory=list)
    scored: int = 0
    started: float = field(default_factory=time.perf_counter)

    @property
    def seed(self) -> int:
        """Of the method."""
        return self.context.experiment.search.seed

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    def train(
        self, architecture: Architecture, report: Callable[[int, float], None] = lambda _epoch, _value: None
    ) -> float:
        """Train from scratch, with early stopping; return the validation quality. OutOfTimeError if there is no time."""

        def look(epoch: int, value: float) -> None:
            if self.elapsed > self.seconds:
                raise OutOfTimeError
            report(epoch, value)

        fitted = self.context.trainings.fit(architecture, self.recipe, self.seed, look)
        # Read once: what is told has ended in time.
        ended = self.elapsed
        if ended > self.seconds:
            raise OutOfTimeError
        value = fitted.evaluation.means[self.context.experiment.metric]
        self.trained.append({
            "seconds": ended,
            "id": architecture.id,
            "architecture": architecture.values(),
            "description": str(architecture),
            "validation": value,
            "epochs": fitted.epochs,
            "refresh_macs": self.context.costs(architecture)["refresh_macs"],
        })  # fmt: skip
        return value


@dataclass(frozen=True, slots=True)
class Method:
    """A way to search.

    Attributes:
        words: what it is, for tables and plots.
        run: searches until the time is over, or nothing is left to do.
    """

    words: str
    run: Callable[[Race], None]


def pipeline(race: Race, sampler: str, score: Callable[[Race], Evaluator]) -> None:
    """Search on a cheap score, then train the best by it from scratch: the front, then the rest, best score first."""
    experiment = race.context.experiment
    space, settings = experiment.search_space, experiment.search
    evaluator, begun = score(race), race.elapsed
    wanted = SearchSettings(sampler, settings.trials, settings.population, race.seed, settings.objectives)
    found: list[Candidate] = []
    for candidate in search(
        open_study(InMemoryStorage(), "search", settings.objectives), space, evaluator, wanted
    ):
        found.append(candidate)
        if race.elapsed - begun > SEARCH_SHARE * race.seconds:
            break
    race.scored = len({candidate.architecture for candidate in found})
    rest = sorted(found, key=lambda candidate: -candidate.values[experiment.metric])
    for architecture in dict.fromkeys(
        candidate.architecture for candidate in [*front(found, settings.objectives), *rest]
    ):
        race.train(architecture)


def by_supernet(race: Race) -> Evaluator:
    """Train the supernet for its epochs, as far as its share of the time goes."""
    context = race.context
    space, settings = context.experiment.search_space, context.experiment.supernet
    supernet = Supernet(space, context.training, settings.recipe(race.recipe), race.seed)
    while supernet.epochs < settings.epochs and race.elapsed < SUPERNET_SHARE * race.seconds:
        supernet.epoch()
    return supernet_evaluator(context, space, supernet.weights)


def by_chance(race: Race) -> Evaluator:
    """Score at random, an architecture always alike."""
    return partial(
        _scored, race, lambda architecture: float(stream(race.seed, f"score/{architecture.id}").random())
    )


def by_size(race: Race) -> Evaluator:
    """Score by the number of parameters."""
    return partial(_scored, race, lambda architecture: float(race.context.costs(architecture)["parameters"]))


def _scored(
    race: Race, score: Callable[[Architecture], float], architecture: Architecture
) -> dict[str, float]:
    return {race.context.experiment.metric: score(architecture), **race.context.costs(architecture)}


def from_scratch(race: Race, sampler: str, pruner: BasePruner) -> None:
    """Train every trial, as Optuna's own examples do; what the pruner gives up counts for nothing."""
    seed, space = seed_of(race.seed, "from scratch") % 2**32, race.context.experiment.search_space
    study = optuna.create_study(
        direction="maximize", sampler=make_sampler(sampler, seed, RANDOM_FIRST), pruner=pruner
    )
    known: dict[Architecture, float] = {}
    while race.elapsed < race.seconds:
        trial = study.ask()
        architecture = space.decode(suggest(trial, space, conditional=True))
        try:
            if architecture not in known:
                known[architecture] = race.train(architecture, partial(_report, trial))
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        study.tell(trial, known[architecture])


def _report(trial: optuna.Trial, epoch: int, value: float) -> None:
    trial.report(value, epoch)
    if trial.should_prune():
        raise optuna.TrialPruned


def _halving(race: Race) -> None:
    least = 2 * race.context.experiment.retrain.every
    from_scratch(race, "tpe", SuccessiveHalvingPruner(min_resource=least, reduction_factor=REDUCTION))


METHODS = {
    "supernet-nsga2": Method("supernet, NSGA-II", partial(pipeline, sampler="nsga2", score=by_supernet)),
    "supernet-tpe": Method("supernet, TPE", partial(pipeline, sampler="tpe", score=by_supernet)),
    "tpe": Method("TPE, every trial trained", partial(from_scratch, sampler="tpe", pruner=NopPruner())),
    "tpe-halving": Method("TPE, successive halving", _halving),
    "random": Method("random search", partial(from_scratch, sampler="random", pruner=NopPruner())),
    "random-scores": Method("random scores, NSGA-II", partial(pipeline, sampler="nsga2", score=by_chance)),
    "parameters": Method("scores by parameters, NSGA-II", partial(pipeline, sampler="nsga2", score=by_size)),
}


def run_method(method: str, context: Context, recipe: Recipe, seconds: float) -> dict[str, Any]:
    """Return {method, seed, seconds (that it took), scored, trained [...], best, test}.

    `trained` has {seconds, id, architecture, description, validation, epochs, refresh_macs} of each architecture that was
    trained from scratch within the time, in order; `best` is the id of the best of them on validation data, and `test`
    its quality for each test user, refitted on train + validation for its epochs outside the clock. Both are None where no
    training came to its end.
    """
    warm_up(context, recipe)
    race = Race(context, recipe, seconds)
    with suppress(OutOfTimeError):
        METHODS[method].run(race)
    took = race.elapsed
    best = max(race.trained, key=lambda one: one["validation"], default=None)
    return {
        "method": method,
        "seed": race.seed,
        "seconds": took,
        "scored": race.scored,
        "trained": race.trained,
        "best": None if best is None else best["id"],
        "test": None if best is None else _tested(context, recipe, best),
    }


def warm_up(context: Context, recipe: Recipe) -> None:
    """Build the graph and train an epoch of each aggregator: kernels are compiled when they are first used."""
    for name in AGGREGATORS:
        layers = [{"aggregator": name}]
        architecture = Architecture.model_validate({"graph": {"hidden_size": 16, "layers": layers}})
        trainer = new_trainer(architecture, context.training, recipe, seed=0)
        trainer.epoch(lambda one=architecture: one)  # type: ignore[misc]
        scorer = scorer_of(architecture, trainer.weights, context.training.graph)
        evaluate(scorer, context.train, context.valid, context.experiment.ks, context.judged_users)


def _tested(context: Context, recipe: Recipe, best: dict[str, Any]) -> list[float]:
    architecture = Architecture.model_validate(best["architecture"])
    seed = context.experiment.search.seed
    weights = context.trainings.refit(architecture, recipe, best["epochs"], seed)
    scorer = scorer_of(architecture, weights, context.refitting.graph)
    found = evaluate(scorer, context.train_and_valid, context.read_test("search"), context.experiment.ks)
    return [round(float(value), 6) for value in found.values[context.experiment.metric]]
