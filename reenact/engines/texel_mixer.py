"""Mix four texels into a pixel's place with vector instructions.

Compiled from a loop over channels, numba's code does them one after the other: to the compiler the places read and
written may overlap. Here the instructions are said.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

Value = Any
"""Of numba's and LLVM's own, which have no types."""

SINGLE, HALF = 4, 2
"""Bytes of a value: float32, or bfloat16 as a compiler without it keeps it."""


@intrinsic(prefer_literal=True)
def mix(
    typing_context: Value,
    channels: Value,
    size: Value,
    tl: Value,
    tr: Value,
    bl: Value,
    br: Value,
    du: Value,
    dv: Value,
    covered: Value,
    gx: Value,
    gy: Value,
    gz: Value,
    place: Value,
) -> Value:
    """Write the mix of texels at four addresses, `channels` values of `size` bytes each, to the address `place`.

    `du` and `dv`, 0 to 1, say how far right and down it lies; it is multiplied by `covered`, which is written behind
    it, and then gx, gy and gz. `channels` and `size` are constants of the code that calls. bfloat16 is rounded to
    nearest even.
    """
    count, width = channels.literal_value, size.literal_value
    shares = [types.float32] * 6
    signature = types.void(channels, size, *[types.intp] * 4, *shares, types.intp)

    def generate(context: Value, builder: Value, _: Value, arguments: Value) -> Value:
        writer = _Writer(builder, width)
        tl, tr, bl, br = (writer.read(address, count) for address in arguments[2:6])
        across, down, cover = (writer.vector([value] * count) for value in arguments[6:9])
        upper, lower = writer.between(tl, tr, across), writer.between(bl, br, across)
        writer.write(builder.fmul(writer.between(upper, lower, down), cover), arguments[12], 0)
        writer.write(writer.vector(list(arguments[8:12])), arguments[12], count)
        return context.get_dummy_value()

    return signature, generate


class _Writer:
    """Builds instructions on vectors of float32 that lie in memory as values of `size` bytes."""

    def __init__(self, builder: Value, size: int) -> None:
        self._builder = builder
        self._size = size
        self._kept = ir.FloatType() if size == SINGLE else ir.IntType(16)

    def vector(self, values: list[Value]) -> Value:
        """Put values side by side."""
        vector = ir.Constant(ir.VectorType(ir.FloatType(), len(values)), ir.Undefined)
        for index, value in enumerate(values):
            vector = self._builder.insert_element(vector, value, ir.Constant(ir.IntType(32), index))
        return vector

    def between(self, first: Value, second: Value, share: Value) -> Value:
        """Go `share` of the way from one to the other."""
        build = self._builder
        return build.fadd(first, build.fmul(share, build.fsub(second, first)))

    def read(self, address: Value, count: int) -> Value:
        """Read `count` values."""
        build = self._builder
        kept = build.load(build.inttoptr(address, ir.VectorType(self._kept, count).as_pointer()))
        kept.align = self._size
        if self._size == SINGLE:
            return kept
        words = build.zext(kept, ir.VectorType(ir.IntType(32), count))
        return build.bitcast(build.shl(words, _all(words, 16)), ir.VectorType(ir.FloatType(), count))

    def write(self, values: Value, address: Value, index: int) -> None:
        """Write values from the place `index` on."""
        build = self._builder
        if self._size == HALF:
            words = build.bitcast(values, ir.VectorType(ir.IntType(32), values.type.count))
            odd = build.and_(build.lshr(words, _all(words, 16)), _all(words, 1))
            words = build.lshr(build.add(words, build.add(odd, _all(words, 0x7FFF))), _all(words, 16))
            values = build.trunc(words, ir.VectorType(ir.IntType(16), values.type.count))
        address = build.add(address, ir.Constant(address.type, index * self._size))
        build.store(values, build.inttoptr(address, values.type.as_pointer())).align = self._size


def _all(vector: Value, value: int) -> Value:
    """Give a constant like `vector`, all of one value."""
    return ir.Constant(vector.type, [value] * vector.type.count)
