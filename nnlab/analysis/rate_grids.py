"""Grids of learning rates: how to extend one that ends too soon."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from nnlab.core.spec import parse_rates
from nnlab.core.spelling import mention

if TYPE_CHECKING:
    from collections.abc import Sequence


def extended_grid(rates: Sequence[float], *, below: bool, above: bool) -> str:
    """A value of `lr` with every given rate that extends at least a decade beyond the ends asked for.

    A logarithmic grid keeps its spacing, as START:STOP:COUNT, and exactly its old points, so that runs already done are
    used again; a list gets a rate a decade beyond its end; a single rate becomes a grid of two points a decade.

    Args:
        rates: ascending, above 0.
        below: extend beyond the least.
        above: extend beyond the largest.
    """
    spacing = math.log(rates[-1] / rates[0]) / (len(rates) - 1) if len(rates) > 1 else math.log(10) / 2
    even = all(math.isclose(math.log(b / a), spacing, rel_tol=1e-6) for a, b in itertools.pairwise(rates))
    if not even:
        listed = [rates[0] / 10] * below + list(rates) + [rates[-1] * 10] * above
        return ",".join(_spelling(rate, 12) for rate in listed)
    further = math.ceil(math.log(10) / spacing - 1e-9)
    start = rates[0] * math.exp(-further * spacing * below)
    stop = rates[-1] * math.exp(further * spacing * above)
    count = len(rates) + further * (below + above)
    return _shortest_grid(start, stop, count, rates)


def _shortest_grid(start: float, stop: float, count: int, rates: Sequence[float]) -> str:
    """The grid spelled with the fewest digits that reproduce every rate in `rates` to the last bit."""
    spellings = [f"{_spelling(start, digits)}:{_spelling(stop, digits)}:{count}" for digits in range(1, 18)]
    kept = (text for text in spellings if set(rates) <= set(parse_rates(text, what=mention("lr"))))
    return next(kept, spellings[-1])


def _spelling(rate: float, digits: int) -> str:
    return repr(float(f"{rate:.{digits}g}")).removesuffix(".0")
