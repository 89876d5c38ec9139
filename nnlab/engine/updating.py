"""The optimizer of a tile's runs: one update of every parameter of every run, each run with its own numbers.

Shapes: R runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from nnlab.catalog.optimizers import OPTIMIZERS, clip_norm_, optimizer_values
from nnlab.catalog.updates import State
from nnlab.engine.arrays import end_to_end, whole, wide
from nnlab.engine.kernels.table import Weights
from nnlab.engine.plan import Program, axes_of
from nnlab.engine.precision import kept_in
from nnlab.settings.run_records import Run

# Weights of one run from which a call of PyTorch's fused rule for each run beats one pass after another over all runs (measured).
_FUSED_FROM: Final = 8_000


def is_plain_sgd(program: Program) -> bool:
    """Whether a step is p -= lr g and nothing else, so that the products of the backward pass can add it themselves."""
    settings = program.settings
    plain = settings.optimizer.name == "sgd" and not settings.optimizer.options
    return plain and settings.clip_norm is None and not _cycles_momentum(program)


def joins_parameters(program: Program) -> bool:
    """Whether all parameters of a run lie in one block, for one update: of small networks the calls cost more than the sums."""
    return not is_plain_sgd(program) and program.num_weights < _FUSED_FROM


def _cycles_momentum(program: Program) -> bool:
    return program.settings.schedule.name == "one_cycle"


@dataclass(frozen=True)
class _OneRun:
    """What PyTorch's fused rule takes of one run: every parameter's whole block, its gradient and its averages."""

    blocks: list[list[Tensor]]
    step: list[Tensor]  # PyTorch keeps a counter for each parameter; they count alike, so that one does
    values: Mapping[str, object]


class Updates:
    """The optimizer's numbers and state of the runs that are still being trained."""

    def __init__(self, program: Program, runs: Sequence[Run], device: torch.device) -> None:
        self.program, self.runs = program, list(runs)
        self.entry = OPTIMIZERS[program.settings.optimizer.name]
        axes = [axes_of(run.settings.optimizer) for run in runs]
        shared = optimizer_values(runs[0].settings.optimizer)
        self.values: dict[str, object] = {name: value for name, value in shared.items() if name not in axes[0]}
        # In float64: a rule forms 1 - beta from it before it rounds.
        self.exact = wide(device)
        self.device = device
        self.axes = {name: self._of_runs([axis[name] for axis in axes]) for name in axes[0]}
        norms = [run.settings.clip_norm for run in runs if run.settings.clip_norm is not None]
        self.max_norm = self._of_runs(norms).to(kept_in(program.settings.dtype)) if norms else None
        self.state: list[State] = []  # of each of the weights' blocks
        self.joined: Tensor | None = None
        self.one_by_one: list[_OneRun] | None = None

    def _of_runs(self, numbers: Sequence[float]) -> Tensor:
        return torch.tensor(numbers, dtype=self.exact, device=self.device)

    def keep(self, living: Sequence[int], chosen: Tensor) -> None:
        """Go on with these of the runs."""
        self.runs = [self.runs[i] for i in living]
        self.axes = {name: values[chosen] for name, values in self.axes.items()}
        self.max_norm = None if self.max_norm is None else self.max_norm[chosen]
        self.state = [{key: value[chosen] for key, value in state.items()} for state in self.state]
        self.one_by_one = self.joined = None

    def set_momentum(self, momentum_R: Tensor) -> None:
        """Take this momentum (Adam's first beta) for the next step: a schedule cycles it."""
        momentum_R = momentum_R.to(self.device, self.exact)
        if "betas" in self.values:
            self.values["betas"] = (momentum_R[:, None], self.values["betas"][1])  # type: ignore[index]
        else:
            self.axes["momentum"] = momentum_R

    def step(self, weights: Weights, step: int, lr_R: Tensor) -> None:
        """Move the parameters by their gradients.

        Args:
            weights: of the runs.
            step: this is the step-th, from 1.
            lr_R: rates, [R].
        """
        if self.max_norm is not None:
            # Without the padding, where a rule whose eps is 0 leaves 0 / 0.
            clip_norm_(list(weights.gradients.values()), self.max_norm)
        gradients = self._gradients(weights)
        self.state = self.state or [{} for _ in gradients]
        if self.is_fused:
            self._step_fused(weights, gradients, step, lr_R)
            return
        values = self.values | {name: values[:, None] for name, values in self.axes.items()}
        for p, g, state in zip(weights.blocks, gradients, self.state, strict=True):
            self.entry.function(p, g, state, step, lr_R[:, None], **values)

    def _gradients(self, weights: Weights) -> list[Tensor]:
        """The gradients by the weights' blocks."""
        if weights.joined is None:
            return [whole(g) for g in weights.gradients.values()]
        self.joined = end_to_end(weights.gradients, out=self.joined)
        return [self.joined]

    @cached_property
    def is_fused(self) -> bool:
        """Whether PyTorch's rule takes the runs one by one.

        A pure function of the program and the device, so that a run's bits don't hang on its company.
        """
        return (
            self.entry.fused is not None
            and self.device.type == "cpu"
            and self.program.settings.dtype != "bfloat16"
            and not self.values["amsgrad"]
            and not _cycles_momentum(self.program)
            and self.program.num_weights >= _FUSED_FROM
        )

    def _step_fused(self, weights: Weights, gradients: list[Tensor], step: int, lr_R: Tensor) -> None:
        if self.one_by_one is None:
            self.one_by_one = self._runs_of(weights, gradients)
        assert self.entry.fused is not None
        for run, lr in zip(self.one_by_one, lr_R.tolist(), strict=True):
            run.step[0].fill_(step)
            self.entry.fused(*run.blocks, run.step, lr=lr, **run.values)

    def _runs_of(self, weights: Weights, gradients: list[Tensor]) -> list[_OneRun]:
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
