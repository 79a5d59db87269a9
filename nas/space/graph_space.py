"""The space of the learned graph branch: genes, decoding and exact size."""

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from nas.graph.aggregators import AGGREGATORS
from nas.space.architecture import Activation, GraphBranch, Layer, Readout, Score, Skip
from nas.space.dimension import Dimension, Value

_WORDS = {
    "aggregator": tuple(AGGREGATORS),
    "skip": get_args(Skip),
    "readout": get_args(Readout),
    "activation": get_args(Activation),
    "score": get_args(Score),
}
_LARGEST_HIDDEN_SIZE = 4096
_MOST_LAYERS = 16


class GraphSpace(BaseModel):
    """Choices for the learned graph branch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: Dimension = Dimension(choices=(3,))
    """Numbers of layers; 0 is matrix factorisation."""
    hidden_size: Dimension = Dimension(choices=(64,))
    """Columns of the states."""
    aggregator: Dimension
    """Names of `AGGREGATORS`, per layer or tied."""
    heads: Dimension = Dimension(choices=(1,))
    """Attention heads, per layer or tied; only those that divide the hidden size are used."""
    skip: Dimension = Dimension(choices=("none",))
    """See `GraphBranch`."""
    readout: Dimension = Dimension(choices=("last",))
    """See `GraphBranch`."""
    activation: Dimension = Dimension(choices=("none",))
    """See `GraphBranch`."""
    score: Dimension = Dimension(choices=("dot",))
    """See `GraphBranch`."""

    @field_validator("aggregator", "skip", "readout", "activation", "score")
    @classmethod
    def _known_words(cls, dimension: Dimension, info: Any) -> Dimension:
        words = _WORDS[info.field_name]
        for choice in dimension.choices or (str(dimension),):
            if choice not in words:
                raise ValueError(f"unknown {info.field_name} {choice!r}; expected one of {sorted(words)}")
        return dimension

    @field_validator("layers", "hidden_size", "heads")
    @classmethod
    def _whole_numbers(cls, dimension: Dimension, info: Any) -> Dimension:
        least, most = {"layers": (0, _MOST_LAYERS)}.get(info.field_name, (1, _LARGEST_HIDDEN_SIZE))
        for choice in dimension.choices or (str(dimension),):
            if type(choice) is not int or not least <= choice <= most:
                raise ValueError(f"expected whole numbers from {least} to {most}, but got {choice!r}")
        return dimension

    @model_validator(mode="after")
    def _heads_divide(self) -> "GraphSpace":
        if any(AGGREGATORS[str(name)].attention for name in self.aggregator.choices):
            for size in self.hidden_size.choices:
                if not self.heads_for(int(size)):
                    raise ValueError(
                        f"heads must divide hidden_size, but none of {list(self.heads.choices)} divides {size}"
                    )
        return self

    def heads_for(self, hidden_size: int) -> tuple[int, ...]:
        """Return the choices of `heads` that divide `hidden_size`."""
        return tuple(int(h) for h in self.heads.choices if hidden_size % int(h) == 0)

    @property
    def most_layers(self) -> int:
        """The largest number of layers."""
        return max(int(n) for n in self.layers.choices)

    def genes(self) -> dict[str, tuple[Value, ...]]:
        """Return the fixed-length genome: every gene's name and choices, active or not."""
        genes: dict[str, tuple[Value, ...]] = {
            "layers": self.layers.choices,
            "hidden_size": self.hidden_size.choices,
        }
        for name in ("aggregator", "heads"):
            dimension: Dimension = getattr(self, name)
            if dimension.per == "tied":
                genes[name] = dimension.choices
            else:
                genes |= {f"{name}_{n + 1}": dimension.choices for n in range(self.most_layers)}
        for name in ("skip", "readout", "activation", "score"):
            genes[name] = getattr(self, name).choices
        return genes

    def gene(self, name: str, layer: int) -> str:
        """Return the name of the gene that holds `aggregator` or `heads` of layer number `layer` (from 0)."""
        return name if getattr(self, name).per == "tied" else f"{name}_{layer + 1}"

    def decode(self, genome: Mapping[str, Value]) -> GraphBranch:
        """Return the canonical branch of a genome; genes that are missing take their first choice.

        Every genome is valid: heads that do not divide the hidden size become the largest choice below that does
        (or the smallest that does).
        """
        full = {name: genome.get(name, choices[0]) for name, choices in self.genes().items()}
        size = int(full["hidden_size"])
        allowed = self.heads_for(size)

        def layer(n: int) -> Layer:
            name = str(full[self.gene("aggregator", n)])
            if not AGGREGATORS[name].attention:
                return Layer(aggregator=name)
            wanted = int(full[self.gene("heads", n)])
            return Layer(
                aggregator=name, heads=max((h for h in allowed if h <= wanted), default=min(allowed))
            )

        words = {name: full[name] for name in ("skip", "readout", "activation", "score")}
        layers = tuple(layer(n) for n in range(int(full["layers"])))
        return GraphBranch.model_validate({"hidden_size": size, "layers": layers, **words}).canonical()

    def encode(self, branch: GraphBranch) -> dict[str, Value]:
        """Return a genome that decodes to `branch`, if the space contains it; unused genes take their first choice."""
        genome = {name: choices[0] for name, choices in self.genes().items()}
        genome |= {"layers": len(branch.layers), "hidden_size": branch.hidden_size}
        for n, layer in enumerate(branch.layers):
            genome[self.gene("aggregator", n)] = layer.aggregator
            if AGGREGATORS[layer.aggregator].attention:
                genome[self.gene("heads", n)] = layer.heads
        for name in ("skip", "readout", "activation", "score"):
            if getattr(branch, name) in getattr(self, name).choices:
                genome[name] = getattr(branch, name)
        if branch.skip == "none" and "none" not in self.skip.choices and "dense" in self.skip.choices:
            # The canonical spelling of `dense` on one layer.
            genome["skip"] = "dense"
        return genome

    def contains(self, branch: GraphBranch) -> bool:
        """Whether some genome decodes to this branch."""
        branch, genome = branch.canonical(), self.encode(branch.canonical())
        genes = self.genes()
        inside = all(name in genes and value in genes[name] for name, value in genome.items())
        return inside and self.decode(genome) == branch

    def size(self) -> int:
        """Return the exact number of different canonical branches."""
        total = 0
        for size, depth in product(self.hidden_size.choices, self.layers.choices):
            shapes = 1 if depth == 0 else self._with_layers(int(depth), self.heads_for(int(size)))
            total += shapes * len(self.score.choices)
        return total

    def _with_layers(self, depth: int, heads: Sequence[int]) -> int:
        everything = {str(name) for name in self.aggregator.choices}
        linear = {name for name in everything if AGGREGATORS[name].linear}
        skips = {"none" if depth == 1 and skip == "dense" else skip for skip in self.skip.choices}
        stacks = 0
        for readout in self.readout.choices:
            # Stacks without an activated layer have one spelling, whatever the activation.
            plain = [linear] * (depth - 1) + [everything if readout == "last" else linear]
            inactive = self._stacks(plain, heads)
            active = self._stacks([everything] * depth, heads) - inactive
            stacks += inactive + active * len(self.activation.choices)
        return stacks * len(skips)

    def _stacks(self, allowed: list[set[str]], heads: Sequence[int]) -> int:
        """Count the different stacks of layers whose n-th aggregator is in `allowed[n]`."""

        def split(names: set[str]) -> tuple[int, int]:
            attention = sum(AGGREGATORS[name].attention for name in names)
            return len(names) - attention, attention

        heads_tied = self.heads.per == "tied"
        if self.aggregator.per == "tied":
            plain, attention = split(set.intersection(*allowed))
            return plain + attention * (len(heads) if heads_tied else len(heads) ** len(allowed))
        if heads_tied:
            without = prod(split(names)[0] for names in allowed)
            return without + len(heads) * (prod(len(names) for names in allowed) - without)
        return prod(split(names)[0] + split(names)[1] * len(heads) for names in allowed)
