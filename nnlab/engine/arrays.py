"""Arrays with a run axis, laid out so that a run's bits never depend on its neighbours.

Shapes: R runs, H units out, D units in, B rows of a batch.

Each run's block starts at a multiple of 128 bytes. Then every vectorised loop cuts a run's elements into the same full
vectors and the same tail, whether the run stands alone, first or last (measured with MKL on the CPU: without the padding one product
in ten differs in its last bit between a run alone and the same run in company). The cost is below the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import torch
from torch import Tensor

_ALIGNMENT_BYTES: Final = 128  # two AVX-512 registers: the unrolled vector loop's stride
_CHEAP_PRODUCT: Final = 64_000  # multiplications that take less time than calling MKL once more
_SMALLEST_BLAS_PRODUCT: Final = 400  # torch.bmm multiplies smaller ones itself, whatever their strides


def padded(num_runs: int, *shape: int, dtype: torch.dtype, device: torch.device, rows: int = 0) -> Tensor:
    """Zeros [R, *shape]; each run's block is contiguous and starts at a multiple of 128 bytes.

    Args:
        num_runs: R.
        shape: of one run's block.
        dtype, device: of the elements.
        rows: the block has room for so many rows (of its first dimension) at least; those beyond the shape stay zero.
    """
    size = 1
    strides: list[int] = []
    for length in reversed(shape):
        strides.insert(0, size)
        size *= length
    block = max(_block_of(shape, dtype), block_size(rows * strides[0], dtype) if rows else 0)
    storage = torch.zeros(num_runs * block, dtype=dtype, device=device)
    return storage.as_strided((num_runs, *shape), (block, *strides))


class InTurn:
    """Padded arrays, two of each layout, given out in turn: for layers whose outputs only the next layer reads."""

    def __init__(self) -> None:
        self.made: dict[tuple[object, ...], list[Tensor]] = {}

    def __call__(self, *shape: int, dtype: torch.dtype, device: torch.device, rows: int = 0) -> Tensor:
        return self._given((*shape, dtype, rows), lambda: padded(*shape, dtype=dtype, device=device, rows=rows))

    def like(self, x: Tensor) -> Tensor:
        """An array with the layout of the padded array `x`."""
        return self._given((x.shape, x.stride(), x.dtype), lambda: like(x))

    def _given(self, layout: tuple[object, ...], make: Callable[[], Tensor]) -> Tensor:
        pair = self.made.setdefault(layout, [])
        if len(pair) < 2:
            pair.append(make())
            return pair[-1]
        pair.reverse()
        return pair[1]


def like(x: Tensor) -> Tensor:
    """Zeros with the layout of the padded array `x`."""
    return shaped(torch.zeros_like(whole(x)), x)


def rows_of(x: Tensor) -> int:
    """Whole rows that the block of each run of `x` [R, H, ...] has room for: H, or more where it was padded by rows."""
    return x.stride(0) // x.stride(1)


def padded_rows(num_rows: int, inner: int, *columns: int, dtype: torch.dtype) -> int:
    """H', the rows of a product [H, D] x [D, columns] with which its blocks leave no gap; H where that costs too much.

    Blocks without gaps are multiplied by one call of MKL's batched routine; others one by one, at about 1.5 us each (measured).

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


def _block_of(shape: Sequence[int], dtype: torch.dtype) -> int:
    """Elements from one run's block of this shape to the next.

    Columns are kept from filling their block: without a gap they would go to MKL's batched routine, which multiplies a
    matrix by a vector in another way for one run than for several (measured; other shapes come out alike).
    """
    size = math.prod(shape)
    return block_size(size + 1 if shape and shape[-1] == 1 else size, dtype)


def block_size(num_elements: int, dtype: torch.dtype) -> int:
    """Elements from the start of one run's block to the next."""
    unit = _ALIGNMENT_BYTES // dtype.itemsize
    return -(-max(num_elements, 1) // unit) * unit


def whole(x: Tensor) -> Tensor:
    """Every element of a padded array, padding included: [R, block], contiguous.

    Elementwise work is done on this view: one loop without a tail, and its results are padded as `x` is.
    """
    block = x.stride(0)
    return x.as_strided((x.shape[0], block), (block, 1))


class Remembered:
    """A view of an array, remembered for the array asked for last: buffers are the same at every step."""

    def __init__(self, view_of: Callable[[Tensor], Tensor]) -> None:
        self.view_of = view_of
        self.of: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if x is not self.of:
            self.of, self.view = x, self.view_of(x)
        return self.view


def shaped(block: Tensor, like: Tensor) -> Tensor:
    """The array of the shape of `like` whose whole is `block`."""
    return block.as_strided((block.shape[0], *like.shape[1:]), (block.shape[1], *like.stride()[1:]))


def end_to_end(arrays: Mapping[str, Tensor], out: Tensor | None = None) -> Tensor:
    """Padded arrays, all of a run in one block [R, P]: a copy, of which `parts_of` gives the arrays back."""
    return torch.cat([whole(x) for x in arrays.values()], dim=1, out=out)


def parts_of(joined: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Views of blocks [R, P] in which arrays with the layouts of the padded `like` lie end to end."""
    found, start = {}, 0
    for name, x in like.items():
        shape, strides = (joined.shape[0], *x.shape[1:]), (joined.shape[1], *x.stride()[1:])
        found[name] = joined.as_strided(shape, strides, start)
        start += x.stride(0)
    return found


class Product:
    """A batched matrix product of fixed shapes, out = a b for each run: [R, H, D] x [R, D, B] -> [R, H, B].

    A run alone is multiplied as it would be in company. One run's block is contiguous however it is padded, and a
    contiguous product goes to MKL's batched routine while a padded one goes to sgemm, block by block; the two may
    differ in the last bit. So where company would go to sgemm, a run alone goes there too.
    """

    def __init__(self, out: Tensor, inner: int, *, room: int = 0) -> None:
        """
        Args:
            out: the array that the product, or one of its shape, is written to.
            inner: D.
            room: rows that the blocks of `out`, of `a` and of a column that is added have room for. Where so many leave no gap
                in `out`, all are multiplied, the zeros too.
        """
        rows, columns = out.shape[1:]
        self.rows = room if columns > 1 and room * columns == out.stride(0) else rows
        is_padded = self.rows * columns != out.stride(0)
        is_blas = rows * columns * inner >= _SMALLEST_BLAS_PRODUCT
        self.alone = out.shape[0] == 1 and out.device.type == "cpu" and is_padded and is_blas
        self.full_out, self.full_a, self.full_c = (Remembered(partial(_with_rows, self.rows)) for _ in range(3))

    def to(self, out: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """out = a b."""
        if self.alone:
            torch.mm(a[0], b[0], out=out[0])
        else:
            torch.bmm(self.full_a(a), b, out=self.full_out(out))
        return out

    def plus(self, c: Tensor, a: Tensor, b: Tensor, out: Tensor) -> Tensor:
        """out = c + a b; c may be out itself, or a column that stands for all."""
        if self.alone:
            torch.addmm(c[0], a[0], b[0], out=out[0])
        else:
            full = self.full_out(out)
            torch.baddbmm(full if c is out else self.full_c(c), self.full_a(a), b, out=full)
        return out


def _with_rows(rows: int, x: Tensor) -> Tensor:
    """So many rows of each block, of which there may be more than `x` shows."""
    return x if x.shape[1] == rows else x.as_strided((x.shape[0], rows, x.shape[2]), x.stride())


def wide(device: torch.device) -> torch.dtype:
    """The type for sums over many rows and numbers that are rounded later; Apple's devices have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64
