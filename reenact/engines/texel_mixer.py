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
CHANGE_CHANNELS = 4
"""Values of a texel of change, the last one 0: as many as fit an instruction."""
CHANGE_BYTES = CHANGE_CHANNELS * SINGLE


@intrinsic(prefer_literal=True)
def mix(
    typing_context: Value,
    channels: Value,
    size: Value,
    corners: Value,
    shares: Value,
    changes: Value,
    change_shares: Value,
    behind: Value,
    place: Value,
) -> Value:
    """Write the mix of texels, `channels` values of `size` bytes each, to the address `place`.

    They lie at the addresses `corners`, left and right above and below, and `shares`, 0 to 1, say how far right and
    down the place lies. The mix of what is at `changes` with `change_shares`, float32, is added to the first values;
    the sum is multiplied by the first of four numbers `behind`, which are written behind it. `channels` and `size` are
    constants of the code that calls. bfloat16 is rounded to nearest even.
    """
    count, width = channels.literal_value, size.literal_value
    addresses, pair = types.UniTuple(types.intp, 4), types.UniTuple(types.float32, 2)
    behind_type = types.UniTuple(types.float32, 4)
    signature = types.void(channels, size, addresses, pair, addresses, pair, behind_type, types.intp)

    def generate(context: Value, builder: Value, _: Value, arguments: Value) -> Value:
        def parts(index: int) -> list[Value]:
            return [builder.extract_value(arguments[index], k) for k in range(arguments[index].type.count)]

        writer, change_writer = _Writer(builder, width), _Writer(builder, SINGLE)
        texels = writer.mix(parts(2), parts(3), count)
        change = writer.resized(change_writer.mix(parts(4), parts(5), CHANGE_CHANNELS), count)
        last, place = parts(6), arguments[7]
        writer.write(builder.fmul(builder.fadd(texels, change), writer.vector([last[0]] * count)), place, 0)
        writer.write(writer.vector(last), place, count)
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

    def mix(self, corners: list[Value], shares: list[Value], count: int) -> Value:
        """Mix `count` values at four addresses, left and right above and below, so far right and down."""
        tl, tr, bl, br = (self.read(address, count) for address in corners)
        across, down = (self.vector([share] * count) for share in shares)
        return self.between(self.between(tl, tr, across), self.between(bl, br, across), down)

    def resized(self, vector: Value, count: int) -> Value:
        """Cut a vector off at `count` values, or add zeros behind it."""
        zeros = ir.Constant(vector.type, [0.0] * vector.type.count)
        places = [min(k, vector.type.count) for k in range(count)]  # all beyond it are the first zero
        mask = ir.Constant(ir.VectorType(ir.IntType(32), count), places)
        return self._builder.shuffle_vector(vector, zeros, mask)

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
