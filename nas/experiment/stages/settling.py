"""The settings of one closed-form branch, tried on validation data beside the tuned LightGCN, and alone."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from nas.data.interactions import Interactions
from nas.data.item_features import item_features
from nas.data.splits import comes_next
from nas.experiment.context import Context
from nas.experiment.reachable import cheapest, keeper
from nas.experiment.stages.fusion import States, weigh
from nas.experiment.stages.partners import closed_form_branches
from nas.model.evaluation import evaluate, sample_users
from nas.model.fusion import Held, fused
from nas.model.history import HistoryModel, with_settings
from nas.model.item_weights import fit_items, item_obstacle
from nas.model.nearest_users import fit_users
from nas.model.ranking import Scorer
from nas.model.spectral import fit_spectral
from nas.space.architecture import Architecture
from nas.space.closed_form import ClosedForm, ItemBranch, UserBranch
from nas.space.dimension import Value
from nas.space.search_space import SearchSpace

# A value has to be better than the one before it by this share: less is noise, and the first choices are the plainest.
_LEAST_GAIN = 0.001
# Items that all settings of an item branch are tried on, at most: time grows with their number cubed.
LARGE_CATALOGUE = 4_000

# Of a branch beside others, whose weights sum to 1; the best of them counts, or the branch alone. What a few neighbours
# have had is a small part of the catalogue, and far above the deviation of the scores of all of it.
_WEIGHTS = {"spectral": (0.2, 0.4, 0.8), "item": (0.2, 0.4, 0.8), "user": (0.03, 0.06, 0.12)}
# Beside LightGCN alone, 100 neighbours are best on ML-1M; beside it and the other branches these have a validation NDCG@20 of
# .2120, and 25 neighbours .2129.
_BESIDE = {"spectral": (), "item": (), "user": ("spectral", "item")}

# Where nearest users climb from as well: all of them alike, and rare items. Their three settings make up for one another, so
# one climb ends on a lower summit: on halves of the validation users, what two found was worth .3844 to the other halves and
# what one found .3831 (packages' maintainers), .3181 and .3171 (ML-100K); all 64 settings .3848 and .3177.
_OTHER_STARTS: dict[str, dict[str, Value]] = {"user": {"power": 1.0, "rarity": 1.0}}

Network = tuple[Architecture, States]
Genes = dict[str, tuple[Value, ...]]
Genome = dict[str, Value]


class Settling:
    """One branch's settings; each is judged once, and the last fit is kept for settings that need no other."""

    def __init__(
        self,
        context: Context,
        whole: SearchSpace,
        name: str,
        graph: Callable[[], Network | None],
        *,
        all_items: bool = False,
    ) -> None:
        """Settle branch `name` of the space `whole`, beside the network that `graph` makes.

        With `all_items`, on the whole catalogue however large it is, when others have their settings: then features are tried
        too where validation data are what comes next. Before, they take the place of age, and the climb ends lower
        (`leave_last_out` on ML-100K, chosen on halves of the validation users: .1626 and .1612 with features, .1652 and .1622
        without, on the other halves .1540 and .1474, .1560 and .1525).
        """
        self._context, self._whole, self._name, self._make_network = context, whole, name, graph
        self._all_items = all_items
        self.space = whole.branches.spaces[name]
        self._genes = _that_matter(context, name, self.space.genes())
        if "features" in self._genes and not all_items and comes_next(context.train, context.valid):
            self._genes["features"] = _none_first(self._genes["features"])
        # Whether settings cost no more than they may.
        self.keeps = keeper(context, whole, name)
        self.values: dict[ClosedForm, dict[str, float]] = {}
        self._fits: dict[ClosedForm, HistoryModel] = {}

    @property
    def obstacle(self) -> str | None:
        """Why the branch cannot be had on this data, if so."""
        if not all(self._genes.values()):
            # Every kind of the item branch has one; the first choice's is told.
            return item_obstacle(str(self.space.genes()["kind"][0]), self._context.interactions)
        if self._first is None:
            return "whatever its settings, it costs more than search.constraints allow"
        return None

    @property
    def name(self) -> str:
        """The branch's."""
        return self._name

    @property
    def kinds(self) -> tuple[Value, ...]:
        """The kinds of weights that can be fitted; of the spectral branch, itself."""
        return self._genes.get("kind", (self._name,))

    def starts(self, kind: Value) -> list[Genome]:
        """Return the settings that a kind begins with, each a start of its own."""
        assert self._first is not None
        first = {**self._first, "kind": kind} if "kind" in self._genes else self._first
        other = {
            gene: value
            for gene, value in _OTHER_STARTS.get(self._name, {}).items()
            if value in self._genes.get(gene, ())
        }
        return [first, first | other] if other else [first]

    def climb_from_starts(self, kind: Value, advance: Callable[[str], object] = lambda _note: None) -> Genome:
        """Return the best of where climbs from the starts of a kind lead."""
        return max((self.climb(start, advance) for start in self.starts(kind)), key=self.value)

    def climb(
        self,
        genome: Genome,
        advance: Callable[[str], object] = lambda _note: None,
        value: Callable[[Genome], float] | None = None,
        steps: list[str] | None = None,
    ) -> Genome:
        """Return where one setting after the other leads, each taking its best value.

        Args:
            genome: where to begin.
            advance: told after each setting.
            value: the quality of some settings; `Settling.value` by default.
            steps: the settings to try, all by default.
        """
        value = value or self.value
        best = value(genome)
        for gene in self.steps if steps is None else steps:
            for choice in self._genes[gene]:
                found = value({**genome, gene: choice})
                if self._is_better(found, best):
                    genome, best = {**genome, gene: choice}, found
            advance(f"best {self._context.experiment.metric} {max(best, 0):.4f}")
        return genome

    def walk(
        self, gene: str, genome: Genome, advance: Callable[[str], object] = lambda _note: None
    ) -> Genome:
        """Return where steps to the next smaller or larger value of one setting lead, for as long as each is better."""
        choices, best = sorted(self._genes[gene], key=float), self.value(genome)
        for step in (-1, 1):
            place = choices.index(genome[gene]) + step
            while 0 <= place < len(choices):
                found = self.value({**genome, gene: choices[place]})
                advance(f"best {self._context.experiment.metric} {max(best, found, 0):.4f}")
                if not self._is_better(found, best):
                    break
                genome, best, place = {**genome, gene: choices[place]}, found, place + step
        return genome

    @property
    def steps(self) -> list[str]:
        """The genes that have a choice."""
        return [gene for gene, choices in self._genes.items() if gene != "kind" and len(choices) > 1]

    def value(self, genome: Genome) -> float:
        """Return the quality of some settings, minus infinity where they cost more than they may."""
        branch: ClosedForm = self.space.decode(genome)  # type: ignore[assignment]
        if not self.keeps(branch):
            return -math.inf
        return self.metrics(genome)[self._context.experiment.metric]

    def metrics(self, genome: Genome) -> dict[str, float]:
        """Return the metrics of some settings beside LightGCN, or alone where that is more."""
        branch: ClosedForm = self.space.decode(genome)  # type: ignore[assignment]
        if branch not in self.values:
            self.values[branch] = self._judged(branch)
        return self.values[branch]

    def alone(self, genome: Genome) -> dict[str, float]:
        """Return the metrics of the branch without any other."""
        return self._means(self._held(self.space.decode(genome)))  # type: ignore[arg-type]

    @property
    def items(self) -> int:
        """How many items it is settled on."""
        return self._data[0].n_items

    def _is_better(self, found: float, best: float) -> bool:
        return found > best + _LEAST_GAIN * abs(best) or best == -math.inf < found

    @cached_property
    def _first(self) -> Genome | None:
        """The first settings that keep to the constraints on costs."""
        chosen = {gene: choices[0] for gene, choices in self._genes.items()}
        if self.keeps(self.space.decode(chosen)):  # type: ignore[arg-type]
            return chosen
        cheap = cheapest(self._context, self._whole, self._name)
        if cheap is None:
            return None
        small = self.space.encode(cheap.branches[self._name])  # type: ignore[arg-type]
        return chosen | {gene: value for gene, value in small.items() if value in self._genes[gene]}

    @cached_property
    def _network(self) -> Network | None:
        return self._make_network()

    @cached_property
    def _data(self) -> tuple[Interactions, Interactions, States | None]:
        """Training and validation part and the states beside the branch, of as many items as it is settled on."""
        train, valid, states = self._context.train, self._context.valid, self._network and self._network[1]
        if self._of_popular_items:
            items = _popular_items(train, LARGE_CATALOGUE)
            train, valid = (_of_items(part, items) for part in (train, valid))
            states = states and (states[0], states[1][torch.from_numpy(items)])
        return train, valid, states

    @property
    def _of_popular_items(self) -> bool:
        solved = self._name == "item" and self._genes["kind"] != ("cosine",)
        return solved and not self._all_items and self._context.train.n_items > LARGE_CATALOGUE

    @cached_property
    def _users(self) -> NDArray[np.int64]:
        train, valid, _ = self._data
        settings = self._context.experiment.search
        return sample_users(valid, train, settings.users, settings.seed)

    def _judged(self, branch: ClosedForm) -> dict[str, float]:
        scorer, states, (graph, others) = self._held(branch), self._data[2], self._beside
        # Alone too: a network that has learned little is no company.
        found = [self._means(scorer)]
        if states is not None or others:
            fusions = (fused(states, graph, [*others, (weight, scorer)]) for weight in _WEIGHTS[self._name])
            found += [self._means(one) for one in fusions]
        return max(found, key=lambda one: one[self._context.experiment.metric])

    @cached_property
    def _beside(self) -> tuple[float, list[tuple[float, Scorer]]]:
        """The weight of the network, and weights and scorers of the branches that stand beside it."""
        known, held = closed_form_branches(self._whole), self._context.closed_forms.held
        branches = {name: known[name] for name in _BESIDE[self._name] if name in known}
        if not branches:
            return 1.0, []
        network, states = self._network or (None, None)
        whole = Architecture.model_validate({"graph": network and network.graph, **branches})
        best, _ = weigh(self._context, whole, states)
        others: list[tuple[float, Scorer]] = [
            (best.weights[name], held(branch)) for name, branch in best.closed_forms.items()
        ]
        return best.weights.get("graph", 0.0), others

    def _means(self, scorer: Scorer) -> dict[str, float]:
        train, valid, _ = self._data
        return evaluate(scorer, train, valid, self._context.experiment.ks, self._users).means

    def _held(self, branch: ClosedForm) -> Held:
        train, one = self._data[0], branch.fitted()
        if one not in self._fits:
            # The last alone, for it may be large.
            self._fits.clear()
            self._fits[one] = self._fit(one)
        return Held(with_settings(self._fits[one], branch, train), self._users, train.n_users)

    def _fit(self, branch: ClosedForm) -> HistoryModel:
        train = self._data[0]
        if isinstance(branch, ItemBranch):
            return fit_items(branch, train)
        if isinstance(branch, UserBranch):
            return fit_users(branch, train)
        return fit_spectral(branch, train, self._context.training.graph, self._context.experiment.search.seed)


def _that_matter(context: Context, name: str, genes: Genes) -> Genes:
    """Return the choices that make a difference on this data and can be fitted on it."""
    kept = dict(genes)
    timestamp, rating = context.train.timestamp, context.train.rating
    features = item_features(context.train.items, context.train.n_items).shape[1]
    known = {
        "proximity": timestamp is not None,
        "recency": timestamp is not None,
        "rating": rating is not None,
        "features": features > 0,
    }
    for gene, held in known.items():
        if not held and gene in kept:
            kept[gene] = _none_first(genes[gene])
    if name == "item" and context.interactions.n_items > LARGE_CATALOGUE:
        # Whole, the weights would take hundreds of megabytes and more of an artefact.
        kept["neighbours"] = tuple(count for count in genes["neighbours"] if count) or genes["neighbours"]
    if name == "item":
        kept["kind"] = tuple(
            kind for kind in genes["kind"] if not item_obstacle(str(kind), context.interactions)
        )
        if timestamp is None and len(kept["kind"]) > 1:
            kept["kind"] = tuple(kind for kind in kept["kind"] if kind != "next")
    return kept


def _none_first(choices: tuple[Value, ...]) -> tuple[Value, ...]:
    """Return the choice that does without a setting, or the first."""
    return (0.0,) if 0.0 in choices else choices[:1]


def _popular_items(train: Interactions, count: int) -> NDArray[np.int64]:
    """Return the (count,) items with most training interactions, increasing."""
    popularity = np.bincount(train.item, minlength=train.n_items)
    return np.sort(np.argsort(-popularity, kind="stable")[:count])


def _of_items(part: Interactions, items: NDArray[np.int64]) -> Interactions:
    """Return what a part holds of some items, as a catalogue of its own."""
    place = np.full(part.n_items, -1, dtype=np.int32)
    place[items] = np.arange(len(items))
    kept = part.select(place[part.item] >= 0)
    ids = tuple(part.item_ids[item] for item in items)
    return replace(kept, item=place[kept.item], item_ids=ids, items=part.items.select(items))
