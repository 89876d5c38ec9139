"""Models of the catalogue, with a loss on rows of data, as subjects of a gradient check."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import torch

from nnlab.catalog.inits import INITS
from nnlab.core.spec import Spec, parse_spec
from nnlab.core.spelling import mention
from nnlab.diagnostics.gradcheck.subjects import Subject, module_subject
from nnlab.engine.looped import plain_loss
from nnlab.engine.modules import load_tensors, module_of
from nnlab.engine.program import program_of
from nnlab.engine.sources import Sources
from nnlab.engine.starting import starting_weights
from nnlab.ingredients.resolve import complete_settings, settings_for_data
from nnlab.settings import RunSettings
from nnlab.settings.run_records import Run

# Layers of units: each is checked from every init.
_DENSE: Final = (
    "linear",
    "neuron",
    "mlp:hidden=5x4",
    "mlp:hidden=5x5:residual=true:norm=layer",
    "mlp:hidden=5:norm=batch",
    "mlp:hidden=5:dropout=0.3",
)
# Every other kind of layer: from PyTorch's own init.
_OTHERS: Final = (
    "point",
    "conv1d:channels=2:kernel=3:padding=1:pool=max:pool_size=2:norm=batch",
    "rnn:hidden=2",
    "gru:hidden=2:bidirectional=true",
    "lstm:hidden=2",
    "transformer:width=4:heads=2:depth=1:feedforward=4",
)
_DATA: Final = Spec("blobs", (("samples", "40"),))
_DATA_ROWS: Final = 4


def catalogue_models(*, seed: int) -> Iterator[Subject]:
    """Small models with every kind of layer, from every init."""
    sources = Sources()
    starts = [(text, init) for text in _DENSE for init in INITS]
    for text, init in [*starts, *((text, "torch_default") for text in _OTHERS)]:
        model = parse_spec(text, what=mention("model"))
        settings = RunSettings(model=model, init=Spec(init), data=_DATA, validation=0, test=0)
        subject = model_subject(complete_settings(settings), sources, rows=_DATA_ROWS, seed=seed)
        yield replace(subject, name=f"model {text} from {init}")


def model_subject(settings: RunSettings, sources: Sources, *, rows: int, seed: int) -> Subject:
    """The mean loss of a model on the first rows of the training part, as a function of its parameters and its inputs.

    Its weights are those from which a run of this seed starts.

    Args:
        settings: complete, except for the loss if the task decides it.
        sources: load the data.
        rows: the number of rows.
    """
    settings = settings_for_data(settings, sources.dataset(settings))
    run = Run("", str(settings.model), seed, settings)
    program = program_of(run, sources.shape(run))
    train = sources.parts(settings, seed).train
    x = torch.from_numpy(train.x).double()
    # Dropout draws from PyTorch's own generator, which the check can restart: one mask for every evaluation.
    module = module_of(program.layers, torch.default_generator).double()
    load_tensors(module, starting_weights(program, run, x))
    target = torch.from_numpy(train.y[:rows]).to(torch.int64 if program.has_class_targets else torch.float64)
    return module_subject(module, [x[:rows]], loss=plain_loss(program), target=target, name=str(settings.model))
