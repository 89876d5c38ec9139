"""Arrays with a run axis, laid out so that a run's bits never depend on its neighbours.

Shapes: R runs, H units out, D units in, B rows of a batch, P numbers of a run, padding included.

Each run's block starts at a multiple of 128 bytes. Every vectorised loop then cuts a run's elements into the same full vectors and the
same tail, whether the run stands alone, first or last. Two runs' weights [2, 3, 5] in float32, with 15 numbers in a block of 32:

    | run 0: 15 weights | 17 zeros | run 1: 15 weights | 17 zeros |          strides (32, 5, 1), not (15, 5, 1)

Measured with MKL on the CPU: without the padding, one product in ten differs in its last bit between a run alone and the same run in
company. The cost of the padding is below the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import torch
from torch import Tensor

_ALIGNMENT_BYTES: Final = 128  # two AVX-512 registers: the stride of an unrolled vector loop
_CHEAP_PRODUCT: Final = 64_000  # multiplications that take less time than one more call of MKL
_SMALLEST_BLAS_PRODUCT: Final = 400  # torch.bmm multiplies smaller ones itself, whatever their strides


def padded_zeros(num_runs: int, *shape: int, dtype: torch.dtype, device: torch.device, rows: int = 0) -> Tensor:
    """Zeros [R, *shape]; each run's block is contiguous and starts at a multiple of 128 bytes.

    Args:
        num_runs: R.
        shape: of one run's block.
        dtype, device: of the elements.
        rows: the block has room for at least this many rows (of its first dimension); those beyond the shape stay zero.
    """
    size = 1
    strides: list[int] = []
    for length in reversed(shape):
        strides.insert(0, size)
        size *= length
    block = max(_stride_of_runs(shape, dtype), block_size(rows * strides[0], dtype) if rows else 0)
    storage = torch.zeros(num_runs * block, dtype=dtype, device=device)
    return storage.as_strided((num_runs, *shape), (block, *strides))


class AlternatingBuffers:
    """Padded arrays, two of each layout, handed out in turn: for layers whose output only the next layer reads."""

    def __init__(self) -> None:
        self.made: dict[tuple[object, ...], list[Tensor]] = {}

    def __call__(self, *shape: int, dtype: torch.dtype, device: torch.device, rows: int = 0) -> Tensor:
        return self._next((*shape, dtype, rows), lambda: padded_zeros(*shape, dtype=dtype, device=device, rows=rows))

    def new_like(self, x: Tensor) -> Tensor:
        """An array with the layout of the padded array `x`."""
        return self._next((x.shape, x.stride(), x.dtype), lambda: padded_like(x))

    def _next(self, layout: tuple[object, ...], make: Callable[[], Tensor]) -> Tensor:
        pair = self.made.setdefault(layout, [])
        if len(pair) < 2:
            pair.append(make())
            return pair[-1]
        pair.reverse()
        return pair[1]


def padded_like(x: Tensor) -> Tensor:
    """Zeros with the layout of the padded array `x`."""
    return from_blocks(torch.zeros_like(blocks_of(x)), x)


def row_capacity(x: Tensor) -> int:
    """Whole rows that the block of each run of `x` [R, H, ...] has room for: H, or more if it was padded by rows."""
    return x.stride(0) // x.stride(1)


def padded_rows(num_rows: int, inner: int, *columns: int, dtype: torch.dtype) -> int:
    """H' >= H: rows with which the blocks of a product [H, D] x [D, columns] leave no gap; H itself if that costs too much.

    MKL's batched routine multiplies blocks without gaps in one call. Blocks with gaps are multiplied one by one, at about 1.5 us each
    (measured), so a few rows of zeros more are the cheaper way for small products.

    Args:
        num_rows: H.
        inner: D.
        columns: of the matrices that have H rows (the batch's width, and D for the weights themselves).
        dtype: of the elements.
    """
    unit = _ALIGNMENT_BYTES // dtype.itemsize
    step = max(unit // math.gcd(unit, width) for width in columns)
    rows = -(-num_rows // step) * step
    return rows if (rows - num_rows) * inner * max(columns) <= _CHEAP_PRODUCT else num_rows


def _stride_of_runs(shape: Sequence[int], dtype: torch.dtype) -> int:
    """Elements from the start of one run's block of this shape to the next.

    A block of one column always gets a gap. Without it, the product would go to MKL's batched routine, which multiplies a matrix by a
    vector in another way for one run than for several (measured; other shapes come out alike).
    """
    size = math.prod(shape)
    return block_size(size + 1 if shape and shape[-1] == 1 else size, dtype)


def block_size(num_elements: int, dtype: torch.dtype) -> int:
    """The number of elements, rounded up to a multiple of 128 bytes."""
    unit = _ALIGNMENT_BYTES // dtype.itemsize
    return -(-max(num_elements, 1) // unit) * unit


def blocks_of(x: Tensor) -> Tensor:
    """A view of every element of a padded array, padding included: [R, P], contiguous.

    Elementwise work is done on this view: it is one loop without a tail, and its result is padded as `x` is.
    """
    block = x.stride(0)
    return x.as_strided((x.shape[0], block), (block, 1))


def from_blocks(blocks: Tensor, like: Tensor) -> Tensor:
    """The inverse of `blocks_of`: a view of [R, P] with the shape and layout of `like`."""
    return blocks.as_strided((blocks.shape[0], *like.shape[1:]), (blocks.shape[1], *like.stride()[1:]))


class CachedView:
    """A view of an array, kept for the array asked for last: buffers are the same at every step, and making a view takes time."""

    def __init__(self, view_of: Callable[[Tensor], Tensor]) -> None:
        self.view_of = view_of
        self.array: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if x is not self.array:
            self.array, self.view = x, self.view_of(x)
        return self.view


def join_blocks(arrays: Mapping[str, Tensor], out: Tensor | None = None) -> Tensor:
    """A copy of padded arrays, all those of a run end to end in one block [R, P]; `parts_of` gives views of them back."""
    return torch.cat([blocks_of(x) for x in arrays.values()], dim=1, out=out)


def parts_of(joined: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Views of the arrays that lie end to end in blocks [R, P], with the layouts of the padded `like`."""
    found, start = {}, 0
    for name, x in like.items():
        shape, strides = (joined.shape[0], *x.shape[1:]), (joined.shape[1], *x.stride()[1:])
        found[name] = joined.as_strided(shape, strides, start)
        start += x.stride(0)
    return found


class Product:
    """A batched matrix product of fixed shapes, out = a b for each run: [R, H, D] x [R, D, B] -> [R, H, B].

    A run alone is multiplied as it would be in company. Contiguous blocks go to MKL's batched routine, padded ones to sgemm, block by
    block, and the two may differ in the last bit. A single run's block is contiguous however it is padded; so where company would go to
    sgemm, a run alone is sent there too.
    """

    def __init__(self, out: Tensor, inner: int, *, room: int = 0) -> None:
        """
        Args:
            out: the array that the product is written to, or one of its layout.
            inner: D.
            room: rows that the blocks of `out`, of `a` and of an added column have room for. If that many rows leave no gap in
                `out`, all of them are multiplied, zeros included.
        """
        rows, columns = out.shape[1:]
        self.rows = room if columns > 1 and room * columns == out.stride(0) else rows
        is_padded = self.rows * columns != out.stride(0)
        is_blas = rows * columns * inner >= _SMALLEST_BLAS_PRODUCT
        self.alone = out.shape[0] == 1 and out.device.type == "cpu" and is_padded and is_blas
        self.full_out, self.full_a, self.full_c = (CachedView(partial(_with_rows, self.rows)) for _ in range(3))

    def multiply(self, out: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """out = a b."""
        if self.alone:
            torch.mm(a[0], b[0], out=out[0])
        else:
            torch.bmm(self.full_a(a), b, out=self.full_out(out))
        return out

    def multiply_add(self, c: Tensor, a: Tensor, b: Tensor, out: Tensor) -> Tensor:
        """out = c + a b; c may be `out` itself, or one column that is added to every column."""
        if self.alone:
            torch.addmm(c[0], a[0], b[0], out=out[0])
        else:
            full = self.full_out(out)
            torch.baddbmm(full if c is out else self.full_c(c), self.full_a(a), b, out=full)
        return out


def _with_rows(rows: int, x: Tensor) -> Tensor:
    """The view of `x` that shows this many rows of each block: zeros beyond its own are there, and not in its shape."""
    return x if x.shape[1] == rows else x.as_strided((x.shape[0], rows, x.shape[2]), x.stride())


def wide_dtype(device: torch.device) -> torch.dtype:
    """The type for sums over many rows, and for numbers that are rounded later; Apple's devices have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64
