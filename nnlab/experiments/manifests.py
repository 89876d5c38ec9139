"""The manifest of a command at its start, with everything known before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from nnlab.settings import OutputSettings, Settings
from nnlab.settings.given import Given
from nnlab.storage.directory import canonical_json
from nnlab.storage.manifest import Manifest, ResolvedSetting, git_state, utc_now


def new_manifest(
    given: Given[Settings, OutputSettings],
    settings: Settings,
    *,
    command: str,
    identity: Mapping[str, object],
    dtype: str,
    seeds: tuple[int, ...] = (),
    factor: str | None = None,
    arms: tuple[str, ...] = (),
    data_hash: str | None = None,
    file_hashes: Mapping[str, str],
) -> Manifest:
    """The manifest of a command that begins now, on a machine not yet known.

    Args:
        given: what was asked for.
        settings: the same, complete.
        command: its name.
        identity: everything that all runs of the directory share.
        dtype: floating point type of the numbers.
        seeds, factor, arms: those of an experiment.
        data_hash: hash of the data's content.
        file_hashes: hashes of the user's own code files, by path.
    """
    return Manifest(
        command=command,
        identity=json.loads(canonical_json(identity)),
        settings={name: ResolvedSetting(value, given.origins[name]) for name, value in settings.as_json().items()},  # type: ignore[arg-type]
        factor=factor,
        arms=arms,
        seeds=seeds,
        versions={},
        device="",
        dtype=dtype,
        threads=0,
        argv=given.argv,
        started=utc_now(),
        git=git_state(Path.cwd()),
        data_hash=data_hash,
        file_hashes=file_hashes,
    )
