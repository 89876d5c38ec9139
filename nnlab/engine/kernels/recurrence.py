"""Recurrent layers of many runs at once: one loop over time for all of them, and backward through time by hand.

Shapes: R runs, N = R or 2 R (all runs forward, then all runs backward in time), T steps, H hidden units, C inputs a step, B rows of the
batch, B' = B rounded up, K = H + C + 1 rounded up, G = rows of gates, rounded up.

A step is one product for all gates. The state h_{t-1}, the step's inputs and a row of ones are stacked, s = [h; x; 1], [N, K, B'], and
all of a direction's parameters form one matrix W, [N, K, G], so W^T s holds both projections and both biases. Backward, with D the
gradient by the gates, W D is the gradient by state and inputs together, and s D^T, summed over time, that by all parameters. B', K and
G are chosen so that every run's block is a whole number of 128 bytes without a gap (see arrays.py): each of these products is one call
for all runs. The values in the columns beyond B are finite, and their gradient is zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

import torch
from torch import Tensor

from nnlab.engine.arrays import padded_like, padded_zeros
from nnlab.engine.kernels.recurrent_cells import CELLS, BlockMoves, RecurrentCell
from nnlab.engine.kernels.site import Site
from nnlab.networks.recurrent_layer import Recurrent

# B' and K are multiples of the first, G of the second: the product of any two is then a multiple of 32 numbers, 128 bytes in float32.
_COLUMNS: Final = 8
_ROWS: Final = 4

Pair = tuple[Tensor, Tensor]


def _round_up(number: int, unit: int) -> int:
    """The number, rounded up to a multiple of `unit`."""
    return -(-number // unit) * unit


class _Packed:
    """All parameters of each direction as one matrix W [N, K, G], and its gradient."""

    def __init__(self, layer: Recurrent, site: Site, cell: type[RecurrentCell]) -> None:
        self.layer, self.name = layer, site.name
        self.moves: dict[str, BlockMoves] = {"hh": cell.state, "ih": cell.inputs}
        parameter = site.weights.parameters[f"{site.name}.weight_hh_l0"]
        self.num_runs = parameter.shape[0]
        num_seen = _round_up(layer.hidden + layer.inputs + 1, _COLUMNS)
        num_gates = _round_up(cell.num_blocks * layer.hidden, _ROWS)
        self.w = parameter.new_zeros(layer.directions * self.num_runs, num_seen, num_gates)
        # A copy: products with it take a tenth less time than with a view.
        self.w_T = self.w.transpose(1, 2).contiguous()
        self.gradient = torch.zeros_like(self.w)
        self.fused = site.weights.fused
        self.parts = list(self._parts(self.w, site.weights.parameters))
        self.gradient_parts = list(self._parts(self.gradient, site.weights.gradients))

    def _parts(self, packed: Tensor, named: Mapping[str, Tensor]) -> Iterator[Pair]:
        """Pairs of a block of a packed matrix and the part of a parameter that belongs there."""
        num_hidden, num_seen = self.layer.hidden, self.layer.hidden + self.layer.inputs
        rows = {"hh": slice(0, num_hidden), "ih": slice(num_hidden, num_seen)}
        for end, one in zip(("", "_reverse"), torch.split(packed, self.num_runs), strict=False):
            for word, moves in self.moves.items():
                weight = named[f"{self.name}.weight_{word}_l0{end}"].transpose(1, 2)
                bias = named[f"{self.name}.bias_{word}_l0{end}"]
                for move in moves:
                    source, target, length = (number * num_hidden for number in move)
                    own, there = slice(source, source + length), slice(target, target + length)
                    yield one[:, rows[word], there], weight[:, :, own]
                    yield one[:, num_seen, there], bias[:, own]

    def load(self) -> None:
        """Copy the parameters into W; two biases of one gate are added up there."""
        self.w.zero_()
        for packed, own in self.parts:
            packed.add_(own)
        self.w_T.copy_(self.w.transpose(1, 2))

    def store(self) -> None:
        """Copy the gradient out to the parameters' own, or take the step with it."""
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
        columns = _round_up(site.width, _COLUMNS)
        self.num_runs, self.gates_shape = self.packed.num_runs, (w.shape[0], w.shape[2], columns)
        self.cells: dict[bool, RecurrentCell] = {}
        self.seen = w.new_zeros(layer.steps + 1, w.shape[0], w.shape[1], columns)
        self.seen[:, :, layer.hidden + layer.inputs, : site.width] = 1
        self.seen_at = list(self.seen)
        self.state_at = [seen[:, : layer.hidden] for seen in self.seen_at]
        out = padded_zeros(self.num_runs, layer.outputs, columns, dtype=w.dtype, device=w.device)
        self.out = out[:, :, : site.width]
        self.output_at = [self._output_parts(out, t, self.state_at[t + 1]) for t in range(layer.steps)]
        self.d: Tensor | None = None
        self.dx: Tensor | None = None

    def _output_parts(self, out: Tensor, t: int, state: Tensor) -> list[Pair]:
        """For each direction, the part of the layer's output that holds its state after its step t, and that state."""
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

    def _cell(self, *, training: bool) -> RecurrentCell:
        """The cell with its buffers for the gates: one for every step if a backward pass follows, else one in all."""
        if training not in self.cells:
            make = partial(torch.zeros, self.gates_shape, dtype=self.out.dtype, device=self.out.device)
            steps = self.layer.steps
            gates = [make() for _ in range(steps)] if training else [make()] * steps
            self.cells[training] = self.make_cell(gates, self.layer.hidden)
        return self.cells[training]

    def _series(self, x: Tensor) -> Tensor:
        """A view of [R, D, B] as [T, R, C, B]."""
        if self.layer.channels_first:
            return torch.unflatten(x, 1, (self.layer.inputs, self.layer.steps)).permute(2, 0, 1, 3)
        return torch.unflatten(x, 1, (self.layer.steps, self.layer.inputs)).transpose(0, 1)

    def _read(self, x: Tensor) -> None:
        """Copy the inputs in below the states, for each direction in its own order of time."""
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
        for t, parts in enumerate(self.output_at):
            torch.bmm(self.packed.w_T, self.seen_at[t], out=cell.gates[t])
            cell.forward(t, self.state_at[t], self.state_at[t + 1])
            for out, state in parts:
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
            for incoming, state in self.incoming_at[t]:
                state.add_(incoming)
            cell.backward(t, dh, self.state_at[t], self.state_at[t + 1])
            torch.baddbmm(packed.gradient, self.seen_at[t], d_T, out=packed.gradient)
            torch.bmm(packed.w, cell.d, out=self.d_seen[(t + 1) % 2])
            cell.carry(t, dh, self.d_state[(t + 1) % 2])
            for input_part, found in self.outgoing_at[t]:
                input_part.add_(found)
        packed.store()
        return d if self.dx is None else self.dx

    def _prepare(self, d: Tensor) -> None:
        """Make the views that gradients are read from and written to; they are the same at every training step."""
        if d is self.d:
            if self.dx is not None:
                self.dx.zero_()
            return
        self.d = d
        self.d_seen = [torch.zeros_like(self.seen_at[0]) for _ in range(2)]
        self.d_state = [seen[:, : self.layer.hidden] for seen in self.d_seen]
        steps = range(self.layer.steps)
        self.incoming_at = [self._output_parts(d, t, self.d_state[t % 2]) for t in steps]
        self.outgoing_at: list[list[Pair]] = [[] for _ in steps]
        if not self.first:
            self.dx = padded_like(self.x)
            self.outgoing_at = [self._input_parts(self._series(self.dx), t) for t in steps]

    def _input_parts(self, series: Tensor, t: int) -> list[Pair]:
        """For each direction, the part of the input's gradient [T, R, C, B] for its step t, and the gradient that it adds there."""
        first, after = self.layer.hidden, self.layer.hidden + self.layer.inputs
        halves = torch.split(self.d_seen[(t + 1) % 2][:, first:after, : self.width], self.num_runs)
        return [(series[time], half) for time, half in zip((t, self.layer.steps - 1 - t), halves, strict=False)]
