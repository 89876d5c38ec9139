"""Errors spelled for a front end, with the source of each setting that they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from nnlab.core.errors import NnlabError
from nnlab.core.spelling import Spelling, as_key, mentioned_settings
from nnlab.settings.base import Origin

PREFIX: Final = "NNLAB_"


@contextmanager
def spell_errors(spelling: Spelling, origins: Mapping[str, Origin], config: str | None) -> Iterator[None]:
    """Context manager: spell the settings that an error names, and say which file or variable their values came from.

    Args:
        spelling: the front end's; a setting from the experiment file is spelled as in the file.
        origins: by setting; a value given to the front end itself needs no explanation.
        config: the experiment file, if there is one.
    """

    def spelled_here(setting: str, value: str | None) -> str:
        return (as_key if origins.get(setting) == "file" else spelling)(setting, value)

    try:
        yield
    except NnlabError as error:
        places = {name: _place(name, origins.get(name), config) for name in mentioned_settings(error.message)}
        sources = [f"{spelled_here(name, None)} comes from {place}." for name, place in places.items() if place]
        spelled = error.respell(spelled_here)
        if sources:
            spelled = type(error)("\n".join([spelled.message, " ".join(sources)]))
        raise spelled from error


def _place(name: str, origin: Origin | None, config: str | None) -> str | None:
    if origin == "environment":
        return f"{PREFIX}{name.upper()} in the environment"
    return config if origin == "file" else None
