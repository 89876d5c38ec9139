from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import finished_runs
import pytest

from nnlab.core.errors import RefusedError, UsageError
from nnlab.core.spelling import as_flag
from nnlab.storage.directory import default_directory, open_results
from nnlab.storage.journal import Journal, journal_row
from nnlab.storage.locks import hold_directory
from nnlab.storage.manifest import Manifest, write_manifest

IDENTITY = {"epochs": 10, "lr": 0.1, "shuffle": True, "data hash": "ab12"}
MANIFEST = Manifest(
    command="sweep-lr",
    identity=IDENTITY,
    settings={},
    factor=None,
    arms=(),
    seeds=(),
    versions={},
    device="cpu",
    dtype="float32",
    threads=1,
    argv=(),
    started="2026-01-02T03:04:05+00:00",
)


@pytest.fixture
def filled(tmp_path):
    """A directory with an experiment in it."""
    with open_results(tmp_path / "deep" / "results", IDENTITY) as results:
        write_manifest(results.path, MANIFEST)
        Journal(results.path).append([journal_row(finished_runs.record())])
    return results.path


def test_a_directory_is_made_and_held(tmp_path):
    with open_results(tmp_path / "a" / "b", IDENTITY) as results:
        assert results.path.is_dir()
        assert results.set_aside is None
        with pytest.raises(RefusedError, match="in use"), open_results(tmp_path / "a" / "b", IDENTITY):
            pass


def test_the_same_experiment_finds_its_results(filled):
    with open_results(filled, dict(reversed(IDENTITY.items()))) as results:
        assert "a1" in Journal(results.path)


def test_a_journal_without_a_manifest_is_ours(tmp_path):
    Journal(tmp_path).append([journal_row(finished_runs.record())])
    with open_results(tmp_path, IDENTITY):
        pass


def test_another_experiment_is_refused_with_the_difference_setting_by_setting(filled):
    other = {"epochs": 20, "lr": 0.1, "shuffle": False, "data hash": "cd34", "weight_decay": 1e-4}
    with pytest.raises(RefusedError) as refused, open_results(filled, other):
        pass
    assert str(refused.value) == (
        f"{filled} holds another experiment: epochs 10 there, epochs 20 now; shuffle true there, shuffle false now; "
        "data hash: ab12 there, cd34 now; no weight_decay there, weight_decay 0.0001 now.\n"
        "Give another out or name, or fresh true to set the old results aside."
    )


def test_lists_are_spelled_with_commas_and_a_long_difference_is_cut_short(filled):
    write_manifest(filled, replace(MANIFEST, identity={"losses": ["mse", "l1"], **dict.fromkeys("abcdefg", 1)}))
    with (
        pytest.raises(
            RefusedError, match=r"losses mse,l1 there, losses huber now; .*; e 1 there.*; and 2 more\."
        ) as refused,
        open_results(filled, {"losses": ("huber",)}),
    ):
        pass
    assert "; f 1" not in str(refused.value)


def test_a_key_of_a_setting_is_named_as_it_is_and_spelled_by_no_front_end(filled):
    write_manifest(filled, replace(MANIFEST, identity={"model.hidden": [8, 8], "vary": ["a"]}))
    with pytest.raises(RefusedError) as refused, open_results(filled, {"model.hidden": (4,), "vary": ()}):
        pass
    at_the_command_line = str(refused.value.respell(as_flag))
    assert "another experiment: model.hidden: 8,8 there, 4 now; --vary a there, no --vary now." in at_the_command_line


def test_equal_lists_and_tuples_are_no_difference(filled):
    write_manifest(filled, replace(MANIFEST, identity={"seeds": [1, 2]}))
    with open_results(filled, {"seeds": (1, 2)}):
        pass


def test_fresh_sets_the_old_results_aside_each_under_a_number_of_its_own(filled):
    for number in (1, 2):
        with open_results(filled, {"epochs": number}, fresh=True) as results:
            assert results.set_aside == filled.with_name(f"results.old-{number}")
            assert not (filled / "manifest.json").exists()
            write_manifest(filled, MANIFEST)
    assert (filled.with_name("results.old-1") / "journal.jsonl").exists()


def test_fresh_moves_nothing_where_there_is_nothing(tmp_path):
    for _ in range(2):
        with open_results(tmp_path / "new", IDENTITY, fresh=True) as results:
            assert results.set_aside is None
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_fresh_does_not_move_a_directory_that_another_process_holds(filled):
    with (
        hold_directory(filled),
        pytest.raises(RefusedError, match="in use"),
        open_results(filled, IDENTITY, fresh=True),
    ):
        pass
    assert (filled / "manifest.json").exists()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_directory_of_somebody_else_is_left_alone(tmp_path, fresh):
    (tmp_path / "thesis.txt").write_text("mine")
    with (
        pytest.raises(RefusedError, match=r"is not empty and holds no results of nnlab. Give another out or name."),
        open_results(tmp_path, IDENTITY, fresh=fresh),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_path_that_is_a_file_or_lies_under_one_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file is a file, not a directory"), open_results(tmp_path / "file", IDENTITY):
        pass
    with (
        pytest.raises(UsageError, match=r"Not a directory. Give another out or name."),
        open_results(tmp_path / "file" / "below", IDENTITY),
    ):
        pass


def test_a_place_that_takes_no_files_is_refused_in_words():
    with (
        pytest.raises(UsageError, match=r"/proc/nnlab can't be read or written: .* Give another out or name."),
        open_results(Path("/proc/nnlab"), IDENTITY),
    ):
        pass


def test_what_a_crash_left_is_removed(filled):
    (filled / ".runs.csv.tmp").write_text("half")
    with open_results(filled, IDENTITY):
        assert sorted(path.name for path in filled.iterdir()) == [".lock", "journal.jsonl", "manifest.json"]


def test_the_default_directory_is_readable_and_told_apart_by_its_hash():
    path = default_directory("sweep-lr", "mnist1d", "mlp:hidden=100x100", {"epochs": 10, "lr": 0.1})
    # The first 8 hex digits of: printf '{"epochs":10,"lr":0.1}' | sha256sum
    assert path == Path("results/sweep-lr/mnist1d-mlp-hidden-100x100-1a7ac2b4")
    assert default_directory("sweep-lr", "mnist1d", "mlp:hidden=100x100", {"lr": 0.1, "epochs": 10}) == path
    assert default_directory("sweep-lr", "mnist1d", "mlp:hidden=100x100", {"lr": 0.1, "epochs": 11}) != path


@pytest.mark.parametrize(
    ("data", "slug"),
    [
        ("../data/my table.csv", "my-table.csv"),
        ("moons:samples=1000:noise=0.2", "moons-samples-1000-noise-0.2"),
        ("/a/b/net.py:build:width=64", "net.py-build-width-64"),
        ("[red]*?.csv", "red-.csv"),
        ("x" * 300, "x" * 30),
    ],
)
def test_a_specification_becomes_part_of_a_file_name(data, slug):
    name = default_directory("train", data, "linear", {}).name
    assert name == f"{slug}-linear-44136fa3"  # sha256 of {}
