"""How much each dimension of the search space explains of what a search measured."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.randomness import stream
from nas.space.architecture import Architecture
from nas.space.dimension import Value
from nas.space.search_space import SearchSpace

Floats = NDArray[np.float64]

FEWEST = 12
"""With fewer different architectures nothing can be said."""
_MOST = 1000
_ORDERS = 200
_PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True, slots=True)
class Importance:
    """Shares of the variation.

    Attributes:
        shares: dimension -> gene -> share of the variation of the values, most important dimension first; a
            dimension's share is the sum over its genes, and that of one that never varied is empty.
        explained: what all dimensions explain together; the rest is interplay and noise.
        architectures: how many were looked at.
    """

    shares: dict[str, dict[str, float]]
    explained: float
    architectures: int


def importance(
    space: SearchSpace, architectures: Sequence[Architecture], values: Floats, seed: int
) -> Importance | None:
    """Return the importance of every dimension, None where the values cannot tell.

    The values are regressed on the genes (ridge regression, every choice an indicator), and the variation explained is
    shared among the dimensions: a gene's share is what it adds to the genes before it, averaged over random orders
    (Lindeman, Merenda and Gold, 1980) in which the genes of a dimension stay together (Owen, 1977). The variation is
    adjusted for the freedom of the fit (adjusted R squared), so a gene that only fits noise adds 0 on average wherever
    it stands. A gene counts only in architectures where changing it changes the function: the heads of a layer that is
    not there explain nothing. PED-ANOVA, Optuna's default, answers another question (what the best tenth have in
    common), and fANOVA needs scikit-learn and genes that every trial has.

    Args:
        space: that was searched.
        architectures: one of each.
        values: (n,) of the architectures.
        seed: of the orders, and of the sample of 1,000 if there are more.
    """
    rng = stream(seed, "importance")
    if len(architectures) > _MOST:
        chosen = np.sort(rng.choice(len(architectures), _MOST, replace=False))
        architectures, values = [architectures[int(n)] for n in chosen], values[chosen]
    # Relative to the values: rounding alone makes equal values differ by a few ulps.
    if len(values) < FEWEST or np.ptp(values) <= 1e-9 * np.abs(values).max():
        return None
    columns = _columns(space, architectures)
    if not columns:
        return None
    fit = _Fit(columns, values)
    adds = dict.fromkeys(columns, 0.0)
    dimensions: dict[str, list[str]] = {}
    for gene in columns:
        dimensions.setdefault(dimension_of(gene), []).append(gene)
    for _ in range(_ORDERS):
        before, known = 0.0, frozenset[str]()
        for dimension in rng.permutation(list(dimensions)):
            for gene in rng.permutation(dimensions[str(dimension)]):
                known |= {str(gene)}
                after = fit.explained(known)
                adds[str(gene)] += (after - before) / _ORDERS
                before = after
    explained = max(0.0, fit.explained(frozenset(columns)))
    sums = {name: sum(adds[gene] for gene in genes) for name, genes in dimensions.items()}
    # Noise leaves some dimensions a little below 0; they get 0, and the others what sums to `explained`.
    shared = _to_sum(sums, explained)
    found = {name: _to_sum({g: adds[g] for g in genes}, shared[name]) for name, genes in dimensions.items()}
    unvaried: dict[str, dict[str, float]] = {dimension_of(gene): {} for gene in space.free_genes()}
    order = sorted(unvaried, key=lambda name: -shared.get(name, 0.0))
    return Importance({name: (unvaried | found)[name] for name in order}, explained, len(values))


def _to_sum(parts: dict[str, float], total: float) -> dict[str, float]:
    """Return the parts, none below 0, scaled to this sum; all 0 where none is above 0."""
    positive = {name: max(0.0, part) for name, part in parts.items()}
    scale = total / (sum(positive.values()) or 1.0)
    return {name: part * scale for name, part in positive.items()}


def dimension_of(gene: str) -> str:
    """Return the dimension of a gene: `aggregator_3` belongs to `aggregator`."""
    return re.sub(r"_\d+$", "", gene)


def _columns(space: SearchSpace, architectures: Sequence[Architecture]) -> dict[str, Floats]:
    """Return (n, choices) for every gene that varies: indicators, centred where the gene is active, else 0.

    Centred among the architectures that have the layer, a layer's aggregator cannot stand in for the number of layers.
    """
    free, genomes = space.free_genes(), [space.encode(architecture) for architecture in architectures]
    found: dict[str, Floats] = {}
    for gene, choices in free.items():
        active = np.array(
            [
                _matters(space, architecture, genome, gene, choices)
                for architecture, genome in zip(architectures, genomes, strict=True)
            ]
        )
        taken = [choice for choice in choices if any(g[gene] == choice for g in _where(genomes, active))]
        if len(taken) > 1:
            columns = np.array(
                [[genome[gene] == choice for choice in taken] for genome in genomes], np.float64
            )
            columns[~active] = 0.0
            columns[active] -= columns[active].mean(0)
            found[gene] = columns
    return found


def _where(genomes: Sequence[dict[str, Value]], mask: NDArray[np.bool_]) -> list[dict[str, Value]]:
    return [genomes[int(n)] for n in np.flatnonzero(mask)]


def _matters(
    space: SearchSpace,
    architecture: Architecture,
    genome: dict[str, Value],
    gene: str,
    choices: tuple[Value, ...],
) -> bool:
    others = (choice for choice in choices if choice != genome[gene])
    return any(space.decode({**genome, gene: other}) != architecture for other in others)


class _Fit:
    """Ridge regressions on subsets of the genes, all from one matrix of products."""

    def __init__(self, columns: dict[str, Floats], values: Floats) -> None:
        matrix, centred = np.concatenate(list(columns.values()), axis=1), values - values.mean()
        ends = np.cumsum([part.shape[1] for part in columns.values()])
        self._places = dict(zip(columns, np.split(np.arange(ends[-1]), ends[:-1]), strict=True))
        self._products, self._targets = matrix.T @ matrix, matrix.T @ centred
        self._total, self._n = float(centred @ centred), len(values)
        self._known: dict[frozenset[str], float] = {}
        everything = np.arange(ends[-1])
        self._penalty = min(_PENALTIES, key=lambda penalty: self._cross_validated_error(everything, penalty))

    def explained(self, genes: frozenset[str]) -> float:
        """Return the share of the variation that these genes explain, adjusted: about 0 for noise."""
        if genes not in self._known:
            places = np.sort(np.concatenate([self._places[gene] for gene in genes]))
            self._known[genes] = self._score(places, self._penalty)
        return self._known[genes]

    def _score(self, places: NDArray[np.int64], penalty: float) -> float:
        rest, projection = self._solve(places, penalty)
        # n - tr(2H - HH): the residual's freedom, exact for pure noise (Hastie and Tibshirani, 1990).
        freedom = self._n - 1 - 2 * np.trace(projection) + np.sum(projection * projection.T)
        return float(1 - (rest / freedom) / (self._total / (self._n - 1)))

    def _cross_validated_error(self, places: NDArray[np.int64], penalty: float) -> float:
        # Generalised cross-validation (Golub, Heath and Wahba, 1979).
        rest, projection = self._solve(places, penalty)
        return float(rest / (self._n - 1 - np.trace(projection)) ** 2)

    def _solve(self, places: NDArray[np.int64], penalty: float) -> tuple[float, Floats]:
        """Return the residual's squared length, and a matrix with the trace of the hat matrix H, and of HH squared."""
        products, targets = self._products[np.ix_(places, places)], self._targets[places]
        inverse_of = products + penalty * np.eye(len(places))
        solved = np.linalg.solve(inverse_of, np.column_stack([targets, products]))
        weights, projection = solved[:, 0], solved[:, 1:]
        rest = self._total - 2 * float(weights @ targets) + float(weights @ products @ weights)
        return rest, projection
