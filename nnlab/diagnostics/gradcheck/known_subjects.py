"""Everything in the catalogue except models, and PyTorch's own layers, as subjects of a gradient check.

Points are normal draws, and beside them the points where activations and losses have kinks: 0, 1, 3, a residual of 0.
The catalogue's hand-written slopes and gradients are subjects of their own (`relu slope`, `l1 gradient`).

C scores of a row, B rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from nnlab.catalog.activations import ACTIVATIONS, Activation
from nnlab.catalog.entry import keys
from nnlab.catalog.links import LINKS
from nnlab.catalog.losses import LOSSES, Loss
from nnlab.core.rng import stream
from nnlab.diagnostics.gradcheck.subjects import Subject, Tensors, module_subject

_KINKS: Final = (-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0)
_CLASSES: Final = 4
_ROWS: Final = 6


def activation_subjects() -> Iterator[Subject]:
    """Every activation, and every hand-written slope, at normal draws and at kinks."""
    z = torch.cat([_normal_draws(24), torch.tensor(_KINKS, dtype=torch.float64)])
    for name, row in ACTIVATIONS.items():
        function = partial(row.function, **_defaults(row.function))
        yield Subject(f"activation {name}", partial(_apply, function, "z"), {"z": z})
        yield Subject(f"activation {name} slope", partial(_apply, function, "z"), {"z": z}, {}, _slope_backward(row))


def loss_subjects() -> Iterator[Subject]:
    """Every loss for every task that it serves, and every hand-written gradient."""
    for name, row in LOSSES.items():
        for task, outputs in row.outputs.items():
            count = 1 if outputs == "one" else _CLASSES
            scores, targets = _scores_and_targets(task, count, raw=row.raw_targets)
            function = partial(row.function, **_defaults(row.function))
            call = partial(_loss_of, function)
            yield Subject(f"loss {name} ({task})", call, {"scores": scores}, {"targets": targets})
            if row.gradient is not None:
                yield Subject(
                    f"loss {name} gradient ({task})",
                    call,
                    {"scores": scores},
                    {"targets": targets},
                    _gradient_backward(row),
                )


def link_subjects() -> Iterator[Subject]:
    """Every link function, for one score and for several."""
    for name, link in LINKS.items():
        for count in (1, _CLASSES):
            scores = _normal_draws(count, _ROWS)
            yield Subject(f"link {name} ({count} scores)", partial(_apply, link.function, "scores"), {"scores": scores})


def layer_subjects() -> Iterator[Subject]:
    """PyTorch's own layers, as functions of their parameters and inputs."""
    for name, (make, shape) in TORCH_LAYERS.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # layers accept no generator
            module = make().double()
        yield module_subject(_FirstOutput(module), [_normal_draws(*shape)], name=f"layer {name}")


def catalogue_subjects() -> Iterator[Subject]:
    """Activations, losses, links and layers."""
    yield from activation_subjects()
    yield from loss_subjects()
    yield from link_subjects()
    yield from layer_subjects()


class _FirstOutput(nn.Module):
    """The first output of a module that returns a tuple (a recurrent layer, attention)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """The module's output, or the first one of several."""
        output = self.inner(x, x, x) if isinstance(self.inner, nn.MultiheadAttention) else self.inner(x)
        result: Tensor = output[0] if isinstance(output, tuple) else output
        return result


TORCH_LAYERS: Final[Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]]] = {
    "Linear": (lambda: nn.Linear(5, 3), (4, 5)),
    "Conv1d": (lambda: nn.Conv1d(2, 3, 3, stride=2, padding=1), (2, 2, 9)),
    "Conv2d": (lambda: nn.Conv2d(2, 3, 3), (2, 2, 5, 5)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(2, 3, 3), (2, 2, 5)),
    "LayerNorm": (lambda: nn.LayerNorm(6), (4, 6)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), (7, 4)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), (3, 4, 5)),
    "Dropout": (lambda: nn.Dropout(0.4), (5, 6)),
    "MaxPool1d": (lambda: nn.MaxPool1d(2), (2, 3, 8)),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), (2, 2, 4, 4)),
    "AvgPool1d": (lambda: nn.AvgPool1d(2), (2, 3, 8)),
    "PReLU": (lambda: nn.PReLU(3), (4, 3)),
    "Softmax": (lambda: nn.Softmax(1), (4, 5)),
    "RNN": (lambda: nn.RNN(3, 4, batch_first=True), (2, 5, 3)),
    "GRU": (lambda: nn.GRU(3, 4, batch_first=True), (2, 5, 3)),
    "LSTM": (lambda: nn.LSTM(3, 4, batch_first=True), (2, 5, 3)),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(4, 2, batch_first=True), (2, 3, 4)),
}


def _apply(function: Callable[[Tensor], Tensor], argument: str, tensors: Tensors) -> Tensor:
    return function(tensors[argument])


def _loss_of(function: Callable[[Tensor, Tensor], Tensor], tensors: Tensors) -> Tensor:
    return function(tensors["scores"], tensors["targets"])


def _slope_backward(row: Activation) -> Callable[[Tensors, Tensor], Mapping[str, Tensor]]:
    values = _defaults(row.function)

    def backward(tensors: Tensors, upstream: Tensor) -> Mapping[str, Tensor]:
        z = tensors["z"]
        given = row.function(z, **values) if row.slope_of == "output" else z
        return {"z": upstream * row.slope(given, **values)}

    return backward


def _gradient_backward(row: Loss) -> Callable[[Tensors, Tensor], Mapping[str, Tensor]]:
    values = _defaults(row.function)
    assert row.gradient is not None
    gradient = row.gradient

    def backward(tensors: Tensors, upstream: Tensor) -> Mapping[str, Tensor]:
        return {"scores": upstream.unsqueeze(-2) * gradient(tensors["scores"], tensors["targets"], **values)}

    return backward


def _defaults(function: Callable[..., object]) -> dict[str, object]:
    return {name: key.default for name, key in keys(function).items()}


def _normal_draws(*shape: int) -> Tensor:
    return torch.randn(shape, generator=stream(len(shape), "init"), dtype=torch.float64)


def _scores_and_targets(task: str, count: int, *, raw: bool) -> tuple[Tensor, Tensor]:
    """Scores [C, B], and targets [B] or [C, B]. Of targets that are numbers, the first one equals its score."""
    scores = _normal_draws(count, _ROWS)
    if task == "multiclass":
        return scores, torch.arange(_ROWS) % _CLASSES
    if task == "binary":
        return scores, torch.arange(_ROWS) % 2
    if task == "reconstruction":
        targets = scores.flip(-1)
        targets[0, 0] = scores[0, 0]
        return scores, targets
    targets = torch.arange(_ROWS, dtype=torch.float64) if raw else _normal_draws(_ROWS)
    if not raw:
        scores[0, 0] = targets[0]
    return scores, targets
