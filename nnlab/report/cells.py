"""The text of one cell: numbers rounded for the eye, each to the digits that it deserves.

Rounding happens only here.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from nnlab.core.lazy import lazy
from nnlab.report.text import plain_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
else:
    pd = lazy("pandas")

MISSING: Final = "-"
DIGITS: Final = 4  # significant digits of a number without an interval

_LEADING_NUMBER: Final = re.compile(r"[-+]?\d+")


def is_missing(value: object) -> bool:
    """True if a cell of a frame is empty: None, nan, pandas' NA, or no text."""
    return bool(value == "" if isinstance(value, str) else pd.isna(value))  # type: ignore[call-overload]


def is_true(value: object) -> bool:
    """True if a cell is true, as a bool in a frame or as the text in a file."""
    return not is_missing(value) and (value == "true" if isinstance(value, str) else bool(value))


def number(value: float, digits: int = DIGITS) -> str:
    """`value` rounded to `digits` significant digits: 0.00185, 12346, 1.5e-7; never more zeros than the eye can count.

    Below 10^6 no digit before the point is rounded away. Zeros after the last digit are left out.
    """
    if not math.isfinite(value):
        return str(value)
    short = f"{value:.{digits}g}"
    rounded = float(short)
    if rounded == 0:
        return "0"
    if not 1e-4 <= abs(rounded) < 1e6:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        return f"{_strip_zeros(mantissa)}e{int(exponent)}"
    decimals = max(0, digits - 1 - _exponent(rounded))
    return _strip_zeros(f"{value:.{decimals}f}")


def _strip_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _exponent(value: float) -> int:
    """The power of ten of the first digit: 2 for 345.6. From the decimal spelling, since log10(1000) may fall short."""
    return int(f"{abs(value):e}".partition("e")[2])


def distinct_numbers(values: Sequence[float], least: int = 3) -> list[str]:
    """The values with the fewest significant digits, at least `least`, at which different values look different."""
    num_values = len(set(values))
    spellings = ([number(value, digits) for value in values] for digits in range(least, 18))
    return next((texts for texts in spellings if len(set(texts)) == num_values), [repr(value) for value in values])


def value(cell: object) -> str:
    """The text of any cell of a frame: numbers rounded, flags as in the files, text made safe, a dash for an empty cell."""
    if is_missing(cell):
        return MISSING
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return number(cell) if isinstance(cell, float) else plain_text(cell)


def estimate(mean: float, low: float, high: float, *, brief: bool = False) -> str:
    """`0.412 ±0.013`: a mean to the decimals that its interval justifies.

    The half-width keeps two digits if they start below 3.55, else one (the rule of the Particle Data Group), and the mean
    has as many decimals. If the sides of an interval differ by more than half, it is written `0.97 [0.94, 0.98]`; otherwise
    its longer side is given.

    Args:
        mean: may be nan (nothing known) or infinite.
        low: lower end; nan if there is no interval, and then the mean stands alone.
        high: upper end.
        brief: give one digit of the half-width, and the longer side however uneven the sides are.
    """
    if is_missing(mean):
        return MISSING
    if not math.isfinite(mean) or is_missing(low) or is_missing(high):
        return number(mean)
    sides = mean - low, high - mean
    half = max(sides)
    if half <= 1e-6 * abs(mean):
        return f"{number(mean, 6)} ±{number(half, 1)}"
    decimals = _decimals(half, brief=brief)
    if not 1e-4 <= max(half, abs(mean)) < 1e6:
        digits = max(0, decimals + _exponent(mean))
        return f"{_scientific_notation(mean, digits) if mean else 0} ±{number(half, 2)}"
    if not brief and min(sides) * 1.5 < half:
        return f"{_fixed_point(mean, decimals)} [{_fixed_point(low, decimals)}, {_fixed_point(high, decimals)}]"
    return f"{_fixed_point(mean, decimals)} ±{_fixed_point(half, decimals)}"


def _decimals(half: float, *, brief: bool) -> int:
    exponent = _exponent(half)
    return (0 if brief or half / 10.0**exponent >= 3.55 else 1) - exponent


def _fixed_point(value: float, decimals: int) -> str:
    text = f"{round(value, decimals):.{max(decimals, 0)}f}"
    return text if float(text) else text.removeprefix("-")


def _scientific_notation(value: float, digits: int) -> str:
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def align(texts: Iterable[str]) -> list[str]:
    """Pad the texts to one width, with their numbers aligned at the points; words start where numbers start."""
    listed = list(texts)
    anchors = [match.end() if (match := _LEADING_NUMBER.match(text)) else 0 for text in listed]
    before = max(anchors, default=0)
    shifted = [" " * (before - anchor) * (anchor > 0) + text for text, anchor in zip(listed, anchors, strict=True)]
    width = max(map(len, shifted), default=0)
    return [text.ljust(width) for text in shifted]
