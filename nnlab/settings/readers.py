"""The types of settings: each reads text by the grammar, and the types of TOML and Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo

from nnlab.core.errors import UsageError
from nnlab.core.kinds import Value, parse_value
from nnlab.core.spec import Spec, parse_rate, parse_rates, parse_seeds, parse_spec, split_list
from nnlab.core.spelling import mention, spell_value


def as_text(value: object) -> str:
    """A value from TOML or Python in the spelling of the grammar: `[0.1, 0.2]` is `0.1,0.2`.

    NumPy's numbers and arrays are spelled as Python's own.
    """
    if isinstance(value, Iterable) and not isinstance(value, str | Mapping):
        parts = [as_text(part) for part in value]
        return ",".join(parts) + ("," if len(parts) == 1 else "")
    if isinstance(value, Real) and not isinstance(value, bool):
        return spell_value(int(value) if isinstance(value, Integral) else float(value))
    return spell_value(value)


def _reader(read: Callable[[str, str], object]) -> BeforeValidator:
    def validate(value: object, info: ValidationInfo) -> object:
        if value is None or isinstance(value, Spec):
            return value
        return read(as_text(value), mention(info.field_name or ""))

    return BeforeValidator(validate)


def _kind(kind: str) -> BeforeValidator:
    def read(text: str, what: str) -> Value:
        return parse_value(kind, text, what=what)

    return _reader(read)


def _single(parse: Callable[..., object]) -> BeforeValidator:
    # `as_text` spells a list of one with a comma at its end.
    return _reader(lambda text, what: parse(text.removesuffix(","), what=what))


def _several(parse: Callable[..., object]) -> BeforeValidator:
    return _reader(lambda text, what: parse(text, what=what))


def _specs(text: str, *, what: str) -> tuple[Spec, ...]:
    return tuple(parse_spec(part, what=what) for part in split_list(text, what=what))


def _batch(text: str, *, what: str) -> int | str:
    if text == "full":
        return text
    try:
        return int(parse_value("Count", text, what=what))  # type: ignore[arg-type]
    except UsageError:
        raise UsageError(f"{what} takes a whole number of 1 or more, or full, not {text!r}.") from None


def _threshold(text: str, *, what: str) -> float | str:
    if text == "auto":
        return text
    return float(parse_value("Number", text, what=what))  # type: ignore[arg-type]


def _counts(text: str, *, what: str) -> tuple[int, ...]:
    return tuple(int(parse_value("Count", part, what=what)) for part in split_list(text, what=what))  # type: ignore[arg-type]


def _numbers(text: str, *, what: str) -> tuple[float, ...]:
    """Numbers separated by commas; unlike the levels of a factor, they may repeat."""
    parts = text.removesuffix(",").split(",")
    return tuple(float(parse_value("Number", part.strip(), what=what)) for part in parts)  # type: ignore[arg-type]


_SPELLED: Final = PlainSerializer(lambda spec: spec and str(spec))
_ALL_SPELLED: Final = PlainSerializer(lambda specs: specs and [str(spec) for spec in specs])

SpecSetting = Annotated[Spec, _single(parse_spec), _SPELLED]
OptionalSpec = Annotated[Spec | None, _single(parse_spec), _SPELLED]
SpecList = Annotated[tuple[Spec, ...], _several(_specs), _ALL_SPELLED]
OptionalSpecList = Annotated[tuple[Spec, ...] | None, _several(_specs), _ALL_SPELLED]

RateSetting = Annotated[float, _single(parse_rate)]
OptionalRate = Annotated[float | None, _single(parse_rate)]
RateList = Annotated[tuple[float, ...], _several(parse_rates)]
OptionalRateList = Annotated[tuple[float, ...] | None, _several(parse_rates)]
SeedList = Annotated[tuple[int, ...], _several(parse_seeds)]
BatchSize = Annotated[int | Literal["full"], _single(_batch)]
Threshold = Annotated[float | Literal["auto"], _single(_threshold)]

CountSetting = Annotated[int, _kind("Count")]
OptionalCount = Annotated[int | None, _kind("Count")]
OptionalCountList = Annotated[tuple[int, ...] | None, _several(_counts)]
WholeSetting = Annotated[int, _kind("Whole")]
OptionalWhole = Annotated[int | None, _kind("Whole")]
FractionSetting = Annotated[float, _kind("Fraction")]
PositiveSetting = Annotated[float, _kind("Positive")]
OptionalPositive = Annotated[float | None, _kind("Positive")]
OptionalNonNegative = Annotated[float | None, _kind("NonNegative")]
OptionalNumber = Annotated[float | None, _kind("Number")]
OptionalNumberList = Annotated[tuple[float, ...] | None, _several(_numbers)]

WordList = Annotated[tuple[str, ...], _several(split_list)]
Repeated = Annotated[tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)]
