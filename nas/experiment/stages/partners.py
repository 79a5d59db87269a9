"""The closed-form branches that stand beside a network when it is weighed."""

from collections.abc import Collection

from nas.experiment.context import Context
from nas.experiment.reachable import affordable
from nas.space.architecture import Architecture, Fusion
from nas.space.closed_form import ClosedForm
from nas.space.search_space import SearchSpace


def closed_form_branches(space: SearchSpace) -> dict[str, ClosedForm]:
    """Return the closed-form branches that may count in a space, by name, each with the first of its settings."""
    names = [name for name in space.branches.names if name != "graph" and space.allows(name)]
    return space.only(*names).decode({}).closed_forms if names else {}


def may_stand_alone(space: SearchSpace, names: Collection[str]) -> bool:
    """Whether a space lets all its branches but these be absent."""
    return all(
        0 in getattr(space.fusion, other).choices for other in space.branches.names if other not in names
    )


def with_partners(context: Context, space: SearchSpace, architecture: Architecture) -> Architecture:
    """Return an architecture with the closed-form branches of the space that it lacks, at weight 0.

    It is the same function, with the same id, until it is weighed. What costs more than the experiment allows is left
    out. The supernet's networks are weaker than trained ones, so what did not help beside them may do so beside these:
    half a per cent of NDCG@20 on MovieLens 100K, where the winner had lacked the spectral branch.
    """
    for name, branch in closed_form_branches(space).items():
        if name not in architecture.branches:
            weights = Fusion.model_validate(architecture.weights)
            whole = Architecture.model_validate({**architecture.branches, name: branch, "fusion": weights})
            architecture = whole if affordable(context, whole) else architecture
    return architecture
