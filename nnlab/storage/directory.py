"""The directory of an experiment: its path, and the checks that it is nnlab's and holds the same experiment."""

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
from nnlab.storage.locks import LOCK, hold_directory
from nnlab.storage.manifest import MANIFEST, read_manifest
from nnlab.storage.writing import disk_errors, remove_leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nnlab.settings import OutputSettings

# Characters: two slugs of four bytes a character, and the hash, stay within the 255 bytes of a file name.
_LONGEST_SLUG: Final = 30
_MOST_SHOWN: Final = 6
_ELSEWHERE: Final = f"Give another {mention('out')} or {mention('name')}."


@dataclass(frozen=True)
class HeldDirectory:
    """A results directory that this process holds.

    Attributes:
        path: the directory.
        set_aside: where the old results were moved; None if nothing was moved.
    """

    path: Path
    set_aside: Path | None


@contextmanager
def open_results(path: Path, identity: Mapping[str, object], *, fresh: bool = False) -> Iterator[HeldDirectory]:
    """Context manager: hold the directory `path` for an experiment; it is created if needed.

    Args:
        path: the directory.
        identity: the values that all its runs share: settings and their keys by name (`model.hidden`), anything else under
            a name with a space.
        fresh: move existing results to `PATH.old-1`, or to the first such name that is free.

    Raises:
        RefusedError: another process holds it, or it holds another experiment or files that are not nnlab's.
        UsageError: it is a file, or can't be written.
        PartialError: the disk is full.
    """
    with disk_errors(path, advice=_ELSEWHERE):
        _check_ours(path)
        set_aside = _set_aside(path) if fresh else None
        path.mkdir(parents=True, exist_ok=True)
    with hold_directory(path):
        with disk_errors(path, advice=_ELSEWHERE):
            remove_leftovers(path)
        _check_same(path, identity)
        yield HeldDirectory(path, set_aside)


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
    with hold_directory(path):
        return path.rename(free)


def _check_same(path: Path, identity: Mapping[str, object]) -> None:
    manifest = read_manifest(path)
    if manifest is None:
        return
    now = json.loads(canonical_json(identity))
    differing = [name for name in {**manifest.identity, **now} if manifest.identity.get(name) != now.get(name)]
    if not differing:
        return
    shown = [_difference(name, manifest.identity.get(name), now.get(name)) for name in differing[:_MOST_SHOWN]]
    more = len(differing) - len(shown)
    raise RefusedError(
        f"{path} holds another experiment: {'; '.join(shown)}{f'; and {more} more' if more else ''}.\n"
        f"Give another {mention('out')} or {mention('name')}, or {mention('fresh', True)} to set the old results aside."
    )


def _difference(name: str, there: object, now: object) -> str:
    if not name.isidentifier():  # a key such as `model.hidden`, or words
        return f"{name}: {_spell(there)} there, {_spell(now)} now"
    return f"{_setting(name, there)} there, {_setting(name, now)} now"


def _setting(name: str, value: object) -> str:
    return f"no {mention(name)}" if value in (None, []) else mention(name, _spell(value))


def _spell(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_spell, value))
    return "not set" if value is None else spell_value(value)


def canonical_json(identity: Mapping[str, object]) -> str:
    """The identity as JSON: the same text for the same settings, in any order."""
    return json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)


def directory_for(command: str, words: tuple[str, str], identity: Mapping[str, object], output: OutputSettings) -> Path:
    """The directory for a command's results: `out` itself, or one under results/COMMAND/ with the name given or a default.

    Args:
        command: such as sweep-lr.
        words: two specifications that make a default name readable: an experiment's data and model.
        identity: the values that all results in it share.
        output: `out` and `name`.

    Raises:
        UsageError: the name is a path.
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
    """`results/COMMAND/DATA-MODEL-HASH`: readable by its first words, unique by the first 8 hex digits of SHA-256.

    Args:
        command: such as sweep-lr.
        data, model: their specifications.
        identity: the values that all runs of the experiment share.
    """
    digest = hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:8]
    return Path("results", command, f"{_slug(data)}-{_slug(model)}-{digest}")


def _slug(spec: str) -> str:
    """A specification as part of a file name: only the last component of a path, and dashes for special characters."""
    name, _, options = spec.partition(":")
    words = re.sub(r"[^\w.]+", "-", f"{PurePath(name).name}-{options}")
    return words[:_LONGEST_SLUG].strip("-.")
