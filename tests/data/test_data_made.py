"""Made data are what their formulas say; oracles are scikit-learn, NumPy and hand arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import datasets

from nnlab.catalog.entry import keys
from nnlab.core.errors import UsageError
from nnlab.core.spec import parse_spec
from nnlab.data.loading import load
from nnlab.data.made_data import blobs, double_well, location, quadratic
from nnlab.data.named_data import DATA

MADE = [name for name, row in DATA.items() if row.function.__module__.endswith("made_data")]


def made(text: str):
    return load(parse_spec(text, what="--data"))


@pytest.mark.parametrize("name", MADE)
def test_made_data_depend_on_their_specification_alone(name):
    first, second = made(name), made(name)
    assert first.fingerprint() == second.fingerprint()
    assert not first.standardize
    assert first.x.shape == (len(first.y), len(first.feature_names))


@pytest.mark.parametrize("name", [name for name in MADE if "seed" in keys(DATA[name].function)])
def test_another_data_seed_gives_other_data(name):
    assert made(f"{name}:seed=1").fingerprint() != made(name).fingerprint()


def test_moons_circles_and_blobs_are_those_of_scikit_learn():
    x, y = datasets.make_moons(50, noise=0.2, random_state=3)
    ours = made("moons:samples=50:seed=3")
    assert np.array_equal(ours.x, x)
    assert np.array_equal(ours.y, y)
    x, y = datasets.make_circles(50, noise=0.1, factor=0.5, random_state=0)
    assert np.array_equal(made("circles:samples=50").x, x)
    x, y = datasets.make_blobs(50, 4, centers=5, random_state=0)
    assert np.array_equal(made("blobs:samples=50:features=4:classes=5").x, x)


def test_the_number_of_classes_decides_the_task():
    assert made("blobs:classes=2").task == "binary"
    assert made("spirals:classes=4").task == "multiclass"
    assert blobs(samples=2, classes=3).class_names == ("0", "1", "2")
    with pytest.raises(UsageError, match="data spirals takes classes of 2 or more, not 1"):
        made("spirals:classes=1")


def test_a_seed_that_scikit_learn_cannot_take_is_refused():
    with pytest.raises(UsageError, match="data moons takes a seed below 2\\^32, not 4294967296"):
        made("moons:seed=4294967296")


def test_spirals_without_noise_lie_on_their_arms():
    data = made("spirals:noise=0:classes=3:turns=2:samples=300")
    radius = np.hypot(data.x[:, 0], data.x[:, 1])
    angle = 2 * np.pi * (2 * radius + data.y / 3)
    # Rounding of hypot times the angle's slope, 4 pi.
    np.testing.assert_allclose(data.x[:, 1], radius * np.sin(angle), atol=1e-13)


def test_xor_without_noise_is_the_sign_of_the_product():
    data = made("xor:noise=0")
    assert np.array_equal(data.y, (np.sign(data.x[:, 0]) != np.sign(data.x[:, 1])).astype(int))


def test_sine_and_linear_regression_without_noise_are_their_formulas():
    data = made("sine:noise=0:frequency=2")
    np.testing.assert_allclose(data.y, np.sin(4 * np.pi * data.x[:, 0]), rtol=0, atol=1e-15)
    data = made("linear_regression:noise=0")
    residual = np.linalg.lstsq(data.x, data.y, rcond=None)[1]
    assert residual[0] < 1e-25  # a sum of 500 squares of rounding errors


def test_counts_are_poisson_about_their_rate():
    data = made("counts:samples=20000:features=1")
    assert np.array_equal(data.y, np.floor(data.y))
    near = np.abs(data.x[:, 0]) < 0.05  # there the rate is e to 3 %
    # Standard error of a mean of about 800 counts of variance e is 0.06; of their variance, 0.16.
    assert data.y[near].mean() == pytest.approx(np.e, abs=0.25)
    assert data.y[near].var() == pytest.approx(np.e, abs=0.65)


def test_location_is_the_contaminated_normal():
    data = location(samples=200_000, centre=3.0, outliers=0.1, scale=3.0)
    assert not data.x.any()
    # Variance 0.9 + 0.1 * 9 = 1.8 (numbers.md T15); its standard error here is 0.009.
    assert data.y.var() == pytest.approx(1.8, abs=0.04)
    assert data.y.mean() == pytest.approx(3.0, abs=0.015)
    clean = location(samples=200_000, outliers=0.0)
    assert clean.y.var() == pytest.approx(1.0, abs=0.015)


def test_chebyshev_is_cos_n_arccos():
    data = made("chebyshev:degree=5")
    for x, y in [(data.x, data.y), data.given["val"], data.given["test"]]:
        np.testing.assert_allclose(y, np.cos(5 * np.arccos(x[:, 0])), atol=1e-13)  # arccos near 1 loses digits
    assert data.x.shape == (20, 1)
    assert not set(data.x[:, 0]) & set(data.given["val"][0][:, 0])
    with pytest.raises(UsageError, match="samples of 2 or more, not 1"):
        made("chebyshev:samples=1")


def test_the_double_well_has_a_narrow_shallow_and_a_wide_deep_minimum():
    data = double_well()
    weights = np.linspace(-3, 3, 60_001)
    landscape = ((np.tanh(weights * data.x) - data.y[:, None]) ** 2).mean(axis=0)
    lowest = (landscape[1:-1] < landscape[:-2]) & (landscape[1:-1] < landscape[2:])
    places, depths = weights[1:-1][lowest], landscape[1:-1][lowest]
    # As the docstring rounds them.
    np.testing.assert_allclose(places, [-1.10, 0.01], atol=0.005)
    np.testing.assert_allclose(depths, [0.32, 0.58], atol=0.005)


@given(
    dimension=st.integers(1, 12),
    lambda_max=st.floats(2, 1e3),
    condition=st.floats(1, 1e4),
    spare=st.integers(1, 40),
    seed=st.integers(0, 2**60),
)
def test_the_quadratic_has_exactly_the_eigenvalues_it_names(dimension, lambda_max, condition, spare, seed):
    data = quadratic(
        dimension=dimension, lambda_max=lambda_max, condition=condition, samples=dimension + spare, seed=seed
    )
    design = np.hstack([data.x, np.ones((len(data.y), 1))])
    hessian = 2 * design.T @ design / len(data.y)
    named = np.append(np.geomspace(lambda_max, lambda_max / condition, dimension), 2.0)
    # Symmetric eigenvalues are good to rounding in the largest of them.
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), np.sort(named), atol=1e-12 * lambda_max)
    assert np.linalg.eigvalsh(hessian)[-1] == pytest.approx(lambda_max, rel=1e-12)


def test_the_quadratic_is_noiseless_and_gives_its_own_parts():
    data = quadratic()
    weights = np.linalg.lstsq(data.x, data.y, rcond=None)[0]
    np.testing.assert_allclose(data.x @ weights, data.y, atol=1e-13)
    assert np.array_equal(data.given["val"][0], data.x)
    assert np.array_equal(data.given["test"][1], data.y)
    assert len(data.y) == 64


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("lambda_max=1.5", "lambda_max of 2 or more, not 1.5: the bias's own eigenvalue is 2"),
        ("condition=0.5", "condition of 1 or more, not 0.5"),
        ("samples=10", "samples above dimension=10, not samples=10"),
    ],
)
def test_a_quadratic_that_cannot_be_made_is_refused(keys, said):
    with pytest.raises(UsageError, match=said):
        made(f"quadratic:{keys}")
