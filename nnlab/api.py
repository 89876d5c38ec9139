"""Experiments from a script or a notebook: the same names, checks, files and numbers as at the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from nnlab.commands import COMMANDS, EXPERIMENTS, setting_names
from nnlab.commands.command import ExperimentCommand
from nnlab.core.errors import UsageError, unknown_name
from nnlab.core.spelling import as_flag, flag
from nnlab.experiments.carry_out import ask, carry_out
from nnlab.experiments.results import Results
from nnlab.experiments.watching import Unwatched
from nnlab.settings import ExperimentSettings, OutputSettings
from nnlab.settings.given import PYTHON, Given, collect
from nnlab.settings.origins import spell_errors
from nnlab.settings.readers import as_text
from nnlab.settings.synonyms import setting_meant

# The output settings that mean something without a terminal.
_OUTPUT: Final = ("out", "name", "fresh")


def run(command: str, settings: ExperimentSettings | None = None, /, **options: object) -> Results:
    """Carry out an experiment, or the part of it that is missing in its directory, and return what it found.

        nnlab.run("sweep-lr", data="moons", lr=[0.1, 0.3, 1.0], seeds=5, out="results/mine").summary

    Environment variables and `config="FILE.toml"` count as they do at the command line: an option given here overrides the
    environment, which overrides the file.

    Args:
        command: `train`, `sweep-lr`, `compare`, `compare-init`, `compare-loss` or `compare-schedule`.
        settings: the options in an object of the command's class; the fields it was made with count as given.
        options: the command's options, with underscores: text as at the command line (`"1e-3:10:16"`, `"normal:std=0.5"`), or
            numbers, booleans and lists. `out`, `name` and `fresh` say where the files go. None means not given.

    Raises:
        UsageError: options that can't be what was meant.
        DataError: data that can't be used.
        RefusedError: the directory belongs to another experiment, or to another process now.
        PartialError: some runs failed for lack of memory or disk space; the others are in the directory, and the same call
            tries the failed ones again.
    """
    if command not in EXPERIMENTS:
        see = f"Accepted: {', '.join(sorted(EXPERIMENTS))}. `nnlab.testing.assert_gradients` checks gradients."
        raise unknown_name("nnlab.run", command, EXPERIMENTS, see=see)
    experiment = EXPERIMENTS[command]
    given = _collect(experiment, _fields_of(experiment, settings) | options)
    with spell_errors(given.front_end.spelling, given.origins, given.config):
        question = ask(experiment.study, given)
        completion = carry_out(question, Unwatched())
        if completion.failure is not None:
            raise completion.failure
    return Results.read(question.path)


def _fields_of(command: ExperimentCommand[Any], settings: ExperimentSettings | None) -> dict[str, object]:
    """The fields that an object of settings was made with."""
    if settings is None:
        return {}
    if not isinstance(settings, command.settings):
        wanted, other = command.settings.__name__, type(settings).__name__
        raise UsageError(f"nnlab.run({command.name!r}) takes {wanted}, not {other}.")
    return {name: getattr(settings, name) for name in settings.model_fields_set}


def _collect(
    command: ExperimentCommand[Any], options: Mapping[str, object]
) -> Given[ExperimentSettings, OutputSettings]:
    accepted = (*command.settings.model_fields, *_OUTPUT, "config")
    for name in options:
        if name not in accepted:
            near = setting_meant(name, accepted)
            raise UsageError(f"{name!r} is not an option of {command.name}.{near} Accepted: {', '.join(accepted)}.")
    values = {name: value for name, value in options.items() if value is not None}
    values |= {name: str(value) for name, value in values.items() if name in ("out", "name")}
    given: Given[ExperimentSettings, OutputSettings] = collect(
        command.name,
        command.settings,
        values,
        command.output,
        known=setting_names(COMMANDS.values()),
        front_end=PYTHON,
    )
    return replace(given, argv=("nnlab", command.name, *_words(given, values)))


def _words(given: Given[ExperimentSettings, OutputSettings], values: Mapping[str, object]) -> Iterator[str]:
    """The same options as words of a command line."""
    meant = {**dict(given.settings), **dict(given.output)}
    fields = type(given.settings).model_fields | OutputSettings.model_fields
    for name, value in values.items():
        if isinstance(meant.get(name), bool):
            if meant[name] or fields[name].default:
                yield as_flag(name, str(meant[name]).lower())
        elif name in fields and fields[name].annotation == tuple[str, ...]:
            yield from (word for level in meant[name] for word in (flag(name), level))
        else:
            yield from (flag(name), as_text(value))
