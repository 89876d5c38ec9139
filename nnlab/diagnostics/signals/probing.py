"""Probes the layers of every run of a tile during training; `compare-init` judges by the result."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nnlab.diagnostics.signals.layer_signals import Probe, SignalCell, probe_rows, signals
from nnlab.diagnostics.signals.moments import predicted_second_moments
from nnlab.diagnostics.signals.passes import is_probed
from nnlab.engine.hooks import Seen
from nnlab.engine.rows import TileData
from nnlab.settings import RunSettings


class LayerProbe:
    """A callback for the end of every epoch, which measures the signal before the first step, and then every few epochs.

    It reads copies of the parameters and draws nothing, so it changes nothing in training.
    """

    def __init__(self, every: int) -> None:
        """
        Args:
            every: epochs between measurements; 0 for a single one before the first step.
        """
        self.every = every

    def __call__(self, seen: Seen, epoch: int, data: TileData) -> list[list[Mapping[str, SignalCell]]]:
        """Rows of layers.csv for each run; empty in an epoch without a measurement, and for a network that can't be probed."""
        if epoch and (self.every == 0 or epoch % self.every):
            return []
        program, seeds = seen.program, seen.seed_of_run
        if not is_probed(program.layers):
            return []
        rows = probe_rows(data.train.num_rows).to(data.train.x.device)
        x, y = data.train.x[:, rows][seeds], data.train.y[:, rows][seeds].movedim(1, -1)
        probe = Probe(x, y, program.loss, program.loss_values)
        lr_R = None
        if all(_is_plain_sgd(run.settings) for run in seen.runs):
            lr_R = torch.tensor([run.settings.lr for run in seen.runs], dtype=torch.float64)
        found_of_runs = signals(program.layers, seen.parameters, probe, lr_R=lr_R)
        found: list[list[Mapping[str, SignalCell]]] = []
        for position, run in enumerate(seen.runs):
            predicted = None
            if epoch == 0:
                predicted = predicted_second_moments(
                    program.layers, run.settings.init, data.train.x[seeds[position], rows]
                )
            found.append([{"epoch": epoch} | row for row in found_of_runs.rows(position, predicted)])
        return found


def _is_plain_sgd(settings: RunSettings) -> bool:
    """True if the next update is the learning rate times the gradient, and nothing else."""
    is_sgd = settings.optimizer.name == "sgd" and not settings.optimizer.options
    return is_sgd and settings.clip_norm is None and settings.schedule.name == "none" and settings.warmup == 0
