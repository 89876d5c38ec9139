"""The optimizer of a tile's runs: one update of every parameter of every run, each run with its own numbers.

Shapes: R runs, P numbers of a run, padding included.

The catalogue's rules are elementwise, so they take whole blocks [R, P], padding included, with the learning rate as [R, 1]. Three ways
lead to an update:

    plain SGD           nothing is left to do: the backward pass has added -lr g to the weights (`Weights.fused`)
    a rule, all runs    each operation of the rule is one call, and one pass over memory, for all runs at once
    a rule, run by run  PyTorch's fused rule makes one pass in all, but takes one rate a call: for large networks
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from nnlab.catalog.optimizers import OPTIMIZERS, clip_norm_, optimizer_values, sgd
from nnlab.catalog.updates import State
from nnlab.engine.arrays import blocks_of, join_blocks, wide_dtype
from nnlab.engine.kernels.site import Weights
from nnlab.engine.precision import storage_dtype
from nnlab.engine.program import Program, axes_of
from nnlab.settings.run_records import Run

# Weights of one run from which a call of PyTorch's fused rule for each run is faster than the rule's passes over all runs (measured).
_FUSED_FROM: Final = 8_000


def is_plain_sgd(program: Program) -> bool:
    """True if a step is p -= lr g and nothing else, so that the products of the backward pass can add it themselves."""
    has_terms = program.optimizer.options or program.axes or program.clips or program.cycles_momentum
    return not has_terms and OPTIMIZERS[program.optimizer.name].function is sgd


def joins_parameters(program: Program) -> bool:
    """True if all parameters of a run lie in one block, for one update: in small networks the calls cost more than the sums."""
    return not is_plain_sgd(program) and program.num_weights < _FUSED_FROM


@dataclass(frozen=True)
class _OneRun:
    """The arguments of PyTorch's fused rule for one run: every parameter's whole block, its gradient and its averages."""

    blocks: list[list[Tensor]]
    step: list[Tensor]  # PyTorch keeps a counter for each parameter; they are all equal, so one stands for all
    values: Mapping[str, object]


class Updates:
    """The optimizer's numbers and state, for the runs that are still being trained.

    Attributes:
        values: the rule's options that all runs share: plain numbers, which cost no array.
        axes: the rule's numbers that differ between runs, [R] each.
        state: the rule's state for each of the weights' blocks, [R, P] each.
    """

    def __init__(self, program: Program, runs: Sequence[Run], device: torch.device) -> None:
        self.program, self.runs = program, list(runs)
        self.entry = OPTIMIZERS[program.optimizer.name]
        axes = [axes_of(run.settings.optimizer) for run in runs]
        shared = optimizer_values(runs[0].settings.optimizer)
        self.values: dict[str, object] = {name: value for name, value in shared.items() if name not in program.axes}
        # In float64, since a rule forms 1 - beta from it before it rounds.
        self.exact = wide_dtype(device)
        self.device = device
        self.axes = {name: self._per_run([axis[name] for axis in axes]) for name in program.axes}
        norms = [run.settings.clip_norm for run in runs if run.settings.clip_norm is not None]
        self.max_norm = self._per_run(norms).to(storage_dtype(program.dtype)) if program.clips else None
        self.state: list[State] = []
        self.joined: Tensor | None = None
        self.one_by_one: list[_OneRun] | None = None

    def _per_run(self, numbers: Sequence[float]) -> Tensor:
        """One number for each run, [R]."""
        return torch.tensor(numbers, dtype=self.exact, device=self.device)

    def keep(self, living: Sequence[int], chosen: Tensor) -> None:
        """Go on with these runs only; `living` and `chosen` are the same positions, as a list and as a tensor."""
        self.runs = [self.runs[i] for i in living]
        self.axes = {name: values[chosen] for name, values in self.axes.items()}
        self.max_norm = None if self.max_norm is None else self.max_norm[chosen]
        self.state = [{key: value[chosen] for key, value in state.items()} for state in self.state]
        self.one_by_one = self.joined = None  # views and a buffer for the runs there were

    def set_momentum(self, momentum_R: Tensor) -> None:
        """Use this momentum (Adam's first beta) in the next step: a schedule cycles it."""
        momentum_R = momentum_R.to(self.device, self.exact)
        if "betas" in self.values:
            self.values["betas"] = (momentum_R[:, None], self.values["betas"][1])  # type: ignore[index]
        else:
            self.axes["momentum"] = momentum_R

    def step(self, weights: Weights, step: int, lr_R: Tensor) -> None:
        """Move the parameters by their gradients.

        Args:
            weights: of the runs.
            step: number of this step, from 1.
            lr_R: learning rates, [R].
        """
        if self.max_norm is not None:
            # Over the shapes and not the whole blocks: a rule with eps=0 leaves 0 / 0, a NaN, in the padding.
            clip_norm_(list(weights.gradients.values()), self.max_norm)
        gradients = self._gradient_blocks(weights)
        self.state = self.state or [{} for _ in gradients]
        if self.is_fused:
            self._step_fused(weights, gradients, step, lr_R)
            return
        values = self.values | {name: values[:, None] for name, values in self.axes.items()}
        for p, g, state in zip(weights.blocks, gradients, self.state, strict=True):
            self.entry.function(p, g, state, step, lr_R[:, None], **values)

    def _gradient_blocks(self, weights: Weights) -> list[Tensor]:
        """The gradients, laid out as the weights' blocks are."""
        if weights.joined is None:
            return [blocks_of(g) for g in weights.gradients.values()]
        # Kernels write gradients into arrays of their own, whose products have no gaps; here one copy joins them.
        self.joined = join_blocks(weights.gradients, out=self.joined)
        return [self.joined]

    @cached_property
    def is_fused(self) -> bool:
        """True if PyTorch's fused rule takes the runs one by one.

        This depends on nothing but the program and the device, so a run's bits don't depend on its company.
        """
        return (
            self.entry.fused is not None
            and self.device.type == "cpu"
            and self.program.dtype != "bfloat16"
            and not self.values["amsgrad"]
            and not self.program.cycles_momentum
            and self.program.num_weights >= _FUSED_FROM
        )

    def _step_fused(self, weights: Weights, gradients: list[Tensor], step: int, lr_R: Tensor) -> None:
        if self.one_by_one is None:
            self.one_by_one = self._arguments_of_runs(weights, gradients)
        assert self.entry.fused is not None
        for run, lr in zip(self.one_by_one, lr_R.tolist(), strict=True):
            run.step[0].fill_(step)
            self.entry.fused(*run.blocks, run.step, lr=lr, **run.values)

    def _arguments_of_runs(self, weights: Weights, gradients: list[Tensor]) -> list[_OneRun]:
        """For each run, views of its blocks: they stay valid from step to step, so they are made once."""
        for p, state in zip(weights.blocks, self.state, strict=True):
            if not state:
                state |= {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        averages = [[state[key] for state in self.state] for key in ("exp_avg", "exp_avg_sq")]
        found = []
        for index, run in enumerate(self.runs):
            blocks = [[each[index] for each in tensors] for tensors in (weights.blocks, gradients, *averages)]
            counter = torch.zeros((), dtype=torch.float32)
            values = optimizer_values(run.settings.optimizer)
            found.append(_OneRun(blocks, [counter] * len(gradients), values))
        return found
