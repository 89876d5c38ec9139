"""The signal in a network: the pre-activations of every layer in the forward pass, and their gradients in the backward pass.

    z_l = W_l h + b_l, the pre-activation of linear layer l = 1..L; layer L gives the scores
    forward:  A_l = sqrt(mean over units of the variance over rows of z_l)
    backward: D_l = root mean square of dL/dz_l, L the mean loss over the probe's rows

For many runs at once, in float64 on the CPU, on copies: probing changes nothing in training. The network is as in a training step
(batch norm uses the statistics of the probe's rows), except for dropout, which drops nothing.

Shapes: R runs, N rows of the probe, D inputs of a layer, H its units, C scores, L linear layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from nnlab.catalog.losses import Loss
from nnlab.core.kinds import Value
from nnlab.diagnostics.signals.passes import LinearPass, scores_and_passes, share_of_dead, share_of_saturated
from nnlab.networks.layers import Layers, parameters

# The columns of layers.csv after `run_id, arm, seed, epoch, layer, layer_name`.
SIGNAL_COLUMNS: Final = (
    "preactivation_second_moment",
    "predicted_second_moment",
    "between_sample_sd",
    "activation_mean",
    "dead_fraction",
    "saturated_fraction",
    "delta_rms",
    "weight_gradient_norm",
    "update_ratio",
    "distinct_units",
    "units",
)
PROBE_ROWS: Final = 512
SAME: Final = 1e-4  # two units whose distance, relative to the longer one, is at most this are copies

# Numbers in z, h and dL/dz of the runs that are probed together; measured, so that they fit in the cache of a core.
_CHUNK_ELEMENTS: Final = 2_000_000

SignalCell = float | int | str | None


@dataclass(frozen=True)
class Probe:
    """The rows on which the signal of every run is measured, and the loss.

    Attributes:
        x: inputs, [N, D] for all runs or [R, N, D].
        y: targets as the loss takes them, [N] or [R, N]; [R, D, N] in reconstruction.
        loss: a row of the catalogue's table.
        values: the values of the loss's keys.
    """

    x: Tensor
    y: Tensor
    loss: Loss
    values: Mapping[str, Value | None]

    def select_runs(self, runs: slice) -> Probe:
        """The probe of some of the runs, in float64 on the CPU."""
        x = float64_on_cpu(self.x if self.x.ndim == 2 else self.x[runs])
        y = (self.y if self.y.ndim == 1 else self.y[runs]).cpu()
        return Probe(x, y.double() if y.is_floating_point() else y, self.loss, self.values)


@dataclass(frozen=True)
class Signals:
    """The measured signals.

    Attributes:
        layer_names: of the linear layers, from the input, as `nn.Sequential` would name them.
        columns: for each layer, the columns of layers.csv that apply to it, [R] float64.
        loss: mean over the probe's rows, [R].
    """

    layer_names: tuple[str, ...]
    columns: tuple[Mapping[str, Tensor], ...]
    loss: Tensor

    def rows(self, run: int, predicted: Sequence[float | None] | None = None) -> list[dict[str, SignalCell]]:
        """One run's rows of layers.csv, from the column `layer` on; None where a column does not apply.

        Args:
            run: the run's index among the R runs.
            predicted: the second moment of each layer as predicted by `nnlab.diagnostics.signals.moments`.
        """
        found: list[dict[str, SignalCell]] = []
        for index, (name, columns) in enumerate(zip(self.layer_names, self.columns, strict=True)):
            cells: dict[str, SignalCell] = {
                key: columns[key][run].item() if key in columns else None for key in SIGNAL_COLUMNS
            }
            cells["predicted_second_moment"] = None if predicted is None else predicted[index]
            cells |= {key: int(columns[key][run]) for key in ("distinct_units", "units")}
            found.append({"layer": index + 1, "layer_name": name, **cells})
        return found


def probe_rows(num_rows: int) -> Tensor:
    """The indices [N] of the rows of a part to probe: PROBE_ROWS of them, evenly spaced in case the data are sorted, or all."""
    chosen = min(num_rows, PROBE_ROWS)
    return torch.arange(chosen) * num_rows // chosen


def signals(
    layers: Layers,
    weights: Mapping[str, Tensor],
    probe: Probe,
    *,
    lr_R: Tensor | None = None,
    update_norm_RL: Tensor | None = None,
) -> Signals:
    """Measure the signal in every layer of every run, forward and backward.

    Args:
        layers: the network that all runs share.
        weights: its parameters by name, [R, *shape], of any dtype on any device.
        probe: the rows to measure on.
        lr_R: learning rates of plain SGD, whose step on these rows would change W by lr times its gradient; for `update_ratio`.
        update_norm_RL: for any other optimizer, the norm of each weight's last update; for `update_ratio` too.
    """
    num_runs = next(iter(weights.values())).shape[0]
    parts = [
        _signals_of_chunk(
            layers, {name: float64_on_cpu(values[runs]) for name, values in weights.items()}, probe.select_runs(runs)
        )
        for runs in _chunks(num_runs, layers, probe.x.shape[-2])
    ]
    columns = [
        {key: torch.cat([part.columns[layer][key] for part in parts]) for key in parts[0].columns[layer]}
        for layer in range(len(parts[0].columns))
    ]
    if lr_R is not None:
        update_norm_RL = torch.stack([float64_on_cpu(lr_R) * layer["weight_gradient_norm"] for layer in columns], 1)
    if update_norm_RL is not None:
        for index, layer in enumerate(columns):
            layer["update_ratio"] = float64_on_cpu(update_norm_RL[:, index]) / layer["weight_norm"]
    return Signals(parts[0].layer_names, tuple(columns), torch.cat([part.loss for part in parts]))


def float64_on_cpu(values: Tensor) -> Tensor:
    """The same numbers in float64 on the CPU. They are moved first, because some devices have no float64."""
    return values.detach().cpu().double()


def _chunks(num_runs: int, layers: Layers, num_rows: int) -> Iterator[slice]:
    """Split the runs into groups, so that the memory of their activations is bounded for any number of runs."""
    num_units = sum(parameter.shape[0] for parameter in parameters(layers) if parameter.law == "weight")
    size = max(1, _CHUNK_ELEMENTS // (3 * num_units * num_rows))
    for first in range(0, num_runs, size):
        yield slice(first, first + size)


def _signals_of_chunk(layers: Layers, weights: Mapping[str, Tensor], probe: Probe) -> Signals:
    """Measure the signals of a few runs by one forward and one backward pass."""
    with torch.enable_grad():
        scores, passes = scores_and_passes(layers, weights, probe.x.mT)
        loss_R = probe.loss.function(scores, probe.y, **probe.values).mean(-1)
        z = [each.z for each in passes]
        if loss_R.requires_grad:
            deltas: Sequence[Tensor] = torch.autograd.grad(loss_R.sum(), z, materialize_grads=True)
        else:  # the scores come from a step activation: every gradient is 0
            deltas = [torch.zeros_like(each) for each in z]
    with torch.no_grad():
        columns = tuple(_columns(each, delta) for each, delta in zip(passes, deltas, strict=True))
    return Signals(tuple(each.name for each in passes), columns, loss_R.detach())


def _columns(layer: LinearPass, delta: Tensor) -> dict[str, Tensor]:
    """A layer's columns, each [R], without those that need the update or the prediction; and `weight_norm`."""
    z = layer.z.detach()
    num_units, num_rows = z.shape[1:]
    found = {
        "preactivation_second_moment": _norm(z).square() / (num_units * num_rows),
        # Not as a difference of moments: with biases, the signal may be a billionth of the moments.
        "between_sample_sd": _norm(z - z.mean(2, keepdim=True)) / (num_units * num_rows) ** 0.5,
        "delta_rms": _norm(delta) / (num_units * num_rows) ** 0.5,
        "weight_gradient_norm": _norm(torch.matmul(delta, layer.inputs.detach().mT)),
        "weight_norm": _norm(layer.weight),
        "distinct_units": distinct_units(layer.weight, layer.bias),
        "units": torch.full((z.shape[0],), float(num_units), dtype=torch.float64),
    }
    if layer.activated is None:
        return found
    found["activation_mean"] = layer.activated.h.detach().mean((1, 2))
    return found | share_of_dead(layer.activated) | share_of_saturated(layer.activated)


def _norm(values: Tensor) -> Tensor:
    """The Frobenius norm of each run's matrix, [R]."""
    norm: Tensor = torch.linalg.vector_norm(values, dim=(1, 2))
    return norm


def distinct_units(weight: Tensor, bias: Tensor | None) -> Tensor:
    """The number of units of a layer that are not copies of a unit before them, [R].

    A unit is its weights and its bias, not its output on the probe: behind a dead layer all units have the same output, and still
    differ. Two units are copies if their distance is at most SAME times the norm of the longer one.

    Args:
        weight: [R, H, D].
        bias: [R, H].
    """
    units = weight if bias is None else torch.cat([weight, bias.unsqueeze(2)], 2)
    products = units @ units.mT
    squares = products.diagonal(dim1=1, dim2=2)
    # |u - v|^2 = |u|^2 + |v|^2 - 2 uv; its rounding error in float64 is far below SAME^2.
    distances = squares.unsqueeze(1) + squares.unsqueeze(2) - 2 * products
    same = distances <= SAME**2 * torch.maximum(squares.unsqueeze(1), squares.unsqueeze(2))
    return (~same.tril(-1).any(2)).sum(1).double()
