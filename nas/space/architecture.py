"""`Architecture`: what a network looks like, as a value that can be hashed, compared and written to JSON."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nas.graph.aggregators import AGGREGATORS
from nas.space.closed_form import CLOSED_FORMS, ClosedForm, ItemBranch, SpectralBranch, UserBranch

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

    def __str__(self) -> str:
        layers = " > ".join(map(str, self.layers)) or "no layers"
        parts = [layers, f"{self.hidden_size} columns"]
        if self.layers:
            parts += [f"skip {self.skip}", f"readout {self.readout}"]
        if self.activation != "none":
            parts.append(self.activation)
        return ", ".join([*parts, self.score])

    @property
    def final_size(self) -> int:
        """Columns of the final state."""
        return self.hidden_size * (len(self.layers) + 1 if self.readout == "concat" else 1)


class Fusion(BaseModel):
    """How much each branch counts; its scores are first divided by their standard deviation over the catalogue."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    graph: float = Field(default=0.0, ge=0)
    spectral: float = Field(default=0.0, ge=0)
    item: float = Field(default=0.0, ge=0)
    # Left out where it is 0, so that architectures without the branch keep the ids that they had before there was one.
    user: float = Field(default=0.0, ge=0, exclude_if=lambda weight: weight == 0)

    @classmethod
    def of(cls, weights: Mapping[str, float]) -> "Fusion":
        """Return these weights scaled to sum to 1: a common factor changes no ranking."""
        total = sum(weights.values())
        # What is scaled already stays as it is: rounding again must not move it. One weight alone is 1.
        total = 1.0 if len(weights) > 1 and abs(total - 1) < 5e-4 else total
        return cls.model_validate({name: round(weight / total, 4) for name, weight in weights.items()})


class Architecture(BaseModel):
    """One to four branches whose scores are fused; a branch may be absent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    graph: GraphBranch | None = None
    spectral: SpectralBranch | None = None
    item: ItemBranch | None = None
    user: UserBranch | None = None
    fusion: Fusion | None = None
    """None where there is one branch, and equal weights where there are more."""

    @model_validator(mode="after")
    def _consistent(self) -> "Architecture":
        if not self.branches:
            raise ValueError("an architecture has at least one branch: graph, spectral, item or user")
        for name in type(self.fusion).model_fields if self.fusion else ():
            if getattr(self.fusion, name) and name not in self.branches:
                raise ValueError(
                    f"fusion.{name}: there is no such branch; expected weights of {list(self.branches)}"
                )
        if self.fusion and not any(self.weights.values()):
            raise ValueError("fusion: at least one weight must be above 0")
        return self

    @property
    def branches(self) -> dict[str, GraphBranch | ClosedForm]:
        """The branches that are there, by name."""
        graph = {"graph": self.graph} if self.graph is not None else {}
        return {**graph, **self.closed_forms}

    @property
    def closed_forms(self) -> dict[str, ClosedForm]:
        """The closed-form branches that are there, by name."""
        found = {name: getattr(self, name) for name in CLOSED_FORMS}
        return {name: branch for name, branch in found.items() if branch is not None}

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each branch that is there."""
        if self.fusion is None:
            return dict.fromkeys(self.branches, 1.0)
        return {name: getattr(self.fusion, name) for name in self.branches}

    @property
    def learned(self) -> GraphBranch:
        """The graph branch, of an architecture that has one."""
        assert self.graph is not None
        return self.graph

    def canonical(self) -> "Architecture":
        """Return the one spelling of this function; equal functions by the rules of each branch are equal here."""
        weights = {name: weight for name, weight in self.weights.items() if weight}
        branches = {name: branch.canonical() for name, branch in self.branches.items() if name in weights}
        fusion = Fusion.of(weights) if len(weights) > 1 else None
        return Architecture.model_validate({**branches, "fusion": fusion})

    def values(self) -> dict[str, Any]:
        """Return the architecture as JSON values, absent branches left out."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def id(self) -> str:
        """Ten hexadecimal digits that name the canonical architecture."""
        text = json.dumps(self.canonical().values(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def __str__(self) -> str:
        if len(self.branches) == 1:
            return str(next(iter(self.branches.values())))
        return " + ".join(f"{self.weights[name]:g} ({branch})" for name, branch in self.branches.items())
