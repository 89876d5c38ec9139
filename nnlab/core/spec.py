"""The grammar of ingredients, lists, grids and seeds: one for every option, file and environment variable.

    ingredient   name  or  name:key=value:key=value      normal:std=0.5   mlp:hidden=100x100   my.py:build:width=64
    list         ingredient,ingredient                   zeros,normal:std=0.5
    rates        0.01,0.1  or  START:STOP:COUNT          a logarithmic grid with both ends
    seeds        a count  or  a list                     5 is 0,1,2,3,4;  3,5,8;  one seed: 5,

A part without `=` belongs to what stands before it, so that `my.py:build` and `lr_lambda=my.py:decay` need no quoting.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import Final

from nnlab.core.errors import UsageError
from nnlab.core.kinds import parse_value, parse_whole

MOST_LEVELS: Final = 100_000
LARGEST_SEED: Final = 2**53  # exact in every file format that a table may pass through

_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Spec:
    """An ingredient as a user names it.

    Attributes:
        name: the ingredient, or `FILE.py:NAME`.
        options: keys and values as written, in the order given.
    """

    name: str
    options: tuple[tuple[str, str], ...] = field(default=())

    def __str__(self) -> str:
        return ":".join([self.name, *(f"{key}={value}" for key, value in self.options)])

    def option(self, key: str) -> str | None:
        """The value written for `key`, or None."""
        return dict(self.options).get(key)

    def with_option(self, key: str, value: str) -> Spec:
        """The same ingredient with `key` set to `value`, in place where it was already given."""
        given = dict(self.options)
        given[key] = value
        return Spec(self.name, tuple(given.items()))


def parse_spec(text: str, *, what: str) -> Spec:
    """The ingredient that `text` names.

    Args:
        text: `name` or `name:key=value:...`.
        what: the setting, as `mention` marks it, for messages.

    Raises:
        UsageError: an empty name, part or value, a key that is not an identifier or is given twice.
    """
    name, *parts = text.strip().split(":")
    if not all(parts):
        raise UsageError(f"{what} {text!r} has an empty part. Write NAME or NAME:KEY=VALUE, such as normal:std=0.5.")
    options: list[tuple[str, str]] = []
    for part in parts:
        key, equals, value = part.partition("=")
        if equals:
            options.append((key, value))
        elif options:
            options[-1] = (options[-1][0], f"{options[-1][1]}:{part}")
        else:
            name = f"{name}:{part}"
    if not name or "=" in name:
        raise UsageError(f"{what} {text!r} has no name. Write NAME or NAME:KEY=VALUE, such as normal:std=0.5.")
    seen: set[str] = set()
    for key, value in options:
        if not _KEY.fullmatch(key) or not value:
            raise UsageError(f"{what} {text!r}: {key + '=' + value!r} is not KEY=VALUE, such as std=0.5.")
        if key in seen:
            raise UsageError(f"{what} {text!r} sets {key!r} twice.")
        seen.add(key)
    return Spec(name, tuple(options))


def split_list(text: str, *, what: str) -> tuple[str, ...]:
    """The parts of a comma-separated list; an empty part, or a part given twice, is an error.

    Commas inside parentheses or brackets belong to a part: `lambda:lr_lambda=max(0.1,1-epoch/10)` is one ingredient.
    """
    parts = [part.strip() for part in _outside_brackets(text)]
    if len(parts) > 1 and not parts[-1]:
        parts.pop()  # `5,` is a list of one
    if not all(parts):
        raise UsageError(f"{what} {text!r} has an empty part. Write values separated by single commas.")
    if len(parts) > MOST_LEVELS:
        raise UsageError(f"{what} has {len(parts)} values; at most {MOST_LEVELS} are accepted.")
    twice = [part for part, count in Counter(parts).items() if count > 1]
    if twice:
        raise UsageError(f"{what} {text!r} names {twice[0]!r} twice.")
    return tuple(parts)


def _outside_brackets(text: str) -> Iterator[str]:
    """The parts between the commas that no parenthesis or bracket encloses."""
    depth = start = 0
    for at, character in enumerate(text):
        if character in "([":
            depth += 1
        elif character in ")]":
            depth = max(depth - 1, 0)
        elif character == "," and depth == 0:
            yield text[start:at]
            start = at + 1
    yield text[start:]


def parse_rates(text: str, *, what: str) -> tuple[float, ...]:
    """Learning rates, ascending: `0.01,0.1` or the logarithmic grid `START:STOP:COUNT` with both ends.

    The points of a grid are rounded to 12 significant digits, so that a rate reads as one would write it and two
    grids that share a point share it exactly.

    Raises:
        UsageError: not a number, 0 or below, infinite, given twice, an empty or reversed range, a count below 2 or above
            MOST_LEVELS.
    """
    if ":" not in text:
        rates = tuple(parse_rate(part, what=what) for part in split_list(text, what=what))
        if len(set(rates)) < len(rates):
            raise UsageError(f"{what} {text!r} names the same rate twice.")
        return tuple(sorted(rates))
    parts = text.split(":")
    if len(parts) != 3:
        raise UsageError(
            f"{what} {text!r} is not a grid. Write START:STOP:COUNT, such as 1e-3:1:7, or a list: 0.01,0.1."
        )
    start, stop = (parse_rate(part, what=f"{what} {text!r}:") for part in parts[:2])
    try:
        count = parse_whole(parts[2])
    except ValueError as accepted:
        raise UsageError(f"{what} {text!r}: COUNT is {accepted}, not {parts[2]!r}.") from None
    if not 2 <= count <= MOST_LEVELS:
        raise UsageError(f"{what} {text!r}: COUNT is a whole number from 2 to {MOST_LEVELS}, not {count}.")
    if start >= stop:
        raise UsageError(f"{what} {text!r}: START {start!r} must be below STOP {stop!r}.")
    rates = (start, *_between(start, stop, count), stop)
    if len(set(rates)) < count or list(rates) != sorted(rates):
        raise UsageError(f"{what} {text!r}: {count} rates between {start!r} and {stop!r} are too close to tell apart.")
    return rates


def _between(start: float, stop: float, count: int) -> list[float]:
    """The inner points of a logarithmic grid, to 12 digits; in decimals, since the ratio of two floats may overflow."""
    with localcontext(prec=30):
        low = Decimal(repr(start))
        log_ratio = (Decimal(repr(stop)) / low).ln()
        points = (low * (log_ratio * index / (count - 1)).exp() for index in range(1, count - 1))
        return [float(f"{point:.12g}") for point in points]


def parse_rate(text: str, *, what: str) -> float:
    """One learning rate: a finite number above 0."""
    value = parse_value("Number", text.strip(), what=what)
    assert isinstance(value, float)
    if value <= 0:
        raise UsageError(f"{what} takes rates above 0, not {text!r}: a rate of 0 or below does not descend.")
    return value


def parse_seeds(text: str, *, what: str) -> tuple[int, ...]:
    """Seeds: a count (`5` is 0..4) or a list (`3,5,8`; one seed: `5,`).

    Raises:
        UsageError: a count below 1, a negative seed, one above 2^53, one given twice.
    """
    if "," not in text:
        count = parse_value("Whole", text.strip(), what=what)
        assert isinstance(count, int)
        if not 1 <= count <= MOST_LEVELS:
            raise UsageError(
                f"{what} takes a count from 1 to {MOST_LEVELS} or a list such as 3,5,8 (one seed: 5,), not {text!r}."
            )
        return tuple(range(count))
    seeds = []
    for part in split_list(text, what=what):
        seed = parse_value("Whole", part, what=what)
        assert isinstance(seed, int)
        if seed > LARGEST_SEED:
            raise UsageError(f"{what} takes seeds from 0 to 2^53, not {part!r}.")
        seeds.append(seed)
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"{what} {text!r} names the same seed twice.")
    return tuple(seeds)
