"""The parameters of a tile's runs, and one training step of all of them.

Shapes: R runs, S seeds, C scores, B rows of a batch, B' the same rounded up to whole vectors, P numbers of a run.

Three layouts of the parameters, chosen by the program alone:

    plain SGD            an array [R, *shape] for each parameter, which is its gradient too: the backward pass adds -lr g to it
    small networks       one array [R, P], of which the parameters are views, so that one update moves them all; gradients apart
    others               an array for each parameter, and one for each gradient

A run that leaves (diverged or stopped early) is cut out of every array, and the kernels, whose buffers have the old number of runs, are
made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from nnlab.catalog.averages import averaging_decay
from nnlab.catalog.losses import Loss
from nnlab.core.rng import stream
from nnlab.engine.arrays import join_blocks, padded_like, padded_zeros, parts_of
from nnlab.engine.kernels.sequence import run_backward, run_forward
from nnlab.engine.kernels.site import Kernel, Weights
from nnlab.engine.kernels.table import kernels_of, running_statistics
from nnlab.engine.precision import storage_dtype
from nnlab.engine.program import Program
from nnlab.engine.rows import Batch
from nnlab.engine.seeds import SharedMasks, network_of_seeds
from nnlab.engine.updating import Updates, is_plain_sgd, joins_parameters
from nnlab.engine.vmapped import ModuleKernel
from nnlab.settings.run_records import Run


class Population:
    """The runs of a tile that are still being trained.

    Attributes:
        rows: for each of them its index among the tile's runs.
        seed_of_run: the position of each run's seed among the tile's, [R]; data and masks are held once for each seed.
        step: updates made so far.
    """

    def __init__(
        self, program: Program, runs: Sequence[Run], starts: Sequence[Mapping[str, Tensor]], device: torch.device
    ) -> None:
        self.program = program
        self.runs = list(runs)
        self.rows = list(range(len(runs)))
        self.device = device
        self.dtype = storage_dtype(program.dtype)
        self.step = 0
        self.decay = None if program.average is None else averaging_decay(program.average)
        seeds = list(dict.fromkeys(run.seed for run in runs))
        self.seed_of_run = torch.tensor([seeds.index(run.seed) for run in runs], device=device)
        self.masks = SharedMasks(self.seed_of_run, [stream(seed, "dropout") for seed in seeds])
        self.updates = Updates(program, runs, device)
        self.averaged: list[Tensor] | None = None  # laid out as the weights' blocks
        stacked = {name: torch.stack([start[name] for start in starts]).to(device) for name in starts[0]}
        # Every tensor that is not trained is a buffer: a module's running statistics, and any other that it holds.
        self._lay_out(
            {name: stacked[name] for name in program.block_rows},
            {name: self._in_dtype(value) for name, value in stacked.items() if name not in program.block_rows},
        )

    def _in_dtype(self, value: Tensor) -> Tensor:
        """The value in the runs' type; whole numbers stay whole."""
        return value.to(self.dtype) if value.is_floating_point() else value

    def _lay_out(self, values: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
        """Copy the parameters of the present runs into new padded arrays, and drop the kernels made for others."""

        def zeros(name: str) -> Tensor:
            shape, rows = values[name].shape[1:], self.program.block_rows[name]
            return padded_zeros(len(self.runs), *shape, dtype=self.dtype, device=self.device, rows=rows)

        named = {name: zeros(name).copy_(value) for name, value in values.items()}
        fused = is_plain_sgd(self.program)
        gradients = named if fused else {name: zeros(name) for name in values}
        joined = join_blocks(named) if joins_parameters(self.program) else None
        parameters = named if joined is None else parts_of(joined, gradients)
        buffers = buffers or running_statistics(named, self.program.layers)
        self.weights = Weights(parameters, gradients, buffers, fused, joined)
        self.kernels: dict[tuple[int, bool], list[Kernel]] = {}  # by batch width, and whether they train
        self.module: ModuleKernel | None = None
        self.losses: dict[int, _LossBuffers] = {}  # by batch width

    def keep(self, living: Sequence[int]) -> None:
        """Go on with these runs only (positions in `runs`); the others leave."""
        chosen = torch.tensor(list(living), dtype=torch.int64, device=self.device)
        self.runs = [self.runs[i] for i in living]
        self.rows = [self.rows[i] for i in living]
        self.seed_of_run = self.seed_of_run[chosen]
        self.masks = SharedMasks(self.seed_of_run, self.masks.streams)
        self.updates.keep(living, chosen)
        buffers = {name: value[chosen] for name, value in self.weights.buffers.items()}
        if self.averaged is not None:
            self.averaged = [block[chosen] for block in self.averaged]
        self._lay_out({name: value[chosen] for name, value in self.weights.parameters.items()}, buffers)

    def scores(self, batch: Batch, *, training: bool) -> Tensor:
        """Scores [R, C, B], in a buffer that the next call overwrites."""
        key = batch.width, training
        if key not in self.kernels:
            self.kernels[key] = self._network(*key)
        return run_forward(self.kernels[key], batch.x, training)

    def _network(self, width: int, training: bool) -> list[Kernel]:
        """The kernels for batches of this width, which take a block of rows for each seed."""
        layers = self.program.layers
        if self.program.engine == "vmap":
            # One serves all widths: it takes rows in any number, and building its module takes long.
            if self.module is None:
                self.module = ModuleKernel(layers, self.weights, self.masks, self.program.dtype)
            network: list[Kernel] = [self.module]
        else:
            network = kernels_of(layers, self.weights, width, self.masks, training=training)
        return network_of_seeds(network, self.seed_of_run, width)

    def losses_of(self, scores: Tensor, batch: Batch) -> Tensor:
        """Each row's loss times its share [R, B']; the sum over rows is the mean loss."""
        return self._loss(scores, batch).weighted_losses(scores, batch)

    def _loss(self, scores: Tensor, batch: Batch) -> _LossBuffers:
        if batch.width not in self.losses:
            self.losses[batch.width] = _LossBuffers(self.program, scores, batch, self.seed_of_run)
        return self.losses[batch.width]

    def train(self, batch: Batch, lr_R: Tensor) -> Tensor:
        """Take one step of every run, in place; return the batch's mean loss of each run [R], before the step.

        The runs share no parameter, so one backward pass through the sum of their losses gives each its own gradient. In plain SGD that
        pass starts from -lr times the gradient by the scores. Backward is linear in it, so what arrives at a parameter is the step.
        """
        scores = self.scores(batch, training=True)
        mean_R, d = self._loss(scores, batch).mean_and_gradient(scores, batch, -lr_R if self.weights.fused else None)
        run_backward(self.kernels[batch.width, True], d)
        self.step += 1
        if not self.weights.fused:
            self.updates.step(self.weights, self.step, lr_R)
        if self.decay is not None:
            self._average(self.decay)
        return mean_R

    def _average(self, decay: float) -> None:
        """Move the averaged parameters towards the present ones, starting with a copy, as PyTorch's AveragedModel does."""
        if self.averaged is None:
            self.averaged = [block.clone() for block in self.weights.blocks]
            return
        for averaged, block in zip(self.averaged, self.weights.blocks, strict=True):
            averaged.lerp_(block, 1 - decay)

    def result(self) -> dict[str, Tensor]:
        """The tensors to be evaluated: parameters, averaged if that was asked for, and running statistics."""
        weights = self.weights
        return (weights.parameters if self.averaged is None else weights.by_name(self.averaged)) | weights.buffers

    @contextmanager
    def temporary_tensors(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """Context manager: the network has these parameters and statistics [R, ...]; afterwards its own again.

        They are copied in, since the kernels hold views of the network's own arrays.
        """
        present = self.weights.parameters | self.weights.buffers
        other = {name: tensor for name, tensor in present.items() if values[name] is not tensor}
        own = {name: tensor.clone() for name, tensor in other.items()}
        for name, tensor in other.items():
            tensor.copy_(values[name])
        yield
        for name, tensor in other.items():
            tensor.copy_(own[name])


class _LossBuffers:
    """The loss of a batch and its gradient, on scores rounded up to whole vectors.

    The padding keeps every temporary of a loss function free of a tail. A vectorised `exp` computes the elements of a tail in another
    way, and then a run's loss would have other bits in other company.
    """

    def __init__(self, program: Program, scores: Tensor, batch: Batch, seed_of_run: Tensor) -> None:
        self.seed_of_run = seed_of_run
        self.entry: Loss = program.loss
        self.values = program.loss_values
        filled = batch.y.shape[-1]
        self.scores_RCB = scores.new_zeros(*scores.shape[:2], filled)
        self.width = batch.width
        self.d = padded_like(scores)
        self.function: Callable[[Tensor, Tensor], Tensor] = partial(self.entry.function, **self.values)

    def weighted_losses(self, scores: Tensor, batch: Batch) -> Tensor:
        """Each row's loss times its share [R, B']."""
        self.scores_RCB[:, :, : self.width] = scores
        return self.function(self.scores_RCB, self._for_runs(batch.y)).mul_(self._for_runs(batch.shares))

    def _for_runs(self, of_seeds: Tensor) -> Tensor:
        """Each run's entry of an array [S, ...], or all of it if one entry serves all runs: [R or 1, ...]."""
        return of_seeds if of_seeds.shape[0] == 1 else of_seeds.index_select(0, self.seed_of_run)

    def mean_and_gradient(self, scores: Tensor, batch: Batch, factor_R: Tensor | None) -> tuple[Tensor, Tensor]:
        """The mean loss [R], and its gradient by the scores [R, C, B], times a factor for each run."""
        self.scores_RCB[:, :, : self.width] = scores
        y, shares = self._for_runs(batch.y), self._for_runs(batch.shares)
        if self.entry.both is not None:
            loss_RB, d = self.entry.both(self.scores_RCB, y, **self.values)
        elif self.entry.gradient is not None:
            loss_RB = self.function(self.scores_RCB, y)
            d = self.entry.gradient(self.scores_RCB, y, **self.values)
        else:
            loss_RB, d = self._by_autograd(y)
        scale = shares if factor_R is None else shares * factor_R[:, None]
        torch.mul(d[:, :, : self.width], scale[:, None, : self.width], out=self.d)
        return loss_RB.mul_(shares).sum(1), self.d

    def _by_autograd(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and gradient of a loss without a gradient of its own in the catalogue."""
        with torch.enable_grad():
            scores = self.scores_RCB.detach().requires_grad_()
            loss_RB = self.function(scores, y)
            (d,) = torch.autograd.grad(loss_RB.sum(), scores)
        return loss_RB.detach(), d
