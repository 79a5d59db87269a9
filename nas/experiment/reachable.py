"""Whether the cost constraints of an experiment can be met, and by what: told before anything is trained.

The costs of an architecture are sums over its branches, and those of the graph branch grow with its size and sums over
its layers, so the cheapest are found without looking at the whole space.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import combinations_with_replacement, product
from typing import TYPE_CHECKING

from pydantic import BaseModel

from nas.errors import UserError
from nas.graph.aggregators import AGGREGATORS
from nas.model.item_weights import item_obstacle
from nas.model.weights import count
from nas.search.constraints import Constraint, violations
from nas.space.architecture import Architecture, GraphBranch, Layer
from nas.space.closed_form import ClosedForm, ItemBranch, SpectralBranch, UserBranch
from nas.space.graph_space import GraphSpace
from nas.space.search_space import SearchSpace

if TYPE_CHECKING:
    from nas.experiment.context import Context


# Settings of the closed-form branches that `_size` looks at; but for these, a space may hold millions.
_SIZING = ("kind", "rank", "low_pass", "rating", "recency", "neighbours")


def on_costs(context: "Context") -> tuple[Constraint, ...]:
    """Return the experiment's constraints on what is known without evaluating an architecture."""
    return tuple(one for one in context.experiment.search.constraints if one.on_cost)


def affordable(context: "Context", architecture: Architecture) -> bool:
    """Whether an architecture keeps to the constraints on costs."""
    limits = on_costs(context)
    return not limits or not violations(limits, context.costs(architecture))


def check_reachable(context: "Context") -> None:
    """Raise UserError if the space has no architecture that can be fitted on this data and keeps to the cost constraints.

    Where only these are in the way, it names the smallest value there is.
    """
    limits, space = on_costs(context), context.experiment.search_space
    if not any(map(space.allows, _fittable(context, space).branches.names)):
        raise UserError(
            "search_space.fusion: the item branch is too large for this data, and no other has a weight above 0; "
            "give one, or item weights of kind slim or cosine"
        )
    if not limits or cheapest(context, space) is not None:
        return
    values = [context.costs(architecture) for architecture in _cheap(context, space)]
    for one in limits:
        least = min(found[one.name] for found in values)
        if one.excess(least) > 0:
            raise UserError(
                f"search.constraints: no architecture of the space {space.name!r} keeps to '{one}' on this data; "
                f"the smallest {one.name} that can be reached is {least}"
            )
    first, *others = limits
    within = [found for found in values if not violations([first], found)]
    least_each = ", ".join(f"{one.name} {min(found[one.name] for found in within)}" for one in others)
    raise UserError(
        f"search.constraints: no architecture of the space {space.name!r} keeps to all of {[str(one) for one in limits]}; "
        f"with '{first}', the smallest that can be reached is {least_each}"
    )


def cheapest(context: "Context", space: SearchSpace, holding: str | None = None) -> Architecture | None:
    """Return an architecture of the space that keeps to the cost constraints, if there is one.

    Args:
        context: of the experiment, whose data say what an architecture costs.
        space: where to look.
        holding: a branch that it has to have.
    """
    found = _cheap(context, space, holding)
    return next((architecture for architecture in found if affordable(context, architecture)), None)


def _cheap(context: "Context", space: SearchSpace, holding: str | None = None) -> Iterator[Architecture]:
    """Yield architectures among which are the cheapest of the space, those that need no fit first."""
    space = _fittable(context, space)
    names = space.branches.names

    @cache
    def parts(name: str) -> Sequence[BaseModel]:
        one = space.branches.spaces[name]
        if isinstance(one, GraphSpace):
            return list(cheap_graphs(one))
        return _one_of_each_size(context, one.varied(_SIZING))

    # Weights cost nothing: one fusion for each set of branches that may be present.
    present = {
        tuple(name for name in names if getattr(weights, name)): weights
        for weights in space.fusion.spellings(names)
    }
    fusions = present if len(names) > 1 else {names: None}
    for some, fusion in sorted(fusions.items(), key=lambda pair: ("graph" not in pair[0], len(pair[0]))):
        if holding is None or holding in some:
            for chosen in product(*map(parts, some)):
                branches = dict(zip(some, chosen, strict=True))
                yield Architecture.model_validate({**branches, "fusion": fusion if len(some) > 1 else None})


def _fittable(context: "Context", space: SearchSpace) -> SearchSpace:
    """Return the space without what cannot be fitted on this data, as when the branches are settled."""
    item = space.branches.item
    if item is None or not all(item_obstacle(str(kind), context.interactions) for kind in item.kind.choices):
        return space
    return space.without("item")


def cheap_graphs(space: GraphSpace) -> Iterator[GraphBranch]:
    """Yield graph branches of the space, no other one of which costs less than all of them, in any cost, on any data.

    A layer more costs more, `last` is the cheapest readout and `dot` the cheapest score. Layers may differ: one may have
    fewer parameters, another fewer multiply-accumulates.
    """
    depth = min(int(count) for count in space.layers.choices)
    readouts = ["last"] if "last" in space.readout.choices else list(space.readout.choices)
    score = "dot" if "dot" in space.score.choices else "cosine"
    for size, readout in product(sorted(int(size) for size in space.hidden_size.choices), readouts):
        kinds = [
            Layer(aggregator=str(name), heads=heads)
            for name in space.aggregator.choices
            for heads in (space.heads_for(size) if AGGREGATORS[str(name)].attention else (1,))
        ]
        stacks = [(kind,) * depth for kind in kinds] + list(
            combinations_with_replacement(_few(kinds, size), depth)
        )
        for layers in dict.fromkeys(stacks):
            branch = GraphBranch.model_validate({
                "hidden_size": size, "layers": layers, "skip": space.skip.choices[0], "readout": readout,
                "activation": space.activation.choices[0], "score": score,
            }).canonical()  # fmt: skip
            # Not where all layers have to be of one kind.
            if space.contains(branch):
                yield branch


def _few(kinds: list[Layer], size: int) -> list[Layer]:
    """Return those that no other kind of layer beats in both costs, on a graph whatever its size."""

    def cost(kind: Layer) -> tuple[int, ...]:
        aggregator = AGGREGATORS[kind.aggregator]
        parts = (aggregator.macs(size, kind.heads, nodes, edges) for nodes, edges in ((1, 0), (0, 1)))
        return (count(aggregator.parameters(size, kind.heads).values()), *parts)

    costs = {cost(kind): kind for kind in reversed(kinds)}
    return [
        kind
        for one, kind in costs.items()
        if not any(other != one and all(a <= b for a, b in zip(other, one, strict=True)) for other in costs)
    ]


def keeper(context: "Context", space: SearchSpace, name: str) -> Callable[[ClosedForm], bool]:
    """Return a test of settings of the closed-form branch `name`: whether a part of some architecture within the limits.

    A branch is fitted for it once for each size that its settings make.
    """
    known: dict[tuple[object, ...], bool] = {}

    def keeps(branch: ClosedForm) -> bool:
        if not on_costs(context):
            return True
        size = _size(branch)
        if size not in known:
            known[size] = cheapest(context, space.settled(branch), name) is not None
        return known[size]

    return keeps


def _one_of_each_size(context: "Context", branches: Sequence[ClosedForm]) -> list[ClosedForm]:
    """Return a branch of each size when fitted, those left out that cannot be fitted on this catalogue."""
    found: dict[tuple[object, ...], ClosedForm] = {}
    for branch in branches:
        if not (isinstance(branch, ItemBranch) and item_obstacle(branch.kind, context.interactions)):
            found.setdefault(_size(branch)[:3], branch)
    return list(found.values())


def _size(branch: ClosedForm) -> tuple[object, ...]:
    """Return the settings that say how large a branch is when fitted; the others change its numbers alone."""
    if isinstance(branch, SpectralBranch):
        return branch.rank, (branch.low_pass == 0, branch.recency == 0), branch.neighbours
    if isinstance(branch, UserBranch):
        return branch.neighbours, branch.recency == 0
    coarse = branch.kind, (branch.rating == 0, branch.recency == 0), branch.neighbours
    # How many weights of SLIM's are not 0 is known when they are found.
    return (*coarse, branch.fitted()) if branch.kind == "slim" else coarse
