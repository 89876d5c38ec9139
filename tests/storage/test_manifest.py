from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta

import numpy
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnlab.core.errors import DataError, RefusedError
from nnlab.storage.manifest import (
    GitState,
    Manifest,
    ResolvedSetting,
    git_state,
    library_versions,
    read_manifest,
    utc_now,
    write_manifest,
)

MANIFEST = Manifest(
    command="sweep-lr",
    identity={"epochs": 10, "data hash": "ab12"},
    settings={"epochs": ResolvedSetting(10, "flag"), "lr": ResolvedSetting([0.1, 0.2], "default")},
    factor="lr",
    arms=("0.1", "0.2"),
    seeds=(0, 1),
    versions={"nnlab": "0.1.0", "torch": "2.13.0"},
    device="cpu",
    dtype="float32",
    threads=2,
    argv=("nnlab", "sweep-lr", "--epochs", "10"),
    started="2026-01-02T03:04:05+00:00",
    git=GitState("0123abcd", dirty=True),
    data_hash="ab12",
    file_hashes={"my.py": "cd34"},
    finished="2026-01-02T03:05:05+00:00",
    seconds=60.25,
    notes=("one tile was halved",),
    facts={"threshold": 1.5, "sharpness": [20.0, 21.5]},
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def git(directory, *words):
    names = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *names, *words], cwd=directory, check=True, capture_output=True)


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    assert read_manifest(tmp_path) is None
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST
    started = replace(MANIFEST, git=None, finished=None, seconds=None)
    write_manifest(tmp_path, started)
    assert read_manifest(tmp_path) == started


@given(facts=st.dictionaries(st.text(), JSON, max_size=3), argv=st.lists(st.text(st.characters())))
def test_facts_and_arguments_of_any_shape_come_back(facts, argv):
    given_manifest = replace(MANIFEST, facts=facts, argv=tuple(argv))
    assert Manifest.from_json(given_manifest.to_json()) == given_manifest


def test_the_file_says_its_schema_version_first_and_where_each_setting_came_from():
    content = json.loads(MANIFEST.to_json())
    assert next(iter(content.items())) == ("schema_version", 1)
    assert content["settings"]["epochs"] == {"value": 10, "origin": "flag"}
    assert content["git"] == {"commit": "0123abcd", "dirty": True}


def test_a_fact_that_is_not_finite_is_null():
    content = json.loads(replace(MANIFEST, facts={"sharpness": [math.nan, math.inf, 1.0]}).to_json())
    assert content["facts"] == {"sharpness": [None, None, 1.0]}


def test_a_manifest_of_a_later_nnlab_is_refused(tmp_path):
    later = {**json.loads(MANIFEST.to_json()), "schema_version": 2}
    (tmp_path / "manifest.json").write_text(json.dumps(later))
    with pytest.raises(RefusedError, match=r"manifest\.json has schema version 2, and this nnlab reads up to 1"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b'{"schema_version": 1}', b'{"schema_version": null}'])
def test_what_is_no_manifest_is_refused_by_name(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(DataError, match=r"manifest\.json is not a manifest of nnlab"):
        read_manifest(tmp_path)


def test_the_versions_are_those_of_the_libraries_themselves():
    found = library_versions(nnlab="0.1.0", torch="2.13.0")
    assert found["pandas"] == pandas.__version__
    assert found["numpy"] == numpy.__version__
    assert found["python"] == sys.version.split()[0]
    assert (found["nnlab"], found["torch"]) == ("0.1.0", "2.13.0")


def test_the_git_state_is_the_commit_and_whether_tracked_files_differ_from_it(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) is None
    git(tmp_path, "init")
    assert git_state(tmp_path) is None  # no commit yet
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-m", "one")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
    (tmp_path / "untracked").write_text("2")
    assert git_state(tmp_path) == GitState(head.stdout.strip(), dirty=False)
    (tmp_path / "a.py").write_text("3")
    assert git_state(tmp_path) == GitState(head.stdout.strip(), dirty=True)


def test_without_git_there_is_no_git_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None


def test_the_time_is_iso_8601_in_utc():
    assert datetime.fromisoformat(utc_now()).utcoffset() == timedelta(0)
