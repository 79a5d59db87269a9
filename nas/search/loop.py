"""The search: ask for an architecture, evaluate it, tell; every finished trial is stored at once."""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers._ga import BaseGASampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.randomness import seed_of, stream
from nas.search.constraints import Constraint, violations
from nas.search.objectives import direction, worst
from nas.search.samplers import SAMPLERS, make_sampler
from nas.search.suggest import suggest
from nas.space.architecture import Architecture
from nas.space.search_space import SearchSpace

Evaluator = Callable[[Architecture], dict[str, float]]
"""Architecture -> metrics and costs by name; every objective of the search is among them."""

Each = Callable[[Evaluator, Sequence[Architecture]], Iterable[dict[str, float]]]
"""How an evaluator is applied to architectures that do not depend on each other's values: `map`, or several at once."""

Costs = Callable[[Architecture], Mapping[str, float]]
"""Architecture -> costs by name that are known without evaluating it."""

# Proposals of known architectures that are turned down before a neighbour is taken instead.
_ATTEMPTS = 5
# Random draws for one that is not known, where no neighbour is.
_DRAWS = 100


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How to search.

    Attributes:
        sampler: a name of `SAMPLERS`.
        trials: how many trials the study shall hold at the end.
        population: individuals a generation, or random trials before TPE begins.
        seed: equal seeds give equal trials.
        objectives: names of objectives, two or more.
        first: architectures to evaluate before the sampler proposes its own.
        constraints: what an architecture has to keep to.
    """

    sampler: str
    trials: int
    population: int
    seed: int
    objectives: tuple[str, ...]
    first: tuple[Architecture, ...] = ()
    constraints: tuple[Constraint, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """One finished trial.

    Attributes:
        number: the trial's number in the study.
        architecture: canonical.
        values: metrics and costs by name; costs alone where they break a constraint, for then it was not evaluated.
        cached: whether the values came from an earlier trial of the same architecture.
        seconds: wall-clock that the search spent on it: on its values, near 0 where others found them meanwhile,
            and its share of what proposing its batch took.
        finished: seconds since the epoch.
        violations: the constraints that it breaks, with their excess (see `Constraint.excess`).
    """

    number: int
    architecture: Architecture
    values: dict[str, float]
    cached: bool
    seconds: float
    finished: float
    violations: Mapping[str, float] = field(default_factory=dict)

    @property
    def feasible(self) -> bool:
        """Whether it keeps to every constraint."""
        return not self.violations

    @classmethod
    def of(cls, trial: FrozenTrial) -> "Candidate":
        """Read a trial that a search stored."""
        assert trial.datetime_complete is not None
        return cls(
            trial.number,
            Architecture.model_validate(trial.user_attrs["architecture"]),
            trial.user_attrs["values"],
            trial.user_attrs["cached"],
            trial.user_attrs["seconds"],
            trial.datetime_complete.timestamp(),
            trial.user_attrs.get("violations", {}),
        )


def open_study(storage: BaseStorage, name: str, objectives: Sequence[str]) -> optuna.Study:
    """Create or load the stored study; an ordinary one, which `optuna-dashboard` opens."""
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=[direction(objective) for objective in objectives],
        load_if_exists=True,
        sampler=optuna.samplers.RandomSampler(),
    )
    if study.metric_names is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names(list(objectives))
    return study


def candidates(study: optuna.Study) -> list[Candidate]:
    """Return the finished trials in order."""
    return [Candidate.of(trial) for trial in study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])]


def search(
    study: optuna.Study,
    space: SearchSpace,
    evaluate: Evaluator,
    settings: SearchSettings,
    costs: Costs = lambda _architecture: {},
    each: Each = map,
) -> Iterator[Candidate]:
    """Run the study up to its number of trials and yield each new one after it is stored.

    What a sampler proposes without having seen the values of, such as a generation, is a batch: `each` may evaluate
    its architectures at once. The trials are the same in any case.

    Proposals come from a copy of the study in memory, and a finished trial is added to the stored one in a single
    transaction: a killed process leaves no half trial behind, and a storage write costs one commit instead of one a
    gene. A proposal that was evaluated before is turned down; if the sampler insists, an unknown neighbour takes its
    place. Only where nothing unknown is found are the cached values told again, and the trial says so.

    An architecture whose `costs` break a constraint is not evaluated. The sampler is told by how much it breaks it, and
    the worst of every quality; Optuna's samplers rank what is infeasible by that excess alone, behind all that is feasible.
    """
    memory = optuna.create_study(directions=study.directions, sampler=optuna.samplers.RandomSampler())
    memory.add_trials(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]))
    known = {c.architecture: c.values for c in candidates(memory)}
    number = len(memory.trials)
    while number < settings.trials:
        batch: list[tuple[Trial, Architecture, bool]] = []
        began = time.perf_counter()
        for ahead in range(_batch(settings, number)):
            trial, architecture = _propose(memory, space, settings, number + ahead, known)
            batch.append((trial, architecture, architecture in known))
            known.setdefault(architecture, {})
        new = [architecture for _, architecture, cached in batch if not cached]
        judged = iter(_judged(new, evaluate, each, costs, settings.constraints))
        share = (time.perf_counter() - began) / len(batch)
        for trial, architecture, cached in batch:
            started = time.perf_counter() - share
            if not cached:
                known[architecture] = next(judged)
            done = _told(memory, trial, architecture, known[architecture], cached, started, settings)
            study.add_trial(done)
            yield replace(Candidate.of(done), number=number)
            number += 1


def _batch(settings: SearchSettings, number: int) -> int:
    """Return how many trials from this one on are proposed without knowing each other's values.

    An evolutionary sampler makes a generation from those before; TPE begins with a population at random.
    """
    left, population = settings.trials - number, settings.population
    if SAMPLERS[settings.sampler].sequential and number >= population:
        return 1
    return min(left, population - number % population)


def _told(
    memory: optuna.Study,
    trial: Trial,
    architecture: Architecture,
    values: dict[str, float],
    cached: bool,
    started: float,
    settings: SearchSettings,
) -> FrozenTrial:
    """Return the finished trial of the study in memory."""
    for key, value in {
        "architecture": architecture.values(),
        "id": architecture.id,
        "values": values,
        "cached": cached,
        "seconds": time.perf_counter() - started,
        "violations": violations(settings.constraints, values),
    }.items():
        trial.set_user_attr(key, value)
    for one in settings.constraints:
        if one.name in values:
            trial.set_constraint(str(one), one.excess(values[one.name]))
    return memory.tell(trial, [values.get(name, worst(name)) for name in settings.objectives])


def _judged(
    architectures: Sequence[Architecture],
    evaluate: Evaluator,
    each: Each,
    costs: Costs,
    constraints: Sequence[Constraint],
) -> Iterator[dict[str, float]]:
    """Yield the values of each, those that break a constraint by their costs without being evaluated."""
    known = [dict(costs(architecture)) if constraints else {} for architecture in architectures]
    broken = [bool(violations(constraints, values)) for values in known]
    found = iter(each(evaluate, [one for one, bad in zip(architectures, broken, strict=True) if not bad]))
    for values, bad in zip(known, broken, strict=True):
        yield values if bad else next(found)


def _propose(
    memory: optuna.Study,
    space: SearchSpace,
    settings: SearchSettings,
    number: int,
    known: dict[Architecture, dict[str, float]],
) -> tuple[Trial, Architecture]:
    conditional = SAMPLERS[settings.sampler].conditional

    def ask(attempt: int) -> tuple[Trial, Architecture]:
        seed = seed_of(settings.seed, f"trial/{number}/{attempt}")
        sampler = make_sampler(settings.sampler, seed, settings.population)
        if isinstance(sampler, BaseGASampler) and type(memory.sampler) is type(sampler):
            # The genes that all trials share, found anew, would cost more time than the rest of the search.
            sampler._search_space = memory.sampler._search_space  # type: ignore[attr-defined]
        memory.sampler = sampler
        trial = memory.ask()
        if isinstance(memory.sampler, BaseGASampler):
            # Optuna gives no generation to an enqueued trial; without one it could not become a parent.
            memory.sampler.get_trial_generation(memory, memory.get_trials(deepcopy=False)[trial.number])
        return trial, space.decode(suggest(trial, space, conditional))

    def enqueue(architecture: Architecture) -> None:
        genome: dict[str, Any] = space.encode(architecture)
        memory.enqueue_trial({name: genome[name] for name in space.free_genes()})

    _choose_parents(memory, settings, number)
    if number < len(settings.first):
        enqueue(settings.first[number])
    for attempt in range(_ATTEMPTS):
        trial, architecture = ask(attempt)
        if architecture not in known:
            return trial, architecture
        memory.tell(trial, state=TrialState.FAIL)
    # The sampler insists on what is known: take a step it did not, to a neighbour or, failing that, anywhere.
    rng = stream(settings.seed, f"elsewhere/{number}")
    unknown = [other for other in space.neighbours(architecture) if other not in known]
    if not unknown:
        unknown = [other for _ in range(_DRAWS) if (other := space.sample(rng)) not in known]
    enqueue(unknown[int(rng.integers(len(unknown)))] if unknown else architecture)
    return ask(_ATTEMPTS)


def _choose_parents(memory: optuna.Study, settings: SearchSettings, number: int) -> None:
    # Optuna chooses a generation's parents at its first trial and stores them with the study; a resumed search has
    # to choose the same ones at any trial, so each choice has a seed of its own and is made beforehand, in order.
    for generation in range(1, number // settings.population + 1):
        seed = seed_of(settings.seed, f"generation/{generation}")
        sampler = make_sampler(settings.sampler, seed, settings.population)
        if isinstance(sampler, BaseGASampler):
            sampler.get_parent_population(memory, generation)
