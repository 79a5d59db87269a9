"""Eight numbers at once: a notation for the vector instructions that numba's own loops do not reach.

numba keeps no running sum in a vector register, and turns short inner loops into single numbers one after the other.
The innermost loops are therefore written with these classes and become LLVM code as they stand.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

LANES = 8
I32, I64 = ir.IntType(32), ir.IntType(64)
_BYTE = ir.IntType(8)
_CACHE_LINE = 64
# No reordering of sums: a column is added up alike whatever columns lie beside it.
_FAST = ("contract", "nsz")
_LOG2E, _LN2_HIGH, _LN2_LOW = 1.44269504, 0.693359375, -2.12194440e-4
_EXP_TERMS = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)


@dataclass(frozen=True)
class Lanes:
    """A vector of numbers; arithmetic works lane by lane, on another vector or a Python number."""

    builder: Any
    value: Any

    @property
    def kind(self) -> Any:
        """The LLVM vector type."""
        return self.value.type

    def like(self, number: float) -> "Lanes":
        """Return `number` in every lane."""
        return Lanes(self.builder, ir.Constant(self.kind, [number] * self.kind.count))

    def _other(self, other: "Lanes | float") -> Any:
        return other.value if isinstance(other, Lanes) else self.like(other).value

    def __add__(self, other: "Lanes | float") -> "Lanes":
        return Lanes(self.builder, self.builder.fadd(self.value, self._other(other), flags=_FAST))

    def __sub__(self, other: "Lanes | float") -> "Lanes":
        return Lanes(self.builder, self.builder.fsub(self.value, self._other(other), flags=_FAST))

    def __mul__(self, other: "Lanes | float") -> "Lanes":
        return Lanes(self.builder, self.builder.fmul(self.value, self._other(other), flags=_FAST))

    def inverse(self) -> "Lanes":
        """Return 1 / self, 0 where self is 0."""
        b = self.builder
        divided = b.fdiv(self.like(1.0).value, self.value)
        return Lanes(b, b.select(self > 0.0, divided, self.like(0.0).value))

    def __gt__(self, other: "Lanes | float") -> Any:
        return self.builder.fcmp_ordered(">", self.value, self._other(other))

    def where(self, mask: Any, other: "Lanes | float") -> "Lanes":
        """Return self where `mask` holds, `other` elsewhere."""
        return Lanes(self.builder, self.builder.select(mask, self.value, self._other(other)))

    def max(self, other: "Lanes | float") -> "Lanes":
        """Return the larger of the two; NaN in self is kept."""
        b = self.builder
        return Lanes(
            b, b.select(b.fcmp_unordered(">", self.value, self._other(other)), self.value, self._other(other))
        )

    def rounded(self) -> "Lanes":
        """Return self as a number of its own: a product is not fused with the sum that it goes into."""
        bits = 32 if self.kind.element == ir.FloatType() else 64
        fence = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(self.kind, [self.kind]),
            f"llvm.arithmetic.fence.v{self.kind.count}f{bits}",
        )
        return Lanes(self.builder, self.builder.call(fence, [self.value]))

    def rotate(self, by: int) -> "Lanes":
        """Move every lane by `by` places."""
        n = self.kind.count
        places = ir.Constant(ir.VectorType(I32, n), [(lane + by) % n for lane in range(n)])
        return Lanes(self.builder, self.builder.shuffle_vector(self.value, self.value, places))

    def fold(self, heads: Any) -> "Lanes":
        """Sum the lanes of each head, lane mod `heads`, and leave the sum in all of them; `heads` divides LANES."""
        folded, by = self, LANES // 2
        while by:
            fewer = self.builder.icmp_signed("<=", heads, ir.Constant(heads.type, by))
            summed = folded + folded.rotate(by)
            folded = Lanes(self.builder, self.builder.select(fewer, summed.value, folded.value))
            by //= 2
        return folded

    def exp(self) -> "Lanes":
        """Return e^self, for at most 88; float32 by Cephes' polynomial (relative error 1e-7), float64 by libm."""
        b, kind = self.builder, self.kind
        if kind.element != ir.FloatType():
            function = ir.FunctionType(kind, [kind])
            exp = cgutils.get_or_insert_function(b.module, function, f"llvm.exp.v{kind.count}f64")
            return Lanes(b, b.call(exp, [self.value]))
        x = self.max(-87.0)
        rounding = ir.FunctionType(kind, [kind])
        floor = cgutils.get_or_insert_function(b.module, rounding, f"llvm.floor.v{kind.count}f32")
        n = Lanes(b, b.call(floor, [(x * _LOG2E + 0.5).value]))
        x = x - n * _LN2_HIGH - n * _LN2_LOW
        y = self.like(_EXP_TERMS[0])
        for term in _EXP_TERMS[1:]:
            y = y * x + term
        y = y * x * x + x + 1.0
        integers = ir.VectorType(I32, kind.count)
        power = b.add(b.fptosi(n.value, integers), ir.Constant(integers, [127] * kind.count))
        power = b.shl(power, ir.Constant(integers, [23] * kind.count))
        return y * Lanes(b, b.bitcast(power, kind))


class Sum:
    """A vector that changes in a loop; LLVM keeps it in a register."""

    def __init__(self, start: Lanes) -> None:
        """Begin with `start`."""
        self._builder = start.builder
        self._slot = cgutils.alloca_once(start.builder, start.kind)
        self.set(start)

    def set(self, value: Lanes) -> None:
        """Replace the value."""
        self._builder.store(value.value, self._slot)

    def get(self) -> Lanes:
        """Return the value."""
        return Lanes(self._builder, self._builder.load(self._slot))

    def add(self, value: Lanes) -> None:
        """Add to the value."""
        self.set(self.get() + value)


@dataclass(frozen=True)
class Table:
    """A two-dimensional array with contiguous rows, read and written in vectors."""

    builder: Any
    data: Any
    stride: Any
    n_columns: Any
    scalar: Any
    bytes: int

    @classmethod
    def of(cls, context: Any, builder: Any, kind: Any, value: Any) -> "Table":
        """Take the argument `value` of an intrinsic, of numba's type `kind`."""
        array = context.make_array(kind)(context, builder, value)
        stride = cgutils.unpack_tuple(builder, array.strides, 2)[0]
        n_columns = cgutils.unpack_tuple(builder, array.shape, 2)[1]
        data, scalar = builder.ptrtoint(array.data, I64), context.get_data_type(kind.dtype)
        return cls(builder, data, stride, n_columns, scalar, kind.dtype.bitwidth // 8)

    def panel(self, data: Any, first: Any, width: int) -> "Table":
        """Return the table of `width` columns, one row right behind the other, that begins at data[first]."""
        at = self.builder.add(
            self.builder.ptrtoint(data, I64), self.builder.mul(first, ir.Constant(I64, self.bytes))
        )
        return Table(
            self.builder,
            at,
            ir.Constant(I64, width * self.bytes),
            ir.Constant(I64, width),
            self.scalar,
            self.bytes,
        )

    def _pointer(self, row: Any, column: Any, kind: Any) -> Any:
        b = self.builder
        within = b.mul(column, ir.Constant(I64, self.bytes))
        return b.inttoptr(b.add(b.add(self.data, b.mul(row, self.stride)), within), kind.as_pointer())

    def load(self, row: Any, column: Any, width: int = LANES) -> Lanes:
        """Return `width` columns of a row."""
        loaded = self.builder.load(self._pointer(row, column, ir.VectorType(self.scalar, width)))
        loaded.align = self.bytes
        return Lanes(self.builder, loaded)

    def store(self, value: Lanes, row: Any, column: Any) -> None:
        """Write a vector."""
        self.builder.store(value.value, self._pointer(row, column, value.kind)).align = self.bytes

    def add(self, value: Lanes, row: Any, column: Any) -> None:
        """Add a vector to what is there."""
        self.store(self.load(row, column, value.kind.count) + value, row, column)

    def repeated(self, number: Any, width: int = LANES) -> Lanes:
        """Return a number that is known at run time in every lane."""
        b, nothing = self.builder, ir.Constant(ir.VectorType(self.scalar, width), ir.Undefined)
        first = b.insert_element(nothing, number, ir.Constant(I32, 0))
        places = ir.Constant(ir.VectorType(I32, width), [0] * width)
        return Lanes(b, b.shuffle_vector(first, nothing, places))

    def constant(self, number: float, width: int = LANES) -> Lanes:
        """Return `number` in every lane, in the table's type."""
        return Lanes(self.builder, ir.Constant(ir.VectorType(self.scalar, width), [number] * width))

    @contextmanager
    def columns(self) -> Iterator[Any]:
        """Loop over the columns, LANES at a time; their number is a multiple of LANES."""
        blocks = self.builder.sdiv(self.n_columns, ir.Constant(I64, LANES))
        with cgutils.for_range(self.builder, blocks, intp=I64) as block:
            yield self.builder.mul(block.index, ir.Constant(I64, LANES))

    def prefetch(self, row: Any, column: Any, width: int) -> None:
        """Ask for the cache lines of `width` columns of a row."""
        pointer = _BYTE.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, I32, I32, I32])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        read, keep, data = (ir.Constant(I32, n) for n in (0, 3, 1))
        for first in range(0, width, _CACHE_LINE // self.bytes):
            at = self.builder.add(column, ir.Constant(I64, first))
            self.builder.call(function, [self._pointer(row, at, _BYTE), read, keep, data])


def intrinsic_of(emit: Callable[..., None], kinds: tuple[Any, ...]) -> Any:
    """Return what numba's `@intrinsic` expects: a signature and a code generator.

    emit(builder, *arguments) gets each 2-D array as a `Table`, a 1-D array as numba's array struct, and each number as an LLVM value; whole numbers arrive as int64, others in the type of the first array.
    """
    dtype = next(kind.dtype for kind in kinds if isinstance(kind, types.Array))
    signature = types.void(
        *[
            kind
            if isinstance(kind, types.Array)
            else types.intp
            if isinstance(kind, types.Integer)
            else dtype
            for kind in kinds
        ]
    )

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        def argument(kind: Any, value: Any) -> Any:
            if not isinstance(kind, types.Array):
                return value
            if kind.ndim == 1:
                return context.make_array(kind)(context, builder, value)
            return Table.of(context, builder, kind, value)

        emit(builder, *[argument(*pair) for pair in zip(signature.args, values, strict=True)])
        return context.get_dummy_value()

    return signature, codegen
