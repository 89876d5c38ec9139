"""A look at the layers of every run of a tile, while it is trained: what `compare-init` judges by."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nnlab.diagnostics.signals.layer_signals import Cell, Probe, probe_rows, signals
from nnlab.diagnostics.signals.moments import predicted_second_moments
from nnlab.diagnostics.signals.passes import is_probed
from nnlab.engine.hooks import Seen
from nnlab.engine.rows import TileData
from nnlab.settings import RunSettings


class LayerProbe:
    """Called at every epoch's end; looks before the first step, and then every so many epochs.

    It reads copies of the parameters and draws nothing, so that training can't tell whether it was looked at.
    """

    def __init__(self, every: int) -> None:
        """
        Args:
            every: epochs between looks; 0 for one before the first step alone.
        """
        self.every = every

    def __call__(self, seen: Seen, epoch: int, data: TileData) -> list[list[Mapping[str, Cell]]]:
        """Rows of layers.csv for each run; none in an epoch that is not looked at, nor of a network that can't be followed."""
        if epoch and (self.every == 0 or epoch % self.every):
            return []
        program, seeds = seen.program, seen.seed_of_run
        if not is_probed(program.layers):
            return []
        rows = probe_rows(data.train.num_rows).to(data.train.x.device)
        x, y = data.train.x[:, rows][seeds], data.train.y[:, rows][seeds].movedim(1, -1)
        probe = Probe(x, y, program.loss, program.loss_values)
        lr_R = None
        if all(_steps_plainly(run.settings) for run in seen.runs):
            lr_R = torch.tensor([run.settings.lr for run in seen.runs], dtype=torch.float64)
        found_of_runs = signals(program.layers, seen.parameters, probe, lr_R=lr_R)
        found: list[list[Mapping[str, Cell]]] = []
        for position, run in enumerate(seen.runs):
            predicted = None
            if epoch == 0:
                predicted = predicted_second_moments(
                    program.layers, run.settings.init, data.train.x[seeds[position], rows]
                )
            found.append([{"epoch": epoch} | row for row in found_of_runs.rows(position, predicted)])
        return found


def _steps_plainly(settings: RunSettings) -> bool:
    """Whether the next update is the rate times the gradient, and no more."""
    is_sgd = settings.optimizer.name == "sgd" and not settings.optimizer.options
    return is_sgd and settings.clip_norm is None and settings.schedule.name == "none" and settings.warmup == 0
