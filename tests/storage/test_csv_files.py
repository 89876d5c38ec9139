from __future__ import annotations

import io
import math

import finished_runs
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnlab.core.errors import DataError, PartialError, UsageError
from nnlab.storage.csv_files import (
    curve_columns,
    print_csv,
    read_csv,
    run_columns,
    runs_frame,
    write_csv,
    write_curves,
    write_runs,
)
from nnlab.storage.journal import Journal, journal_row
from nnlab.storage.writing import remove_leftovers, replace_file

RUNS_HEADER = (
    "run_id,arm,seed,status,diverged_step,epochs,steps,lr,init,loss,schedule,optimizer,model,data,"
    "train_loss,batch_loss,val_loss,test_loss,steps_to_threshold,"
)
CURVES_HEADER = "run_id,arm,seed,epoch,step,lr,batch_loss,train_loss,val_loss,"
CLASSES = "accuracy,balanced_accuracy,macro_f1,brier,ece"
NUMBERS = "mae,rmse,median_ae,r2"

RUNS = [
    finished_runs.run("2e5", arm="0.10", seed=0),
    finished_runs.run("lost", arm="0.10", seed=1),
    finished_runs.run("a1", arm='mse, or "so"', seed=2),
    finished_runs.run("never", arm="0.10", seed=3),
]


@pytest.fixture
def journal(tmp_path):
    """The runs of RUNS in another order, the second diverged, the last one not there, and one that nobody asks for."""
    journal = Journal(tmp_path)
    journal.append(
        [journal_row(finished_runs.failed(RUNS[2])), journal_row(finished_runs.record(finished_runs.run("other")))]
    )
    journal.append([journal_row(finished_runs.diverged(RUNS[1])), journal_row(finished_runs.record(RUNS[0]))])
    return journal


def prefixed(part: str, names: str) -> str:
    return ",".join(f"{part}_{name}" for name in names.split(","))


@pytest.mark.parametrize(("task", "names"), [("binary", CLASSES), ("multiclass", CLASSES), ("regression", NUMBERS)])
def test_the_headers_are_the_published_ones(task, names):
    metrics = f"{prefixed('val', names)},{prefixed('test', names)}"
    assert ",".join(run_columns(task)) == f"{RUNS_HEADER}{metrics},constant_loss,engine"
    assert ",".join(curve_columns(task)) == f"{CURVES_HEADER}{prefixed('val', names)}"


def test_runs_csv_has_the_runs_asked_for_in_their_order_nan_where_diverged_and_empty_where_nothing_applies(
    tmp_path, journal
):
    write_runs(tmp_path, journal, RUNS, task="multiclass", steps_to_threshold={"2e5": 32.0, "lost": math.inf})
    settings = "0.1,auto,cross_entropy,none,sgd,mlp:hidden=100x100,mnist1d"
    assert (tmp_path / "runs.csv").read_text().splitlines()[1:] == [
        f"2e5,0.10,0,done,,2,64,{settings},0.3333333333333333,1.2,1e-300,0.7,32.0,"
        "0.5,,,,,0.4,,,,,2.302585092994046,native",
        f"lost,0.10,1,diverged,1,1,1,{settings},inf,inf,inf,,inf,nan,,,,,,,,,,2.3,native",
        f'a1,"mse, or ""so""",2,failed,,0,0,{settings},,,,,,,,,,,,,,,,,native',
    ]


def test_curves_csv_has_a_row_for_each_epoch_end_and_none_for_a_run_without(tmp_path, journal):
    quoted = [RUNS[0], RUNS[1], finished_runs.run("other", arm="a,b")]
    write_curves(tmp_path, journal, quoted, task="regression")
    assert (tmp_path / "curves.csv").read_bytes().decode() == (
        f"{CURVES_HEADER}{prefixed('val', NUMBERS)}\n"
        "2e5,0.10,0,0,0,0.1,nan,2.3,2.4,,,,\n"
        "2e5,0.10,0,1,32,0.1,2.1,2.0,2.2,,,,\n"
        "2e5,0.10,0,2,64,0.1,0.30000000000000004,0.3333333333333333,1e-300,,,,\n"
        'other,"a,b",0,0,0,0.1,nan,2.3,2.4,,,,\n'
        'other,"a,b",0,1,32,0.1,2.1,2.0,2.2,,,,\n'
        'other,"a,b",0,2,64,0.1,0.30000000000000004,0.3333333333333333,1e-300,,,,\n'
    )


def test_a_run_that_is_in_two_arms_has_a_row_in_each(tmp_path, journal):
    twice = [finished_runs.run("2e5", arm="sgd"), finished_runs.run("2e5", arm="sgd:momentum=0")]
    frame = runs_frame(journal, twice, task="multiclass")
    assert frame["arm"].tolist() == ["sgd", "sgd:momentum=0"]
    write_curves(tmp_path, journal, twice, task="multiclass")
    assert read_csv(tmp_path / "curves.csv")["arm"].tolist() == ["sgd"] * 3 + ["sgd:momentum=0"] * 3


def test_the_frame_of_runs_is_what_is_read_from_their_file(tmp_path, journal):
    write_runs(tmp_path, journal, RUNS, task="multiclass", steps_to_threshold={"2e5": 32.0})
    frame = runs_frame(journal, RUNS, task="multiclass")
    written = read_csv(tmp_path / "runs.csv")
    assert frame["steps_to_threshold"].isna().all()
    assert written["steps_to_threshold"].tolist()[0] == 32.0
    pd.testing.assert_frame_equal(frame.drop(columns="steps_to_threshold"), written.drop(columns="steps_to_threshold"))
    assert frame["arm"].tolist() == ["0.10", "0.10", 'mse, or "so"']
    assert frame["run_id"].tolist() == ["2e5", "lost", "a1"]
    assert str(frame["diverged_step"].dtype) == "Int64"
    assert frame["seed"].dtype == np.int64
    assert frame["val_accuracy"].tolist()[0] == 0.5
    assert frame["val_loss"].tolist()[:2] == [1e-300, math.inf]


# A carriage return is left out: no name has one, and csv leaves it unquoted before Python 3.13.
TEXTS = st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]))
ROWS = st.lists(
    st.tuples(TEXTS, st.floats(), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.none() | st.integers(1, 2**53)),
    min_size=1,
)


@given(ROWS)
def test_a_table_is_read_as_it_was_written(rows):
    table = pd.DataFrame(rows, columns=["arm", "p", "n", "best", "diverged_step"])
    table = table.astype({"arm": "str", "diverged_step": "Int64"})
    text = io.StringIO()
    print_csv(text, table)
    text.seek(0)
    # By default the frames must agree exactly but for numbers, which check_exact asks of them as well.
    pd.testing.assert_frame_equal(read_csv(text), table, check_exact=True)


def test_cells_are_spelled_as_the_docs_say(tmp_path):
    table = pd.DataFrame(
        {
            "arm": pd.Series(["é", None, "0.001"], dtype="str"),
            "tied": pd.Series([True, None, False], dtype="boolean"),
            "p": [math.nan, -math.inf, 0.1 + 0.2],
            "mixed": [None, np.float64(0.5), np.True_],
        }
    )
    write_csv(tmp_path / "t.csv", table)
    written = (tmp_path / "t.csv").read_bytes().decode()
    assert written == "arm,tied,p,mixed\né,true,nan,\n,,-inf,0.5\n0.001,false,0.30000000000000004,true\n"
    back = read_csv(tmp_path / "t.csv", ["tied", "arm", "absent"])
    assert back.columns.tolist() == ["arm", "tied"]
    assert back["arm"].tolist() == ["é", "", "0.001"]
    assert back["tied"].tolist() == [True, pd.NA, False]


def test_a_table_without_rows_is_read_as_one(tmp_path):
    write_csv(tmp_path / "t.csv", pd.DataFrame({"arm": [], "p": []}))
    assert read_csv(tmp_path / "t.csv").columns.tolist() == ["arm", "p"]
    assert read_csv(tmp_path / "t.csv").empty


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2,3,4\n1\n1,2,3\n", b"a\n\xff\xfe\n"])
def test_what_is_no_table_is_refused_in_words(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"t\.csv is not a CSV table with a header"):
        read_csv(tmp_path / "t.csv")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"absent\.csv can't be read or written: No such file or directory"):
        read_csv(tmp_path / "absent.csv")


def test_the_old_file_stays_where_the_new_one_fails(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("old\n")
    with pytest.raises(TypeError), replace_file(path) as file:
        file.writelines(["half", 1])
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_and_ends_in_words(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("old\n")
    (tmp_path / ".t.csv.tmp").symlink_to("/dev/full")
    with pytest.raises(PartialError, match="no space is left"):
        write_csv(path, pd.DataFrame({"p": [1.0]}))
    assert path.read_text() == "old\n"


def test_what_a_crash_left_is_overwritten_by_the_next_writing_or_removed(tmp_path):
    for name in (".t.csv.tmp", ".u.csv.tmp", "mine.tmp"):
        (tmp_path / name).write_text("half")
    write_csv(tmp_path / "t.csv", pd.DataFrame({"p": [1.0]}))
    assert (tmp_path / "t.csv").read_text() == "p\n1.0\n"
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.tmp", "t.csv"]
