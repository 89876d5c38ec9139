"""The training loop: every run of a tile, epoch by epoch, from initial weights to records.

Nothing in the loop over steps waits for the device or looks at a number; what the runs did is fetched once an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nnlab.core.rng import stream
from nnlab.engine.evaluate import Evaluation, TargetUnit, best_constant
from nnlab.engine.outcomes import Fitted, Outcome, note, record_of
from nnlab.engine.plan import Program, Tile
from nnlab.engine.population import Population
from nnlab.engine.rates import Rates
from nnlab.engine.rows import PartArrays, Rows
from nnlab.engine.starting import starting_weights
from nnlab.settings.run_records import Run, RunRecord


@dataclass(frozen=True)
class TileData:
    """The parts of a tile's data on its device, a row for each seed in the tile's order."""

    train: PartArrays
    val: PartArrays | None
    test: PartArrays | None
    unit: TargetUnit | None


@dataclass(frozen=True)
class Seen:
    """What a probe is shown of runs in training, by any engine.

    Attributes:
        runs: living ones.
        seed_of_run: the place of each run's seed among the tile's, [R].
        parameters: by name, [R, *shape]; to be read and not written.
    """

    program: Program
    runs: Sequence[Run]
    seed_of_run: Tensor
    parameters: Mapping[str, Tensor]


# What a probe tells of each of the runs at an epoch's end: rows of layers.csv, in their order; nothing where it doesn't look.
Watch = Callable[[Seen, int, TileData], Sequence[Sequence[Mapping[str, str | int | float | None]]]]


class Stopped(Exception):  # noqa: N818
    """The tile was told to stop before its end: nothing of it is recorded."""


@dataclass(frozen=True)
class FitOptions:
    """How a tile is gone through.

    Attributes:
        device: where.
        is_stopped: asked before every step whether to give up.
        keep_weights: finished runs carry their parameters.
        watch: a probe, called at the end of each epoch and before the first; gives rows, or none when it does not look.
        on_epoch: told how many runs have just ended an epoch.
    """

    device: torch.device
    is_stopped: Callable[[], bool] = lambda: False
    keep_weights: bool = False
    watch: Watch | None = None
    on_epoch: Callable[[int], None] | None = None


def fit(tile: Tile, data: TileData, options: FitOptions) -> list[Fitted]:
    """Train every run of the tile, together.

    Args:
        tile: the runs, all of one program.
        data: the parts, a row for each seed.
        options: how.

    Returns:
        A finished run for each of the tile's, in its order.

    Raises:
        Stopped: `options.is_stopped` said so.
    """
    with torch.no_grad():
        return _Fit(tile, data, options).run_all()


class _Fit:
    def __init__(self, tile: Tile, data: TileData, options: FitOptions) -> None:
        self.program: Program = tile.program
        self.data, self.options = data, options
        self.population = Population(tile.program, tile.runs, _starts(tile, data), options.device)
        self.outcomes = [Outcome(run) for run in tile.runs]
        self.batches = Rows(data.train, tile.program.batch_size, whole=False)
        self.on_train = Evaluation(self.program, data.train, data.unit, with_metrics=False)
        self.on_val: Evaluation | None = None
        if data.val is not None:
            self.on_val = Evaluation(self.program, data.val, data.unit, with_metrics=True)
        self.orders = {seed: stream(seed, "order") for seed in tile.seeds}
        self.rates = Rates(self.program, tile.runs)
        self.best: dict[str, Tensor] = {}

    def run_all(self) -> list[Fitted]:
        self._end_epoch(0, None)
        for epoch in range(1, self.program.epochs + 1):
            if not self.population.rows:
                break
            num_living = len(self.population.rows)
            self._end_epoch(epoch, self._epoch(epoch))
            if self.options.on_epoch is not None:
                self.options.on_epoch(num_living)
        if self.population.rows:
            self._finish(list(range(len(self.population.rows))))
        constants = [best_constant(self.program, y) for y in self.data.train.y]
        seeds = list(self.orders)
        for outcome in self.outcomes:
            outcome.scores["constant_loss"] = constants[seeds.index(outcome.run.seed)]
        return [Fitted(self._record(outcome), outcome.weights) for outcome in self.outcomes]

    def _epoch(self, epoch: int) -> Tensor:
        """One pass over the training part; the batch losses [steps, R], fetched once."""
        if self.program.shuffles:
            num_rows = self.program.shape.num_train
            drawn = [torch.randperm(num_rows, generator=generator) for generator in self.orders.values()]
            self.batches.arrange(torch.stack(drawn).to(self.options.device))
        first = (epoch - 1) * self.program.steps_per_epoch
        num_steps = min(self.program.steps_per_epoch, self.program.steps - first)
        lr_TR = self.rates.of_steps(first, num_steps, self.population.rows).to(
            self.options.device, self.population.dtype
        )
        momenta_TR = self.rates.momenta_of_steps(first, num_steps, self.population.rows)
        losses = []
        for index in range(num_steps):
            if self.options.is_stopped():
                raise Stopped
            batch = self.batches.batch(index)
            if momenta_TR is not None:
                self.population.updates.set_momentum(momenta_TR[index])
            losses.append(self.population.train(batch, lr_TR[index]))
        return torch.stack(losses)

    def _measured(self) -> dict[str, list[float]]:
        """Losses on training and validation, and the validation metrics, one number a run."""
        with self.population.showing(self.population.result()):
            found = {"train_loss": self.on_train(self.population)["loss"]}
            if self.on_val is not None:
                found |= {f"val_{name}": value for name, value in self.on_val(self.population).items()}
        return {name: value.tolist() for name, value in found.items()}

    def _end_epoch(self, epoch: int, batch_losses: Tensor | None) -> None:
        """Note a row of the curves for each run, and let go those that have diverged or stalled."""
        columns = self._measured()
        judged = columns.get("val_loss", columns["train_loss"])
        finite = _finite(self.population).tolist()
        losses_RT = [[] for _ in self.population.rows] if batch_losses is None else batch_losses.T.tolist()
        outcomes = [self.outcomes[index] for index in self.population.rows]
        living = note(outcomes, epoch, losses_RT, columns, finite)
        indices = [self.population.rows[place] for place in living]
        self.rates.listen(indices, [judged[place] for place in living], epoch)
        self._note_rates(indices)
        stopped: list[int] = []
        patience = self.program.settings.early_stop
        if patience is not None:
            self._remember_best([place for place in living if outcomes[place].is_best_now])
            stopped = [place for place in living if outcomes[place].has_stalled(patience)]
            living = sorted(set(living) - set(stopped))
        self._watch(epoch)
        if stopped:
            self._finish(stopped)
        if len(living) < len(self.population.rows):
            self._keep(living)

    def _note_rates(self, indices: list[int]) -> None:
        """Each run's rate at its next step, into its curves."""
        if indices:
            steps = self.outcomes[indices[0]].steps  # all have taken as many
            for index, lr in zip(indices, self.rates.next_rates(indices, steps), strict=True):
                self.outcomes[index].curves["lr"].append(lr)

    def _watch(self, epoch: int) -> None:
        """Let the probe look; before the first step also at runs whose loss is not even finite."""
        if self.options.watch is None:
            return
        population = self.population
        seen = Seen(self.program, population.runs, population.seed_of_run, population.weights.parameters)
        for index, rows in zip(population.rows, self.options.watch(seen, epoch, self.data), strict=False):
            if epoch == 0 or self.outcomes[index].status != "diverged":
                self.outcomes[index].layers += rows

    def _keep(self, living: list[int]) -> None:
        self.population.keep(living)
        self.best = {name: values[living] for name, values in self.best.items()}

    def _remember_best(self, positions: list[int]) -> None:
        """Keep the parameters that these runs have now: those of their best epoch so far."""
        now = self.population.result()
        if not self.best:
            self.best = {name: values.clone() for name, values in now.items()}
        for name, values in now.items():
            self.best[name][positions] = values[positions]

    def _finish(self, positions: list[int]) -> None:
        """The test part and the parameters of runs that are over; with early stopping, those of their best epoch."""
        final = self.best or self.population.result()
        with self.population.showing(final):
            tested: Mapping[str, Tensor] = {}
            if self.data.test is not None:
                on_test = Evaluation(self.program, self.data.test, self.data.unit, with_metrics=True)
                tested = on_test(self.population)
        columns = {f"test_{name}": values.tolist() for name, values in tested.items()}
        for position in positions:
            outcome = self.outcomes[self.population.rows[position]]
            outcome.scores |= {name: values[position] for name, values in columns.items()}
            if self.options.keep_weights:
                outcome.weights = {name: values[position].cpu().clone() for name, values in final.items()}

    def _record(self, outcome: Outcome) -> RunRecord:
        return record_of(outcome, self.program, engine=self.program.settings.engine)


def _starts(tile: Tile, data: TileData) -> list[dict[str, Tensor]]:
    """Each run's starting weights; runs of one seed and one init start alike, drawn once."""
    drawn: dict[tuple[int, str], dict[str, Tensor]] = {}
    for run in tile.runs:
        key = (run.seed, str(run.settings.init))
        if key not in drawn:
            drawn[key] = starting_weights(tile.program, run, data.train.x[tile.seeds.index(run.seed)])
    return [drawn[run.seed, str(run.settings.init)] for run in tile.runs]


def _finite(population: Population) -> Tensor:
    """Whether all parameters of each run are finite [R]; a sum is finite only where all its terms are."""
    sums = [p.sum(tuple(range(1, p.ndim))) if p.ndim > 1 else p for p in population.weights.parameters.values()]
    return torch.stack(sums).sum(0).isfinite()
