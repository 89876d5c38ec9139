"""Recurrent layers of many runs at once: one loop over time for all of them, and backward through time by hand.

Shapes: R runs, N = R or 2 R (all runs forward, then all runs backward in time), T steps, H hidden units, C inputs a step, B rows of the
batch, B' = B rounded up, K = H + C + 1 rounded up, G = rows of gates, rounded up.

A step is one product for all gates. Under the state h_{t-1} stand the step's inputs and a row of ones, s = [h; x; 1], [N, K, B'], and
all of a direction's parameters are one matrix W, [N, K, G], so that W^T s holds both projections and both biases. Backward, W D gives
the gradients by state and inputs together, and s D^T, summed over time, those of all parameters. B', K and G are such that every run's
block is a whole number of 128 bytes without a gap (see arrays.py): each of these products is one call for all runs. What stands in the
columns beyond B is finite, and its gradient zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from nnlab.engine.arrays import like, padded
from nnlab.engine.kernels.recurrent_cells import CELLS, Cell, Places
from nnlab.networks.recurrent_layer import Recurrent

if TYPE_CHECKING:
    from nnlab.engine.kernels.table import Site

# B' and K are multiples of the first, G of the second: then any product of two is a whole number of 128 bytes.
_COLUMNS: Final = 8
_ROWS: Final = 4

Pair = tuple[Tensor, Tensor]


def _up(number: int, unit: int) -> int:
    return -(-number // unit) * unit


class _Packed:
    """All parameters of each direction as one matrix W [N, K, G], and the gradient by it."""

    def __init__(self, layer: Recurrent, site: Site, cell: type[Cell]) -> None:
        self.layer, self.name = layer, site.name
        self.places: dict[str, Places] = {"hh": cell.state, "ih": cell.inputs}
        parameter = site.weights.parameters[f"{site.name}.weight_hh_l0"]
        self.num_runs = parameter.shape[0]
        num_seen = _up(layer.hidden + layer.inputs + 1, _COLUMNS)
        num_gates = _up(cell.num_blocks * layer.hidden, _ROWS)
        self.w = parameter.new_zeros(layer.directions * self.num_runs, num_seen, num_gates)
        self.w_T = self.w.transpose(1, 2).contiguous()  # a copy: products with it are a tenth faster than with a view
        self.gradient = torch.zeros_like(self.w)
        self.fused = site.weights.fused
        self.parts = list(self._parts(self.w, site.weights.parameters))
        self.gradient_parts = list(self._parts(self.gradient, site.weights.gradients))

    def _parts(self, packed: Tensor, named: Mapping[str, Tensor]) -> Iterator[Pair]:
        """Blocks of a packed matrix, each with the part of a parameter that belongs there."""
        num_hidden, num_seen = self.layer.hidden, self.layer.hidden + self.layer.inputs
        rows = {"hh": slice(0, num_hidden), "ih": slice(num_hidden, num_seen)}
        for end, one in zip(("", "_reverse"), torch.split(packed, self.num_runs), strict=False):
            for word, places in self.places.items():
                weight = named[f"{self.name}.weight_{word}_l0{end}"].transpose(1, 2)
                bias = named[f"{self.name}.bias_{word}_l0{end}"]
                for place in places:
                    source, target, length = (number * num_hidden for number in place)
                    own, there = slice(source, source + length), slice(target, target + length)
                    yield one[:, rows[word], there], weight[:, :, own]
                    yield one[:, num_seen, there], bias[:, own]

    def load(self) -> None:
        """Take the parameters as they are now; where two biases meet, their sum."""
        self.w.zero_()
        for packed, own in self.parts:
            packed.add_(own)
        self.w_T.copy_(self.w.transpose(1, 2))

    def store(self) -> None:
        """Hand the gradient on."""
        for packed, own in self.gradient_parts:
            if self.fused:
                own.add_(packed)
            else:
                own.copy_(packed)


class RecurrentKernel:
    """An nn.RNN, nn.GRU or nn.LSTM of one layer, in one direction or both."""

    def __init__(self, layer: Recurrent, site: Site) -> None:
        self.layer, self.first, self.width = layer, site.first, site.width
        self.make_cell = CELLS[layer.kind]
        self.packed = _Packed(layer, site, self.make_cell)
        w = self.packed.w
        columns = _up(site.width, _COLUMNS)
        self.num_runs, self.gates_shape = self.packed.num_runs, (w.shape[0], w.shape[2], columns)
        self.cells: dict[bool, Cell] = {}
        self.seen = w.new_zeros(layer.steps + 1, w.shape[0], w.shape[1], columns)
        self.seen[:, :, layer.hidden + layer.inputs, : site.width] = 1
        self.seen_at = list(self.seen)
        self.state_at = [seen[:, : layer.hidden] for seen in self.seen_at]
        out = padded(self.num_runs, layer.outputs, columns, dtype=w.dtype, device=w.device)
        self.out = out[:, :, : site.width]
        self.handed_at = [self._handed(out, t, self.state_at[t + 1]) for t in range(layer.steps)]
        self.d: Tensor | None = None
        self.dx: Tensor | None = None

    def _handed(self, out: Tensor, t: int, state: Tensor) -> list[Pair]:
        """For each direction the part of the layer's output that is its state after its step t, and that state."""
        by_step = torch.unflatten(out, 1, (-1, self.layer.directions, self.layer.hidden))
        if self.layer.read == "all":
            times = (t, self.layer.steps - 1 - t)
        elif t == self.layer.steps - 1:
            times = (0, 0)
        else:
            return []
        columns = slice(0, out.shape[2])
        halves = torch.split(state, self.num_runs)
        return [(by_step[:, times[i], i], half[:, :, columns]) for i, half in enumerate(halves)]

    def _cell(self, *, training: bool) -> Cell:
        """Buffers for the gates: of every step where a pass backward follows, else one."""
        if training not in self.cells:
            make = partial(torch.zeros, self.gates_shape, dtype=self.out.dtype, device=self.out.device)
            steps = self.layer.steps
            gates = [make() for _ in range(steps)] if training else [make()] * steps
            self.cells[training] = self.make_cell(gates, self.layer.hidden)
        return self.cells[training]

    def _series(self, x: Tensor) -> Tensor:
        """[R, D, B] as [T, R, C, B]."""
        if self.layer.channels_first:
            return torch.unflatten(x, 1, (self.layer.inputs, self.layer.steps)).permute(2, 0, 1, 3)
        return torch.unflatten(x, 1, (self.layer.steps, self.layer.inputs)).transpose(0, 1)

    def _read(self, x: Tensor) -> None:
        """Lay the inputs under the states, for each direction in its order of time."""
        first, after = self.layer.hidden, self.layer.hidden + self.layer.inputs
        shared = x.stride(0) == 0  # by all runs
        series = self._series(x[:1] if shared else x).contiguous()
        forward, *reverse = torch.split(self.seen[:-1, :, first:after, : self.width], self.num_runs, 1)
        forward.copy_(series)
        for each in reverse:
            each.copy_(series.flip(0))

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self.x = x
        cell = self._cell(training=training)
        self._read(x)
        self.packed.load()
        for t, handed in enumerate(self.handed_at):
            torch.bmm(self.packed.w_T, self.seen_at[t], out=cell.gates[t])
            cell.forward(t, self.state_at[t], self.state_at[t + 1])
            for out, state in handed:
                out.copy_(state)
        return self.out

    def backward(self, d: Tensor) -> Tensor:
        cell, packed = self._cell(training=True), self.packed
        self._prepare(d)
        packed.gradient.zero_()
        self.d_seen[(self.layer.steps - 1) % 2].zero_()
        d_T = cell.d.transpose(1, 2)
        for t in range(self.layer.steps - 1, -1, -1):
            dh = self.d_state[t % 2]
            for given, part in self.given_at[t]:
                part.add_(given)
            cell.backward(t, dh, self.state_at[t], self.state_at[t + 1])
            torch.baddbmm(packed.gradient, self.seen_at[t], d_T, out=packed.gradient)
            torch.bmm(packed.w, cell.d, out=self.d_seen[(t + 1) % 2])
            cell.carry(t, dh, self.d_state[(t + 1) % 2])
            for part, found in self.returned_at[t]:
                part.add_(found)
        packed.store()
        return d if self.dx is None else self.dx

    def _prepare(self, d: Tensor) -> None:
        """Find the places that gradients are read from and written to; they are the same at every step of a training."""
        if d is self.d:
            if self.dx is not None:
                self.dx.zero_()
            return
        self.d = d
        self.d_seen = [torch.zeros_like(self.seen_at[0]) for _ in range(2)]
        self.d_state = [seen[:, : self.layer.hidden] for seen in self.d_seen]
        steps = range(self.layer.steps)
        self.given_at = [self._handed(d, t, self.d_state[t % 2]) for t in steps]
        self.returned_at: list[list[Pair]] = [[] for _ in steps]
        if not self.first:
            self.dx = like(self.x)
            self.returned_at = [self._returned(self._series(self.dx), t) for t in steps]

    def _returned(self, series: Tensor, t: int) -> list[Pair]:
        """For each direction the part of the input's gradient [T, R, C, B] that its step t was given, and what it adds there."""
        first, after = self.layer.hidden, self.layer.hidden + self.layer.inputs
        halves = torch.split(self.d_seen[(t + 1) % 2][:, first:after, : self.width], self.num_runs)
        return [(series[time], half) for time, half in zip((t, self.layer.steps - 1 - t), halves, strict=False)]
