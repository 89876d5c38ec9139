"""What a command without runs leaves behind: a few tables and the manifest, in one directory."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from nnlab import __version__
from nnlab.cli.options import Given
from nnlab.cli.output import note, show
from nnlab.core.errors import UsageError
from nnlab.core.settings import OutputSettings, Settings
from nnlab.storage.directory import canonical, default_directory, open_results
from nnlab.storage.manifest import Manifest, Resolved, git_state, library_versions, utc_now, write_manifest

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


def directory(command: str, words: tuple[str, str], identity: Mapping[str, object], output: OutputSettings) -> Path:
    """Where the files go: --out itself, or under results/COMMAND/ by name or by content."""
    if output.out is not None:
        return Path(output.out)
    if output.name is not None:
        if Path(output.name).name != output.name or output.name in (".", ".."):
            raise UsageError(f"--name takes the name of a directory, not {output.name!r}. A path goes to --out.")
        return Path("results") / command / output.name
    return default_directory(command, *words, identity)


def write_answer(answer: Answer, given: Given[S]) -> Path:
    """Write the tables and the manifest; the directory."""
    from nnlab.storage.csv_files import write_csv

    path = directory(answer.command, answer.words, answer.identity, given.output)
    with open_results(path, answer.identity, fresh=given.output.fresh) as results:
        if results.set_aside is not None:
            note(f"The old results are in {results.set_aside}.", given.output)
        for name, table in answer.tables.items():
            write_csv(path / name, table)
        write_manifest(path, _manifest(answer, given))
    return path


def _manifest(answer: Answer, given: Given[S]) -> Manifest:
    spelled = given.settings.spelled()
    return Manifest(
        command=answer.command,
        identity=json.loads(canonical(answer.identity)),
        settings={name: Resolved(value, given.origins[name]) for name, value in spelled.items()},  # type: ignore[arg-type]
        factor=None,
        arms=(),
        seeds=answer.seeds,
        versions=library_versions(nnlab=__version__, torch=answer.torch),
        device=answer.device,
        dtype=answer.dtype,
        threads=1,
        argv=("nnlab", *sys.argv[1:]),
        started=answer.started,
        git=git_state(Path.cwd()),
        data_hash=answer.data_hash,
        file_hashes=answer.file_hashes,
        finished=utc_now(),
        seconds=answer.seconds,
        notes=tuple(answer.notes),
        facts=answer.facts,
    )


def show_plan(given: Given[S], plan: Mapping[str, object]) -> None:
    """What would be done: every setting with the place its value came from, and what follows of them."""
    import pandas as pd

    from nnlab.report.tables import records_table

    rows = [(name, value, given.origins[name]) for name, value in given.settings.spelled().items()]
    told = [(name, str(value), origin) for name, value, origin in [*rows, *((n, v, "plan") for n, v in plan.items())]]
    frame = pd.DataFrame(told, columns=["setting", "value", "from"])
    show(frame, table=lambda rows: records_table(rows, all_rows=True), output=given.output)
