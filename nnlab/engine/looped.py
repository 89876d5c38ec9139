"""The plain loop: one run at a time, with an nn.Module, torch.optim and autograd. The oracle of the batched engine.

It takes the same starting weights, the same order of the rows and the same dropout masks. It shares no arithmetic with the batched
engine: layers, losses, optimizers and schedulers are PyTorch's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nnlab.catalog.averages import averaging_decay
from nnlab.catalog.custom import blame, is_custom
from nnlab.catalog.metrics import measure
from nnlab.catalog.optimizers import optimizer_named, optimizer_values
from nnlab.core.rng import stream, stream_seed
from nnlab.core.spelling import mention
from nnlab.engine.evaluate import best_constant_loss
from nnlab.engine.hooks import FitOptions, Seen, Stopped, Watch
from nnlab.engine.modules import OwnDraws, draws_globally, load_tensors, module_of, tensors_of
from nnlab.engine.outcomes import Fitted, Outcome, note_epoch, record_of
from nnlab.engine.plan import Tile
from nnlab.engine.precision import scores_of, storage_dtype
from nnlab.engine.program import Program
from nnlab.engine.rates import StepRates
from nnlab.engine.rows import PartArrays, TileData
from nnlab.engine.starting import starting_weights
from nnlab.settings.run_records import Run


def plain_loss(program: Program, *, reduction: str = "mean") -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of scores [B, C] and targets [B], or [B, C] in reconstruction.

    PyTorch's own class if it has one, else the catalogue's function.
    """
    entry, values = program.loss, program.loss_values
    if entry.torch_class is None:

        def rows(scores: Tensor, y: Tensor) -> Tensor:
            return entry.function(scores.T, y.movedim(0, -1), **values)

        return rows if reduction == "none" else lambda scores, y: rows(scores, y).mean()
    module = getattr(nn, entry.torch_class)(reduction=reduction, **values)
    if entry.outputs[program.shape.task] == "features":
        return module  # type: ignore[no-any-return]
    if program.num_scores == 1:
        return lambda scores, y: module(scores[:, 0], y)
    if entry.is_distance:
        return lambda scores, y: module(scores, nn.functional.one_hot(y, program.num_scores).to(scores))
    return module  # type: ignore[no-any-return]


def starting_model(program: Program, run: Run, x_ND: Tensor) -> nn.Module:
    """The network of a run before its first step, on the CPU, in the run's dtype.

    Args:
        program: the network.
        run: its seed and init.
        x_ND: the training part's inputs, for an init that measures them.
    """
    model = module_of(program.layers, stream(run.seed, "dropout")).to(storage_dtype(program.dtype))
    load_tensors(model, starting_weights(program, run, x_ND))
    return model


class Loop:
    """One run, trained as a training script would."""

    def __init__(self, program: Program, run: Run, data: TileData, seed_index: int, device: torch.device) -> None:
        self.program, self.run, self.data, self.index, self.device = program, run, data, seed_index, device
        self.model = starting_model(program, run, data.train.x[seed_index]).to(device)
        settings = run.settings
        self.own_draws = OwnDraws(stream_seed(run.seed, "forward"), device) if draws_globally(program.layers) else None
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        values = optimizer_values(settings.optimizer)
        self.optimizer = optimizer_named(settings.optimizer).reference_optimizer(trained, lr=settings.lr, values=values)
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)
        self.loss = plain_loss(program)
        self.row_loss = plain_loss(program, reduction="none")
        self.order = stream(run.seed, "order")
        self.rates = StepRates(program, (run,))
        self.averaged: AveragedModel | None = None
        if settings.average is not None:
            decay = averaging_decay(settings.average)
            self.averaged = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
        self.best: dict[str, Tensor] = {}

    @property
    def result(self) -> nn.Module:
        """The network to be evaluated: averaged if that was asked for."""
        return self.model if self.averaged is None else self.averaged.module

    def remember_best(self) -> None:
        """Copy the tensors of the present epoch, the best so far."""
        self.best = {name: value.detach().clone() for name, value in tensors_of(self.result).items()}

    def scores(self, x: Tensor, model: nn.Module | None = None) -> Tensor:
        """The network's scores for rows, [B, C]."""
        with nullcontext() if self.own_draws is None else self.own_draws():
            return scores_of(model or self.model, x, self.program.dtype)

    def mean_loss(self, part: PartArrays, rows: Tensor | slice, model: nn.Module | None = None) -> Tensor:
        """The mean loss of these rows of a part."""
        scores, y = self.scores(part.x[self.index][rows], model), part.y[self.index][rows]
        if part.row_weights is None:
            return self.loss(scores, y)
        weights = part.row_weights[self.index][rows]
        each = self.row_loss(scores, y).reshape(len(y), -1).mean(1)
        return (each * weights).sum() / weights.sum()

    def train_epoch(self, epoch: int) -> list[float]:
        """Pass once over the training part; return the loss of each batch."""
        num_rows, size = self.program.shape.num_train, self.program.batch_size
        order = torch.arange(num_rows)
        if self.program.shuffles:
            order = torch.randperm(num_rows, generator=self.order)
        first = (epoch - 1) * self.program.steps_per_epoch
        num_steps = min(self.program.steps_per_epoch, self.program.steps - first)
        rates = self.rates.of_steps(first, num_steps, [0])[:, 0].tolist()
        momenta_TR = self.rates.momenta_of_steps(first, num_steps, [0])
        momenta = [None] * num_steps if momenta_TR is None else momenta_TR[:, 0].tolist()
        batches = torch.split(order.to(self.device), size)
        return [self.step(*each) for each in zip(batches, rates, momenta, strict=False)]

    def step(self, rows: Tensor, rate: float, momentum: float | None) -> float:
        """Take one step on these rows; return the loss before it."""
        largest = torch.finfo(storage_dtype(self.program.dtype)).max
        for group in self.optimizer.param_groups:
            group["lr"] = rate if rate <= largest else math.inf  # torch rejects a number that the dtype can't hold
            if momentum is not None and "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            elif momentum is not None:
                group["momentum"] = momentum
        # A step activation cuts autograd's graph. The gradients before it are then zero and not None: PyTorch's optimizers skip a
        # parameter whose gradient is None, momentum and weight decay included.
        self.optimizer.zero_grad(set_to_none=False)
        loss = self.mean_loss(self.data.train, rows)
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        if self.run.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.run.settings.clip_norm)
        rule = self.run.settings.optimizer.name
        with blame(rule, f"{mention('optimizer', rule)}, at a step") if is_custom(rule) else nullcontext():
            self.optimizer.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        return loss.item()

    def evaluate(self, part: PartArrays, *, with_metrics: bool) -> dict[str, float]:
        """`loss` and, if asked for, the task's metrics on a whole part, in evaluation mode."""
        self.result.eval()
        with torch.no_grad():
            found = {"loss": self.mean_loss(part, slice(None), self.result).item()}
            if with_metrics:
                found |= self._metrics(part)
        self.result.train()
        return found

    def _metrics(self, part: PartArrays) -> dict[str, float]:
        scores_RCN = self.scores(part.x[self.index], self.result).T[None]
        task, link, unit = self.program.shape.task, self.program.link, self.data.unit
        y = part.y[self.index].movedim(0, -1)[None]
        if unit is None:
            measured = measure(scores_RCN, y, task=task, link=link)
        else:
            mean, scale = unit.mean[self.index][None], unit.scale[self.index][None]
            measured = measure(scores_RCN, y, task=task, link=link, target_mean=mean, target_scale=scale)
        return {name: value.item() for name, value in measured.items()}

    def is_finite(self) -> bool:
        """True if all parameters are finite."""
        return all(bool(p.isfinite().all()) for p in self.model.parameters())


def fit(tile: Tile, data: TileData, options: FitOptions) -> list[Fitted]:
    """Train every run of the tile, one after another; the contract is that of `nnlab.engine.fit.fit`."""
    return [
        _fit_run(Loop(tile.program, run, data, tile.seeds.index(run.seed), options.device), options)
        for run in tile.runs
    ]


def _fit_run(loop: Loop, options: FitOptions) -> Fitted:
    outcome = Outcome(loop.run)
    living = _end_epoch(loop, outcome, 0, [])
    _watch(loop, outcome, 0, options.hooks.watch)
    for epoch in range(1, loop.program.epochs + 1):
        if options.is_stopped():
            raise Stopped
        if living and not outcome.has_stalled(loop.program.early_stop):
            living = _end_epoch(loop, outcome, epoch, loop.train_epoch(epoch))
            if living:
                _watch(loop, outcome, epoch, options.hooks.watch)
            options.hooks.on_epoch(1)
    if living and loop.best:
        load_tensors(loop.result, loop.best)
    if living and loop.data.test is not None:
        tested = loop.evaluate(loop.data.test, with_metrics=True)
        outcome.scores |= {f"test_{name}": value for name, value in tested.items()}
    outcome.scores["constant_loss"] = best_constant_loss(loop.program, loop.data.train.y[loop.index])
    if options.hooks.keep_weights:
        outcome.weights = {name: value.detach().cpu() for name, value in tensors_of(loop.result).items()}
    return Fitted(record_of(outcome, loop.program, engine="loop"), outcome.weights)


def _end_epoch(loop: Loop, outcome: Outcome, epoch: int, losses: list[float]) -> bool:
    """Append a row to the run's curves; return False if it has diverged."""
    row = {"train_loss": loop.evaluate(loop.data.train, with_metrics=False)["loss"]}
    if loop.data.val is not None:
        row |= {f"val_{name}": value for name, value in loop.evaluate(loop.data.val, with_metrics=True).items()}
    if not note_epoch([outcome], epoch, [losses], {name: [value] for name, value in row.items()}, [loop.is_finite()]):
        return False
    loop.rates.listen([0], [row.get("val_loss", row["train_loss"])], epoch)
    outcome.curves["lr"].extend(loop.rates.next_rates([0], outcome.steps))
    if outcome.is_best_now and loop.program.early_stop is not None:
        loop.remember_best()
    return True


def _watch(loop: Loop, outcome: Outcome, epoch: int, watch: Watch | None) -> None:
    """Let the probe look at the run."""
    if watch is None:
        return
    parameters = {name: value.detach()[None] for name, value in loop.model.named_parameters()}
    seen = Seen(loop.program, [loop.run], torch.tensor([loop.index], device=loop.device), parameters)
    for rows in watch(seen, epoch, loop.data):
        outcome.layers += rows
