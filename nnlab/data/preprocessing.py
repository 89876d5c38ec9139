"""Preprocessing: the scaling and filling of a network's inputs, learned from the training part and stored with the model.

Shapes: N rows, D features.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from nnlab.core.errors import DataError
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention
from nnlab.data.dataset import FeatureColumn

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from sklearn import preprocessing as sklearn_preprocessing

    from nnlab.data.dataset import Dataset, Floats, Targets
    from nnlab.settings import Task
else:
    np = lazy("numpy")
    sklearn_preprocessing = lazy("sklearn.preprocessing")


@dataclass(frozen=True)
class Preprocessing:
    """Inputs are (x - means) / scales, targets of regression (y - target_mean) / target_scale.

    Attributes:
        columns: the columns to predict from, in order.
        means: D means of the training part; 0 for indicators of categories, and where nothing is standardised.
        scales: D standard deviations (divisor N); 1 likewise, and for constant features.
        fill: D means of the training part, for missing cells; None where a missing cell is an error.
        row_shape: shape of a row before it was flattened to D numbers.
        task: what is predicted.
        target: the name of the targets.
        target_mean: of the training part; 0 where not standardised.
        target_scale: of the training part, in the target's unit; 1 where not standardised.
        class_names: in the order of the indices; () where there are no classes.
    """

    columns: tuple[FeatureColumn, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    fill: tuple[float, ...] | None
    row_shape: tuple[int, ...]
    task: Task
    target: str
    target_mean: float
    target_scale: float
    class_names: tuple[str, ...]

    def inputs(self, x: Floats) -> Floats:
        """The network's inputs [N, D] for rows [N, D] in which a missing cell is NaN."""
        filled = x if self.fill is None else np.where(np.isnan(x), np.array(self.fill), x)
        inputs: Floats = (filled - np.array(self.means)) / np.array(self.scales)
        return inputs

    def in_own_unit(self, inputs: Floats) -> Floats:
        """Rows [N, D] in the data's own unit: the inverse of `inputs`."""
        rows: Floats = inputs * np.array(self.scales) + np.array(self.means)
        return rows

    def targets(self, y: Targets) -> Targets:
        """The network's targets [N]; class indices stay as they are."""
        if self.task != "regression":
            return y
        return ((y - self.target_mean) / self.target_scale).astype(np.float64)

    def in_target_unit(self, prediction: Floats) -> Floats:
        """Predictions [N] of a regression in the target's own unit: the inverse of `targets`."""
        return prediction * self.target_scale + self.target_mean

    def to_json(self) -> dict[str, object]:
        """All fields, in JSON's types."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`, from the content of a JSON file."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        columns = [(column["name"], column["categories"]) for column in fields["columns"]]
        values["columns"] = tuple(
            FeatureColumn(name, None if found is None else tuple(found)) for name, found in columns
        )
        return cls(**values)


def fit_preprocessing(
    dataset: Dataset, x: Floats, y: Targets, *, standardize: bool, raw_targets: bool = False
) -> Preprocessing:
    """The preprocessing that the training part determines.

    Args:
        dataset: for names and classes.
        x: the training rows [N, D]; NaN where a cell is missing.
        y: the training targets [N], label noise and outliers included.
        standardize: whether to scale; else means are 0 and scales 1.
        raw_targets: leave the targets in their own unit even if inputs are scaled (the loss needs counts).

    Raises:
        DataError: a feature that is missing in every training row.
    """
    fill = _training_means(dataset, x) if dataset.missing == "mean" else None
    means, scales = np.zeros(x.shape[1]), np.ones(x.shape[1])
    target_mean, target_scale = 0.0, 1.0
    if standardize:
        scaler = sklearn_preprocessing.StandardScaler().fit(x if fill is None else np.where(np.isnan(x), fill, x))
        numeric = np.array([column.categories is None for column in dataset.columns for _ in column.features])
        means, scales = np.where(numeric, scaler.mean_, 0.0), np.where(numeric, scaler.scale_, 1.0)
    if standardize and dataset.task == "regression" and not raw_targets:
        target = sklearn_preprocessing.StandardScaler().fit(y[:, None])
        target_mean, target_scale = float(target.mean_[0]), float(target.scale_[0])
    return Preprocessing(
        columns=dataset.columns,
        means=tuple(means.tolist()),
        scales=tuple(scales.tolist()),
        fill=None if fill is None else tuple(fill.tolist()),
        row_shape=dataset.row_shape,
        task=dataset.task,
        target=dataset.target_name,
        target_mean=target_mean,
        target_scale=target_scale,
        class_names=dataset.class_names,
    )


def _training_means(dataset: Dataset, x: Floats) -> Floats:
    empty = np.isnan(x).all(axis=0)
    if empty.any():
        name = dataset.feature_names[int(empty.argmax())]
        raise DataError(
            f"feature {name!r} is missing in every training row, so it has no mean. Remove it, or say"
            f" {mention('missing', 'drop')}."
        )
    means: Floats = np.nanmean(x, axis=0)
    return means
