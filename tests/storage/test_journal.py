from __future__ import annotations

import math
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import finished_runs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnlab.core.errors import DataError, PartialError
from nnlab.storage.journal import Journal, StoredRun, _line, _parse, journal_row

FLOATS = st.floats(width=64)


def bits(value: object) -> object:
    """Equal for equal numbers only: 1 is not 1.0, 0.0 is not -0.0, and nan is nan."""
    return (type(value), "nan" if math.isnan(value) else struct.pack("d", value)) if isinstance(value, float) else value


def some_run(run_id: str, loss: float = 0.5) -> StoredRun:
    return journal_row(finished_runs.record(finished_runs.run(run_id), scores={"val_loss": loss}))


def test_a_record_is_kept_with_its_settings_spelled_and_its_columns_in_the_order_of_runs_csv():
    of = finished_runs.run("a1", seed=3, lr="0.1", optimizer="sgd:momentum=0.9", init="normal:std=0.5")
    kept = journal_row(finished_runs.record(of, status="diverged", diverged_step=7, scores={"train_loss": math.inf}))
    assert list(kept.row.items()) == [
        ("run_id", "a1"),
        ("seed", 3),
        ("status", "diverged"),
        ("diverged_step", 7),
        ("epochs", 2),
        ("steps", 64),
        ("lr", 0.1),
        ("init", "normal:std=0.5"),
        ("loss", "cross_entropy"),
        ("schedule", "none"),
        ("optimizer", "sgd:momentum=0.9"),
        ("model", "mlp:hidden=100x100"),
        ("data", "mnist1d"),
        ("train_loss", math.inf),
        ("engine", "native"),
    ]


@given(
    scores=st.dictionaries(st.sampled_from(["val_loss", "test_loss", "val_ece"]), FLOATS),
    curves=st.dictionaries(st.sampled_from(["epoch", "lr", "val_loss"]), st.lists(FLOATS | st.integers(0, 2**53))),
    data=st.text() | st.sampled_from(["nan", "inf", "-inf"]),
)
def test_a_run_is_read_as_it_was_written_to_the_last_bit(scores, curves, data):
    kept = StoredRun("a1", {"run_id": "a1", "status": "done", "data": data, "diverged_step": None, **scores}, curves)
    back = _parse(_line(kept), Path("journal.jsonl"), 1)
    assert {name: bits(cell) for name, cell in back.row.items()} == {name: bits(c) for name, c in kept.row.items()}
    assert list(back.row) == list(kept.row)
    assert {n: [bits(v) for v in vs] for n, vs in back.curves.items()} == {
        n: [bits(v) for v in vs] for n, vs in curves.items()
    }


def test_the_journal_gives_back_what_was_appended_over_several_processes_lives(tmp_path):
    Journal(tmp_path).append([some_run("a"), some_run("b")])
    Journal(tmp_path).append([some_run("c")])
    journal = Journal(tmp_path)
    assert [run.run_id for run in journal.read()] == ["a", "b", "c"]
    assert [run.run_id for run in journal.read(["c", "absent", "a", "a"])] == ["c", "a", "a"]
    assert journal.finished_run_ids() == {"a", "b", "c"}
    assert "b" in journal
    assert "absent" not in journal


def test_runs_are_found_by_the_journal_that_appended_them(tmp_path):
    journal = Journal(tmp_path)
    assert list(journal.read()) == []
    journal.append([some_run("a")])
    journal.append([])
    journal.append([some_run("b")])
    assert [run.run_id for run in journal.read()] == ["a", "b"]


def test_curves_are_read_whole_left_out_or_copied_as_they_are_spelled(tmp_path):
    journal = Journal(tmp_path)
    journal.append([journal_row(finished_runs.record(reason='odd , "curves":{ words'))])
    (whole,), (bare,) = journal.read(), journal.read(curves=False)
    (spelled,) = journal.spelled_curves(["a1"])
    assert whole.curves["val_loss"] == finished_runs.CURVES["val_loss"]
    assert bare == StoredRun(whole.run_id, whole.row, {}, 'odd , "curves":{ words')
    assert spelled["step"] == ["0", "32", "64"]
    assert spelled["batch_loss"] == ["nan", "2.1", "0.30000000000000004"]


def test_the_later_line_of_a_run_holds(tmp_path):
    journal = Journal(tmp_path)
    journal.append([some_run("a", loss=1.0), some_run("b")])
    journal.append([some_run("a", loss=2.0)])
    assert [(run.run_id, run.row["val_loss"]) for run in Journal(tmp_path).read()] == [("a", 2.0), ("b", 0.5)]


def test_a_failed_run_is_there_but_not_done_until_it_is_tried_again(tmp_path):
    journal = Journal(tmp_path)
    journal.append([journal_row(finished_runs.failed(finished_runs.run("a")))])
    assert "a" in journal
    assert journal.finished_run_ids() == frozenset()
    assert [run.reason for run in journal.read()] == ["out of memory"]
    journal.append([some_run("a")])
    assert Journal(tmp_path).finished_run_ids() == {"a"}


@pytest.mark.parametrize("kept_bytes", [1, 20, 200, -1])
def test_a_torn_last_line_is_ignored_and_repaired_by_the_next_append(tmp_path, kept_bytes):
    journal = Journal(tmp_path)
    journal.append([some_run("a")])
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + _line(some_run("torn"))[:kept_bytes])
    again = Journal(tmp_path)
    assert [run.run_id for run in again.read()] == ["a"]
    again.append([some_run("b")])
    assert journal.path.read_bytes() == whole + _line(some_run("b"))
    assert [run.run_id for run in again.read()] == ["a", "b"]


def test_a_torn_line_longer_than_a_block_is_repaired(tmp_path):
    journal = Journal(tmp_path)
    journal.append([some_run("a")])
    with journal.path.open("ab") as file:
        file.write(b"0" * 200_000)
    again = Journal(tmp_path)
    again.append([some_run("b")])
    assert [run.run_id for run in Journal(tmp_path).read()] == ["a", "b"]


def test_a_journal_that_is_one_torn_line_is_empty(tmp_path):
    (tmp_path / "journal.jsonl").write_bytes(b'{"run_id":')
    journal = Journal(tmp_path)
    assert list(journal.read()) == []
    journal.append([some_run("a")])
    assert [run.run_id for run in Journal(tmp_path).read()] == ["a"]


@pytest.mark.parametrize(
    "line", [b"garbage", b"\xff\xfe\x00", b"[1, 2]", b"{}", b'{"run_id":"a","row":{},"curves":{}}', b""]
)
def test_a_line_that_is_no_run_is_named_by_file_and_number(tmp_path, line):
    journal = Journal(tmp_path)
    journal.append([some_run("a")])
    journal.path.write_bytes(journal.path.read_bytes() + line + b"\n" + _line(some_run("b")))
    with pytest.raises(DataError, match=r"journal\.jsonl, line 2, is not the record of a run"):
        Journal(tmp_path)


@pytest.mark.parametrize("curves", [b"garbage", b"5", b'{"epoch":5}', b'{"epoch":["1","2"],"lr":[1]}'])
def test_curves_that_are_no_curves_are_named_by_file_and_number(tmp_path, curves):
    journal = Journal(tmp_path)
    head = _line(StoredRun("a", {"status": "done"}, {})).removesuffix(b"{}}\n")
    journal.path.write_bytes(_line(some_run("b")) + head + curves + b"}\n")
    with pytest.raises(DataError, match=r"journal\.jsonl, line 2,"):
        list(Journal(tmp_path).spelled_curves(["a"]))


def test_a_full_disk_ends_in_words(tmp_path):
    journal = Journal(tmp_path)
    journal.path.symlink_to("/dev/full")
    with pytest.raises(PartialError, match=r"no space is left on its disk\. What was recorded before is safe"):
        journal.append([some_run("a")])


APPENDING = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import finished_runs
from nnlab.storage.journal import Journal, journal_row

journal = Journal(Path({directory!r}))
print("ready", flush=True)
number = 0
while True:
    curves = {{"val_loss": [0.1 + number] * 5000}}
    journal.append([journal_row(finished_runs.record(finished_runs.run(f"{{number + i}}"), curves=curves)) for i in range(3)])
    number += 3
"""


def test_a_kill_while_appending_costs_at_most_the_batch_that_was_being_written(tmp_path):
    program = APPENDING.format(tests=str(Path(__file__).parent), directory=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        path = tmp_path / "journal.jsonl"
        deadline = time.monotonic() + 30
        while not (path.exists() and path.stat().st_size > 1_000_000) and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    runs = list(Journal(tmp_path).read())
    assert [run.run_id for run in runs] == [str(number) for number in range(len(runs))]
    assert len(runs) >= 3
    assert all(len(run.curves["val_loss"]) == 5000 for run in runs)
    Journal(tmp_path).append([some_run("after")])
    assert "after" in Journal(tmp_path)
