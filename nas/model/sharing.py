"""What architectures share: states and products of the graph with them, kept within a limit of memory."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from torch import Tensor

from nas.graph import Graph, Operator


class Memory:
    """Tensors (N, d) by key, of which a narrower one is a slice; the least recently used are forgotten."""

    def __init__(self, most_bytes: int) -> None:
        """Keep at most `most_bytes`."""
        self._most, self._held = most_bytes, 0
        self._tensors: OrderedDict[Hashable, Tensor] = OrderedDict()

    def get(self, key: Hashable, size: int, make: Callable[[], Tensor]) -> Tensor:
        """Return the first `size` columns of what is kept under `key`, made first where it is not so wide."""
        kept = self._tensors.get(key)
        if kept is None or kept.shape[1] < size:
            kept = make()
            self._keep(key, kept)
        else:
            self._tensors.move_to_end(key)
        return kept if size == kept.shape[1] else kept[:, :size].contiguous()

    def _keep(self, key: Hashable, tensor: Tensor) -> None:
        if tensor.nbytes > self._most:
            return
        self._forget(key)
        self._tensors[key] = tensor
        self._held += tensor.nbytes
        while self._held > self._most:
            self._forget(next(iter(self._tensors)))

    def _forget(self, key: Hashable) -> None:
        if key in self._tensors:
            self._held -= self._tensors.pop(key).nbytes


class SharedProducts:
    """A graph to an aggregator, but that its operators look up their product with the layer's input first."""

    def __init__(self, graph: Graph, memory: Memory, prefix: Hashable, inward: Tensor) -> None:
        """Share the products with `inward`, the states that `prefix` stands for."""
        self._graph, self._memory, self._prefix, self._inward = graph, memory, prefix, inward

    def __getattr__(self, name: str) -> Any:
        """Return what the graph has under this name."""
        found = getattr(self._graph, name)
        return _SharedOperator(self, name, found) if isinstance(found, Operator) else found

    def product(self, key: Hashable, x: Tensor, multiply: Callable[[Tensor], Tensor]) -> Tensor:
        """Return multiply(x), for which `key` stands."""
        if x is not self._inward:
            return multiply(x)
        return self._memory.get((key, self._prefix), x.shape[1], lambda: multiply(x))


class _SharedOperator:
    def __init__(self, products: SharedProducts, name: str, operator: Operator) -> None:
        self._products, self._name, self._operator = products, name, operator

    def __matmul__(self, x: Tensor) -> Tensor:
        return self._products.product(self._name, x, self._operator.__matmul__)

    def with_loops(self, x: Tensor, loops: Tensor) -> Tensor:
        key = (self._name, loops.item())
        return self._products.product(key, x, lambda x: self._operator.with_loops(x, loops))
