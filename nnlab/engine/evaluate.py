"""What a network is worth on a whole part of the data: its mean loss and its metrics.

Shapes: R runs, C scores, N rows of the part, W rows evaluated at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nnlab.catalog.losses import constant_loss
from nnlab.catalog.metrics import measure
from nnlab.engine.arrays import padded, wide
from nnlab.engine.plan import Program
from nnlab.engine.population import Population
from nnlab.engine.rows import PartArrays, Rows

_WIDTHS = (400, 500)  # rows at a time, measured: few calls, and the activations still fit a cache


@dataclass(frozen=True)
class TargetUnit:
    """How targets were standardised, for each seed: y = scale * y_standardised + mean."""

    mean: Tensor
    scale: Tensor


class Evaluation:
    """A part of the data, ready to be looked at by every run of a tile."""

    def __init__(self, program: Program, part: PartArrays, unit: TargetUnit | None, *, with_metrics: bool) -> None:
        width = min(max(program.batch_size, _WIDTHS[0]), _WIDTHS[1])
        self.program = program
        self.rows = Rows(part, width, whole=True)
        self.unit = unit
        self.with_metrics = with_metrics

    def __call__(self, population: Population) -> dict[str, Tensor]:
        """`loss` and, where asked for, the task's metrics; each [R], float64 where the device has it."""
        loss: Tensor | None = None
        scores: list[Tensor] = []
        for index in range(self.rows.num_batches):
            batch = self.rows.batch(index, population.seed_of_run)
            out = population.scores(batch, training=False)
            part = population.losses_of(out, batch).sum(1).to(wide(out.device))
            loss = part if loss is None else loss + part
            if self.with_metrics:
                scores.append(out.clone())
        assert loss is not None
        found = {"loss": loss}
        return found | self._metrics(population, scores) if self.with_metrics else found

    def _metrics(self, population: Population, scores: list[Tensor]) -> dict[str, Tensor]:
        y = self.rows.part.y
        y = y if y.shape[0] == 1 else y[population.seed_of_run]
        rows = torch.cat(scores, 2)
        # Padded, so that a sigmoid cuts every run's rows into the same vectors and the same tail.
        all_scores = padded(*rows.shape, dtype=wide(rows.device), device=rows.device).copy_(rows)
        program = self.program
        if self.unit is None:
            return measure(all_scores, y, task=program.shape.task, link=program.link)
        mean, scale = self.unit.mean[population.seed_of_run], self.unit.scale[population.seed_of_run]
        return measure(all_scores, y, task=program.shape.task, link=program.link, target_mean=mean, target_scale=scale)


def best_constant(program: Program, y: Tensor) -> float:
    """The loss of the best constant predictor on these targets [N]: what learning must beat."""
    with torch.enable_grad():  # some losses have no closed form: the best constant is searched for by descent
        return constant_loss(program.loss, y, program.num_scores, program.loss_values)
