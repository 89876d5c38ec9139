"""The directory of an experiment: where it is, whether it is ours, and whether it is the same experiment's."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from nnlab.core.errors import RefusedError, UsageError
from nnlab.core.spelling import mention, spell_value
from nnlab.storage.journal import JOURNAL
from nnlab.storage.locks import LOCK, locked
from nnlab.storage.manifest import MANIFEST, read_manifest
from nnlab.storage.writing import disk_errors, remove_leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nnlab.settings import OutputSettings

_LONGEST_SLUG: Final = 30  # characters; two of them, in four bytes each, and the hash stay within a file name's 255
_MOST_SHOWN: Final = 6
_ELSEWHERE: Final = f"Give another {mention('out')} or {mention('name')}."


@dataclass(frozen=True)
class Results:
    """A results directory that this process holds.

    Attributes:
        path: of the directory.
        set_aside: where the old results were moved, if they were.
    """

    path: Path
    set_aside: Path | None


@contextmanager
def open_results(path: Path, identity: Mapping[str, object], *, fresh: bool = False) -> Iterator[Results]:
    """Hold the directory `path` for an experiment, made where it is not there.

    Args:
        path: of the directory.
        identity: what all its runs share: settings by their names, anything else under a name with a space in it.
        fresh: move results that are there to `PATH.old-1`, or the first such number that is free.

    Raises:
        RefusedError: another process holds it, it is another experiment's, or it is none of nnlab's.
        UsageError: it is a file, or can't be written.
        PartialError: the disk is full.
    """
    with disk_errors(path, advice=_ELSEWHERE):
        _check_ours(path)
        set_aside = _set_aside(path) if fresh else None
        path.mkdir(parents=True, exist_ok=True)
    with locked(path):
        with disk_errors(path, advice=_ELSEWHERE):
            remove_leftovers(path)
        _check_same(path, identity)
        yield Results(path, set_aside)


def _check_ours(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file, not a directory. {_ELSEWHERE}")
    if _content(path) and not any((path / name).exists() for name in (MANIFEST, JOURNAL)):
        raise RefusedError(f"{path} is not empty and holds no results of nnlab. {_ELSEWHERE}")


def _content(path: Path) -> list[Path]:
    return [child for child in path.iterdir() if child.name != LOCK] if path.exists() else []


def _set_aside(path: Path) -> Path | None:
    if not _content(path):
        return None
    path = path.absolute()
    free = next(old for n in count(1) if not (old := path.with_name(f"{path.name}.old-{n}")).exists())
    with locked(path):
        return path.rename(free)


def _check_same(path: Path, identity: Mapping[str, object]) -> None:
    manifest = read_manifest(path)
    if manifest is None:
        return
    now = json.loads(canonical(identity))
    differing = [name for name in {**manifest.identity, **now} if manifest.identity.get(name) != now.get(name)]
    if not differing:
        return
    shown = [_difference(name, manifest.identity.get(name), now.get(name)) for name in differing[:_MOST_SHOWN]]
    more = len(differing) - len(shown)
    raise RefusedError(
        f"{path} holds another experiment: {'; '.join(shown)}{f'; and {more} more' if more else ''}.\n"
        f"Give another {mention('out')} or {mention('name')}, or {mention('fresh')} to set the old results aside."
    )


def _difference(name: str, there: object, now: object) -> str:
    return f"{name if ' ' in name else mention(name)}: {_told(there)} there, {_told(now)} now"


def _told(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_told, value))
    return "not set" if value is None else spell_value(value)


def canonical(identity: Mapping[str, object]) -> str:
    """The identity as JSON: the same text for the same settings, in whatever order they were given."""
    return json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)


def directory_for(command: str, words: tuple[str, str], identity: Mapping[str, object], output: OutputSettings) -> Path:
    """Where a command's results go: `--out` itself, or under results/COMMAND/ by name or by content.

    Args:
        command: such as sweep-lr.
        words: two specifications that name the directory for a reader: of an experiment its data and its model.
        identity: what all that it holds has in common.
        output: `out` and `name`.

    Raises:
        UsageError: a name that is a path.
    """
    if output.out is not None:
        return Path(output.out)
    if output.name is not None:
        if PurePath(output.name).name != output.name or output.name in (".", ".."):
            raise UsageError(
                f"{mention('name')} takes the name of a directory, not {output.name!r}. A path goes to {mention('out')}."
            )
        return Path("results") / command / output.name
    return default_directory(command, *words, identity)


def default_directory(command: str, data: str, model: str, identity: Mapping[str, object]) -> Path:
    """`results/COMMAND/DATA-MODEL-HASH`: readable by its first words, told apart by the first 8 hex digits of SHA-256.

    Args:
        command: such as sweep-lr.
        data, model: their specifications.
        identity: what all runs of the experiment share.
    """
    digest = hashlib.sha256(canonical(identity).encode()).hexdigest()[:8]
    return Path("results", command, f"{_slug(data)}-{_slug(model)}-{digest}")


def _slug(spec: str) -> str:
    """A specification as a part of a file name: of a path only the last part, of other signs a dash."""
    name, _, options = spec.partition(":")
    words = re.sub(r"[^\w.]+", "-", f"{PurePath(name).name}-{options}")
    return words[:_LONGEST_SLUG].strip("-.")
