"""A trained model on disk: `weights.safetensors` and `model.json`, read without running any code in them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nnlab.core.errors import DataError
from nnlab.core.lazy import lazy
from nnlab.storage.writing import disk_errors

if TYPE_CHECKING:
    import numpy as np
    from safetensors import numpy as safetensors_numpy
else:
    safetensors_numpy = lazy("safetensors.numpy")

MODEL: Final = "model"
WEIGHTS: Final = "weights.safetensors"
DESCRIPTION: Final = "model.json"
MODEL_SCHEMA_VERSION: Final = 1


@dataclass(frozen=True)
class SavedModel:
    """A trained model, as `nnlab predict` needs it.

    Attributes:
        weights: parameters by the names that `nn.Sequential` gives them.
        description: architecture, loss, task, preprocessing, and the run that trained it, in JSON's types.
    """

    weights: Mapping[str, np.ndarray]
    description: Mapping[str, Any]


def save_model(directory: Path, model: SavedModel) -> None:
    """Write the model into `directory`, whole or not at all: a new directory takes the old one's place."""
    new = directory.with_name(f".{directory.name}.new")
    with disk_errors(directory):
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        # Not save_file, which makes a file that only its owner may read, whatever the umask.
        (new / WEIGHTS).write_bytes(safetensors_numpy.save(dict(model.weights)))
        content = {"schema_version": MODEL_SCHEMA_VERSION, **model.description}
        (new / DESCRIPTION).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(directory, ignore_errors=True)
        new.rename(directory)


def load_description(directory: Path) -> Mapping[str, Any] | None:
    """The content of model.json; None if there is no model."""
    path = directory / DESCRIPTION
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}.") from None
    if content.get("schema_version") != MODEL_SCHEMA_VERSION:
        raise DataError(
            f"{path} has schema version {content.get('schema_version')!r}; this nnlab reads {MODEL_SCHEMA_VERSION}."
        )
    return content


def load_model(directory: Path) -> SavedModel:
    """Load the model in `directory`, or in its `model/`.

    Raises:
        DataError: there is none, or it is damaged.
    """
    for place in (directory, directory / MODEL):
        description = load_description(place)
        if description is not None:
            try:
                return SavedModel(safetensors_numpy.load_file(place / WEIGHTS), description)
            except Exception as error:  # noqa: BLE001 - the errors of safetensors, from Rust, have no common class
                raise DataError(f"{place / WEIGHTS} can't be read: {error}.") from None
    raise DataError(f"{directory} holds no model. `nnlab train --out DIR` makes one, in DIR/{MODEL}.")
