"""Text that is safe to show in a terminal.

Text from a person (arms, run names, columns of a file) may contain anything: its control characters are made visible. Every
sign that tables draw with has an ASCII spelling.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_ASCII: Final = str.maketrans(
    dict(zip(_BLOCKS, "_.-:=+*#", strict=True))
    | {"±": "+-", "×": "x", "…": "...", "⋮": "...", "–": "-", "—": "-", "−": "-", "λ": "lambda", "β": "beta"}
    | {"∞": "inf", "↑": "^", "↓": "v", "≤": "<=", "≥": ">=", "√": "sqrt", "→": "->"}
)


def as_ascii(text: str) -> str:
    """The text with the signs that tables use spelled in ASCII; other letters are left to the encoder."""
    return text.replace(" ±", "+-").translate(_ASCII)


def plain_text(value: object) -> str:
    """`value` as text of one line with every control character, bidirectional mark and lone surrogate escaped."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def sparkline(values: Sequence[float], width: int | None = None, *, ascii_only: bool = False) -> str:
    """The values as a line of bars, the least finite one lowest and the largest highest.

    Infinite values are arrows, missing ones gaps; if all values are equal, they are half-way up. If there are more than
    `width` values, evenly spaced ones are drawn, with the first and the last among them. For a logarithmic scale pass
    logarithms; that of 0 is -inf.
    """
    drawn = list(values)
    if width is not None and len(drawn) > width:
        drawn = [drawn[round(i * (len(drawn) - 1) / max(width - 1, 1))] for i in range(width)]
    finite = [v for v in drawn if math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    line = "".join(_bar(v, low, high) for v in drawn)
    return as_ascii(line) if ascii_only else line


def _bar(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return " "
    if math.isinf(value):
        return "↑" if value > 0 else "↓"
    # Halved first: the span of two large floats may overflow.
    share = (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5
    return _BLOCKS[min(int(share * len(_BLOCKS)), len(_BLOCKS) - 1)]
