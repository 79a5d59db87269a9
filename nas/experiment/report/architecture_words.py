"""An architecture in plain words."""

from itertools import groupby
from typing import Any

from nas.experiment.report.wording import counted, listed, name_of
from nas.graph.aggregators import AGGREGATORS

SKIPS = {
    "none": "",
    "residual": "each layer adds its own input",
    "initial": "each layer mixes in a tenth of the embeddings",
    "dense": "each layer sees the mean of all states before it",
}
READOUTS = {
    "last": "the last layer's states are scored",
    "mean": "the states of all layers are averaged",
    "learned": "the states of all layers are summed with learned weights",
    "concat": "the states of all layers are put side by side",
}
BRANCHES = {
    "spectral": "the spectral branch, low-pass filters of the history",
    "item": "the item branch, item-item weights",
    "user": "the user branch, what the users most like someone have had",
}
_SCORES = {"dot": "dot product", "cosine": "cosine"}


def family(architecture: dict[str, Any]) -> str:
    """Return what kind of layers an architecture has."""
    if "graph" not in architecture or architecture["graph"] is None:
        return "no graph branch"
    kinds = [AGGREGATORS[layer["aggregator"]] for layer in architecture["graph"]["layers"]]
    if not kinds:
        return "no layers (MF)"
    if any(kind.attention for kind in kinds):
        return "with attention"
    return "propagation only" if all(kind.linear for kind in kinds) else "with learned transforms"


def in_words(architecture: dict[str, Any]) -> str:
    """Return a phrase that names every branch, such as `two GCN layers over 64-column embeddings; ...`."""
    parts = [
        _graph_words(branch) if name == "graph" else f"{BRANCHES[name]} ({settings_words(branch)})"
        for name, branch in branches_of(architecture).items()
    ]
    weights = weights_of(architecture).values()
    if not weights:
        return parts[0]
    return "; fused with ".join(
        f"{text}, weight {weight:g}" for text, weight in zip(parts, weights, strict=True)
    )


def branches_of(architecture: dict[str, Any]) -> dict[str, Any]:
    """Return the branches that are there, by name."""
    return {name: branch for name, branch in architecture.items() if name != "fusion" and branch is not None}


def weights_of(architecture: dict[str, Any]) -> dict[str, float]:
    """Return the weight of each branch, nothing where there is only one."""
    names = list(branches_of(architecture))
    fusion = architecture.get("fusion") or dict.fromkeys(names, 1.0)
    return {name: fusion.get(name, 0.0) for name in names} if len(names) > 1 else {}


def settings_words(branch: Any) -> str:
    """Return the settings of a branch as `rank 256, filter linear`."""
    if not isinstance(branch, dict):
        return str(branch)
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in branch.items())


def layer_words(layer: dict[str, Any]) -> str:
    """Return `GAT, 4 heads`."""
    name = name_of(layer["aggregator"])
    if not AGGREGATORS[layer["aggregator"]].attention:
        return name
    return f"{name}, {layer['heads']} head{'s' if layer['heads'] > 1 else ''}"


def _graph_words(branch: dict[str, Any]) -> str:
    score = f"scored by {_SCORES.get(branch['score'], branch['score'])}"
    embeddings = f"user and item embeddings of {branch['hidden_size']} columns"
    if not branch["layers"]:
        return f"matrix factorisation: {embeddings}, {score}"
    runs = [(words, len(list(run))) for words, run in groupby(branch["layers"], layer_words)]
    layers = listed([_run_words(words, length) for words, length in runs])
    parts = [f"{layers} over {embeddings}", READOUTS.get(branch["readout"], f"readout {branch['readout']}")]
    skip = SKIPS.get(branch["skip"], f"skip {branch['skip']}")
    parts += [skip] * bool(skip)
    if branch["activation"] != "none":
        parts.append(f"{branch['activation']} after the layers that learn")
    return "; ".join([*parts, score])


def _run_words(words: str, length: int) -> str:
    name, _, heads = words.partition(", ")
    return counted(length, f"{name} layer") + (f" with {heads}" + " each" * (length > 1) if heads else "")
