"""A genome as a trial of Optuna's chooses it."""

from optuna.trial import Trial

from nas.graph.aggregators import AGGREGATORS
from nas.space.dimension import Value
from nas.space.search_space import SearchSpace


def suggest(trial: Trial, space: SearchSpace, conditional: bool) -> dict[str, Value]:
    """Return a genome that `trial` chooses; `conditional`: it is asked for the genes that matter alone."""
    free, genome = space.free_genes(), {name: choices[0] for name, choices in space.genes().items()}

    def suggest(name: str) -> None:
        if name in free:
            genome[name] = trial.suggest_categorical(name, free[name])  # type: ignore[assignment]

    if not conditional:
        for name in free:
            suggest(name)
        return genome
    for name in genome:
        if name.startswith("fusion."):
            suggest(name)
    present = space.weights(genome)
    for name in genome:
        if name.partition(".")[0] in present:
            suggest(name)
    graph = space.branches.graph
    if graph is None or "graph" not in present:
        return genome
    suggest("layers")
    suggest("hidden_size")
    names = [graph.gene("aggregator", n) for n in range(int(genome["layers"]))]
    for name in dict.fromkeys(names):
        suggest(name)
    attention = [n for n, name in enumerate(names) if AGGREGATORS[str(genome[name])].attention]
    for name in dict.fromkeys(graph.gene("heads", n) for n in attention):
        suggest(name)
    active = ["score"]
    if names:
        active += ["skip", "readout"]
        active += ["activation"] * any(not AGGREGATORS[str(genome[name])].linear for name in names)
    for name in active:
        suggest(name)
    return genome
