"""Any `nn.Module` for many runs at once: `torch.func.vmap` over the runs, gradients by autograd.

It takes the place of the native engine's kernels, so losses, optimizers, schedules, early stopping and records are the same code. It is
slower than kernels written by hand, and allocates memory at every step; but it takes networks that they don't know.

Shapes: R runs, C scores, D features of a row, B rows of the batch.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nnlab.engine.arrays import padded_zeros
from nnlab.engine.kernels.site import Masks, Weights
from nnlab.engine.modules import StreamedDropout, dropped_units, module_of, replace_parts
from nnlab.engine.precision import MIXED, autocast, in_loss_dtype
from nnlab.networks.layers import Layers
from nnlab.networks.module_layer import is_batch_norm


class ModuleKernel:
    """A whole network as one layer.

    The module belongs to this kernel alone, since a call puts tensors into it and tiles may be trained in threads. Each run has its own
    buffers, and changes that a forward pass makes to them are kept.
    """

    def __init__(self, layers: Layers, weights: Weights, masks: Masks, dtype: str) -> None:
        """
        Args:
            layers: of the network.
            weights: it reads the parameters and writes their gradients.
            masks: draws dropout masks.
            dtype: as `--dtype` has it.
        """
        self.weights, self.dtype = weights, dtype
        num_runs = next(iter(weights.parameters.values())).shape[0]
        module = module_of(layers, torch.default_generator)
        self.module = replace_parts(
            module, lambda part: isinstance(part, StreamedDropout), lambda part: _BatchedDropout(part, masks, num_runs)
        ).requires_grad_(False)
        if dtype == MIXED:
            # vmap's rule for batch norm takes rows only in the type of its statistics.
            for part in filter(is_batch_norm, self.module.modules()):
                part.register_forward_pre_hook(lambda _, x: (x[0].float(),))
        self.out: dict[int, Tensor] = {}

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """Scores [R, C, B] of x [R, D, B], in a buffer that the next call overwrites."""
        if self.module.training != training:
            self.module.train(training)
        is_shared = x.stride(0) == 0
        rows = x[0].T.contiguous() if is_shared else x.transpose(1, 2).contiguous()
        self.leaves = {name: p.detach().requires_grad_(training) for name, p in self.weights.parameters.items()}
        with torch.set_grad_enabled(training), autocast(self.dtype, x.device, batched=True):
            batched = torch.vmap(self._scores, in_dims=(0, 0, None if is_shared else 0))
            self.scores, self.buffers = batched(self.leaves, self.weights.buffers, rows)
        if not training:
            self._keep_buffers()
        if x.shape[2] not in self.out:
            shape = (self.scores.shape[0], self.scores.shape[2], x.shape[2])
            self.out[x.shape[2]] = padded_zeros(*shape, dtype=self.scores.dtype, device=x.device)
        return self.out[x.shape[2]].copy_(self.scores.detach().transpose(1, 2))

    def _scores(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One run's scores [B, C], and its buffers afterwards."""
        tensors = parameters | buffers
        scores = in_loss_dtype(functional_call(self.module, tensors, (x,)), self.dtype)
        # If the module replaced a buffer, functional_call has put the new one into `tensors`.
        return scores, {name: tensors[name] for name in buffers}

    def backward(self, d: Tensor) -> Tensor:
        """Write every parameter's gradient, given the gradient by the scores [R, C, B]."""
        gradients = torch.autograd.grad(
            self.scores, list(self.leaves.values()), d.transpose(1, 2), materialize_grads=True
        )
        for name, gradient in zip(self.leaves, gradients, strict=True):
            self.weights.put(name, gradient)
        # Not earlier: the backward pass may read the buffers that the forward pass was given.
        self._keep_buffers()
        del self.scores
        return d

    def _keep_buffers(self) -> None:
        for name, value in self.buffers.items():
            if not value.is_set_to(self.weights.buffers[name]):
                self.weights.buffers[name].copy_(value.detach())


class _BatchedDropout(nn.Module):
    """Dropout for many runs, each with the masks of its own seed."""

    def __init__(self, part: nn.Module, masks: Masks, num_runs: int) -> None:
        super().__init__()
        self.num_runs = num_runs
        assert isinstance(part, StreamedDropout)
        self.p, self.whole_channels, self.masks = part.p, part.whole_channels, masks

    def forward(self, x: Tensor) -> Tensor:
        return _Dropped.apply(x, self) if self.training else x  # type: ignore[no-untyped-call]

    def mask(self, x: Tensor) -> Tensor:
        """0 or 1 / (1 - p) for each unit of x [R, B, ...]; in float32 at least, since a narrow type would round every unit alike."""
        units = dropped_units(x.shape[1:], whole_channels=self.whole_channels)
        dtype = torch.promote_types(x.dtype, torch.float32)
        drawn = self.masks(x.new_empty(x.shape[0], math.prod(units), x.shape[1], dtype=dtype), self.p)
        return drawn.transpose(1, 2).reshape(*x.shape[:2], *units, *(1,) * (x.ndim - 2 - len(units)))


class _Dropped(torch.autograd.Function):
    """x mask, as an autograd.Function: only in the vmap rule of one are all runs visible, whose seeds differ."""

    @staticmethod
    def forward(x: Tensor, part: _BatchedDropout) -> Tensor:
        """The product with rows that all runs share: the runs then have one seed, and one mask."""
        return (x * part.mask(x.expand(part.num_runs, *x.shape))[0]).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Save nothing: shared rows need no gradient, and autograd differentiates the product in `vmap`."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, part: _BatchedDropout) -> tuple[Tensor, int]:  # noqa: ARG004
        """The product for every run."""
        x = x.movedim(in_dims[0], 0)
        return (x * part.mask(x)).to(x.dtype), 0
