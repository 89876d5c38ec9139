"""An experiment from a script or a notebook: the same names, checks, files and numbers as at the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from nnlab.commands.compare import COMPARE, COMPARE_LOSS, COMPARE_SCHEDULE
from nnlab.commands.compare_init import COMPARE_INIT
from nnlab.commands.sweep_lr import SWEEP_LR
from nnlab.commands.train import TRAIN
from nnlab.core.errors import UsageError, unknown_name
from nnlab.core.spelling import as_keyword, flag
from nnlab.experiments.carry_out import carry_out, question
from nnlab.experiments.results import Results
from nnlab.experiments.study import Study
from nnlab.experiments.watching import Unwatched
from nnlab.settings import (
    CompareAnySettings,
    CompareInitSettings,
    CompareLossSettings,
    CompareScheduleSettings,
    ExperimentSettings,
    OutputSettings,
    SweepLrSettings,
    TrainSettings,
)
from nnlab.settings.given import PYTHON, Given, collect
from nnlab.settings.origins import spell_errors
from nnlab.settings.readers import as_text
from nnlab.settings.synonyms import setting_meant

S = TypeVar("S", bound=ExperimentSettings)

# What of the options that say where an answer goes has a meaning beside a terminal.
_OUTPUT: Final = ("out", "name", "fresh")


@dataclass(frozen=True)
class Asked(Generic[S]):
    """A study, and the class of the settings that it takes."""

    kind: type[S]
    study: Study[S]


STUDIES: Final[Mapping[str, Asked[Any]]] = {
    "train": Asked(TrainSettings, TRAIN),
    "sweep-lr": Asked(SweepLrSettings, SWEEP_LR),
    "compare": Asked(CompareAnySettings, COMPARE),
    "compare-init": Asked(CompareInitSettings, COMPARE_INIT),
    "compare-loss": Asked(CompareLossSettings, COMPARE_LOSS),
    "compare-schedule": Asked(CompareScheduleSettings, COMPARE_SCHEDULE),
}


def run(command: str, settings: ExperimentSettings | None = None, /, **options: object) -> Results:
    """Carry out an experiment, or what of it is missing in its directory; what it found.

        nnlab.run("sweep-lr", data="moons", lr=[0.1, 0.3, 1.0], seeds=5, out="results/mine").summary

    Environment variables and `config="FILE.toml"` count as they do at the command line: an option given here is over the
    environment, which is over the file.

    Args:
        command: `train`, `sweep-lr`, `compare`, `compare-init`, `compare-loss` or `compare-schedule`.
        settings: the options in an object of the command's class; what it was made with counts as given.
        options: the command's, with underscores: text as it is typed there (`"1e-3:10:16"`, `"normal:std=0.5"`), or
            numbers, flags and lists. `out`, `name` and `fresh` say where the files go. None is not given.

    Raises:
        UsageError: options that can't be what is meant.
        DataError: data that can't be used.
        RefusedError: the directory belongs to another experiment, or to another process now.
        PartialError: the machine failed some runs; the others are in the directory, and the same call tries again.
    """
    if command not in STUDIES:
        see = f"Accepted: {', '.join(STUDIES)}. `nnlab.testing.assert_gradients` checks gradients."
        raise unknown_name("nnlab.run", command, STUDIES, see=see)
    asks = STUDIES[command]
    given = _given(command, asks.kind, _settings_given(command, asks.kind, settings) | options)
    with spell_errors(as_keyword, given.origins, given.config):
        asked = question(asks.study, given)
        failure = carry_out(asked, Unwatched())
    if failure is not None:
        raise failure.respell(as_keyword)
    return Results.read(asked.path)


def _settings_given(
    command: str, kind: type[ExperimentSettings], settings: ExperimentSettings | None
) -> dict[str, object]:
    if settings is None:
        return {}
    if not isinstance(settings, kind):
        raise UsageError(f"nnlab.run({command!r}) takes {kind.__name__}, not {type(settings).__name__}.")
    return {name: getattr(settings, name) for name in settings.model_fields_set}


def _given(command: str, kind: type[ExperimentSettings], options: Mapping[str, object]) -> Given[ExperimentSettings]:
    accepted = (*kind.model_fields, *_OUTPUT, "config")
    for name in options:
        if name not in accepted:
            near = setting_meant(name, accepted)
            raise UsageError(f"{name!r} is not an option of {command}.{near} Accepted: {', '.join(accepted)}.")
    values = {name: value for name, value in options.items() if value is not None}
    values |= {name: str(value) for name, value in values.items() if name in ("out", "name")}
    given = collect(command, kind, values, front_end=PYTHON)
    return replace(given, argv=("nnlab", command, *_words(given, values)))


def _words(given: Given[ExperimentSettings], values: Mapping[str, object]) -> Iterator[str]:
    """The same options at the command line."""
    meant = {**dict(given.settings), **dict(given.output)}
    fields = type(given.settings).model_fields | OutputSettings.model_fields
    for name, value in values.items():
        if isinstance(meant.get(name), bool):
            is_on, default = meant[name], fields[name].default
            yield from [flag(name) if is_on else f"--no-{flag(name)[2:]}"] if is_on or default else []
        elif name in fields and fields[name].annotation == tuple[str, ...]:
            yield from (word for level in meant[name] for word in (flag(name), level))
        else:
            yield from (flag(name), as_text(value))
