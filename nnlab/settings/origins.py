"""Where a setting's value came from, told beside what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from nnlab.core.errors import NnlabError
from nnlab.settings import Origin, flag

PREFIX: Final = "NNLAB_"

_OPTION: Final = re.compile(r"(?<![\w-])--([a-z][a-z-]*)")


@contextmanager
def telling_origins(origins: Mapping[str, Origin], config: str | None) -> Iterator[None]:
    """Within, an error that names an option also says what file or variable its value came from.

    Args:
        origins: of each setting; what was given by a flag the person has before their eyes.
        config: the experiment file, if there is one.
    """
    try:
        yield
    except NnlabError as error:
        named = dict.fromkeys(word.replace("-", "_") for word in _OPTION.findall(str(error)))
        places = {name: _place(name, origins.get(name, "flag"), config) for name in named}
        told = [f"{flag(name)} comes from {place}." for name, place in places.items() if place]
        if not told:
            raise
        raise type(error)(f"{error}\n{' '.join(told)}") from error


def _place(name: str, origin: Origin, config: str | None) -> str | None:
    if origin == "environment":
        return f"{PREFIX}{name.upper()} in the environment"
    return config if origin == "file" else None
