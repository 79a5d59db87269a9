"""`summary.json`: what a finished run has to say, in numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from nas.experiment.context import Context
from nas.experiment.stages.search import plateau_of
from nas.search.constraints import Constraint
from nas.search.loop import Candidate
from nas.space.architecture import Architecture


def summarise(
    context: Context,
    recipe: dict[str, Any],
    supernet: dict[str, Any],
    branches: dict[str, dict[str, Any]],
    found: list[Candidate],
    retrained: list[dict[str, Any]],
    tuning: list[dict[str, Any]],
    test: dict[str, Any],
    artefact_bytes: int,
    seconds_total: float,
) -> dict[str, Any]:
    """Return the contents of `summary.json`; `retrained` is best first, `seconds_total` wall-clock.

    `seconds` of a stage are those of its work, which several processes may have done at once; of `search` and
    `test`, they are wall-clock.
    """
    experiment, winner = context.experiment, retrained[0]
    architecture = Architecture.model_validate(winner["architecture"])
    cost = context.costs(architecture) | {"artefact_bytes": artefact_bytes}
    constraints = experiment.search.constraints
    seconds = {
        "recipe": recipe["seconds"],
        "supernet": supernet["seconds"],
        "branches": sum(result.get("seconds", 0.0) for result in branches.values()),
        "search": sum(c.seconds for c in found),
        "retrain": sum(result["seconds"] for result in [*retrained, *tuning]),
        "baselines": sum(row["seconds"] for row in test["baselines"] if row["name"] != "lightgcn"),
        "test": test["seconds"],
    }
    return {
        "name": experiment.name,
        "data": context.folder.read_json("data.json"),
        "recipe": {key: recipe[key] for key in ("recipe", "trials", "seconds")},
        "supernet": supernet,
        "branches": branches,
        "search": {
            "sampler": experiment.search.sampler,
            "objectives": list(experiment.search.objectives),
            "trials": len(found),
            "asked": experiment.search.trials,
            "ended": "patience" if plateau_of(context, found).reached else "trials",
            "constraints": [str(one) for one in constraints],
            "feasible": sum(c.feasible for c in found),
            "unique_architectures": len({c.architecture for c in found}),
            "space": experiment.search_space.name,
            "space_size": experiment.search_space.size(),
            "seconds": seconds["search"],
        },
        "retrain": {
            "candidates": len(retrained),
            "recipes": sum(result["trials"] for result in tuning),
            "seconds": seconds["retrain"],
        },
        "winner": {
            "id": winner["id"],
            "name": winner["name"],
            "architecture": winner["architecture"],
            "description": winner["description"],
            "recipe": winner["recipe"],
            "epochs": winner["epochs"],
            "validation": winner["validation"],
            "test": test["winner"],
            "repeats": test["repeats"],
            "groups": test["groups"],
            "parameters": cost["parameters"],
            "refresh_macs": cost["refresh_macs"],
            "artefact_bytes": artefact_bytes,
            "constraints": _held(constraints, winner["validation"] | cost),
        },
        "baselines": test["baselines"],
        "test_users": test["users"],
        # Measured by a command of its own, when it is.
        "fidelity": None,
        "seconds": seconds,
        "seconds_total": seconds_total,
    }


def _held(constraints: Sequence[Constraint], values: Mapping[str, float]) -> list[dict[str, Any]]:
    """Say of each constraint whether the winner keeps to it: qualities on validation data, costs as exported."""
    return [
        {"constraint": str(one), "value": values[one.name], "held": one.excess(values[one.name]) <= 0}
        for one in constraints
    ]
