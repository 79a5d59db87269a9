"""ONNX operations as expressions, and the two that the standard lacks: ragged rows, and a product with a sparse matrix.

A value is the name of a node's output. Shape suffixes: B users of a call, P picked rows, T entries of these rows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET, IR_VERSION = (
    18,
    8,
)  # fixed, so that an upgrade of `onnx` changes no bytes; read by onnxruntime 1.14 and newer


class OnnxGraph:
    """Nodes and constants, in the order in which they were asked for."""

    def __init__(self, onnx: Any) -> None:
        """Take the module `onnx`."""
        self._onnx, self.types = onnx, onnx.TensorProto
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def op(self, kind: str, *inputs: str, into: str = "", **attributes: Any) -> str:
        """Add a node of one output, called `into` if that is given."""
        return self.ops(kind, *inputs, into=(into,), **attributes)[0]

    def ops(self, kind: str, *inputs: str, into: tuple[str, ...], **attributes: Any) -> tuple[str, ...]:
        """Add a node of several outputs; "" stands for a name of its own."""
        names = tuple(name or f"{kind}_{len(self._nodes)}_{n}" for n, name in enumerate(into))
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, names, **attributes))
        return names

    def constant(self, value: Any, name: str = "") -> str:
        """Hold an array; one of the same name, or without a name of the same value, is held once."""
        array = np.asarray(value)
        name = name or f"{array.dtype}_{array.tolist()}"
        if name not in self._constants:
            self._constants[name] = self._onnx.numpy_helper.from_array(array, name)
        return name

    def widened(self, arrays: Mapping[str, NDArray[Any]], name: str) -> str:
        """Hold an array in its own precision; return it as float32, or int64 if it holds integers.

        Of sparse int8 weights, which have no rows here, the scale is left to the caller.
        """
        one = arrays[name]
        held = self.constant(one, name)
        if one.dtype == np.int8 and one.ndim == 2:
            scale = self.constant(arrays[f"{name}_scale"], f"{name}_scale")
            return self.op("DequantizeLinear", held, scale, axis=0)
        if one.dtype in (np.float32, np.int64):
            return held
        return self.op(
            "Cast", held, to=self.types.FLOAT if one.dtype in (np.float16, np.int8) else self.types.INT64
        )

    def places(self, indptr: str, rows: str) -> tuple[str, str]:
        """Return where the entries of compressed sparse rows (P,) lie, (T,), and whose of the P each is, (T,)."""
        zero, one = self.constant(np.int64(0)), self.constant(np.int64(1))
        begins = self.op("Gather", indptr, rows)
        sizes = self.op("Sub", self.op("Gather", indptr, self.op("Add", rows, one)), begins)
        starts = self.op("CumSum", sizes, zero, exclusive=1)
        total = self.op("ReduceSum", sizes, keepdims=1)
        # A 1 where each row starts, two where an empty one lies between: their running sum counts the rows.
        none = self.op("ConstantOfShape", self.op("Add", total, one), value=self._scalar(np.int64(0)))
        each = self.op("ConstantOfShape", self.op("Shape", rows), value=self._scalar(np.int64(1)))
        marks = self.op("ScatterElements", none, starts, each, axis=0, reduction="add")
        ends = (self.constant(np.array([0])), total)
        of = self.op("Sub", self.op("Slice", self.op("CumSum", marks, zero), *ends), one)
        within = self.op("Range", zero, self.op("Squeeze", total), one)
        return self.op("Add", within, self.op("Gather", self.op("Sub", begins, starts), of)), of

    def sparse_product(
        self, left: str, indptr: str, columns: str, width: int, weights: str | None = None
    ) -> str:
        """Return left (B, N) @ a matrix (N, width) of compressed sparse rows, whose entries are 1 without `weights`."""
        pairs = self.op("NonZero", left)
        who, rows = (self.op("Gather", pairs, self.constant(np.int64(n)), axis=0) for n in (0, 1))
        places, of = self.places(indptr, rows)
        values = self.op("Gather", self.op("GatherND", left, self.op("Transpose", pairs)), of)
        if weights is not None:
            values = self.op("Mul", values, self.op("Gather", weights, places))
        at = self.at(self.op("Gather", who, of), self.op("Gather", columns, places), width)
        return self.scattered(left, width, 0.0, at, values, reduction="add")

    def at(self, rows: str, columns: str, width: int) -> str:
        """Return the places of entries (T,) in a flattened matrix of so many columns."""
        return self.op("Add", self.op("Mul", rows, self.constant(np.int64(width))), columns)

    def scattered(
        self, like: str, width: int, fill: float, at: str, values: str, reduction: str = "none"
    ) -> str:
        """Return (B, width), as many rows as `like`, of `fill` but for `values` (T,) at flat places."""
        rows = self.op("Shape", like, start=0, end=1)
        size = self.op("Mul", rows, self.constant(np.int64(width)))
        flat = self.op("ConstantOfShape", size, value=self._scalar(np.float32(fill)))
        found = self.op("ScatterElements", flat, at, values, axis=0, reduction=reduction)
        return self.op("Reshape", found, self.constant(np.array([-1, width])))

    def serialised(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], doc: str) -> bytes:
        """Return the model file; inputs and outputs are (dtype, shape) by name, a text for a size that is free."""
        helper, kinds = self._onnx.helper, {"int64": self.types.INT64, "float32": self.types.FLOAT}
        ends = [
            [helper.make_tensor_value_info(name, kinds[dtype], shape) for name, (dtype, shape) in one.items()]
            for one in (inputs, outputs)
        ]
        graph = helper.make_graph(self._nodes, "recommender", *ends, [*self._constants.values()], doc)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, producer_name="nas-recsys", opset_imports=opset, ir_version=IR_VERSION
        )
        self._onnx.checker.check_model(model)
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    def _scalar(self, value: Any) -> Any:
        return self._onnx.numpy_helper.from_array(np.atleast_1d(value))
