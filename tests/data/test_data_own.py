"""A person's own data: what their function gives is what is trained on, and what can't be is refused with its place."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from nnlab.core.errors import DataError, UsageError
from nnlab.core.spec import parse_spec
from nnlab.data.loading import load
from nnlab.engine.sources import Sources
from nnlab.ingredients.resolve import complete_settings, identity, own_files
from nnlab.settings import RunSettings

OWN = '''
import numpy as np


def rows(*, samples: int = 12, scale: float = 1.0):
    """The arrays (x, y) of a regression."""
    x = np.arange(2.0 * samples).reshape(samples, 2)
    return scale * x, x.sum(1) + 0.5


def images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, size=(9, 2, 3, 4), dtype=np.uint8), np.arange(9) % 3


def parts():
    x, y = rows()
    return x[:8], y[:8], x[8:], y[8:]


def words():
    return [[1], [2], [3]], ["b", "a", "b"]


def frames():
    import pandas as pd

    table = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [7, 8, 9], "c": ["p", "q", "p"]})
    return table[["a", "b"]], table["c"]


def tensors():
    import torch

    x = torch.arange(24, dtype=torch.bfloat16).reshape(6, 4).requires_grad_()
    return x, torch.tensor([0, 1, 1, 0, 1, 1])


def dataset(*, n: int = 6):
    import torch

    return torch.utils.data.TensorDataset(torch.arange(12.0).reshape(6, 2)[:n], torch.arange(6)[:n] % 2)


def datasets():
    import torch

    whole = dataset()
    return torch.utils.data.Subset(whole, [0, 1, 2, 3]), torch.utils.data.Subset(whole, [4, 5])


class Squares:
    """A map-style data set that is nobody's subclass."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return [float(index)], float(index**2)


def squares():
    return Squares()


def loader():
    import torch

    return torch.utils.data.DataLoader(dataset())


class Odd(Squares):
    def __getitem__(self, index):
        return [0.0] * (1 + index // 3), 1.0


class Named(Squares):
    def __getitem__(self, index):
        return {"x": 1.0, "y": 2.0}


def odd():
    return Odd()


def named():
    return Named()


def needy(n):
    return n


def failing(*, by: int = 0):
    return 1 / by


def refusing():
    raise ValueError("not today")


def nothing():
    return np.zeros((0, 3)), np.zeros(0)


def a_hole():
    return [[0.0], [float("nan")], [1.0]], [0, 1, 1]


def uneven():
    return np.zeros((4, 2)), np.zeros(3)


def objects():
    return np.array([[object()], [1.0]]), [0, 1]


def ragged():
    return [[1, 2], [3]], [0, 1]


def two_columns():
    return np.zeros((4, 2)), np.zeros((4, 2))


def other_rows():
    return np.zeros((4, 2)), [0, 1, 0, 1], np.zeros((2, 3)), [0, 1]


def one_class():
    return np.zeros((4, 2)), [1, 1, 1, 1]


def three():
    return [1], [2], [3]


number = 3
'''


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "mine.py"
    path.write_text(OWN)
    return lambda text, **options: load(parse_spec(f"{path}:{text}", what="--data"), **options)


def test_keys_reach_the_function_and_its_numbers_come_back(own):
    data = own("rows:samples=5:scale=10")
    x = np.arange(10.0).reshape(5, 2)
    assert np.array_equal(data.x, 10 * x)
    assert np.array_equal(data.y, x.sum(1) + 0.5)
    assert (data.task, data.row_shape, data.standardize) == ("regression", (2,), True)
    assert data.x.flags.c_contiguous
    assert own("rows").x.shape == (12, 2)


def test_rows_of_any_shape_are_stored_flat_in_torchs_order(own):
    data = own("images")
    assert (data.row_shape, data.x.shape, data.x.dtype) == ((2, 3, 4), (9, 24), np.float64)
    rng = np.random.default_rng(0)
    assert np.array_equal(data.x.reshape(9, 2, 3, 4), rng.integers(0, 255, size=(9, 2, 3, 4), dtype=np.uint8))
    assert (data.task, data.class_names) == ("multiclass", ("0", "1", "2"))


def test_four_arrays_are_a_training_and_a_test_part(own):
    data, whole = own("parts"), own("rows")
    assert np.array_equal(data.x, whole.x[:8])
    assert list(data.given) == ["test"]
    assert np.array_equal(data.given["test"][0], whole.x[8:])
    assert np.array_equal(data.given["test"][1], whole.y[8:])


@pytest.mark.parametrize(
    ("name", "task", "classes", "y"),
    [
        ("words", "binary", ("a", "b"), [1, 0, 1]),
        ("frames", "binary", ("p", "q"), [0, 1, 0]),
        ("tensors", "binary", ("0", "1"), [0, 1, 1, 0, 1, 1]),
        ("dataset", "binary", ("0", "1"), [0, 1, 0, 1, 0, 1]),
        ("squares", "regression", (), [0, 1, 4, 9, 16]),
        ("images", "multiclass", ("0", "1", "2"), [0, 1, 2, 0, 1, 2, 0, 1, 2]),
    ],
)
def test_the_type_of_the_targets_says_what_is_predicted(own, name, task, classes, y):
    data = own(name)
    assert (data.task, data.class_names, data.y.tolist()) == (task, classes, y)


def test_the_task_may_be_said_instead(own):
    assert own("images", task="regression").y.tolist() == [0, 1, 2] * 3
    assert own("dataset", task="multiclass").task == "multiclass"
    assert own("squares", task="multiclass").class_names == ("0", "1", "4", "9", "16")
    with pytest.raises(DataError, match="has 3 classes: '0', '1', '2'\\. Expected two for task binary"):
        own("images", task="binary")


def test_tensors_that_numpy_has_no_type_for_or_that_carry_gradients_are_read(own):
    assert own("tensors").x.tolist() == np.arange(24.0).reshape(6, 4).tolist()


def test_datasets_of_torch_are_read_row_by_row_and_two_of_them_are_train_and_test(own):
    whole, parts = own("dataset:n=6"), own("datasets")
    assert np.array_equal(whole.x, np.arange(12.0).reshape(6, 2))
    assert np.array_equal(parts.x, whole.x[:4])
    assert np.array_equal(parts.given["test"][0], whole.x[4:])
    assert parts.given["test"][1].tolist() == [0, 1]


def test_missing_numbers_go_by_the_option(own):
    assert own("a_hole", missing="drop").x.tolist() == [[0], [1]]
    assert np.isnan(own("a_hole", missing="mean").x).tolist() == [[False], [True], [False]]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a_hole", "a_hole, x, row 1 has NaN. Expected a number; fill it in, or say missing drop or missing mean"),
        ("uneven", "uneven, y has shape [3]. Expected [4]: a number, class index or class name for each row of x"),
        ("objects", "objects, x has type object. Expected real numbers"),
        ("ragged", "ragged, x is not an array: setting an array element with a sequence"),
        ("nothing", "nothing, x has shape [0, 3]. Expected [rows, ...], with at least one row"),
        ("dataset:n=0", "gives a TensorDataset without rows. Expected at least one"),
        ("two_columns", "two_columns, y has shape [4, 2]. Expected [4]"),
        ("other_rows", "other_rows, x_test has shape [2, 3]. Expected [rows, 2]"),
        ("one_class", "one_class, y has one value, 1.0, in every row"),
        (
            "three",
            "three gives (list, list, list). Expected (x, y), (x_train, y_train, x_test, y_test), a torch Dataset",
        ),
        ("loader", "loader gives DataLoader. Expected (x, y)"),
        ("odd", "odd, row 3 has shape [2]. Expected [1], as row 0 has"),
        ("named", "named, row 0 is a dict. Expected (x, y)"),
    ],
)
def test_what_is_no_data_set_is_refused_with_its_place_and_what_was_expected(own, name, said):
    with pytest.raises(DataError) as raised:
        own(name)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rows:sampels=3", "has no key 'sampels'. Did you mean 'samples'? Its keys: samples, scale"),
        ("rows:samples=1.5", "rows:samples takes a whole number"),
        ("rwos", "has no 'rwos'. Did you mean 'rows'"),
        ("number", "is of type int, not a function"),
        ("needy", "needy is called with its keys alone: missing a required argument: 'n'. Keys stand after a *"),
        ("failing", "mine.py:95 raises ZeroDivisionError: division by zero"),
        ("refusing", "mine.py:99 raises ValueError: not today"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused_before_anything_is_trained(own, name, said):
    with pytest.raises(UsageError) as raised:
        own(name)
    assert said in str(raised.value)


def test_the_line_is_told_of_a_file_in_this_directory_too(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"^data 'mine\.py:failing': mine\.py:95 raises"):
        load(parse_spec("mine.py:failing", what="--data"))
    with pytest.raises(UsageError, match=r"data mine\.py lacks the name of its function. Write data mine\.py:NAME"):
        load(parse_spec("mine.py", what="--data"))


def test_the_files_content_is_part_of_a_runs_identity(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    settings = complete_settings(RunSettings.from_values({"data": f"{path}:rows:samples=5"}))
    (sha,) = own_files(settings).values()
    found = identity(settings)
    assert (found["data"], found["data.samples"], found["data.scale"]) == (f"{path}:rows", 5, 1.0)
    path.write_text(OWN + "# another day\n")
    assert own_files(settings).values() != {sha}
    assert identity(settings) != found
    with pytest.raises(UsageError, match="has no key 'n'"):
        complete_settings(RunSettings.from_values({"data": f"{path}:rows:n=5"}))


def test_what_was_loaded_once_is_not_loaded_again(own):
    data = own("rows")
    settings = complete_settings(RunSettings.from_values({"data": "moons"}))
    assert Sources(data).dataset(settings) is data


def test_torch_is_loaded_for_tensors_and_not_for_arrays(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    code = (
        "import sys; from nnlab.data.loading import load; from nnlab.core.spec import parse_spec\n"
        "for name in ('rows', 'images', 'words'): load(parse_spec(f'mine.py:{name}', what=''))\n"
        "print('torch' in sys.modules, [name for name in sys.modules if 'nnlab_custom' in name].__len__())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False 1\n"
