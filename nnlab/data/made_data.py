"""Data sets made from a formula and a seed of their own. None is standardised: the formula fixes the scale.

Shapes: N rows, D features, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnlab.core.errors import UsageError
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention
from nnlab.data.dataset import Dataset, dataset_from_arrays

if TYPE_CHECKING:
    import numpy as np
    from sklearn import datasets

    from nnlab.core.kinds import Count, Fraction, NonNegative, Number, Positive, Whole
    from nnlab.settings import Task
else:
    np = lazy("numpy")
    datasets = lazy("sklearn.datasets")

BIAS_EIGENVALUE = 2.0  # of the mean squared error's Hessian in the bias: d2/db2 mean (s + b - y)^2


def moons(*, samples: Count = 1000, noise: NonNegative = 0.2, seed: Whole = 0) -> Dataset:
    """Two interleaved half circles in the plane; binary, [N, 2].

    Class 0 is (cos t, sin t), class 1 is (1 - cos t, 1/2 - sin t), t from 0 to pi; Gaussian noise on both coordinates.

    Source: scikit-learn, `make_moons`.
    """
    x, y = datasets.make_moons(samples, noise=noise, random_state=_random_state(seed, "moons"))
    return dataset_from_arrays(x, y, "binary")


def circles(*, samples: Count = 1000, noise: NonNegative = 0.1, factor: Fraction = 0.5, seed: Whole = 0) -> Dataset:
    """A circle of radius `factor` (class 1) inside one of radius 1 (class 0); binary, [N, 2], Gaussian noise.

    Source: scikit-learn, `make_circles`.
    """
    state = _random_state(seed, "circles")
    x, y = datasets.make_circles(samples, noise=noise, factor=factor, random_state=state)
    return dataset_from_arrays(x, y, "binary")


def blobs(
    *, samples: Count = 1000, features: Count = 2, classes: Count = 3, std: Positive = 1.0, seed: Whole = 0
) -> Dataset:
    """One Gaussian cloud N(c_k, std^2 I) for each class, centres uniform in [-10, 10]^D; multiclass, [N, D].

    Source: scikit-learn, `make_blobs`.
    """
    task = _task_of(classes, "blobs")
    state = _random_state(seed, "blobs")
    x, y = datasets.make_blobs(samples, features, centers=classes, cluster_std=std, random_state=state)
    return dataset_from_arrays(x, y, task, class_names=tuple(str(k) for k in range(classes)))


def spirals(
    *,
    samples: Count = 1000,
    classes: Count = 2,
    turns: Positive = 1.5,
    noise: NonNegative = 0.02,
    seed: Whole = 0,
) -> Dataset:
    """Interleaved spirals, one for each class; binary at two, [N, 2].

    Arm k is r (cos a, sin a) with a = 2 pi (turns r + k / C) and r the square root of a uniform number, which spreads
    the rows evenly along the arm's area; Gaussian noise on both coordinates. Rows alternate between the classes.

    Source: after Lang and Witbrock 1988, Learning to tell two spirals apart.
    """
    task = _task_of(classes, "spirals")
    rng = np.random.default_rng(seed)
    y = np.arange(samples) % classes
    radius = np.sqrt(rng.uniform(size=samples))
    angle = 2 * np.pi * (turns * radius + y / classes)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return dataset_from_arrays(
        x + noise * rng.standard_normal(x.shape), y, task, class_names=tuple(str(k) for k in range(classes))
    )


def xor(*, samples: Count = 1000, noise: NonNegative = 0.1, seed: Whole = 0) -> Dataset:
    """Points of the square [-1, 1]^2; class 1 where the signs of the coordinates differ; binary, [N, 2].

    The class is that of the point before Gaussian noise moves it. No single unit can tell the classes apart.

    Source: Minsky and Papert 1969, Perceptrons.
    """
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=(samples, 2))
    y = (x[:, 0] * x[:, 1] < 0).astype(np.int64)
    return dataset_from_arrays(x + noise * rng.standard_normal(x.shape), y, "binary", class_names=("0", "1"))


def sine(*, samples: Count = 500, frequency: Positive = 1.0, noise: NonNegative = 0.1, seed: Whole = 0) -> Dataset:
    """y = sin(2 pi frequency x) + e, e from N(0, noise^2), x uniform in [-1, 1]; regression, [N, 1].

    Source: the usual example of curve fitting, as in Bishop 2006, section 1.1.
    """
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=(samples, 1))
    y = np.sin(2 * np.pi * frequency * x[:, 0]) + noise * rng.standard_normal(samples)
    return dataset_from_arrays(x, y, "regression")


def linear_regression(
    *, samples: Count = 500, features: Count = 10, noise: NonNegative = 0.1, seed: Whole = 0
) -> Dataset:
    """y = x w + e, e from N(0, noise^2), x from N(0, I), w from N(0, I / D); regression, [N, D].

    E[(x w)^2] is 1 on average over w, so `noise` is in units of the signal.

    Source: the linear model with Gaussian errors (Gauss 1809).
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, features))
    weights = rng.standard_normal(features) / np.sqrt(features)
    return dataset_from_arrays(x, x @ weights + noise * rng.standard_normal(samples), "regression")


def counts(*, samples: Count = 1000, features: Count = 5, seed: Whole = 0) -> Dataset:
    """Poisson counts y of rate exp(1 + x w), x from N(0, I), w from N(0, I / 4D); regression, [N, D].

    Meant for the loss `poisson_nll`, whose score is the logarithm of the rate. About half of all rates lie between 2
    and 4.

    Source: McCullagh and Nelder 1989, chapter 6.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, features))
    weights = 0.5 * rng.standard_normal(features) / np.sqrt(features)
    return dataset_from_arrays(x, rng.poisson(np.exp(1 + x @ weights)).astype(np.float64), "regression")


def location(
    *,
    samples: Count = 100,
    centre: Number = 0.0,
    outliers: Fraction = 0.1,
    scale: Positive = 10.0,
    seed: Whole = 0,
) -> Dataset:
    """y = centre + e, e from N(0, 1) or, with probability `outliers`, from N(0, scale^2); regression, [N, 1].

    The input is 0 in every row, so a unit's bias is the only thing to learn. It converges to the loss's estimate of
    location: the mean for mse, the median for l1.

    Source: the contaminated normal of Tukey 1960; Huber 1964.
    """
    rng = np.random.default_rng(seed)
    spread = np.where(rng.uniform(size=samples) < outliers, scale, 1.0)
    y = centre + spread * rng.standard_normal(samples)
    return dataset_from_arrays(np.zeros((samples, 1)), y, "regression")


def chebyshev(*, samples: Count = 20, degree: Count = 4) -> Dataset:
    """The Chebyshev polynomial T_degree at evenly spaced points of [-1, 1]; regression, [N, 1], no noise.

    Small enough for full batches and every eigenvalue of the Hessian. The points half-way between are the validation
    part, 201 evenly spaced points the test part, so no rows are split off.

    Source: Cohen et al. 2021, Gradient descent on neural networks typically occurs at the edge of stability.
    """
    if samples < 2:
        raise UsageError(
            f"{mention('data', 'chebyshev')} takes samples of 2 or more, not {samples}: the points span [-1, 1]."
        )
    polynomial = np.polynomial.Chebyshev.basis(degree)
    points = np.linspace(-1, 1, samples)
    between = (points[:-1] + points[1:]) / 2
    dense = np.linspace(-1, 1, 201)
    given = {"val": (between[:, None], polynomial(between)), "test": (dense[:, None], polynomial(dense))}
    return dataset_from_arrays(points[:, None], polynomial(points), "regression", given=given)  # type: ignore[arg-type]


def double_well() -> Dataset:
    """Seven rows on which one tanh unit without bias has two minima; regression, [7, 1].

    The mean squared error of tanh(w x) as a function of the one weight w is the landscape

        f(w) = ((tanh(20 w) - 0.5)^2 + 6 (tanh(w) + 0.8)^2) / 7

    with a narrow shallow well at w = 0.01 (f = 0.58) and, beyond a barrier at w = -0.08 (f = 0.73), a wide deep one
    at w = -1.10 (f = 0.32). From any w above the barrier small steps end in the shallow one. Train it with the model
    `neuron:bias=false:activation=tanh`, the loss `mse` and full batches. Validation and test parts equal the training
    part.

    Source: that squared error over a saturating unit has several minima, Auer, Herbster and Warmuth 1996.
    """
    x = np.array([[20.0]] + [[1.0]] * 6)
    y = np.array([0.5] + [-0.8] * 6)
    return dataset_from_arrays(x, y, "regression", given={"val": (x, y), "test": (x, y)})


def quadratic(
    *,
    dimension: Count = 10,
    lambda_max: Positive = 2.0,
    condition: Positive = 10.0,
    samples: Count = 64,
    seed: Whole = 0,
) -> Dataset:
    """A linear problem y = X w whose Hessian is known exactly; regression, [N, D], no noise.

    Under the mean squared error a linear model's Hessian is 2 X'X / N in the weights and 2 in the bias. The columns of
    X are orthogonal and of mean zero, so no two parameters couple, and column i has squared norm N lambda_i / 2: the
    eigenvalues are lambda_1 = lambda_max down to lambda_max / condition, evenly on a logarithmic scale, and the bias's
    2. Gradient descent converges if and only if the learning rate is below 2 / lambda_max. w is drawn from N(0, I).
    Validation and test parts equal the training part.

    Raises:
        UsageError: lambda_max below the bias's 2, a condition below 1, or samples <= dimension (no room for
            orthogonal columns of mean zero).

    Source: Polyak 1964; numbers as in Goh 2017, Why momentum really works.
    """
    if lambda_max < BIAS_EIGENVALUE:
        raise UsageError(
            f"{mention('data', 'quadratic')} takes lambda_max of 2 or more, not {lambda_max!r}: the bias's own"
            " eigenvalue is 2."
        )
    if condition < 1:
        raise UsageError(
            f"{mention('data', 'quadratic')} takes a condition of 1 or more, not {condition!r}: it is the largest"
            " eigenvalue over the smallest."
        )
    if samples <= dimension:
        raise UsageError(
            f"{mention('data', 'quadratic')} needs samples above dimension={dimension}, not samples={samples}."
        )
    rng = np.random.default_rng(seed)
    normals = rng.standard_normal((samples, dimension))
    orthonormal, _ = np.linalg.qr(normals - normals.mean(axis=0))
    x = orthonormal * np.sqrt(samples * np.geomspace(lambda_max, lambda_max / condition, dimension) / 2)
    y = x @ rng.standard_normal(dimension)
    return dataset_from_arrays(x, y, "regression", given={"val": (x, y), "test": (x, y)})


def _task_of(classes: int, name: str) -> Task:
    if classes < 2:
        raise UsageError(f"{mention('data', name)} takes classes of 2 or more, not {classes}.")
    return "binary" if classes == 2 else "multiclass"


def _random_state(seed: int, name: str) -> int:
    if seed >= 2**32:
        raise UsageError(
            f"{mention('data', name)} takes a seed below 2^32, not {seed}: scikit-learn's generator has 32 bits."
        )
    return seed
