"""Pictures for a terminal: curves drawn with dots, or with one plain sign for each curve if there is only ASCII."""

from __future__ import annotations

import functools
import itertools
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from plotille import Canvas
from rich.text import Text

from nnlab.report.cells import number
from nnlab.report.sheets import Sheet
from nnlab.report.text import plain_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

_HEIGHT: Final = 10
_MOST_WIDE: Final = 76
_LEAST_WIDE: Final = 8  # of the drawing itself
_BLANK: Final = "\u2800"  # a cell without a dot
_DOTS_X, _DOTS_Y = 2, 4  # of a cell
_SIGNS: Final = "*o+x"
_STYLES: Final = ("cyan", "magenta", "yellow", "green")


@dataclass(frozen=True)
class Illustrated(Sheet):
    """A sheet with pictures below it, which Markdown leaves out."""

    pictures: Sequence[RenderableType] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from super().__rich_console__(console, options)
        for picture in self.pictures:
            yield Text("")
            yield picture


@dataclass(frozen=True, eq=False)
class Curves:
    """Up to four curves over one axis.

    Attributes:
        frame: the axis in the first column, ascending; one curve in each other column, under its name.
        filled: fill each curve down to 0, as in a histogram.
    """

    frame: pd.DataFrame
    filled: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _lines(self, min(options.max_width, _MOST_WIDE), ascii_only=options.ascii_only)


@dataclass(frozen=True)
class _Area:
    """The area of the curves: its limits, and its width in cells."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: int

    def row(self, y: float) -> int:
        """The row of cells, from the top, that `y` lies in."""
        low, high = self.y
        dot = round((y - low) / (high - low) * (_HEIGHT * _DOTS_Y - 1))
        return _HEIGHT - 1 - dot // _DOTS_Y

    def canvas(self) -> Canvas:
        """An empty canvas on which the ends of both limits are dots: plotille's own upper limits lie just outside it."""

        def outer_limit(ends: tuple[float, float], dots: int) -> float:
            return ends[0] + (ends[1] - ends[0]) * dots / (dots - 1)

        top, right = outer_limit(self.y, _HEIGHT * _DOTS_Y), outer_limit(self.x, self.width * _DOTS_X)
        return Canvas(self.width, _HEIGHT, self.x[0], self.y[0], right, top)


def _lines(curves: Curves, width: int, *, ascii_only: bool) -> Iterator[Text]:
    """The lines of the picture: numbers on the left, names where the curves end on the right, the axis below."""
    frame = curves.frame
    axis, *names = (plain_text(name) for name in frame.columns)
    x, *lines = (frame[name].to_numpy(dtype=float) for name in frame.columns)
    y = _limits(np.concatenate(lines), with_zero=curves.filled)
    ticks = {_HEIGHT - 1: number(y[0]), 0: number(y[1])}
    labels = [f"{sign} {name}" if ascii_only else name for sign, name in zip(_SIGNS, names, strict=False)]
    left, right = max(map(len, ticks.values())), max(map(len, [axis, *labels]))
    area = _Area(_limits(x), y, max(_LEAST_WIDE, width - left - right - 4))
    zero = area.row(0.0) if y[0] < 0.0 < y[1] else None
    if zero is not None:
        ticks.setdefault(zero, "0")
    layers = [_cells(area, x, line, filled=curves.filled) for line in lines]
    ends = _label_rows([area.row(line[np.isfinite(line)][-1]) for line in lines])
    for row in range(_HEIGHT):
        text = Text(f"{ticks.get(row, ''):>{left}} {'|' if ascii_only else '│'}", no_wrap=True)
        text.append_text(_row([layer[row] for layer in layers], on_zero=row == zero, ascii_only=ascii_only))
        if row in ends:
            text.append(f" {labels[ends[row]]}", _STYLES[ends[row]])
        yield text
    corner, dash = ("+", "-") if ascii_only else ("└", "─")
    yield Text(f"{'':>{left}} {corner}{dash * area.width} {axis}", no_wrap=True)
    yield Text(f"{'':>{left}}  {_axis_numbers(area)}", no_wrap=True)


def _limits(values: np.ndarray, *, with_zero: bool = False) -> tuple[float, float]:
    """The least and the largest finite value; values that do not vary are drawn against 0."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    if with_zero or low == high:
        low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if low < high else (0.0, 1.0)


def _cells(area: _Area, x: np.ndarray, y: np.ndarray, *, filled: bool) -> list[str]:
    """A curve as rows of Braille cells, from the top."""
    canvas = area.canvas()
    if filled:
        places = np.linspace(*area.x, area.width * _DOTS_X)
        heights = y[np.abs(x - places[:, None]).argmin(1)]
        points = np.stack([places, heights], axis=1)[heights != 0].tolist()
        ends = [((place, 0.0), (place, height)) for place, height in points]
    else:
        points = _points(x, y, most=4 * area.width * _DOTS_X)
        ends = list(zip(points, points[1:] or points, strict=False))
    for first, last in ends:
        canvas.line(*first, *last)
    drawn: str = canvas.plot("\n")
    return drawn.split("\n")


def _points(x: np.ndarray, y: np.ndarray, most: int) -> list[tuple[float, float]]:
    """The finite points; if there are more than `most`, evenly spaced ones with both ends among them."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(most, len(x))).round().astype(int))
    return [(px, py) for px, py in zip(x[kept].tolist(), y[kept].tolist(), strict=True) if np.isfinite(py)]


def _label_rows(wanted: Sequence[int]) -> dict[int, int]:
    """The curve whose name stands in each row: that in which the curve ends, or the nearest free one."""
    taken: dict[int, int] = {}
    for curve, row in enumerate(wanted):
        free = [r for r in range(_HEIGHT) if r not in taken]
        taken[min(free, key=lambda r: abs(r - row))] = curve
    return taken


def _row(layers: Sequence[str], *, on_zero: bool, ascii_only: bool) -> Text:
    """One row of all curves laid over each other, in stretches of one colour."""
    ground = ("-" if ascii_only else "┈", "dim") if on_zero else (" ", "")
    cells = [_cell(cells, ground, ascii_only=ascii_only) for cells in zip(*layers, strict=True)]
    stretches = itertools.groupby(cells, key=operator.itemgetter(1))
    return Text.assemble(*(("".join(sign for sign, _ in stretch), style) for style, stretch in stretches))


def _cell(cells: Sequence[str], ground: tuple[str, str], *, ascii_only: bool) -> tuple[str, str]:
    """The sign and style of one cell: the dots of all curves, the last curve's colour or ASCII sign on top."""
    dotted = [curve for curve, cell in enumerate(cells) if cell != _BLANK]
    if not dotted:
        return ground
    dots = chr(functools.reduce(operator.or_, map(ord, cells)))
    return _SIGNS[dotted[-1]] if ascii_only else dots, _STYLES[dotted[-1]]


def _axis_numbers(area: _Area) -> str:
    """The numbers below the axis: both ends, and 0 if it lies between them with room to spare."""
    low, high = area.x
    first, last = number(low), number(high)
    line = first + last.rjust(area.width - len(first))
    zero = round(-low / (high - low) * (area.width - 1))
    if low < 0.0 < high and len(first) < zero - 1 and zero + 2 < area.width - len(last):
        line = f"{line[:zero]}0{line[zero + 1 :]}"
    return line
