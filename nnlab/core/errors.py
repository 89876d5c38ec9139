"""Errors for the user, each with the exit code that tells a script the same.

A message is one or two lines: what was wrong, what was given, what is accepted, what to do. Any other exception is a bug of
this program and keeps its traceback.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, ClassVar, Self

from nnlab.core.spelling import Spelling, as_plain, spell

if TYPE_CHECKING:
    from collections.abc import Iterable


class NnlabError(Exception):
    """A failure that the user is told about without a traceback.

    Its message names settings by `nnlab.core.spelling.mention`; the front end that shows it spells them.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return spell(self.message, as_plain)

    def respell(self, spelling: Spelling) -> Self:
        """The same failure in the words of a front end."""
        return type(self)(spell(self.message, spelling))


class UsageError(NnlabError):
    """The command line, a setting or a specification that can't be what was meant."""

    exit_code = 2


class DataError(NnlabError):
    """Data that can't be used."""

    exit_code = 3


class PartialError(NnlabError):
    """Some runs are done and recorded; others failed for lack of memory or disk space."""

    exit_code = 4


class RefusedError(NnlabError):
    """The results directory belongs to another process or to another experiment."""

    exit_code = 5


def did_you_mean(given: str, accepted: Iterable[str]) -> str:
    """` Did you mean 'relu'?`, or nothing if no accepted name is near."""
    near = difflib.get_close_matches(given, list(accepted), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def unknown_name(what: str, given: str, accepted: Iterable[str], *, see: str = "") -> UsageError:
    """The error for an unknown name: what was given, the nearest known name, and where to find the others.

    Args:
        what: the setting that was given, as `mention` marks it.
        given: the unknown name.
        accepted: the known names.
        see: a sentence that says where to look; if empty, the known names are listed.
    """
    names = sorted(accepted)
    return UsageError(
        f"{what} {given!r} is not known.{did_you_mean(given, names)} {see or 'Accepted: ' + ', '.join(names)}"
    )
