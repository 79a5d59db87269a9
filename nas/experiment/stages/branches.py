"""Settle the closed-form branches: their settings are chosen on validation data before the search fuses them.

Each branch is chosen by what it is worth alone. One setting after the other takes its best value, the others held, and
then once more from where that led: a fit is far cheaper than a training. On large catalogues, where it is not, only the
most entangled settings are looked at twice.
"""

import time
from functools import partial
from typing import Any

from nas.experiment.closed_forms import ClosedForm
from nas.experiment.context import Context
from nas.experiment.progress import stage
from nas.model.evaluation import evaluate
from nas.model.fusion import Held
from nas.model.item_weights import dense_obstacle
from nas.space.closed_form import ItemBranch, SpectralBranch
from nas.space.dimension import Value
from nas.space.search_space import SearchSpace

# A value has to be better than the one before it by this share: less is noise, and the first choices are the plainest.
_LEAST_GAIN = 0.001
_ENTANGLED = ("regularisation", "low_pass")
_LARGE_CATALOGUE = 5_000


def settle_branches(context: Context) -> tuple[SearchSpace, dict[str, dict[str, Any]]]:
    """Return the space with settled closed-form branches, and by name {settings, validation, tried, seconds}.

    A branch that cannot be fitted on this catalogue is taken out of the space; its result is {skipped: reason}.
    """
    space: SearchSpace = context.experiment.search_space
    results: dict[str, dict[str, Any]] = {}
    for name in ("spectral", "item"):
        if name not in space.branches.names:
            continue
        results[name] = context.done(f"branches/{name}.json", partial(_settle, context, name))
        if "skipped" in results[name]:
            space = space.without(name)
        else:
            kind = SpectralBranch if name == "spectral" else ItemBranch
            space = space.settled(kind.model_validate(results[name]["settings"]))
    return space, results


def _settle(context: Context, name: str) -> dict[str, Any]:
    started, space = time.perf_counter(), context.experiment.search_space.branches.spaces[name]
    genes = space.genes()
    if name == "item" and (reason := dense_obstacle(context.interactions)):
        if "cosine" not in genes["kind"]:
            return {"skipped": reason}
        genes["kind"] = ("cosine",)
    if context.train.timestamp is None and "proximity" in genes:
        genes["proximity"] = (0.0,) if 0.0 in genes["proximity"] else genes["proximity"][:1]
    if context.train.rating is None and "rating" in genes:
        genes["rating"] = (0.0,) if 0.0 in genes["rating"] else genes["rating"][:1]
    values: dict[ClosedForm, dict[str, float]] = {}
    chosen = {gene: choices[0] for gene, choices in genes.items()}
    rounds = [gene for gene, choices in genes.items() if len(choices) > 1]
    large = context.interactions.n_items > _LARGE_CATALOGUE
    rounds += [gene for gene in rounds if not large or gene in _ENTANGLED]

    def value(genome: dict[str, Value]) -> float:
        branch: ClosedForm = space.decode(genome)  # type: ignore[assignment]
        if branch not in values:
            values[branch] = _judge(context, branch)
        return values[branch][context.experiment.metric]

    best = value(chosen)
    with stage(f"{name} branch", len(rounds)) as steps:
        for gene in rounds:
            for choice in genes[gene]:
                found = value({**chosen, gene: choice})
                if found > best * (1 + _LEAST_GAIN):
                    chosen, best = {**chosen, gene: choice}, found
            steps.advance(f"best {context.experiment.metric} {best:.4f}")
    branch = space.decode(chosen)
    return {
        "settings": branch.model_dump(mode="json"),
        "validation": values[branch],  # type: ignore[index]
        "tried": len(values),
        "seconds": time.perf_counter() - started,
    }


def _judge(context: Context, branch: ClosedForm) -> dict[str, float]:
    # Not kept: of all these only one is used again.
    users = context.closed_forms.users
    scorer = Held(context.closed_forms.fitted(branch), users, context.train.n_users)
    return evaluate(scorer, context.train, context.valid, context.experiment.ks, users).means
