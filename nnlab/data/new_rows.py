"""New rows for a trained model: a file of any of the three formats as the network's inputs.

Shapes: N rows, D features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnlab.core.errors import DataError
from nnlab.core.lazy import lazy
from nnlab.data.array_data import flat_rows, load_arrays
from nnlab.data.table_data import indicators
from nnlab.data.table_reader import MARKS_IN_WORDS, Table, numbers, read_table
from nnlab.data.wording import quoted_names

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from nnlab.data.dataset import FeatureColumn, Floats
    from nnlab.data.preprocessing import Preprocessing
else:
    np = lazy("numpy")


def load_inputs(path: Path, preprocessing: Preprocessing) -> Floats:
    """The network's inputs [N, D] for the rows of a new .csv, .parquet or .npz file.

    Columns are found by their names, in any order; others (the target, say) are ignored. Of an .npz the array `x` is
    read.

    Raises:
        DataError: a column is absent, a category was not in the training data, or a cell is missing or not a number.
    """
    if path.suffix.lower() == ".npz":
        x = flat_rows(load_arrays(path, axes="x")["x"], preprocessing.row_shape, place=f"{path}, x")
        if preprocessing.fill is None and np.isnan(x).any():
            row = int(np.isnan(x).any(axis=1).argmax())
            raise DataError(f"{path}, x, row {row} has NaN. Expected a number; fill it in.")
    else:
        table = read_table(path)
        x = np.concatenate([_features(table, column, preprocessing) for column in preprocessing.columns], axis=1)
    return preprocessing.inputs(x)


def _features(table: Table, column: FeatureColumn, preprocessing: Preprocessing) -> Floats:
    """[N, 1] numbers, or [N, categories] indicators; NaN where missing."""
    cells = table.cells(column.name, what=f"{column.name!r}, which the model needs,")
    absent = cells.isna().to_numpy()
    if preprocessing.fill is None and absent.any():
        place = table.place(int(absent.argmax()), column.name)
        raise DataError(
            f"{place}: missing ({MARKS_IN_WORDS}). Expected a value; the model was trained without missing cells."
        )
    if column.categories is None:
        return numbers(table, column.name).to_numpy()[:, None]
    unknown = (cells.notna() & ~cells.isin(column.categories)).to_numpy()
    if unknown.any():
        row = int(unknown.argmax())
        raise DataError(
            f"{table.place(row, column.name)}: {str(cells.iloc[row])!r} is not a category that the model knows."
            f" Accepted: {quoted_names(column.categories)}."
        )
    return indicators(cells, column.categories)
