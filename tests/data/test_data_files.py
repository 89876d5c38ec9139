"""A person's own files: what they become, and how each fault is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnlab.core.errors import DataError, UsageError
from nnlab.core.spec import Spec
from nnlab.data.loading import load
from nnlab.data.new_rows import load_inputs
from nnlab.data.parts import divide
from nnlab.data.preprocessing import Preprocessing
from nnlab.data.splits import parse_split

COLOURS = """age,colour,size,target
1.5,red,10,0
2.5,blue,20,1
3.5,red,30,1
"""


@pytest.fixture
def file(tmp_path):
    """Writes text or bytes to a file and gives its path."""

    def written(content, name="my.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


@pytest.fixture
def archive(tmp_path):
    def written(**arrays):
        np.savez(tmp_path / "my.npz", **arrays)
        return tmp_path / "my.npz"

    return written


def read(path, **options):
    return load(Spec(str(path)), **options)


def test_text_becomes_indicators_and_numbers_stay(file):
    data = read(file(COLOURS))
    assert data.feature_names == ("age", "colour=blue", "colour=red", "size")
    assert data.x.tolist() == [[1.5, 0, 1, 10], [2.5, 1, 0, 20], [3.5, 0, 1, 30]]
    assert (data.task, data.class_names, data.y.tolist()) == ("binary", ("0", "1"), [0, 1, 1])
    assert data.target_name == "target"
    assert data.standardize


@given(
    st.lists(
        st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2), min_size=3, unique_by=lambda row: row[1]
    )
)
def test_every_finite_float_survives_the_file_to_the_last_bit(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("floats") / "my.csv"
    path.write_text("x,y\n" + "".join(f"{x!r},{y!r}\n" for x, y in rows))
    data = read(path, task="regression")
    assert np.column_stack([data.x, data.y]).tolist() == [list(row) for row in rows]


@pytest.mark.parametrize(
    ("values", "task", "names"),
    [
        ("0.5 1.5 0.5 1.5", "regression", ()),
        ("0 1 0 1", "binary", ("0", "1")),
        ("-1 1 -1 1", "binary", ("-1", "1")),
        ("1.0 2.0 1.0 3.0 2.0 3.0", "multiclass", ("1", "2", "3")),
        ("10 9 10 9 8 8", "multiclass", ("8", "9", "10")),
        ("1 2 3 4 4", "regression", ()),
        (" ".join(str(i // 2) for i in range(40)), "multiclass", tuple(map(str, range(20)))),
        (" ".join(str(i // 2) for i in range(42)), "regression", ()),
        ("no yes no yes", "binary", ("no", "yes")),
        ("b a c a b c", "multiclass", ("a", "b", "c")),
    ],
)
def test_the_task_is_inferred_by_the_stated_rule(file, values, task, names):
    rows = "".join(f"{index},{value}\n" for index, value in enumerate(values.split()))
    data = read(file("x,y\n" + rows))
    assert (data.task, data.class_names) == (task, names)
    if names and names[0].isalpha():
        assert [names[index] for index in data.y] == values.split()
    else:
        meant = [float(names[index]) for index in data.y] if names else data.y.tolist()
        assert meant == [float(value) for value in values.split()]


def test_the_task_can_be_overridden(file):
    path = file("x,y\n1,0\n2,1\n3,2\n4,0.5\n")
    assert read(path, task="multiclass").class_names == ("0.0", "0.5", "1.0", "2.0")
    assert read(file("x,y\n1,0\n2,1\n"), task="regression").y.tolist() == [0.0, 1.0]
    assert read(file("x,y\n1,1\n2,2\n3,3+\n"), task="multiclass").class_names == ("1", "2", "3+")


def test_what_spreadsheets_do_to_a_file_is_understood(file):
    plain = read(file(COLOURS))
    odd = "\ufeff" + COLOURS.replace("\n", "\r\n").replace("red", '" red "') + "\r\n  \r\n"
    assert read(file(odd)).fingerprint() == plain.fingerprint()


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("", {}, "my.csv is empty. Expected a line of column names"),
        ("\n\n", {}, "my.csv is empty"),
        ("a,b\n", {}, "my.csv has column names in line 1 and no row"),
        ("1,2\n3,4\n", {}, "my.csv, line 1: numbers ('1', '2'). Expected the column names in the first line"),
        ("a;y\n1;2\n", {}, "my.csv, line 1: separated by ';'. Expected commas"),
        ("a\ty\n1\t2\n", {}, "my.csv, line 1: separated by '\\t'. Expected commas"),
        ("a,a,y\n1,2,3\n", {}, "my.csv, line 1: column name 'a' appears twice"),
        ("a,,y\n1,2,3\n", {}, "my.csv, line 1: column 2 has no name"),
        ("a,y\n1,2\n\n3\n", {}, "my.csv, line 4: 1 cells. Expected 2"),
        ("a,y\n1,2\n3,4,5\n", {}, "my.csv, line 3: 3 cells. Expected 2"),
        ('a,y\n"1\n",2\n"x""\n', {}, "my.csv, line 4: unexpected end of data"),
        (b"a,y\n\xff\xfe,2\n", {}, "my.csv is not UTF-8 text (byte 4)"),
        ("a,y\n1,2\n,3\n", {}, "my.csv, line 3, column 'a': missing"),
        ("a,y\n1,2\n3,NA\n", {"missing": "mean"}, "my.csv, line 3, column 'y': missing"),
        ("a,y\n,2\n3,\n", {"missing": "drop"}, "every row has a missing cell"),
        ("a,b,y\n1,,2\n3,,4\n", {"missing": "mean"}, "column 'b' has no value in any row"),
        (
            "a,y\n1,2\n2,3\n3,4\nx1,5\n",
            {},
            "my.csv, line 5, column 'a': 'x1' is not a finite number. Expected a number",
        ),
        ("a,y\n1,2\n2,3\ninf,4\n", {}, "my.csv, line 4, column 'a': 'inf' is not a finite number"),
        ("a,y\n1,2\n2,3\n3,1e999\n", {}, "my.csv, line 4, column 'y': '1e999' is not a finite number"),
        ("a,y\n1,2\n2,3\n1_0,4\n", {}, "my.csv, line 4, column 'a': '1_0' is not a finite number"),
        ("a,y\n1,5\n2,5\n", {}, "column 'y' has one value, 5.0, in every row"),
        ("a,y\n1,p\n2,q\n", {"task": "regression"}, "column 'y' has text such as 'p'. Expected numbers"),
        ("a,y\n1,p\n2,q\n3,r\n", {"task": "binary"}, "column 'y' has 3 classes: 'p', 'q', 'r'. Expected two"),
        ("y\n1\n2\n", {}, "no column but 'y' to predict from"),
        ("a,b\n1,2\n", {}, "Say target COLUMN. Its columns: 'a', 'b'"),
        ("a,y,target\n1,2,3\n", {}, "Say target COLUMN"),
        ("a,price\n1,2\n", {"target": "prise"}, "target 'prise' is not a column of"),
        ("a,price\n1,2\n", {"target": "prise"}, "Did you mean 'price'? Its columns: 'a', 'price'"),
        ("a,y\n1,2\n3,4\n", {"split": parse_split("group:b")}, "split group:b is not a column of"),
        (
            "a,t,y\n1,2024-01-01,2\n3,May,4\n",
            {"split": parse_split("time:t")},
            "line 3, column 't': 'May' is not a time",
        ),
        (
            "a,y\n" + "".join(f"n{i},{i}\n" for i in range(101)),
            {},
            "column 'a' has 101 different texts. Expected numbers, or at most 100",
        ),
    ],
)
def test_a_bad_file_is_refused_with_the_place_and_what_was_expected(file, content, options, said):
    with pytest.raises(DataError) as raised:
        read(file(content), **options)
    assert said in str(raised.value)
    assert raised.value.exit_code == 3


def test_the_target_cannot_be_what_the_split_goes_by(file):
    with pytest.raises(UsageError, match="goes by the column that is to be predicted"):
        read(file(COLOURS), split=parse_split("group:target"))


@pytest.mark.parametrize("name", ["absent.csv", "absent.npz", "absent.parquet"])
def test_an_absent_file_says_what_to_do(tmp_path, name):
    pytest.importorskip("pyarrow") if name.endswith("parquet") else None
    with pytest.raises(DataError, match=rf"{name} does not exist. Give the path of a .csv, .npz or .parquet file"):
        read(tmp_path / name)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="can't be read: Is a directory"):
        read(tmp_path / "folder.csv")


def test_dropped_rows_are_told(file):
    data = read(file("a,y\n1,2.5\n,3\n4,?\n5,6\n"), missing="drop")
    assert data.x.tolist() == [[1], [5]]
    assert data.notes == ("2 of 4 rows have a missing cell and were dropped.",)
    assert read(file(COLOURS), missing="drop").notes == ()


def test_missing_cells_become_the_training_parts_means(file):
    rows = [f"{'' if i % 5 == 0 else i},{'NA' if i % 7 == 0 else 'pq'[i % 2]},{i}.5" for i in range(60)]
    data = read(file("a,c,y\n" + "\n".join(rows)), missing="mean")
    assert np.isnan(data.x).sum() == 12 + 2 * 9
    parts = divide(data, seed=0, validation=0.2, test=0.2, standardize=False)
    means = np.nanmean(data.x[parts.train.rows], axis=0)
    for part in (parts.train, parts.val, parts.test):
        raw = data.x[part.rows]
        np.testing.assert_array_equal(part.x, np.where(np.isnan(raw), means, raw))
    scaled = divide(data, seed=0, validation=0.2, test=0.2)
    assert scaled.train.x[:, 0].std() == pytest.approx(1, rel=1e-12)  # the filled column's own deviation
    np.testing.assert_array_equal(scaled.train.x[:, 1:], parts.train.x[:, 1:])  # indicators are not scaled


def test_a_time_column_is_read_as_numbers_or_dates_and_is_no_feature(file):
    dates = file("a,when,y\n1,2024-03-01,1.5\n2,2024-01-01,2.5\n3,2024-01-01T12:00:00,3\n")
    data = read(dates, split=parse_split("time:when"))
    assert data.feature_names == ("a",)
    assert data.split_column.values.tolist() == [60 * 86400, 0, 43200]
    numbers = read(file("a,when,y\n1,7,1.5\n2,-3,2.5\n"), split=parse_split("time:when"))
    assert numbers.split_column.values.tolist() == [7, -3]


def test_a_group_column_may_hold_any_number_of_texts(file):
    rows = "".join(f"{i},p{i // 2},{i}.5\n" for i in range(300))
    data = read(file("a,patient,y\n" + rows), split=parse_split("group:patient"))
    assert data.split_column.values.tolist() == [i // 2 for i in range(300)]


# --- .npz


def test_an_archive_keeps_its_own_parts_and_its_row_shape(archive):
    x = np.arange(48.0).reshape(4, 3, 4)
    data = read(archive(x=x, y=np.array([3, 7, 3, 7]), x_test=x[:2], y_test=np.array([[7], [3]])))
    assert data.row_shape == (3, 4)
    assert np.array_equal(data.x, x.reshape(4, 12))
    assert (data.task, data.class_names, data.y.tolist()) == ("binary", ("3", "7"), [0, 1, 0, 1])
    assert list(data.given) == ["test"]
    assert data.given["test"][1].tolist() == [1, 0]
    assert data.feature_names[-1] == "x11"


def test_an_archive_may_name_its_classes_or_hold_numbers(archive):
    x = np.zeros((4, 2), dtype=np.float32)
    assert read(archive(x=x, y=np.array(["b", "a", "c", "a"]))).class_names == ("a", "b", "c")
    data = read(archive(x=x[:, 0], y=np.array([0.5, 1, 2, 3])))
    assert (data.task, data.x.shape, data.row_shape) == ("regression", (4, 1), (1,))


@pytest.mark.parametrize(
    ("arrays", "options", "said"),
    [
        ({"x": np.zeros((3, 2))}, {}, "has no array 'y'. Expected x, y; it has 'x'"),
        ({"x": np.zeros(3), "y": np.arange(3), "x_val": np.zeros(3)}, {}, "has no array 'y_val'"),
        (
            {"x": np.zeros(3), "y": np.arange(3), "x_vall": np.zeros(3)},
            {},
            "array 'x_vall' is not known. Did you mean 'x_val'",
        ),
        ({"x": np.zeros((3, 2)), "y": np.zeros((3, 4))}, {}, "my.npz, y has shape [3, 4]. Expected [3]"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, {}, "my.npz, x has shape [0, 2]. Expected [rows, ...]"),
        ({"x": np.array(["a"]), "y": np.zeros(1)}, {}, "my.npz, x has type <U1. Expected real numbers"),
        ({"x": np.zeros(2), "y": np.zeros(2, complex)}, {}, "my.npz, y has type complex128"),
        ({"x": np.array([1, np.inf]), "y": np.arange(2)}, {}, "my.npz, x, row 1 has an infinite number"),
        ({"x": np.zeros(2), "y": np.array([0, -np.inf])}, {}, "my.npz, y, row 1 is infinite"),
        ({"x": np.array([1, np.nan]), "y": np.arange(2)}, {}, "my.npz, x, row 1 has NaN"),
        ({"x": np.zeros(2), "y": np.array([np.nan, 1])}, {"missing": "mean"}, "my.npz, y, row 0 has NaN"),
        ({"x": np.full(2, np.nan), "y": np.arange(2)}, {"missing": "drop"}, "every row of x has a NaN"),
        (
            {"x": np.zeros((2, 3)), "y": np.arange(2), "x_val": np.zeros((2, 4)), "y_val": np.arange(2)},
            {},
            "my.npz, x_val has shape [2, 4]. Expected [rows, 3]",
        ),
        ({"x": np.array([object()]), "y": np.zeros(1)}, {}, "Object arrays cannot be loaded when allow_pickle=False"),
    ],
)
def test_a_bad_archive_is_refused_with_the_array_and_what_was_expected(archive, arrays, options, said):
    with pytest.raises(DataError) as raised:
        read(archive(**arrays), **options)
    assert said in str(raised.value)


def test_what_is_no_archive_is_refused(file):
    for content in (b"", b"no zip", b"PK\x03\x04 half"):
        with pytest.raises(DataError, match=r"my\.npz can't be read: File is not a zip file"):
            read(file(content, "my.npz"))


# --- .parquet


def test_a_parquet_is_read_like_the_csv_it_could_be(tmp_path, file):
    pytest.importorskip("pyarrow")
    import pandas as pd

    frame = pd.DataFrame(
        {
            "age": [1.5, None, 3.5, 4.0],
            "colour": ["red", "blue", None, "red"],
            "size": pd.array([10, 20, 30, None], dtype="Int64"),
            "on": [True, False, True, True],
            "when": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-04", "2024-01-03"]),
            "y": [1, 0, 1, 0],
        }
    )
    frame.to_parquet(tmp_path / "my.parquet")
    text = "age,colour,size,on,when,y\n1.5,red,10,true,2024-01-01,1\n,blue,20,false,2024-01-02,0\n"
    same = file(text + "3.5,,30,true,2024-01-04,1\n4.0,red,,true,2024-01-03,0\n")
    options = {"missing": "mean", "split": parse_split("time:when")}
    assert read(tmp_path / "my.parquet", **options).fingerprint() == read(same, **options).fingerprint()
    with pytest.raises(DataError, match=r"my.parquet, row 2, column 'age': missing"):
        read(tmp_path / "my.parquet")


def test_a_parquet_without_its_reader_or_of_odd_cells_is_refused(tmp_path, file):
    import pandas as pd

    try:
        import pyarrow  # noqa: F401
    except ImportError:
        with pytest.raises(DataError, match=r"reading \.parquet needs pyarrow"):
            read(file(b"PAR1", "my.parquet"))
        return
    with pytest.raises(DataError, match=r"my\.parquet can't be read"):
        read(file(b"PAR1", "my.parquet"))
    pd.DataFrame({"a": [[1], [2]], "y": [0, 1]}).to_parquet(tmp_path / "odd.parquet")
    with pytest.raises(DataError, match=r"column 'a' has cells of type object\. Expected numbers, text or times"):
        read(tmp_path / "odd.parquet")


# --- rows for a trained model


def preprocessing_of(data, **options) -> Preprocessing:
    return divide(data, seed=0, validation=0, test=0, **options).preprocessing


def test_preprocessing_survives_json(file):
    learned = preprocessing_of(read(file(COLOURS)))
    assert Preprocessing.from_json(json.loads(json.dumps(learned.to_json()))) == learned
    filled = preprocessing_of(read(file("a,y\n1,2.5\n,3\n4,5\n"), missing="mean"))
    assert filled.fill == (2.5,)
    assert Preprocessing.from_json(json.loads(json.dumps(filled.to_json()))) == filled


def test_new_rows_are_encoded_as_the_training_rows_were(file):
    data = read(file(COLOURS))
    parts = divide(data, seed=0, validation=0, test=0)
    assert np.array_equal(load_inputs(file(COLOURS, "again.csv"), parts.preprocessing), parts.train.x)
    shuffled = "size,unused,colour,age\n20,x,blue,2.5\n"
    assert np.array_equal(load_inputs(file(shuffled, "new.csv"), parts.preprocessing), parts.train.x[1:2])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("age,size\n1,2\n", "'colour', which the model needs, is not a column of"),
        (
            "age,colour,size\n1,red,2\n1,green,2\n",
            "line 3, column 'colour': 'green' is not a category that the model knows. Accepted: 'blue', 'red'",
        ),
        ("age,colour,size\n1,red,\n", "line 2, column 'size': missing"),
        ("age,colour,size\nold,red,1\n", "line 2, column 'age': 'old' is not a finite number"),
    ],
)
def test_new_rows_that_do_not_fit_the_model_are_refused(file, content, said):
    learned = preprocessing_of(read(file(COLOURS)))
    with pytest.raises(DataError) as raised:
        load_inputs(file(content, "new.csv"), learned)
    assert said in str(raised.value)


def test_new_rows_may_lack_cells_where_training_rows_did(file):
    learned = preprocessing_of(read(file("a,c,y\n1,p,2.5\n,q,3\n4,,5\n"), missing="mean"), standardize=False)
    assert load_inputs(file("a,c\n,\n7,q\n", "new.csv"), learned).tolist() == [[2.5, 0.5, 0.5], [7, 0, 1]]


def test_new_arrays_are_checked_by_shape(archive):
    x = np.arange(24.0).reshape(4, 3, 2)
    parts = divide(read(archive(x=x, y=np.array([0.5, 1, 2, 3]))), seed=0, validation=0, test=0)
    assert np.array_equal(load_inputs(archive(x=x), parts.preprocessing), parts.train.x)
    with pytest.raises(DataError, match=r"x has shape \[4, 6\]. Expected \[rows, 3, 2\]"):
        load_inputs(archive(x=x.reshape(4, 6)), parts.preprocessing)
    with pytest.raises(DataError, match="x, row 0 has NaN"):
        load_inputs(archive(x=x * np.nan), parts.preprocessing)
