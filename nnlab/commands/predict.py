"""`nnlab predict`: a trained model applied to new rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from nnlab.commands.command import Answer, Command, rows_answer
from nnlab.settings import DisplaySettings, Settings, argument
from nnlab.storage.model_files import load_model

if TYPE_CHECKING:
    from nnlab.experiments.watching import Watcher
    from nnlab.settings.given import Given


class PredictSettings(Settings):
    """`nnlab predict`: a model and rows."""

    directory: Path = argument("Results directory of `nnlab train`.", metavar="DIR")
    data: Path = argument(
        "A .csv, .parquet or .npz file with the columns that the model was trained on.", metavar="DATA"
    )


def answer(given: Given[PredictSettings, DisplaySettings], watcher: Watcher) -> Answer:  # noqa: ARG001
    """The prediction for each row of the file."""
    model = load_model(given.settings.directory)
    from nnlab.experiments.trained import predictions

    return rows_answer(predictions(model.description, model.weights, given.settings.data))


COMMAND: Final = Command(
    "predict",
    "Apply a trained model to new rows: CSV in, CSV out, classes by name.",
    PredictSettings,
    DisplaySettings,
    answer,
    check=lambda _: None,
    examples=(
        "nnlab predict results/train/house new.csv > predictions.csv",
        "nnlab predict results/train/house new.csv --format table",
    ),
)
