"""The parameters of a tile's runs, and one training step of all of them.

Shapes: R runs, S seeds, C scores, B rows of a batch, B' the same rounded up to whole vectors.
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
from nnlab.engine.arrays import end_to_end, like, padded, parts_of
from nnlab.engine.kernels.table import Kernel, Weights, kernels, run_backward, run_forward, running_statistics
from nnlab.engine.plan import Program
from nnlab.engine.precision import kept_in
from nnlab.engine.rows import Batch
from nnlab.engine.seeds import SharedMasks, from_seeds
from nnlab.engine.updating import Updates, is_plain_sgd, joins_parameters
from nnlab.engine.vmapped import ModuleKernel
from nnlab.settings.run_records import Run


class Population:
    """The runs of a tile that are still being trained.

    Attributes:
        rows: for each living run its index among the tile's runs.
        step: updates made so far.
    """

    def __init__(
        self, program: Program, runs: Sequence[Run], starts: Sequence[Mapping[str, Tensor]], device: torch.device
    ) -> None:
        self.program = program
        self.runs = list(runs)
        self.rows = list(range(len(runs)))
        self.device = device
        self.dtype = kept_in(program.settings.dtype)
        self.step = 0
        self.decay = None if program.settings.average is None else averaging_decay(program.settings.average)
        seeds = list(dict.fromkeys(run.seed for run in runs))
        self.seed_of_run = torch.tensor([seeds.index(run.seed) for run in runs], device=device)
        self.masks = SharedMasks(self.seed_of_run, [stream(seed, "dropout") for seed in seeds])
        self.updates = Updates(program, runs, device)
        self.averaged: list[Tensor] | None = None  # laid out as the weights' blocks
        stacked = {name: torch.stack([start[name] for start in starts]).to(device) for name in starts[0]}
        # A module's buffers: running statistics, and whatever else it holds and does not train.
        self._take(
            {name: stacked[name] for name in program.rows},
            {name: self._rounded(value) for name, value in stacked.items() if name not in program.rows},
        )

    def _rounded(self, value: Tensor) -> Tensor:
        return value.to(self.dtype) if value.is_floating_point() else value

    def _take(self, values: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
        """Lay the parameters out for the runs there are now, and forget the kernels made for others."""

        def layout(name: str) -> Tensor:
            shape = values[name].shape[1:]
            return padded(len(self.runs), *shape, dtype=self.dtype, device=self.device, rows=self.program.rows[name])

        named = {name: layout(name).copy_(value) for name, value in values.items()}
        fused = is_plain_sgd(self.program)
        gradients = named if fused else {name: layout(name) for name in values}
        joined = end_to_end(named) if joins_parameters(self.program) else None
        parameters = named if joined is None else parts_of(joined, gradients)
        buffers = buffers or running_statistics(named, self.program.layers)
        self.weights = Weights(parameters, gradients, buffers, fused, joined)
        self.kernels: dict[tuple[int, bool], list[Kernel]] = {}
        self.module: ModuleKernel | None = None
        self.losses: dict[int, _LossBuffers] = {}

    def keep(self, living: Sequence[int]) -> None:
        """Go on with these of the runs (positions in `runs`); the others leave."""
        chosen = torch.tensor(list(living), dtype=torch.int64, device=self.device)
        self.runs = [self.runs[i] for i in living]
        self.rows = [self.rows[i] for i in living]
        self.seed_of_run = self.seed_of_run[chosen]
        self.masks = SharedMasks(self.seed_of_run, self.masks.streams)
        self.updates.keep(living, chosen)
        buffers = {name: value[chosen] for name, value in self.weights.buffers.items()}
        if self.averaged is not None:
            self.averaged = [block[chosen] for block in self.averaged]
        self._take({name: value[chosen] for name, value in self.weights.parameters.items()}, buffers)

    def scores(self, batch: Batch, *, training: bool) -> Tensor:
        """Scores [R, C, B], in a buffer that the next call overwrites."""
        key = batch.width, training
        if key not in self.kernels:
            self.kernels[key] = self._kernels(*key)
        return run_forward(self.kernels[key], batch.x, training)

    def _kernels(self, width: int, training: bool) -> list[Kernel]:
        layers = self.program.layers
        if self.program.settings.engine == "vmap":
            # One for all widths: it makes its own module of the layers.
            if self.module is None:
                self.module = ModuleKernel(layers, self.weights, self.masks, self.program.settings.dtype)
            network: list[Kernel] = [self.module]
        else:
            network = kernels(layers, self.weights, width, self.masks, training=training)
        return from_seeds(network, self.seed_of_run, width)

    def losses_of(self, scores: Tensor, batch: Batch) -> Tensor:
        """Each row's loss times its share [R, B']; its sum over rows is the mean loss."""
        return self._loss(scores, batch).weighted(scores, batch)

    def _loss(self, scores: Tensor, batch: Batch) -> _LossBuffers:
        if batch.width not in self.losses:
            self.losses[batch.width] = _LossBuffers(self.program, scores, batch, self.seed_of_run)
        return self.losses[batch.width]

    def train(self, batch: Batch, lr_R: Tensor) -> Tensor:
        """One step of every run, in place; returns the batch's mean loss of each run [R], before the step."""
        scores = self.scores(batch, training=True)
        mean_R, d = self._loss(scores, batch).both(scores, batch, -lr_R if self.weights.fused else None)
        run_backward(self.kernels[batch.width, True], d)
        self.step += 1
        if not self.weights.fused:
            self.updates.step(self.weights, self.step, lr_R)
        if self.decay is not None:
            self._average(self.decay)
        return mean_R

    def _average(self, decay: float) -> None:
        """Move the averaged parameters towards the present ones; PyTorch's AveragedModel, too, starts with a copy."""
        if self.averaged is None:
            self.averaged = [block.clone() for block in self.weights.blocks]
            return
        for averaged, block in zip(self.averaged, self.weights.blocks, strict=True):
            averaged.lerp_(block, 1 - decay)

    def result(self) -> dict[str, Tensor]:
        """What evaluation looks at: parameters, averaged where that was asked for, and running statistics."""
        weights = self.weights
        return (weights.parameters if self.averaged is None else weights.by_name(self.averaged)) | weights.buffers

    @contextmanager
    def showing(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """Within, the network has these parameters and statistics [R, ...]; afterwards its own again."""
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

    The padding keeps every temporary of a loss function free of a tail, whose elements a vectorised `exp` would compute in another
    way: a run's loss has the same bits in any company.
    """

    def __init__(self, program: Program, scores: Tensor, batch: Batch, seed_of_run: Tensor) -> None:
        self.seed_of_run = seed_of_run
        self.entry: Loss = program.loss
        self.values = program.loss_values
        filled = batch.y.shape[-1]
        self.scores_RCB = scores.new_zeros(*scores.shape[:2], filled)
        self.width = batch.width
        self.d = like(scores)
        self.function: Callable[[Tensor, Tensor], Tensor] = partial(self.entry.function, **self.values)

    def weighted(self, scores: Tensor, batch: Batch) -> Tensor:
        """Each row's loss times its share [R, B']."""
        self.scores_RCB[:, :, : self.width] = scores
        return self.function(self.scores_RCB, self._of_runs(batch.y)).mul_(self._of_runs(batch.shares))

    def _of_runs(self, of_seeds: Tensor) -> Tensor:
        """What each run has of its seed, [R or 1, ...]."""
        return of_seeds if of_seeds.shape[0] == 1 else of_seeds.index_select(0, self.seed_of_run)

    def both(self, scores: Tensor, batch: Batch, factor_R: Tensor | None) -> tuple[Tensor, Tensor]:
        """The mean loss [R], and its gradient by the scores [R, C, B], times a factor for each run."""
        self.scores_RCB[:, :, : self.width] = scores
        y, shares = self._of_runs(batch.y), self._of_runs(batch.shares)
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
        with torch.enable_grad():
            scores = self.scores_RCB.detach().requires_grad_()
            loss_RB = self.function(scores, y)
            (d,) = torch.autograd.grad(loss_RB.sum(), scores)
        return loss_RB.detach(), d
