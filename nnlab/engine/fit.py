"""The training loop: every run of a tile, epoch by epoch, from initial weights to records.

Nothing in the loop over steps waits for the device or looks at a number: results are fetched once an epoch. So a run whose loss
overflows goes on to the epoch's end, in its own block of every array, where it can't harm another run; then it is marked and leaves.

Shapes: T steps of an epoch, R runs still being trained.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nnlab.core.rng import stream
from nnlab.engine.evaluate import Evaluation, best_constant_loss
from nnlab.engine.hooks import FitOptions, Seen, Stopped
from nnlab.engine.outcomes import Fitted, Outcome, note_epoch, record_of
from nnlab.engine.plan import Tile
from nnlab.engine.population import Population
from nnlab.engine.program import Program
from nnlab.engine.rates import StepRates
from nnlab.engine.rows import Batches, TileData
from nnlab.engine.starting import starting_weights
from nnlab.settings.run_records import RunRecord


def fit(tile: Tile, data: TileData, options: FitOptions) -> list[Fitted]:
    """Train every run of the tile, together.

    Args:
        tile: the runs, all of one program.
        data: the parts, with an entry for each seed.
        options: how.

    Returns:
        A finished run for each of the tile's, in its order.

    Raises:
        Stopped: `options.is_stopped` said so.
    """
    with torch.no_grad():
        return _Fit(tile, data, options).finished_runs()


class _Fit:
    """A tile in training.

    `outcomes` has all of the tile's runs, in its order. The population has those still being trained: a *position* is a run's place
    among them, and `population.rows` gives its *index* among the tile's.
    """

    def __init__(self, tile: Tile, data: TileData, options: FitOptions) -> None:
        self.program: Program = tile.program
        self.data, self.options = data, options
        self.population = Population(tile.program, tile.runs, _starts(tile, data), options.device)
        self.outcomes = [Outcome(run) for run in tile.runs]
        self.batches = Batches(data.train, tile.program.batch_size, whole=False)
        self.on_train = Evaluation(self.program, data.train, data.unit, with_metrics=False)
        self.on_val: Evaluation | None = None
        if data.val is not None:
            self.on_val = Evaluation(self.program, data.val, data.unit, with_metrics=True)
        self.orders = {seed: stream(seed, "order") for seed in tile.seeds}
        self.rates = StepRates(self.program, tile.runs)
        self.best: dict[str, Tensor] = {}  # with early stopping, each run's tensors at its best epoch so far

    def finished_runs(self) -> list[Fitted]:
        """Train to the end: epoch 0 is the look before any step."""
        self._end_epoch(0, None)
        for epoch in range(1, self.program.epochs + 1):
            if not self.population.rows:
                break
            num_living = len(self.population.rows)
            self._end_epoch(epoch, self._train_epoch(epoch))
            self.options.hooks.on_epoch(num_living)
        if self.population.rows:
            self._finish(list(range(len(self.population.rows))))
        constants = [best_constant_loss(self.program, y) for y in self.data.train.y]
        seeds = list(self.orders)
        for outcome in self.outcomes:
            outcome.scores["constant_loss"] = constants[seeds.index(outcome.run.seed)]
        return [Fitted(self._record(outcome), outcome.weights) for outcome in self.outcomes]

    def _train_epoch(self, epoch: int) -> Tensor:
        """Pass once over the training part; return the batch losses [T, R], still on the device."""
        if self.program.shuffles:
            # A stream draws its order even if no run of its seed is left, so the draws of an epoch depend on its number alone.
            num_rows = self.program.shape.num_train
            drawn = [torch.randperm(num_rows, generator=generator) for generator in self.orders.values()]
            self.batches.arrange(torch.stack(drawn).to(self.options.device))
        first = (epoch - 1) * self.program.steps_per_epoch
        num_steps = min(self.program.steps_per_epoch, self.program.steps - first)
        # All rates of the epoch go to the device at once: a copy at each step would wait for it.
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

    def _measurements(self) -> dict[str, list[float]]:
        """Losses on training and validation, and the validation metrics: one number for each run."""
        with self.population.temporary_tensors(self.population.result()):
            found = {"train_loss": self.on_train(self.population)["loss"]}
            if self.on_val is not None:
                found |= {f"val_{name}": value for name, value in self.on_val(self.population).items()}
        return {name: value.tolist() for name, value in found.items()}

    def _end_epoch(self, epoch: int, batch_losses: Tensor | None) -> None:
        """Append a row to each run's curves; drop the runs that diverged or stalled."""
        columns = self._measurements()
        judged = columns.get("val_loss", columns["train_loss"])
        finite = _are_finite(self.population).tolist()
        losses_RT = [[] for _ in self.population.rows] if batch_losses is None else batch_losses.T.tolist()
        outcomes = [self.outcomes[index] for index in self.population.rows]
        living = note_epoch(outcomes, epoch, losses_RT, columns, finite)
        indices = [self.population.rows[position] for position in living]
        self.rates.listen(indices, [judged[position] for position in living], epoch)
        self._note_rates(indices)
        stalled: list[int] = []
        patience = self.program.early_stop
        if patience is not None:
            self._remember_best([position for position in living if outcomes[position].is_best_now])
            stalled = [position for position in living if outcomes[position].has_stalled(patience)]
            living = sorted(set(living) - set(stalled))
        # The probe looks, and stalled runs are tested, while all of these runs still have their places in the arrays.
        self._watch(epoch)
        if stalled:
            self._finish(stalled)
        if len(living) < len(self.population.rows):
            self._keep(living)

    def _note_rates(self, indices: list[int]) -> None:
        """Append the rate of each run's next step to its curves."""
        if indices:
            steps = self.outcomes[indices[0]].steps  # the same for all
            for index, lr in zip(indices, self.rates.next_rates(indices, steps), strict=True):
                self.outcomes[index].curves["lr"].append(lr)

    def _watch(self, epoch: int) -> None:
        """Let the probe look; before the first step also at runs whose loss is not finite."""
        if self.options.hooks.watch is None:
            return
        population = self.population
        seen = Seen(self.program, population.runs, population.seed_of_run, population.weights.parameters)
        for index, rows in zip(population.rows, self.options.hooks.watch(seen, epoch, self.data), strict=False):
            if epoch == 0 or self.outcomes[index].status != "diverged":
                self.outcomes[index].layers += rows

    def _keep(self, living: list[int]) -> None:
        """Go on with the runs at these positions only."""
        self.population.keep(living)
        self.best = {name: values[living] for name, values in self.best.items()}

    def _remember_best(self, positions: list[int]) -> None:
        """Copy the tensors of these runs, whose best epoch so far is the present one."""
        now = self.population.result()
        if not self.best:
            self.best = {name: values.clone() for name, values in now.items()}
        for name, values in now.items():
            self.best[name][positions] = values[positions]

    def _finish(self, positions: list[int]) -> None:
        """Evaluate the runs that are over on the test part, and keep their parameters: with early stopping, of their best epoch."""
        final = self.best or self.population.result()
        with self.population.temporary_tensors(final):
            tested: Mapping[str, Tensor] = {}
            if self.data.test is not None:
                on_test = Evaluation(self.program, self.data.test, self.data.unit, with_metrics=True)
                tested = on_test(self.population)
        columns = {f"test_{name}": values.tolist() for name, values in tested.items()}
        for position in positions:
            outcome = self.outcomes[self.population.rows[position]]
            outcome.scores |= {name: values[position] for name, values in columns.items()}
            if self.options.hooks.keep_weights:
                outcome.weights = {name: values[position].cpu().clone() for name, values in final.items()}

    def _record(self, outcome: Outcome) -> RunRecord:
        return record_of(outcome, self.program, engine=self.program.engine)


def _starts(tile: Tile, data: TileData) -> list[dict[str, Tensor]]:
    """Each run's starting weights; drawn once for runs of the same seed and init, which start alike."""
    drawn: dict[tuple[int, str], dict[str, Tensor]] = {}
    for run in tile.runs:
        key = (run.seed, str(run.settings.init))
        if key not in drawn:
            drawn[key] = starting_weights(tile.program, run, data.train.x[tile.seeds.index(run.seed)])
    return [drawn[run.seed, str(run.settings.init)] for run in tile.runs]


def _are_finite(population: Population) -> Tensor:
    """True for each run [R] whose parameters are all finite; a sum is finite only if all its terms are."""
    sums = [p.sum(tuple(range(1, p.ndim))) if p.ndim > 1 else p for p in population.weights.parameters.values()]
    return torch.stack(sums).sum(0).isfinite()
