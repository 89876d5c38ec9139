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
from nnlab.networks.layers import walk

_WIDTHS = (96, 480)  # rows at a time: multiples of 32, so that whole vectors fill every array without a gap
# Of a tile's elements, for the widest layer of what is evaluated at a time: few calls, and a cache holds it (measured).
_SHARE_OF_A_TILE = 5 / 6


@dataclass(frozen=True)
class TargetUnit:
    """How targets were standardised, for each seed: y = scale * y_standardised + mean."""

    mean: Tensor
    scale: Tensor


class Evaluation:
    """A part of the data, ready to be looked at by every run of a tile."""

    def __init__(self, program: Program, part: PartArrays, unit: TargetUnit | None, *, with_metrics: bool) -> None:
        self.program = program
        self.rows = Rows(part, _width(program), whole=True)
        self.unit = unit
        self.with_metrics = with_metrics

    def __call__(self, population: Population) -> dict[str, Tensor]:
        """`loss` and, where asked for, the task's metrics; each [R], float64 where the device has it."""
        loss: Tensor | None = None
        scores_RCN: Tensor | None = None
        at = 0
        for index in range(self.rows.num_batches):
            batch = self.rows.batch(index)
            out = population.scores(batch, training=False)
            part = population.losses_of(out, batch).sum(1).to(wide(out.device))
            loss = part if loss is None else loss + part
            if self.with_metrics:
                scores_RCN = self._room(out) if scores_RCN is None else scores_RCN
                scores_RCN[:, :, at : at + batch.width] = out
                at += batch.width
        assert loss is not None
        found = {"loss": loss}
        return found if scores_RCN is None else found | self._metrics(population, scores_RCN)

    def _room(self, out: Tensor) -> Tensor:
        """For the scores of all rows [R, C, N]; padded, so that a sigmoid cuts every run's into the same vectors and the same tail."""
        return padded(
            *out.shape[:2],
            self.rows.part.num_rows,
            dtype=torch.promote_types(out.dtype, torch.float32),
            device=out.device,
        )

    def _metrics(self, population: Population, all_scores: Tensor) -> dict[str, Tensor]:
        y = self.rows.part.y.movedim(1, -1)
        # Indexing keeps the strides that one seed's view has, and so the order of sums; index_select would not.
        y = y if y.shape[0] == 1 else y[population.seed_of_run]
        program = self.program
        if self.unit is None:
            return measure(all_scores, y, task=program.shape.task, link=program.link)
        mean, scale = self.unit.mean[population.seed_of_run], self.unit.scale[population.seed_of_run]
        return measure(all_scores, y, task=program.shape.task, link=program.link, target_mean=mean, target_scale=scale)


def _width(program: Program) -> int:
    """Rows evaluated at a time; a pure function of the program, since it decides how a loss's terms are added."""
    widest = max((layer.units for _, layer in walk(program.layers)), default=1) or 1
    width = int(_SHARE_OF_A_TILE * program.elements / widest) // 32 * 32
    return min(max(width, _WIDTHS[0]), _WIDTHS[1])


def best_constant(program: Program, y: Tensor) -> float:
    """The loss of the best constant predictor on these targets [N], or [N, D]: what learning must beat."""
    with torch.enable_grad():  # some losses have no closed form: the best constant is searched for by descent
        return constant_loss(program.loss, y.movedim(0, -1), program.num_scores, program.loss_values)
