"""Runs carried out: the part of a study that needs torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from nnlab.catalog.custom import is_custom
from nnlab.catalog.rate_tables import lr_table
from nnlab.catalog.schedules import SCHEDULES
from nnlab.data.dataset import Dataset
from nnlab.diagnostics.sharpness import largest_curvature
from nnlab.diagnostics.signals.probing import LayerProbe
from nnlab.engine import looped
from nnlab.engine.choice import Choice, chosen
from nnlab.engine.device import core_count, device_named, single_threaded
from nnlab.engine.executors import Machine, execute
from nnlab.engine.fit import FitOptions, fit
from nnlab.engine.looped import plain_loss, starting_model
from nnlab.engine.outcomes import Fitted
from nnlab.engine.plan import Tile, program_of, tiles_of
from nnlab.engine.sources import Sources
from nnlab.engine.starting import starting_weights
from nnlab.networks.layers import is_random
from nnlab.settings import ExperimentSettings, RunSettings
from nnlab.settings.run_records import Run

_TRIAL_STEPS = (2, 12)


def machine_for(settings: ExperimentSettings) -> Machine:
    """Where the runs are computed.

    Raises:
        UsageError: a device that is not there.
    """
    device = device_named(settings.device, settings.dtype)
    threads = settings.threads or (core_count() if device.type == "cpu" else 1)
    return Machine(device, threads, settings.deterministic)


class Training:
    """Runs to be trained: where, and from what data, loaded and divided once.

    Attributes:
        choices: the engines that were chosen by trying, once it is rehearsed.
        halved: of each group that took more memory than there was, how many runs it had.
    """

    def __init__(
        self, runs: Sequence[Run], settings: ExperimentSettings, dataset: Dataset, *, probes: int | None = None
    ) -> None:
        """Choose the machine.

        Args:
            runs: what is to be trained.
            settings: of their experiment.
            dataset: what they learn from.
            probes: epochs between looks at the layers, 0 for one before the first step; None for none.

        Raises:
            UsageError: a device that is not there.
        """
        self.runs, self.machine, self.sources = runs, machine_for(settings), Sources(dataset)
        self.choices: tuple[Choice, ...] = ()
        self.halved: list[int] = []
        self.watch = None if probes is None else LayerProbe(probes)

    @property
    def num_tiles(self) -> int:
        """The runs are trained in so many groups."""
        return len(tiles_of(self.runs, self.sources.shape, threads=self.machine.threads))

    @property
    def epochs(self) -> int:
        """Epochs that the longest of the runs begins."""
        return max(program_of(run, self.sources.shape(run)).epochs for run in self._kinds())

    def _kinds(self) -> Sequence[Run]:
        """A run of each kind: all that differ in more than the seed and the rate."""
        arms = {id(run.settings): run for run in self.runs}.values()  # runs of one arm share their settings
        return tuple({run.settings.model_copy(update={"lr": 1.0}): run for run in arms}.values())

    def rehearse(self) -> None:
        """Take one step of each kind of run, so that what can't be trained is refused before anything is written.

        Some ingredients know only at their first call that their keys can't be: a quantile of 0, a rate that is
        negative in the fifth epoch, a person's own function.

        Raises:
            UsageError: as the ingredient says it.
            DataError: data that some seed can't divide.
        """
        for run in self.runs:
            self.sources.parts(run.settings, run.seed)
        self._choose_engines()
        kinds = self._kinds()
        for run in kinds:
            self._schedule(run)
        steps = [replace(run, settings=run.settings.model_copy(update={"steps": 1})) for run in kinds]
        # In this process: what a step loads and warms up is then there for every worker that is forked from it.
        execute(steps, self.sources, replace(self.machine, threads=1), on_finished=lambda _: None)

    def _choose_engines(self) -> None:
        """Put an engine in the place of `auto`, and refuse one that can't do what was asked of it."""
        tried: dict[object, Choice] = {}
        settled: list[Run] = []
        # By settings and engine: runs of one arm go on sharing theirs.
        chosen_for: dict[tuple[int, str], RunSettings] = {}
        for run in self.runs:
            settings = run.settings
            if settings.engine in ("native", "loop"):
                settled.append(run)
                continue
            own_rule = settings.optimizer.name if is_custom(settings.optimizer.name) else ""
            asked = settings.engine, settings.dtype, own_rule
            key = *asked, settings.model, settings.activation, self.sources.shape(run)
            if key not in tried:
                tried[key] = self._choice(run)
            engine = tried[key].engine
            if (id(settings), engine) not in chosen_for:
                chosen_for[id(settings), engine] = settings.model_copy(update={"engine": engine})
            settled.append(replace(run, settings=chosen_for[id(settings), engine]))
        self.runs = settled
        self.choices = tuple(dict.fromkeys(choice for choice in tried.values() if choice.reason))

    def _choice(self, run: Run) -> Choice:
        program = program_of(run, self.sources.shape(run))
        x = torch.from_numpy(self.sources.parts(run.settings, run.seed).train.x)
        starts = [starting_weights(program, replace(run, seed=seed), x) for seed in (run.seed, run.seed + 1)]
        with single_threaded():
            return chosen(program, starts, x)

    def _schedule(self, run: Run) -> None:
        schedule, program = run.settings.schedule, program_of(run, self.sources.shape(run))
        if not SCHEDULES[schedule.name].listens:
            length = {"epochs": program.epochs, "steps": program.steps, "steps_per_epoch": program.steps_per_epoch}
            lr_table(schedule, lr=run.settings.lr, **length)

    def carry_out(
        self,
        *,
        on_finished: Callable[[Sequence[Fitted]], None],
        on_begun: Callable[[], None] = lambda: None,
        on_epoch: Callable[[int], None] = lambda _: None,
        keep_weights: bool = False,
    ) -> None:
        """Train the runs; finished ones are handed over as they come, in the calling thread.

        `on_begun` is called once the first are under way: what starts threads of its own starts them there.
        """
        execute(
            self.runs,
            self.sources,
            self.machine,
            on_finished=on_finished,
            on_begun=on_begun,
            on_epoch=on_epoch,
            keep_weights=keep_weights,
            watch=self.watch,
            on_halved=self.halved.append,
        )


@dataclass(frozen=True)
class Estimate:
    """What an experiment will cost.

    Attributes:
        seconds: of computing, without start-up.
        memory_mib: at the peak, the libraries included.
        num_tiles: runs are trained in so many groups.
    """

    seconds: float
    memory_mib: float
    num_tiles: int


def estimate(training: Training) -> Estimate:
    """Time and memory that the runs will take, from a few steps of one tile of each program.

    The training is rehearsed before, so that what is loaded once is not taken for work.
    """
    training.rehearse()
    machine, sources = training.machine, training.sources
    tiles = tiles_of(training.runs, sources.shape, threads=machine.threads)
    costs: dict[object, float] = {}
    seconds, elements = 0.0, 0
    for tile in tiles:
        if tile.program not in costs:
            costs[tile.program] = _seconds_a_run(tile, sources, machine)
        seconds += costs[tile.program] * len(tile.runs)
        elements = max(
            elements,
            len(tile.runs) * (4 * tile.program.num_weights + 4 * tile.program.num_units * tile.program.batch_size),
        )
    libraries_mib = 350.0
    in_use = machine.threads * elements * 8 / 2**20
    return Estimate(seconds / min(machine.threads, len(tiles)), libraries_mib + in_use, len(tiles))


def _seconds_a_run(tile: Tile, sources: Sources, machine: Machine) -> float:
    """Seconds of one thread that a run of the tile takes: steps and evaluations, told apart by two short trials."""
    program = tile.program
    # The loop takes its runs one by one, so one is enough to know them all.
    train, runs = (looped.fit, tile.runs[:1]) if program.settings.engine == "loop" else (fit, tile.runs)
    data = sources.tile_data(Tile(program, runs), machine.device)
    took = []
    for steps in _TRIAL_STEPS:
        short = program.settings.model_copy(update={"steps": min(steps, program.steps_per_epoch)})
        start = time.perf_counter()
        with single_threaded():
            train(Tile(replace(program, settings=short), runs), data, FitOptions(machine.device))
        took.append(time.perf_counter() - start)
    extra = max(min(_TRIAL_STEPS[1], program.steps_per_epoch) - min(_TRIAL_STEPS[0], program.steps_per_epoch), 1)
    a_step = max(took[1] - took[0], 0.0) / extra
    an_evaluation = max(took[0] - _TRIAL_STEPS[0] * a_step, 0.0) / 2
    return (program.steps * a_step + (program.epochs + 1) * an_evaluation) / len(runs)


def starting_sharpness(run: Run, dataset: Dataset) -> float | None:
    """The largest curvature of the run's training loss before its first step, in float64 on the CPU.

    None where it is no property of the weights alone (dropout, batch norm).
    """
    double = run.settings.model_copy(update={"dtype": "float64", "engine": "loop"})
    run = replace(run, settings=double)
    sources = Sources(dataset)
    program = program_of(run, sources.shape(run))
    if is_random(program.layers):
        return None
    part = sources.tile_data(Tile(program, (run,)), torch.device("cpu")).train
    model, loss = starting_model(program, run, part.x[0]), plain_loss(program)
    with single_threaded():
        return largest_curvature(lambda: loss(model(part.x[0]), part.y[0]), list(model.parameters()))


def versions() -> Mapping[str, str]:
    """The versions of what computed the numbers."""
    return {"torch": torch.__version__}
