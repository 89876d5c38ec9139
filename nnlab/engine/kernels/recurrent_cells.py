"""One step of a recurrent layer, from the gates to the state, and backward.

Shapes: N runs (each direction of a run counts), T steps, H hidden units, G gate rows, B' columns; the first B are the batch's rows.
Gates stand in blocks of H rows; a block of one run is contiguous in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar, Final, Protocol, TypeAlias

import torch
from torch import Tensor

from nnlab.engine.arrays import padded_zeros
from nnlab.networks.recurrent_layer import CellKind

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # d y (1 - y), in one pass over memory
tanh_backward = torch.ops.aten.tanh_backward.grad_input  # d (1 - y^2)
relu_backward = torch.ops.aten.threshold_backward.grad_input

# Blocks of H rows of PyTorch's parameters, and their place among the gates: (from, to, number of blocks).
BlockMoves: TypeAlias = tuple[tuple[int, int, int], ...]


class Tanh:
    """tanh(x) = 2 sigmoid(2 x) - 1: a third of torch.tanh's time on the CPU, within 2e-7 of it in float32 (measured)."""

    def __init__(self, like: Tensor) -> None:
        self.minus_one = like.new_tensor(-1.0)  # a Python number would be made a tensor at every call

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        torch.add(x, x, out=out).sigmoid_()
        return torch.add(self.minus_one, out, alpha=2, out=out)


class RecurrentCell(Protocol):
    """The gates of every step, and the update of the state that they make.

    Attributes:
        state, inputs: places among the gates of the parameters that multiply the state and the inputs.
        num_blocks: of gates that are kept apart.
        gates: of each step, [N, G, B']; one buffer for all steps if no backward pass follows.
        d: [N, G, B'], the gradient by the gates of the step that `backward` was last called for.
    """

    state: ClassVar[BlockMoves]
    inputs: ClassVar[BlockMoves]
    num_blocks: ClassVar[int]
    gates: list[Tensor]
    d: Tensor

    def __init__(self, gates: list[Tensor], num_hidden: int) -> None: ...

    def forward(self, t: int, before: Tensor, after: Tensor) -> None:
        """Write the state after step t, [N, H, B'], given the one before it and the gates' sums in `gates[t]`."""

    def backward(self, t: int, dh: Tensor, before: Tensor, after: Tensor) -> None:
        """Write `d` of step t, given the gradient by the state after it."""

    def carry(self, t: int, dh: Tensor, d_before: Tensor) -> None:
        """Add the gradient that bypasses the gates to that by the state before step t."""


class Rnn:
    """h_t = f(a)."""

    state: ClassVar[BlockMoves] = ((0, 0, 1),)
    inputs: ClassVar[BlockMoves] = ((0, 0, 1),)
    num_blocks: ClassVar[int] = 1

    def __init__(self, gates: list[Tensor], num_hidden: int) -> None:
        self.gates, self.d = gates, torch.zeros_like(gates[0])
        self.tanh = Tanh(self.d)
        self.a = [gate[:, :num_hidden] for gate in gates]
        self.d_a = self.d[:, :num_hidden]

    def forward(self, t: int, before: Tensor, after: Tensor) -> None:  # noqa: ARG002
        self.tanh(self.a[t], out=after)

    def backward(self, t: int, dh: Tensor, before: Tensor, after: Tensor) -> None:  # noqa: ARG002
        tanh_backward(dh, after, grad_input=self.d_a)

    def carry(self, t: int, dh: Tensor, d_before: Tensor) -> None:
        """Nothing bypasses the gates."""


class ReluRnn(Rnn):
    """h_t = max(0, a)."""

    def forward(self, t: int, before: Tensor, after: Tensor) -> None:  # noqa: ARG002
        torch.clamp_min(self.a[t], 0, out=after)

    def backward(self, t: int, dh: Tensor, before: Tensor, after: Tensor) -> None:  # noqa: ARG002
        relu_backward(dh, after, 0, grad_input=self.d_a)


class _Gated:
    """A cell of four blocks of gates, the first two of them sigmoids."""

    num_blocks: ClassVar[int] = 4

    def __init__(self, gates: list[Tensor], num_hidden: int) -> None:
        self.gates, self.d = gates, torch.zeros_like(gates[0])
        self.tanh = Tanh(self.d)
        self.blocks = [torch.split(gate, num_hidden, 1) for gate in gates]
        self.d_blocks = torch.split(self.d, num_hidden, 1)
        self.both = [gate[:, : 2 * num_hidden] for gate in gates]
        self.d_both = self.d[:, : 2 * num_hidden]


class Gru(_Gated):
    """h_t = (1 - z) n + z h_{t-1}, with n = tanh(x + r a): a and x are the parts from state and inputs, biases included."""

    state: ClassVar[BlockMoves] = ((0, 0, 3),)
    inputs: ClassVar[BlockMoves] = ((0, 0, 2), (2, 3, 1))

    def forward(self, t: int, before: Tensor, after: Tensor) -> None:
        r, z, a, x = self.blocks[t]
        self.both[t].sigmoid_()
        torch.lerp(self.tanh(x.addcmul_(r, a), out=x), before, z, out=after)

    def backward(self, t: int, dh: Tensor, before: Tensor, after: Tensor) -> None:  # noqa: ARG002
        r, z, a, n = self.blocks[t]
        d_r, d_z, d_a, d_x = self.d_blocks
        torch.addcmul(dh, dh, z, value=-1, out=d_x)
        tanh_backward(d_x, n, grad_input=d_x)
        torch.mul(d_x, r, out=d_a)
        torch.mul(d_x, a, out=d_r)
        torch.sub(before, n, out=d_z).mul_(dh)
        sigmoid_backward(self.d_both, self.both[t], grad_input=self.d_both)

    def carry(self, t: int, dh: Tensor, d_before: Tensor) -> None:
        d_before.addcmul_(dh, self.blocks[t][1])


class Lstm(_Gated):
    """c_t = f c_{t-1} + i g, h_t = o tanh(c_t)."""

    state: ClassVar[BlockMoves] = ((0, 0, 4),)
    inputs: ClassVar[BlockMoves] = ((0, 0, 4),)

    def __init__(self, gates: list[Tensor], num_hidden: int) -> None:
        super().__init__(gates, num_hidden)
        make = partial(padded_zeros, *self.d_blocks[0].shape, dtype=self.d.dtype, device=self.d.device)
        # As with the gates: one buffer for each step if they are kept for a backward pass, else one for all.
        are_kept = gates[0] is not gates[-1]
        self.c, self.tanh_c = ([make() for _ in gates] if are_kept else [make()] * len(gates) for _ in range(2))
        self.before = [make(), *self.c[:-1]]
        self.dc, self.d_tanh = make(), make()

    def forward(self, t: int, before: Tensor, after: Tensor) -> None:  # noqa: ARG002
        i, f, g, o = self.blocks[t]
        self.both[t].sigmoid_()
        self.tanh(g, out=g)
        c = torch.mul(self.before[t], f, out=self.c[t]).addcmul_(i, g)
        torch.mul(o.sigmoid_(), self.tanh(c, out=self.tanh_c[t]), out=after)

    def backward(self, t: int, dh: Tensor, before: Tensor, after: Tensor) -> None:  # noqa: ARG002
        i, _, g, o = self.blocks[t]
        d_i, d_f, d_g, d_o = self.d_blocks
        if t == len(self.gates) - 1:
            self.dc.zero_()
        torch.mul(dh, o, out=self.d_tanh)
        self.dc.add_(tanh_backward(self.d_tanh, self.tanh_c[t], grad_input=self.d_tanh))
        sigmoid_backward(torch.mul(dh, self.tanh_c[t], out=d_o), o, grad_input=d_o)
        tanh_backward(torch.mul(self.dc, i, out=d_g), g, grad_input=d_g)
        torch.mul(self.dc, g, out=d_i)
        torch.mul(self.dc, self.before[t], out=d_f)
        sigmoid_backward(self.d_both, self.both[t], grad_input=self.d_both)

    def carry(self, t: int, dh: Tensor, d_before: Tensor) -> None:  # noqa: ARG002
        self.dc.mul_(self.blocks[t][1])


CELLS: Final[Mapping[CellKind, type[RecurrentCell]]] = {"rnn_tanh": Rnn, "rnn_relu": ReluRnn, "gru": Gru, "lstm": Lstm}
