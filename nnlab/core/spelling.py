"""The spelling of values and of settings.

A message says which setting it means, and the front end that shows it spells the setting: `mention("lr")` puts a mark into the
text that reads `--lr` at the command line, `lr=` in Python and `lr` in an experiment file. A message in a notebook never speaks
of flags.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final


def spell_value(value: object) -> str:
    """The canonical spelling of a value, which `nnlab.core.kinds.parse_value` reads back as the same value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "x".join(spell_value(part) for part in value)
    return repr(value) if isinstance(value, float) else str(value)


# How a front end writes a setting: its name, and the value beside it, if there is one; "" if a value in quotes follows.
Spelling = Callable[[str, str | None], str]

# Brackets that no specification, number or path is likely to have. Groups: the setting, its value, and a space if the mark has no
# value and text in quotes follows, which a front end joins to the setting as its value: `init='x'`.
_MARK: Final = re.compile(r"⟨(\w+)(?:=([^⟩]*)⟩|⟩( (?=['\"]))?)")
_PLAIN_IN_PYTHON: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|True|False|None")
_WORDS_IN_PYTHON: Final = {"true": "True", "false": "False"}


def mention(setting: str, value: object = None) -> str:
    """The mark of a setting, with a value if one belongs to it: `mention("missing", "drop")` reads `--missing drop`.

    Text in quotes that follows a mark is taken for the setting's value: `f"{mention('init')} {text!r} is not known"` reads
    `--init 'x' is not known` at the command line and `init='x' is not known` in Python.
    """
    return f"⟨{setting}⟩" if value is None else f"⟨{setting}={spell_value(value)}⟩"


def with_value(what: str, value: object) -> str:
    """Add a value to `what`: to the mark of a setting as `mention` does, to any other words after a space."""
    setting = mentioned_setting(what)
    return f"{what} {spell_value(value)}" if setting is None else mention(setting, value)


def mentioned_setting(what: str) -> str | None:
    """The setting that `what` is the mark of; None if it is not a mark."""
    mark = _MARK.fullmatch(what)
    return mark[1] if mark else None


def mentioned_settings(text: str) -> tuple[str, ...]:
    """The settings that a message names, each once, in order."""
    return tuple(dict.fromkeys(mark[1] for mark in _MARK.finditer(text)))


def spell(text: str, spelling: Spelling) -> str:
    """Spell every mark in the text."""

    def spelled_mark(mark: re.Match[str]) -> str:
        return spelling(mark[1], "" if mark[3] else mark[2])

    return _MARK.sub(spelled_mark, text)


def flag(setting: str) -> str:
    """The command-line spelling of a setting: `--batch-size`."""
    return "--" + setting.replace("_", "-")


def as_flag(setting: str, value: str | None) -> str:
    """At the command line: `--missing drop`; a switch is `--explain` or `--no-standardize`."""
    if value == "false":
        return f"--no-{flag(setting)[2:]}"
    return flag(setting) if value is None or value == "true" else f"{flag(setting)} {value}"


def as_keyword(setting: str, value: str | None) -> str:
    """In Python: `missing='drop'`, `validation=0`, `standardize=False`; without a value `missing=`."""
    if not value:
        return f"{setting}="
    value = _WORDS_IN_PYTHON.get(value, value)
    return f"{setting}={value if _PLAIN_IN_PYTHON.fullmatch(value) else repr(value)}"


def as_key(setting: str, value: str | None) -> str:
    """In an experiment file: `missing = "drop"`; without a value `missing`."""
    if not value:
        return setting if value is None else f"{setting} = "
    is_plain = value in _WORDS_IN_PYTHON or _PLAIN_IN_PYTHON.fullmatch(value)
    return f"{setting} = {value}" if is_plain else f'{setting} = "{value}"'


def as_plain(setting: str, value: str | None) -> str:
    """Without a front end: `missing drop`."""
    return setting if value is None else f"{setting} {value}"
