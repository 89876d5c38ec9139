"""Splits, scaling and noise, against scikit-learn and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from nnlab.core.errors import DataError, UsageError
from nnlab.core.spec import Spec
from nnlab.data.dataset import SplitColumn, dataset_from_arrays
from nnlab.data.loading import load
from nnlab.data.parts import class_weights, divide
from nnlab.data.splits import AUTO, Split, parse_split
from nnlab.data.target_noise import Outliers, noisy_labels, parse_outliers, with_outliers

IRIS = load(Spec("iris"))
DIABETES = load(Spec("diabetes"))


def by_column(split: str, values: list[float]):
    """A regression data set of these rows, split by a column of these values."""
    rng = np.random.default_rng(0)
    data = dataset_from_arrays(rng.standard_normal((len(values), 2)), rng.standard_normal(len(values)), "regression")
    return type(data)(**vars(data) | {"split_column": SplitColumn("c", np.array(values, dtype=float))}), parse_split(
        split
    )


def rows_of(parts):
    return [part.rows for part in (parts.train, parts.val, parts.test) if part is not None]


@given(
    num_rows=st.integers(40, 200),
    seed=st.integers(0, 2**53),
    validation=st.floats(0.1, 0.3),
    test=st.floats(0.1, 0.3),
    how=st.sampled_from(["random", "group:c", "time:c"]),
)
def test_parts_are_disjoint_ascending_and_cover_every_row(num_rows, seed, validation, test, how):
    data, split = by_column(how, [index // 2 for index in range(num_rows)][::-1])
    parts = divide(data, seed=seed, validation=validation, test=test, split=split)
    rows = rows_of(parts)
    assert np.array_equal(np.sort(np.concatenate(rows)), np.arange(num_rows))
    assert all((np.diff(part) > 0).all() for part in rows)
    if how == "random":
        assert len(parts.val.rows) == round(validation * num_rows)
        assert len(parts.test.rows) == round(test * num_rows)
    else:
        groups = [set((data.split_column.values[part]).tolist()) for part in rows]
        assert not groups[0] & groups[1]
        assert not groups[0] & groups[2]
        assert not groups[1] & groups[2]
    if how == "time:c":
        assert max(groups[0]) < min(groups[1])
        assert max(groups[1]) < min(groups[2])
    again = divide(data, seed=seed, validation=validation, test=test, split=split)
    assert all(np.array_equal(one, other) for one, other in zip(rows, rows_of(again), strict=True))


def test_classes_are_stratified_and_regression_is_not_by_default():
    parts = divide(IRIS, seed=0, validation=0.2, test=0.2)
    assert [np.bincount(part.y).tolist() for part in (parts.train, parts.val, parts.test)] == [
        [30] * 3,
        [10] * 3,
        [10] * 3,
    ]
    parts = divide(DIABETES, seed=0, validation=0.2, test=0.2)
    assert [len(rows) for rows in rows_of(parts)] == [266, 88, 88]  # 442 rows: 60, 20, 20 %
    unstratified = divide(IRIS, seed=0, validation=0.2, test=0.2, split=Split("random"))
    assert np.bincount(unstratified.test.y).tolist() != [10] * 3


def test_another_seed_splits_otherwise_and_the_test_part_does_not_depend_on_the_validation_part():
    first, second = (divide(IRIS, seed=seed, validation=0.2, test=0.2) for seed in (0, 1))
    assert not np.array_equal(first.test.rows, second.test.rows)
    assert np.array_equal(first.test.rows, divide(IRIS, seed=0, validation=0, test=0.2).test.rows)


def test_without_validation_or_test_all_rows_are_for_training_in_stored_order():
    parts = divide(IRIS, seed=0, validation=0, test=0)
    assert parts.val is None
    assert parts.test is None
    assert np.array_equal(parts.train.rows, np.arange(150))


def test_a_given_test_part_is_kept_and_validation_is_of_the_rest():
    x, y = np.arange(40.0)[:, None], np.arange(40.0)
    data = dataset_from_arrays(x, y, "regression", given={"test": (x[:7] + 0.5, y[:7])})
    parts = divide(data, seed=0, validation=0.2, test=0.2)
    assert [len(rows) for rows in rows_of(parts)] == [32, 8, 7]
    assert np.array_equal(parts.test.x, x[:7] + 0.5)
    assert divide(data, seed=0, validation=0.2, test=0).test is None


def test_scaling_is_learned_from_the_training_part_alone():
    parts = divide(DIABETES, seed=3, validation=0.2, test=0.2)
    scaler = StandardScaler().fit(DIABETES.x[parts.train.rows])
    target = StandardScaler().fit(DIABETES.y[parts.train.rows, None])
    for part in (parts.train, parts.val, parts.test):
        # The same subtraction and division as scikit-learn's: equal to rounding.
        np.testing.assert_allclose(part.x, scaler.transform(DIABETES.x[part.rows]), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(part.y, target.transform(DIABETES.y[part.rows, None])[:, 0], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(parts.preprocessing.in_target_unit(part.y), DIABETES.y[part.rows], rtol=1e-12)
    assert parts.preprocessing.target_scale == pytest.approx(DIABETES.y[parts.train.rows].std(), rel=1e-12)


def test_a_constant_feature_keeps_its_scale():
    data = dataset_from_arrays(
        np.array([[0.1, 1], [0.1, 2], [0.1, 3]] * 9), np.arange(27.0), "regression", standardize=True
    )
    parts = divide(data, seed=0, validation=0, test=0)
    assert parts.preprocessing.scales[0] == 1
    np.testing.assert_allclose(parts.train.x[:, 0], 0, atol=1e-15)


def test_nothing_is_scaled_where_neither_the_data_nor_the_person_want_it():
    parts = divide(DIABETES, seed=0, validation=0.2, test=0.2, standardize=False)
    assert np.array_equal(parts.val.x, DIABETES.x[parts.val.rows])
    assert np.array_equal(parts.val.y, DIABETES.y[parts.val.rows])
    moons = load(Spec("moons"))
    parts = divide(moons, seed=0, validation=0.2, test=0.2, standardize=True)
    assert np.array_equal(parts.train.x, moons.x[parts.train.rows])


def test_label_noise_changes_exactly_its_share_of_training_labels_to_any_other_class():
    y = np.arange(30_000) % 3
    noisy = noisy_labels(y, fraction=0.2, num_classes=3, seed=1)
    changed = noisy != y
    assert changed.sum() == 6000
    assert set(noisy) == {0, 1, 2}
    # Each of the two other classes is as likely: 3000 of 6000, standard deviation 39.
    assert abs(((noisy - y)[changed] % 3 == 1).sum() - 3000) < 160
    clean, spoilt = (divide(IRIS, seed=0, validation=0.2, test=0.2, label_noise=noise) for noise in (0.0, 0.5))
    assert (spoilt.train.y != clean.train.y).sum() == 45
    assert np.array_equal(spoilt.val.y, clean.val.y)
    assert np.array_equal(spoilt.test.y, clean.test.y)


def test_outliers_disturb_their_share_of_training_targets_by_their_scale():
    y = np.random.default_rng(0).normal(5, 2, size=100_000)
    disturbed = with_outliers(y, Outliers(0.1, 10.0), seed=1)
    changed = disturbed != y
    assert changed.sum() == 10_000
    # Standard error of a deviation over 10^4 draws is 0.7 %.
    assert (disturbed - y)[changed].std() == pytest.approx(10 * y.std(), rel=0.03)
    options = {"seed": 0, "validation": 0.2, "test": 0.2, "standardize": False}
    clean, spoilt = divide(DIABETES, **options), divide(DIABETES, **options, outliers=Outliers(0.1, 10.0))
    assert (spoilt.train.y != clean.train.y).sum() == round(0.1 * len(clean.train.y))
    assert np.array_equal(spoilt.test.y, clean.test.y)


def test_outliers_are_parsed_and_bad_ones_refused():
    assert parse_outliers("0.1:scale=3") == Outliers(0.1, 3.0)
    assert parse_outliers("0.1") == Outliers(0.1, 10.0)
    for text, said in [
        ("0.1:size=3", "is not FRACTION:scale=S, such as 0.1:scale=10"),
        ("1.5", "outliers takes a number from 0 to below 1, not '1.5'"),
        ("0.1:scale=-1", "outliers 0.1:scale takes a number above 0, not '-1'"),
    ]:
        with pytest.raises(UsageError) as raised:
            parse_outliers(text)
        assert said in str(raised.value)


def test_class_weights_are_scikit_learns_balanced_ones():
    y = np.array([0] * 7 + [1] * 2 + [2])
    weights = class_weights(y, 3)
    assert np.array_equal(weights, compute_class_weight("balanced", classes=np.array([0, 1, 2]), y=y))
    assert weights[y].mean() == pytest.approx(1, rel=1e-15)


def test_splits_are_parsed_and_bad_ones_refused():
    assert parse_split("auto") == AUTO
    assert parse_split("group:patient:id") == Split("group", "patient:id")
    assert str(parse_split("time:when")) == "time:when"
    for text, said in [
        (
            "stratifed",
            "split 'stratifed' is not known. Did you mean 'stratified'? Accepted: random, stratified, group",
        ),
        ("group", "split 'group' needs a column"),
        ("random:x", "split 'random:x' takes no column"),
    ]:
        with pytest.raises(UsageError) as raised:
            parse_split(text)
        assert said in str(raised.value)


def test_a_class_of_one_row_cannot_be_stratified():
    data = dataset_from_arrays(
        np.zeros((21, 1)), np.array([0] * 10 + [1] * 10 + [2]), "multiclass", class_names=("a", "b", "c")
    )
    with pytest.raises(DataError, match="class 'c' has 1 row; a stratified split into 3 parts needs 3 of each class"):
        divide(data, seed=0, validation=0.2, test=0.2)
    assert len(divide(data, seed=0, validation=0, test=0).train.rows) == 21


def test_a_stratified_part_with_fewer_rows_than_classes_is_refused():
    data = dataset_from_arrays(np.zeros((40, 1)), np.arange(40) % 10, "multiclass")
    with pytest.raises(DataError, match=r"split stratified can't take 4 of 40 rows: .*number of classes"):
        divide(data, seed=0, validation=0.2, test=0.1)


def test_a_training_part_without_one_of_the_classes_is_refused():
    data = dataset_from_arrays(np.zeros((10, 1)), np.array([0] * 5 + [1] * 5), "binary")
    data = type(data)(**vars(data) | {"split_column": SplitColumn("t", np.arange(10.0))})
    with pytest.raises(DataError, match="class '1' has no row in the training part"):
        divide(data, seed=0, validation=0, test=0.5, split=Split("time", "t"))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"split": Split("stratified")}, UsageError, "split stratified is for classes"),
        ({"split": Split("group", "sex")}, UsageError, "split group:sex goes by a column"),
        ({"label_noise": 0.1}, UsageError, "label_noise 0.1 is for classes"),
        ({"validation": 0.5, "test": 0.5}, UsageError, "validation 0.5 and test 0.5 leave no training row of 442"),
        ({"validation": 0.001}, DataError, "validation 0.001 of 442 rows is less than one row"),
    ],
)
def test_parts_that_cannot_be_made_are_refused(options, error, said):
    with pytest.raises(error) as raised:
        divide(DIABETES, **{"seed": 0, "validation": 0.2, "test": 0.2} | options)
    assert said in str(raised.value)


def test_outliers_are_not_for_classes():
    with pytest.raises(UsageError, match="outliers is for regression; the task is multiclass"):
        divide(IRIS, seed=0, validation=0.2, test=0.2, outliers=Outliers(0.1, 10))


@pytest.mark.parametrize("how", ["group:c", "time:c"])
def test_one_group_or_one_time_cannot_be_split(how):
    data, split = by_column(how, [1.0] * 10)
    with pytest.raises(DataError, match=f"split {how}: different values in the column: 1. 2 parts need at least 2"):
        divide(data, seed=0, validation=0, test=0.2, split=split)


def test_a_feature_without_a_training_value_has_no_mean():
    x = np.array([[np.nan, 1.0]] * 8 + [[1.0, 1.0]] * 2)
    data = dataset_from_arrays(x, np.arange(10.0), "regression")
    data = type(data)(**vars(data) | {"missing": "mean", "split_column": SplitColumn("t", np.arange(10.0))})
    with pytest.raises(DataError, match="feature 'x0' is missing in every training row"):
        divide(data, seed=0, validation=0, test=0.2, split=Split("time", "t"))
