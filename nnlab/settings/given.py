"""What was asked for: given values over the environment over a file over defaults, checked, each with its origin."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from nnlab.core.errors import UsageError, did_you_mean
from nnlab.core.spelling import Spelling, as_flag, as_keyword, mention
from nnlab.settings import Origin, OutputSettings, Settings
from nnlab.settings.origins import PREFIX, spell_errors
from nnlab.settings.synonyms import setting_meant

S = TypeVar("S", bound=Settings)

_OTHER_VARIABLES: Final = frozenset({"NNLAB_CACHE_DIR"})


@dataclass(frozen=True)
class FrontEnd:
    """Who asks: the origin of the values that it is given, and how it spells settings."""

    origin: Origin
    spelling: Spelling


COMMAND_LINE: Final = FrontEnd("flag", as_flag)
PYTHON: Final = FrontEnd("python", as_keyword)

# Keys of an experiment file beside its settings.
_FILE_KEYS: Final = ("command", "description", "settings", "claim")


@dataclass(frozen=True)
class Given(Generic[S]):
    """What the person asked for, complete.

    Attributes:
        settings: what decides the experiment.
        output: where the answer goes.
        origins: where each setting's value came from.
        config: the experiment file, if there is one.
        argv: the command line that asks the same.
    """

    settings: S
    output: OutputSettings
    origins: Mapping[str, Origin]
    config: str | None = None
    argv: tuple[str, ...] = ()


def collect(
    command: str,
    settings: type[S],
    values: Mapping[str, object],
    output: type[OutputSettings] = OutputSettings,
    *,
    front_end: FrontEnd = COMMAND_LINE,
    argv: tuple[str, ...] = (),
) -> Given[S]:
    """Given values over environment over file over defaults.

    Args:
        command: the name that an experiment file must have.
        settings: their class.
        values: by name, those of the output and `config` among them; None is not given.
        output: the class of what says where the answer goes.
        front_end: who was given the values.
        argv: the command line that gives them.

    Raises:
        UsageError: a value or a name that can't be what is meant, with the place it came from where the person does not
            see it.
    """
    accepted = {*settings.model_fields, *OutputSettings.model_fields}
    path = values.get("config") or os.environ.get(f"{PREFIX}CONFIG") or None
    config = None if path is None else str(path)
    layers: list[tuple[Origin, Mapping[str, object]]] = [
        ("file", {} if config is None else _file(config, command, settings)),
        ("environment", {name: value for name, value in environment().items() if name in accepted}),
        (front_end.origin, {name: value for name, value in values.items() if value is not None and name != "config"}),
    ]
    resolved: dict[str, object] = {}
    origins: dict[str, Origin] = dict.fromkeys(settings.model_fields, "default")
    for layer_origin, layer in layers:
        resolved |= layer
        origins |= dict.fromkeys(layer, layer_origin)
    with spell_errors(front_end.spelling, origins, config):
        return Given(
            settings.from_values({name: value for name, value in resolved.items() if name in settings.model_fields}),
            output.from_values(
                {name: value for name, value in resolved.items() if name in OutputSettings.model_fields}
            ),
            {name: origin for name, origin in origins.items() if name in settings.model_fields},
            config,
            argv,
        )


def environment() -> dict[str, object]:
    """The settings in the environment, by name; one that no command has is refused."""
    from nnlab import settings as declared

    classes = [c for c in vars(declared).values() if isinstance(c, type) and issubclass(c, Settings)]
    known = {name for kind in classes for name in kind.model_fields} | {"config"}
    found: dict[str, object] = {}
    for variable, value in os.environ.items():
        if variable.startswith(PREFIX) and variable not in _OTHER_VARIABLES:
            name = variable.removeprefix(PREFIX).lower()
            if name not in known:
                near = did_you_mean(variable, [f"{PREFIX}{n.upper()}" for n in known])
                raise UsageError(f"{variable} in the environment is no setting.{near} Unset it, or correct its name.")
            found[name] = value
    return found


def _file(path: str, command: str, settings: type[Settings]) -> dict[str, object]:
    """The settings of an experiment file."""
    content = _toml(path)
    for key in content:
        if key not in _FILE_KEYS:
            hint = (
                f" Settings stand under [settings]: did you mean settings.{key}?"
                if key in settings.model_fields
                else ""
            )
            raise UsageError(
                f"{mention('config')} {path!r}: {key!r} is not known.{hint} Accepted: {', '.join(_FILE_KEYS)}."
            )
    if content.get("command", command) != command:
        raise UsageError(
            f"{mention('config')} {path!r} is for `nnlab {content['command']}`, not for `nnlab {command}`."
        )
    values = content.get("settings", {})
    if not isinstance(values, dict):
        raise UsageError(f"{mention('config')} {path!r}: settings is a table, [settings], not {values!r}.")
    accepted = {*settings.model_fields, *OutputSettings.model_fields}
    for key, value in values.items():
        if key not in accepted:
            see = f"`nnlab {command} --help` shows all; batch_size is {mention('batch_size')}."
            raise UsageError(
                f"{mention('config')} {path!r}: settings.{key} is not known.{setting_meant(key, accepted)} {see}"
            )
        if not isinstance(value, str | int | float | list):
            raise UsageError(
                f"{mention('config')} {path!r}: settings.{key} takes text, a number, a flag or a list, not {value!r}."
            )
    return values


def _toml(path: str) -> dict[str, object]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{mention('config')} {path!r} can't be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{mention('config')} {path!r} is not TOML: {error}.") from None
