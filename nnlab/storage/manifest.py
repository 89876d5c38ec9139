"""The manifest: what was asked for, what computed it, and on what machine."""

from __future__ import annotations

import json
import math
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

from pydantic import JsonValue, TypeAdapter, ValidationError

from nnlab.core.errors import DataError, RefusedError
from nnlab.core.spelling import mention
from nnlab.settings import Origin
from nnlab.storage.writing import disk_errors, replace_file

MANIFEST: Final = "manifest.json"
MANIFEST_SCHEMA_VERSION: Final = 1
_GIT_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True)
class ResolvedSetting:
    """A setting's value in JSON's types, and where it came from."""

    value: JsonValue
    origin: Origin


@dataclass(frozen=True)
class GitState:
    """The state of the working directory's repository: its commit, and whether tracked files differ from it."""

    commit: str
    dirty: bool


@dataclass(frozen=True)
class Manifest:
    """Everything known of an experiment besides its numbers.

    Attributes:
        identity: the values that all runs of the directory share; another identity needs another directory.
        settings: every setting by name.
        factor: the setting that is varied, if one is.
        versions: of Python and of the libraries that decide numbers.
        threads: tiles computed at once.
        git: of the working directory; None outside a repository.
        data_hash: hash of the data's content.
        file_hashes: hashes of the user's own code files, by path.
        started, finished: ISO 8601, UTC; None if not finished.
        seconds: from start to finish.
        facts: findings that have no table, such as the threshold and the sharpness; null for a number that is not finite.
    """

    command: str
    identity: Mapping[str, JsonValue]
    settings: Mapping[str, ResolvedSetting]
    factor: str | None
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    versions: Mapping[str, str]
    device: str
    dtype: str
    threads: int
    argv: tuple[str, ...]
    started: str
    git: GitState | None = None
    data_hash: str | None = None
    file_hashes: Mapping[str, str] = field(default_factory=dict)
    finished: str | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    platform: str = field(default_factory=platform.platform)

    def to_json(self) -> str:
        """The manifest as the text of its file."""
        content = {"schema_version": MANIFEST_SCHEMA_VERSION, **asdict(self)}
        return json.dumps(_json_value(content), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str = MANIFEST) -> Manifest:
        """Read a manifest that `to_json` wrote.

        Args:
            text: of the file.
            where: the file, for messages.

        Raises:
            RefusedError: it was written by a later nnlab.
            DataError: it is not a manifest.
        """
        try:
            content = json.loads(text)
            schema_version = int(content["schema_version"])
            if schema_version <= MANIFEST_SCHEMA_VERSION:
                return _adapter().validate_python(content)
        except (ValueError, KeyError, TypeError, ValidationError):
            raise DataError(
                f"{where} is not a manifest of nnlab. Give {mention('fresh', True)} to set its directory aside."
            ) from None
        raise RefusedError(
            f"{where} has schema version {schema_version}, and this nnlab reads up to {MANIFEST_SCHEMA_VERSION}. "
            f"Install a later nnlab, or give another {mention('out')} or {mention('name')}."
        )


@cache
def _adapter() -> TypeAdapter[Manifest]:
    """The validator of manifests, built when one is first read: building it takes 8 ms."""
    return TypeAdapter(Manifest)


def _json_value(value: object) -> object:
    """The value in JSON's types, with None for a number that is not finite."""
    if isinstance(value, dict):
        return {key: _json_value(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write manifest.json; the old file stays until the new one is complete."""
    text = manifest.to_json()
    with replace_file(directory / MANIFEST) as file:
        file.write(text)


def read_manifest(directory: Path) -> Manifest | None:
    """The directory's manifest, or None if it has none.

    Raises:
        RefusedError: the file was written by a later nnlab.
        DataError: the file is not a manifest.
    """
    path = directory / MANIFEST
    if not path.exists():
        return None
    with disk_errors(path):
        return Manifest.from_json(path.read_bytes().decode(errors="replace"), where=str(path))


def library_versions(*, nnlab: str, torch: str) -> dict[str, str]:
    """The versions of the software that decides numbers; those of pandas and numpy are read without importing them."""
    from importlib.metadata import version

    found = {"nnlab": nnlab, "python": platform.python_version(), "torch": torch}
    return found | {name: version(name) for name in ("numpy", "pandas")}


def git_state(directory: Path) -> GitState | None:
    """The state of the repository that `directory` is in; None without one, without git, or if git is slow."""
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        asked = subprocess.run(command, cwd=directory, capture_output=True, timeout=_GIT_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = asked.stdout.decode(errors="replace").splitlines()
    commit = next(
        (line.removeprefix("# branch.oid ") for line in lines if line.startswith("# branch.oid ")), "(initial)"
    )
    changed = any(not line.startswith("#") for line in lines)
    return None if commit == "(initial)" else GitState(commit, changed)


def utc_now() -> str:
    """The time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
