"""The files of a command without runs: a few tables and the manifest, in one directory."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnlab import __version__
from nnlab.core.spelling import spell
from nnlab.experiments.manifests import new_manifest
from nnlab.settings import OutputSettings, Settings
from nnlab.settings.given import Given
from nnlab.storage.directory import directory_for, open_results
from nnlab.storage.manifest import Manifest, library_versions, utc_now, write_manifest

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import JsonValue

    from nnlab.experiments.watching import Watcher


class Clock:
    """The time at which a command began, and the seconds since then."""

    def __init__(self) -> None:
        self.started, self._since = utc_now(), time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self._since


@dataclass(frozen=True)
class AnswerFiles:
    """Tables to write, and the facts for their manifest.

    Attributes:
        command: its name.
        identity: everything that decides the numbers; another identity gets another directory.
        tables: by file name.
        torch: its version.
        file_hashes: hashes of the user's own code files, by path.
    """

    command: str
    identity: Mapping[str, object]
    tables: Mapping[str, pd.DataFrame]
    torch: str
    started: str
    seconds: float
    seeds: tuple[int, ...] = ()
    device: str = "cpu"
    dtype: str = "float64"
    notes: Sequence[str] = ()
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    data_hash: str | None = None
    file_hashes: Mapping[str, str] = field(default_factory=dict)


def write_files(path: Path, files: AnswerFiles, given: Given[Settings, OutputSettings], watcher: Watcher) -> None:
    """Write the tables and the manifest into the directory `path`."""
    from nnlab.storage.csv_files import write_csv

    with open_results(path, files.identity, fresh=given.output.fresh) as results:
        for name, table in files.tables.items():
            write_csv(path / name, table)
        write_manifest(path, _manifest(files, given))
    if results.set_aside is not None:
        watcher.note(f"The old results are in {results.set_aside}.")


def write_files_if_named(
    command: str,
    given: Given[Settings, OutputSettings],
    tables: Mapping[str, pd.DataFrame],
    notes: Sequence[str],
    clock: Clock,
    watcher: Watcher,
) -> Sequence[str]:
    """Write the files if the user named a place for them; return a remark that says where they are.

    For answers that take only a moment to compute again.
    """
    if given.output.out is None and given.output.name is None:
        return ()
    from importlib.metadata import version

    identity = {"the command": command, **given.settings.deciding()}
    path = directory_for(command, (command, ""), identity, given.output)
    files = AnswerFiles(
        command=command,
        identity=identity,
        tables=tables,
        torch=version("torch"),
        started=clock.started,
        seconds=clock.seconds,
        notes=notes,
    )
    write_files(path, files, given, watcher)
    return [f"Files: {path}"]


def _manifest(files: AnswerFiles, given: Given[Settings, OutputSettings]) -> Manifest:
    manifest = new_manifest(
        given,
        given.settings,
        command=files.command,
        identity=files.identity,
        dtype=files.dtype,
        seeds=files.seeds,
        data_hash=files.data_hash,
        file_hashes=files.file_hashes,
    )
    return replace(
        manifest,
        versions=library_versions(nnlab=__version__, torch=files.torch),
        device=files.device,
        threads=1,
        started=files.started,
        finished=utc_now(),
        seconds=files.seconds,
        notes=tuple(spell(note, given.front_end.spelling) for note in files.notes),
        facts=files.facts,
    )
