"""The interface of a kernel: the tensors of the runs, its place in the network, and the two passes that it must provide.

Shapes: R runs, H units out, B rows of the batch (last, so that every elementwise loop runs along the batch), P numbers of a run.

`backward` takes the gradient of the sum of all runs' losses with respect to a layer's output, and returns it with respect to the
layer's input. The runs share no parameter, so that is, run by run, the gradient that each would have alone. Buffers are made once for
each batch width and used again at every step: no layer allocates memory in the loop. A gradient handed to `backward` is the layer's to
overwrite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeAlias

from torch import Tensor

from nnlab.engine.arrays import blocks_of, from_blocks, parts_of

Masks: TypeAlias = Callable[[Tensor, float], Tensor]  # dropout masks, given an array of their shape and layout, and p


@dataclass
class Weights:
    """The tensors that a network reads and writes, by the names that `nn.Sequential` would give them.

    Attributes:
        parameters: [R, *shape], what is trained.
        gradients: the same shapes; in a fused step (plain SGD) the parameters themselves.
        buffers: running statistics of batch norm, [R, features].
        fused: `backward` adds to `gradients` instead of overwriting them. The incoming gradient is already multiplied by minus the
            learning rate, so adding it to the parameter is the step.
        joined: all parameters of a run in one block [R, P], of which `parameters` are views; None if each has an array of its own.
    """

    parameters: dict[str, Tensor]
    gradients: dict[str, Tensor]
    buffers: dict[str, Tensor]
    fused: bool
    joined: Tensor | None = None

    @cached_property
    def blocks(self) -> list[Tensor]:
        """The arrays [R, n] for elementwise work on the parameters: one for each, or a single one if they lie end to end."""
        return [blocks_of(p) for p in self.parameters.values()] if self.joined is None else [self.joined]

    def by_name(self, blocks: Sequence[Tensor]) -> dict[str, Tensor]:
        """Views by the parameters' names into arrays laid out as `blocks` is."""
        if self.joined is not None:
            return parts_of(blocks[0], self.gradients)
        return {name: from_blocks(block, p) for block, (name, p) in zip(blocks, self.parameters.items(), strict=True)}

    def of_runs(self, runs: slice) -> Weights:
        """Views of some of the runs' parameters and gradients: enough for a layer, not for an optimizer, which takes whole blocks."""
        parameters = {name: p[runs] for name, p in self.parameters.items()}
        gradients = parameters if self.fused else {name: g[runs] for name, g in self.gradients.items()}
        return Weights(parameters, gradients, {}, self.fused)

    def put(self, name: str, gradient: Tensor) -> None:
        """Store the gradient of a parameter, or take the step with it."""
        if self.fused:
            self.gradients[name].add_(gradient)
        else:
            self.gradients[name].copy_(gradient)


@dataclass(frozen=True)
class Site:
    """A kernel's place in the network.

    Attributes:
        weights: of the whole network.
        name: of the layer; its parameters' names begin with it.
        width: B, rows of a batch.
        masks: draws dropout masks.
        first: no layer before this one needs the gradient of its output.
        new_output: makes the array for the layer's output, as `padded_zeros` does.
        new_gradient: makes the array for the gradient of the layer's input, given the input. Two arrays of a layout alternate and stay
            in the cache, since each gradient is needed only by the next layer down.
    """

    weights: Weights
    name: str
    width: int
    masks: Masks
    first: bool
    new_output: Callable[..., Tensor]
    new_gradient: Callable[[Tensor], Tensor]


class Kernel(Protocol):
    """A layer of every run of a tile."""

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """The layer's output [R, H, B], in a buffer that the next call overwrites."""

    def backward(self, d: Tensor) -> Tensor:
        """The gradient with respect to the input; writes the parameters' gradients on the way."""
