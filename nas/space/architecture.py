"""`Architecture`: what a network looks like, as a value that can be hashed, compared and written to JSON."""

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from nas.errors import UserError
from nas.graph.aggregators import AGGREGATORS

Skip = Literal["none", "residual", "initial", "dense"]
Readout = Literal["last", "mean", "learned", "concat"]
Activation = Literal["none", "relu", "leaky_relu", "elu", "tanh"]
Score = Literal["dot", "cosine"]


class Layer(BaseModel):
    """One layer: an aggregator and, for attention, its number of heads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    aggregator: str
    """A name of `AGGREGATORS`."""
    heads: int = 1
    """Attention heads; 1 for aggregators without attention."""

    @model_validator(mode="after")
    def _known(self) -> "Layer":
        if self.aggregator not in AGGREGATORS:
            raise ValueError(f"unknown aggregator {self.aggregator!r}; expected one of {sorted(AGGREGATORS)}")
        if self.heads < 1:
            raise ValueError(f"heads >= 1 must hold, but got {self.heads}")
        return self

    def __str__(self) -> str:
        return (
            f"{self.aggregator}x{self.heads}" if AGGREGATORS[self.aggregator].attention else self.aggregator
        )


class GraphBranch(BaseModel):
    """The learned graph branch: embeddings propagated over the user-item graph.

    Layer l hands on h_l = act(aggregate(input_l)) (+ skip), and the readout makes the final states of h_0 (the
    embeddings) to h_L. Aggregators that are linear take no activation, and neither does the last layer when the
    readout is `last`: the states that are scored keep their sign.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden_size: int
    """Columns of each state."""
    layers: tuple[Layer, ...] = ()
    """None: matrix factorisation."""
    skip: Skip = "none"
    """`residual`: the mean of the layer's output and its input; `initial`: 0.9 x + 0.1 h_0 (APPNP); `dense`: input is the mean of all states so far."""
    readout: Readout = "last"
    """`learned`: a sum with one learned weight a state; `concat`: states side by side."""
    activation: Activation = "none"
    """After each layer that is not linear."""
    score: Score = "dot"
    """Of the user's and the item's final state."""

    @model_validator(mode="after")
    def _consistent(self) -> "GraphBranch":
        if self.hidden_size < 1:
            raise ValueError(f"hidden_size >= 1 must hold, but got {self.hidden_size}")
        for layer in self.layers:
            if AGGREGATORS[layer.aggregator].attention and self.hidden_size % layer.heads:
                raise ValueError(
                    f"heads must divide hidden_size, but got heads={layer.heads}, hidden_size={self.hidden_size}"
                )
        return self

    def activated(self, layer: int) -> bool:
        """Whether layer number `layer` (from 0) takes the activation."""
        last = layer == len(self.layers) - 1
        return not AGGREGATORS[self.layers[layer].aggregator].linear and not (last and self.readout == "last")

    def canonical(self) -> "GraphBranch":
        """Return the one spelling of this function: whatever changes nothing is set to its plainest value."""
        layers = tuple(
            layer if AGGREGATORS[layer.aggregator].attention else Layer(aggregator=layer.aggregator)
            for layer in self.layers
        )
        change: dict[str, Any] = {"layers": layers}
        if not layers:
            change |= {"skip": "none", "readout": "last"}
        if len(layers) == 1 and self.skip == "dense":
            change["skip"] = "none"
        if not any(self.activated(n) for n in range(len(layers))):
            change["activation"] = "none"
        return self.model_copy(update=change)

    @property
    def final_size(self) -> int:
        """Columns of the final state."""
        return self.hidden_size * (len(self.layers) + 1 if self.readout == "concat" else 1)


class Architecture(BaseModel):
    """The branches whose scores are fused; today the learned graph branch, which every architecture has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    graph: GraphBranch

    def canonical(self) -> "Architecture":
        """Return the one spelling of this function; equal functions by the rules of each branch are equal here."""
        return Architecture(graph=self.graph.canonical())

    @property
    def id(self) -> str:
        """Ten hexadecimal digits that name the canonical architecture."""
        text = json.dumps(self.canonical().model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def __str__(self) -> str:
        branch = self.graph
        layers = " > ".join(map(str, branch.layers)) or "no layers"
        parts = [layers, f"{branch.hidden_size} columns"]
        if branch.layers:
            parts += [f"skip {branch.skip}", f"readout {branch.readout}"]
        if branch.activation != "none":
            parts.append(branch.activation)
        return ", ".join([*parts, branch.score])

    @classmethod
    def parse(cls, value: Any, where: str) -> "Architecture":
        """Read an architecture from decoded JSON or YAML; UserError, naming `where`, if it is none."""
        try:
            return cls.model_validate(value).canonical()
        except ValidationError as error:
            first = error.errors()[0]
            path = ".".join(map(str, first["loc"]))
            raise UserError(f"{where}: {path}: {first['msg'].removeprefix('Value error, ')}") from None
