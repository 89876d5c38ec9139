"""The evaluation of a network on a whole part of the data: its mean loss and its metrics.

Shapes: R runs, C scores, N rows of the part, W rows evaluated at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nnlab.catalog.losses import constant_loss
from nnlab.catalog.metrics import measure
from nnlab.engine.arrays import padded_zeros, wide_dtype
from nnlab.engine.population import Population
from nnlab.engine.program import Program
from nnlab.engine.rows import Batches, PartArrays, TargetUnit
from nnlab.networks.layers import walk

_WIDTHS = (
    96,
    480,
)  # least and most rows at a time: multiples of 32, so that whole vectors fill every array without a gap
# Of a tile's elements, the share for the widest layer's outputs at a time: few calls, and they fit the cache (measured).
_SHARE_OF_A_TILE = 5 / 6


class Evaluation:
    """A part of the data, laid out to be evaluated by every run of a tile."""

    def __init__(self, program: Program, part: PartArrays, unit: TargetUnit | None, *, with_metrics: bool) -> None:
        self.program = program
        self.batches = Batches(part, _width(program), whole=True)
        self.unit = unit
        self.with_metrics = with_metrics

    def __call__(self, population: Population) -> dict[str, Tensor]:
        """`loss` and, if asked for, the task's metrics; each [R], float64 if the device has it."""
        loss: Tensor | None = None
        scores_RCN: Tensor | None = None
        at = 0
        for index in range(self.batches.num_batches):
            batch = self.batches.batch(index)
            out = population.scores(batch, training=False)
            part = population.losses_of(out, batch).sum(1).to(wide_dtype(out.device))
            loss = part if loss is None else loss + part
            if self.with_metrics:
                scores_RCN = self._room_for_scores(out) if scores_RCN is None else scores_RCN
                scores_RCN[:, :, at : at + batch.width] = out
                at += batch.width
        assert loss is not None
        found = {"loss": loss}
        return found if scores_RCN is None else found | self._metrics(population, scores_RCN)

    def _room_for_scores(self, out: Tensor) -> Tensor:
        """An array for the scores of all rows [R, C, N]; padded, so that a sigmoid cuts every run's into the same vectors and tail."""
        return padded_zeros(
            *out.shape[:2],
            self.batches.part.num_rows,
            dtype=torch.promote_types(out.dtype, torch.float32),
            device=out.device,
        )

    def _metrics(self, population: Population, all_scores: Tensor) -> dict[str, Tensor]:
        y = self.batches.part.y.movedim(1, -1)
        # Indexing keeps the strides that the view of one seed has, and with them the order of sums; index_select would not.
        y = y if y.shape[0] == 1 else y[population.seed_of_run]
        program = self.program
        if self.unit is None:
            return measure(all_scores, y, task=program.shape.task, link=program.link)
        mean, scale = self.unit.mean[population.seed_of_run], self.unit.scale[population.seed_of_run]
        return measure(all_scores, y, task=program.shape.task, link=program.link, target_mean=mean, target_scale=scale)


def _width(program: Program) -> int:
    """Rows evaluated at a time. It depends on the program alone, since it decides the order in which a loss's terms are added."""
    widest = max((layer.units for _, layer in walk(program.layers)), default=1) or 1
    width = int(_SHARE_OF_A_TILE * program.elements / widest) // 32 * 32
    return min(max(width, _WIDTHS[0]), _WIDTHS[1])


def best_constant_loss(program: Program, y: Tensor) -> float:
    """The loss of the best constant predictor on these targets [N], or [N, D]: the loss that learning must beat."""
    with torch.enable_grad():  # for losses without a closed form, the best constant is searched for by descent
        return constant_loss(program.loss, y.movedim(0, -1), program.num_scores, program.loss_values)
