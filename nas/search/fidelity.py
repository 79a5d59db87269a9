"""Rank fidelity: how far a cheap score of architectures agrees with training each of them.

Shape suffixes: N architectures, S seeds of stand-alone training.
"""

import warnings
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.graph.aggregators import AGGREGATORS
from nas.randomness import stream
from nas.space.architecture import GraphBranch

FEWEST = 5
"""Architectures that a ranking is made of, at least: a tau over fewer says nothing."""

Floats = NDArray[np.float64]

_RESAMPLES = 1000
_CONFIDENCE = 0.95
_TOPS = (1, 5, 10)


def kendall(a: Floats, b: Floats) -> float | None:
    """Return Kendall's tau-b of two (N,) columns; None where one of them is constant."""
    # Here and below: the import takes half a second, which every command would spend.
    from scipy.stats import kendalltau

    return _correlation(kendalltau, a, b)


def spearman(a: Floats, b: Floats) -> float | None:
    """Return Spearman's rho of two (N,) columns; None where one of them is constant."""
    from scipy.stats import spearmanr

    return _correlation(spearmanr, a, b)


def regret(scores: Floats, truth: Floats, k: int) -> float:
    """Return what the best of the k best by score (N,) lacks of the best of all by truth (N,), as a share of that."""
    chosen = np.argsort(-scores, kind="stable")[:k]
    best = truth.max()
    return float((best - truth[chosen].max()) / best) if best > 0 else 0.0


def family(branch: GraphBranch) -> str:
    """Return the family of aggregators that an architecture belongs to, by the costliest of its layers."""
    if not branch.layers:
        return "no layers"
    used = [AGGREGATORS[layer.aggregator] for layer in branch.layers]
    if any(aggregator.attention for aggregator in used):
        return "attention"
    return "linear" if all(aggregator.linear for aggregator in used) else "weights"


def strata(branches: Sequence[GraphBranch]) -> dict[str, NDArray[np.bool_]]:
    """Return, by name, which of N architectures have one hidden size, one number of layers, one family."""
    labels = {
        "hidden size": [str(branch.hidden_size) for branch in branches],
        "layers": [str(len(branch.layers)) for branch in branches],
        "family": [family(branch) for branch in branches],
    }
    found = {}
    for name, values in labels.items():
        for value in sorted(set(values), key=lambda text: (len(text), text)):
            found[f"{name} {value}"] = np.array([other == value for other in values])
    return found


def rank_fidelity(
    scores: Floats,
    trained: Floats,
    predictors: Mapping[str, Floats],
    groups: Mapping[str, NDArray[np.bool_]],
    seed: int,
) -> dict[str, Any]:
    """Compare scores with the quality after training.

    Args:
        scores: (N,) of the supernet; higher is better.
        trained: (N, S) quality of each stand-alone training; their means are the truth.
        predictors: (N,) what needs no supernet, such as the number of parameters, by name.
        groups: (N,) masks of architectures that are alike, by name.
        seed: of the bootstrap over architectures (1,000 resamples, percentile, 95 %).

    Returns:
        {n, seeds, kendall_tau, interval, spearman, spearman_interval, top_quarter (tau among the best by truth),
        top1_regret, top5_regret, top10_regret (relative: what the best of the k best by score lacks of the best of all,
        as a share of that), ceiling (tau of one training seed against another, mean over pairs; None with one seed),
        ceiling_interval, trivial ({name: {kendall_tau, lead [low, mean, high] of the scores' tau over the size
        of that}}), strata ({name: {n, kendall_tau}})}. A trivial predictor knows as much where less of it is
        better: it is read in the direction that its tau on all N has, in every resample too.
    """
    truth = trained.mean(1)
    n, n_seeds = trained.shape
    rng = stream(seed, "fidelity")
    draws = list(rng.integers(n, size=(_RESAMPLES, n)))
    taus = _resampled(kendall, scores, truth, draws)
    pairs = list(combinations(range(n_seeds), 2))

    def reseeded(rows: NDArray[np.int64] | slice) -> float:
        return float(np.mean([kendall(trained[rows, a], trained[rows, b]) or 0.0 for a, b in pairs]))

    best_quarter = truth >= np.quantile(truth, 0.75)
    trivial = {}
    for name, values in predictors.items():
        ours, tau = kendall(scores, truth) or 0.0, kendall(values, truth)
        theirs = np.sign(tau or 0.0) * _resampled(kendall, values, truth, draws)
        low, high = _interval(taus - theirs)
        trivial[name] = {"kendall_tau": tau, "lead": [low, ours - abs(tau or 0.0), high]}
    return {
        "n": n,
        "seeds": n_seeds,
        "kendall_tau": kendall(scores, truth),
        "interval": _interval(taus),
        "spearman": spearman(scores, truth),
        "spearman_interval": _interval(_resampled(spearman, scores, truth, draws)),
        "top_quarter": _within(best_quarter, scores, truth),
        **{f"top{k}_regret": regret(scores, truth, k) for k in _TOPS},
        "ceiling": reseeded(slice(None)) if pairs else None,
        "ceiling_interval": _interval(np.array([reseeded(rows) for rows in draws])) if pairs else None,
        "trivial": trivial,
        "strata": {
            name: {"n": int(mask.sum()), "kendall_tau": _within(mask, scores, truth)}
            for name, mask in groups.items()
            if mask.sum() >= FEWEST
        },
    }


def _correlation(measure: Any, a: Floats, b: Floats) -> float | None:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = float(measure(a, b).statistic)
    return found if np.isfinite(found) else None


def _within(mask: NDArray[np.bool_], scores: Floats, truth: Floats) -> float | None:
    """Return tau among some architectures; None of too few."""
    return kendall(scores[mask], truth[mask]) if mask.sum() >= FEWEST else None


def _resampled(measure: Any, a: Floats, b: Floats, draws: Sequence[NDArray[np.int64]]) -> Floats:
    return np.array([measure(a[rows], b[rows]) or 0.0 for rows in draws])


def _interval(values: Floats) -> list[float]:
    low, high = np.quantile(values, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return [float(low), float(high)]
