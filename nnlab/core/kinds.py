"""Kinds of values that a user can write, each with its parser.

A catalogue function annotates its keyword parameters with these aliases (`delta: Positive = 1.0`); the grammar checks
values by the alias's name, and `nnlab list` shows it. To a type checker they are plain floats, ints and strings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from nnlab.core.errors import UsageError

Number = float
Positive = float
NonNegative = float
Fraction = float
Probability = float
Count = int
Whole = int
Flag = bool
Word = str
Sizes = tuple[int, ...]
Numbers = tuple[float, ...]
Gain = float | str

Value = float | int | bool | str | tuple[int, ...] | tuple[float, ...]

# Stricter than float() and int(): no underscores, no spaces, no inf, no nan, no Unicode digits.
_NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE: Final = re.compile(r"[+-]?[0-9]+")
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})


def parse_number(text: str) -> float:
    """A finite decimal number; for any other text, a ValueError that says what is accepted."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("a plain decimal number such as 0.01 or 1e-3")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number that a 64-bit float can hold")
    if value == 0 and re.search("[1-9]", re.split("[eE]", text)[0]):
        raise ValueError("a number that does not round to zero")
    return value


def parse_whole(text: str) -> int:
    """A whole number in decimal digits."""
    if not _WHOLE.fullmatch(text):
        raise ValueError("a whole number such as 10")
    if len(text) > 18:
        raise ValueError("a whole number below 10^18")
    return int(text)


def _flag(text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError("true or false")


def _word(text: str) -> str:
    if not text:
        raise ValueError("a word")
    return text


def _parser_with(
    parse: Callable[[str], float], holds: Callable[[float], bool], accepted: str
) -> Callable[[str], float]:
    def parse_checked(text: str) -> float:
        value = parse(text)
        if not holds(value):
            raise ValueError(accepted)
        return value

    return parse_checked


def _whole_from(least: int, accepted: str) -> Callable[[str], int]:
    def parse_checked(text: str) -> int:
        value = parse_whole(text)
        if value < least:
            raise ValueError(accepted)
        return value

    return parse_checked


def _sequence(parse: Callable[[str], Value], accepted: str) -> Callable[[str], Value]:
    def parse_checked(text: str) -> Value:
        try:
            return tuple(parse(part) for part in text.split("x"))  # type: ignore[return-value]
        except ValueError:
            raise ValueError(accepted) from None

    return parse_checked


@dataclass(frozen=True)
class Kind:
    """A kind of value: how it is parsed and what is accepted, in words.

    Attributes:
        parse: parses text; raises ValueError whose message says what is accepted.
        accepts: the same in words, for help and tables.
    """

    parse: Callable[[str], Value]
    accepts: str


def _gain(text: str) -> Value:
    if text == "auto":
        return text
    try:
        return KINDS["Positive"].parse(text)
    except ValueError:
        raise ValueError(KINDS["Gain"].accepts) from None


_POSITIVE_WHOLE: Final = _whole_from(1, "a whole number of 1 or more")

KINDS: Final[Mapping[str, Kind]] = {
    "Number": Kind(parse_number, "a number"),
    "Positive": Kind(_parser_with(parse_number, lambda v: v > 0, "a number above 0"), "a number above 0"),
    "NonNegative": Kind(_parser_with(parse_number, lambda v: v >= 0, "a number of 0 or more"), "a number of 0 or more"),
    "Fraction": Kind(
        _parser_with(parse_number, lambda v: 0 <= v < 1, "a number from 0 to below 1"), "a number from 0 to below 1"
    ),
    "Probability": Kind(
        _parser_with(parse_number, lambda v: 0 <= v <= 1, "a number from 0 to 1"), "a number from 0 to 1"
    ),
    "Count": Kind(_POSITIVE_WHOLE, "a whole number of 1 or more"),
    "Whole": Kind(_whole_from(0, "a whole number of 0 or more"), "a whole number of 0 or more"),
    "Flag": Kind(_flag, "true or false"),
    "Gain": Kind(_gain, "a number above 0, or auto to follow the activation"),
    "Word": Kind(_word, "a word"),
    "Sizes": Kind(
        _sequence(_POSITIVE_WHOLE, "whole numbers joined by x, such as 100x100"),
        "whole numbers joined by x, such as 100x100",
    ),
    "Numbers": Kind(
        _sequence(parse_number, "numbers joined by x, such as 0.5x1.5"), "numbers joined by x, such as 0.5x1.5"
    ),
}


def parse_value(kind: str, text: str, *, what: str) -> Value:
    """Parse `text` as a value of a kind.

    Args:
        kind: a key of KINDS.
        text: as the user wrote it.
        what: the setting or key, as `mention` marks it, for the message.

    Raises:
        UsageError: the text is not of this kind; says what is accepted.
    """
    try:
        return KINDS[kind].parse(text)
    except ValueError as accepted:
        raise UsageError(f"{what} takes {accepted}, not {text!r}.") from None
