"""A look at the layers of every run of a tile, while it is trained: what `compare-init` judges by."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nnlab.diagnostics.moments import predicted_second_moments
from nnlab.diagnostics.signals import Cell, Probe, probe_rows, signals
from nnlab.engine.fit import TileData
from nnlab.engine.population import Population


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

    def __call__(self, population: Population, epoch: int, data: TileData) -> list[list[Mapping[str, Cell]]]:
        """Rows of layers.csv for each living run; none in an epoch that is not looked at."""
        if epoch and (self.every == 0 or epoch % self.every):
            return []
        program = population.program
        rows = probe_rows(data.train.num_rows).to(data.train.x.device)
        seeds = population.seed_of_run
        probe = Probe(data.train.x[:, rows][seeds], data.train.y[:, rows][seeds], program.loss, program.loss_values)
        # Of plain SGD alone the next update is the rate times the gradient.
        is_plain = population.weights.fused and program.settings.schedule.name == "none"
        lr_R = torch.tensor([run.settings.lr for run in population.runs], dtype=torch.float64) if is_plain else None
        seen = signals(program.layers, population.weights.parameters, probe, lr_R=lr_R)
        found: list[list[Mapping[str, Cell]]] = []
        for position, run in enumerate(population.runs):
            predicted = None
            if epoch == 0:
                predicted = predicted_second_moments(
                    program.layers, run.settings.init, data.train.x[seeds[position], rows]
                )
            found.append([{"epoch": epoch} | row for row in seen.rows(position, predicted)])
        return found
