"""A trained network as data: `nnlab train` saves it, `nnlab predict` applies it.

Shapes: N rows, C scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nnlab.catalog.links import LINKS, decide, probabilities
from nnlab.catalog.losses import loss_named
from nnlab.core.errors import UsageError
from nnlab.data.new_rows import load_inputs
from nnlab.data.preprocessing import Preprocessing
from nnlab.engine.modules import load_tensors, module_of
from nnlab.engine.outcomes import Fitted
from nnlab.engine.program import Shape, layers_of
from nnlab.engine.sources import Sources
from nnlab.ingredients.resolve import own_files
from nnlab.settings import RunSettings


def description_of(fitted: Fitted, sources: Sources) -> dict[str, Any]:
    """Everything needed beside the weights to use the network again, in JSON's types."""
    run = fitted.record.run
    shape = sources.shape(run)
    return {
        "run_id": run.run_id,
        "seed": run.seed,
        "settings": run.settings.as_json(),
        "own_code": own_files(run.settings),
        "row": list(shape.row),
        "num_classes": shape.num_classes,
        "scores": {name: value for name, value in fitted.record.scores.items() if np.isfinite(value)},
        "preprocessing": sources.parts(run.settings, run.seed).preprocessing.to_json(),
    }


def weights_of(fitted: Fitted) -> dict[str, np.ndarray]:
    """The parameters as arrays; bfloat16, which NumPy lacks, as float32."""
    assert fitted.weights is not None
    exact = {name: w.float() if w.dtype == torch.bfloat16 else w for name, w in fitted.weights.items()}
    return {name: w.contiguous().numpy() for name, w in exact.items()}


def predictions(description: Mapping[str, Any], weights: Mapping[str, np.ndarray], data: Path) -> pd.DataFrame:
    """A row for each row of `data`: the class and each class's probability, or the number in the target's own unit.

    For a network that reconstructs: a column for each feature, in the data's own unit.

    Args:
        description: from `description_of`.
        weights: from `weights_of`.
        data: a table with the columns that the network was trained on, in any order; other columns are ignored.

    Raises:
        DataError: a column is missing, or a cell can't be read.
    """
    preprocessing = Preprocessing.from_json(description["preprocessing"])
    x = load_inputs(data, preprocessing)
    scores = _scores(description, weights, x)
    loss = RunSettings.from_values(description["settings"]).loss
    assert loss is not None
    link = loss_named(loss).link_for(preprocessing.task)
    if preprocessing.task == "regression":
        number = LINKS[link].function(scores)[0].numpy()
        return pd.DataFrame({preprocessing.target: preprocessing.in_target_unit(number)})
    if preprocessing.task == "reconstruction":
        features = [name for column in preprocessing.columns for name in column.features]
        return pd.DataFrame(preprocessing.in_own_unit(LINKS[link].function(scores).T.numpy()), columns=features)
    names = np.array(preprocessing.class_names)
    table = {preprocessing.target: names[decide(scores, link).numpy()]}
    shares = probabilities(scores, link)
    if shares is not None:
        table |= {f"p({name})": shares[index].numpy() for index, name in enumerate(names)}
    return pd.DataFrame(table)


def _scores(description: Mapping[str, Any], weights: Mapping[str, np.ndarray], x: np.ndarray) -> Tensor:
    """Scores [C, N], in float64."""
    settings = RunSettings.from_values(description["settings"])
    if own_files(settings) != description.get("own_code", {}):
        raise UsageError(
            f"The code of {', '.join(own_files(settings))} has changed since this model was trained. Restore it, or train again."
        )
    preprocessing = description["preprocessing"]
    shape = Shape(preprocessing["task"], tuple(description["row"]), description["num_classes"], 0, 0, 0)
    model = module_of(layers_of(settings, shape), torch.Generator()).double().eval()
    load_tensors(model, {name: torch.from_numpy(w) for name, w in weights.items()})
    with torch.no_grad():
        scores: Tensor = model(torch.from_numpy(x)).T
    return scores.detach()  # the output of `point` is a view of a parameter and requires a gradient even here
