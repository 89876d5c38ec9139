"""What a command without runs leaves behind: a few tables and the manifest, in one directory."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeVar

from nnlab import __version__
from nnlab.experiments.manifests import begun
from nnlab.settings import Settings
from nnlab.settings.given import Given
from nnlab.storage.directory import HeldDirectory, directory_for, open_results
from nnlab.storage.manifest import Manifest, library_versions, utc_now, write_manifest

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import JsonValue

S = TypeVar("S", bound=Settings)

GRADCHECK: Final = "gradcheck.csv"
STEPS: Final = "steps.csv"
CHAIN: Final = "chain.csv"
NEURON: Final = "neuron.csv"


class Clock:
    """When a command began, and how long ago that is."""

    def __init__(self) -> None:
        self.started, self._since = utc_now(), time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._since


@dataclass(frozen=True)
class Answer:
    """What is to be written.

    Attributes:
        command: which one.
        identity: what decides the numbers; another identity is another directory.
        words: name the default directory: the subject, and what is beside it.
        tables: by file name.
        torch: its version.
        file_hashes: of the person's own code.
    """

    command: str
    identity: Mapping[str, object]
    words: tuple[str, str]
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


def write_answer(answer: Answer, given: Given[S]) -> HeldDirectory:
    """Write the tables and the manifest; where they are."""
    from nnlab.storage.csv_files import write_csv

    path = directory_for(answer.command, answer.words, answer.identity, given.output)
    with open_results(path, answer.identity, fresh=given.output.fresh) as results:
        for name, table in answer.tables.items():
            write_csv(path / name, table)
        write_manifest(path, _manifest(answer, given))
    return results


def _manifest(answer: Answer, given: Given[S]) -> Manifest:
    manifest = begun(
        given,
        given.settings,
        command=answer.command,
        identity=answer.identity,
        dtype=answer.dtype,
        seeds=answer.seeds,
        data_hash=answer.data_hash,
        file_hashes=answer.file_hashes,
    )
    return replace(
        manifest,
        versions=library_versions(nnlab=__version__, torch=answer.torch),
        device=answer.device,
        threads=1,
        started=answer.started,
        finished=utc_now(),
        seconds=answer.seconds,
        notes=tuple(answer.notes),
        facts=answer.facts,
    )
