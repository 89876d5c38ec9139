"""The training of an experiment's runs: the part of a study that needs torch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch

from nnlab.catalog.custom import is_custom
from nnlab.catalog.rate_tables import lr_table
from nnlab.data.dataset import Dataset
from nnlab.diagnostics.sharpness import largest_curvature
from nnlab.diagnostics.signals.probing import LayerProbe
from nnlab.engine import looped
from nnlab.engine.choice import Choice, choice_of
from nnlab.engine.device import core_count, device_named, single_core
from nnlab.engine.executors import Machine, execute
from nnlab.engine.fit import fit
from nnlab.engine.hooks import FitOptions, Hooks
from nnlab.engine.looped import plain_loss, starting_model
from nnlab.engine.plan import Tile, by_arm, tiles_of
from nnlab.engine.program import Program, program_of
from nnlab.engine.sources import Sources
from nnlab.engine.starting import starting_weights
from nnlab.networks.layers import is_random
from nnlab.settings import ExperimentSettings, RunSettings
from nnlab.settings.run_records import Run

TORCH_VERSION: Final = str(torch.__version__)

_TRIAL_STEPS = (2, 12)  # of two trials, which evaluate equally often: their times differ by the steps alone
_LIBRARIES_MIB = 350.0  # of a process that has loaded PyTorch and the other libraries


def machine_for(settings: ExperimentSettings) -> Machine:
    """The machine that the settings ask for.

    Raises:
        UsageError: a device that this machine doesn't have.
    """
    device = device_named(settings.device, settings.dtype)
    threads = settings.threads or (core_count() if device.type == "cpu" else 1)
    return Machine(device, threads, settings.deterministic)


class Training:
    """Runs to be trained, the machine, and the data, which are loaded and divided once.

    Attributes:
        choices: the engines that were chosen by trying; known once `rehearse` was called.
        halved: the sizes of the groups of runs that took too much memory and were trained in halves; known after training.
    """

    def __init__(
        self, runs: Sequence[Run], settings: ExperimentSettings, dataset: Dataset, *, probes: int | None = None
    ) -> None:
        """
        Args:
            runs: the runs to train.
            settings: those of their experiment.
            dataset: the data that they learn from.
            probes: epochs between probes of the layers; 0 for a probe before the first step only, None for none.

        Raises:
            UsageError: a device that this machine doesn't have.
        """
        self.runs, self.machine, self.sources = runs, machine_for(settings), Sources(dataset)
        self.choices: tuple[Choice, ...] = ()
        self.halved: Sequence[int] = ()
        self.watch = None if probes is None else LayerProbe(probes)

    @property
    def num_tiles(self) -> int:
        """The number of groups in which the runs are trained."""
        return len(tiles_of(self.runs, self.sources.shape, threads=self.machine.threads))

    @property
    def epochs(self) -> int:
        """The epochs of the longest run."""
        return max(self._program(run).epochs for run in self._kinds())

    def _kinds(self) -> Sequence[Run]:
        """One run of each kind: runs of a kind differ only in the seed and the learning rate."""
        arms = by_arm(self.runs)
        return tuple({settings.model_copy(update={"lr": 1.0}): runs[-1] for settings, runs in arms}.values())

    def _program(self, run: Run) -> Program:
        return program_of(run, self.sources.shape(run))

    def rehearse(self) -> None:
        """Take one step of each kind of run, so that settings that can't be trained are rejected before anything is written.

        Some ingredients find out only when they are called that a value is impossible: a quantile of 0, a learning rate that is
        negative in the fifth epoch, a person's own function.

        Raises:
            UsageError: from the ingredient.
            DataError: data that some seed can't divide.
        """
        for run in self.runs:
            self.sources.parts(run.settings, run.seed)
        self._choose_engines()
        kinds = self._kinds()
        for run in kinds:
            self._check_schedule(run)
        steps = [replace(run, settings=run.settings.model_copy(update={"steps": 1})) for run in kinds]
        # In this process, so that every worker forked from it finds the libraries loaded and warm.
        execute(steps, self.sources, replace(self.machine, threads=1), Hooks())

    def _choose_engines(self) -> None:
        """Replace `auto` by an engine, and reject an engine that can't train its runs."""
        tried: dict[object, Choice] = {}
        settled: list[Run] = []
        for settings, runs in by_arm(self.runs):
            if settings.engine in ("native", "loop"):
                settled += runs
                continue
            own_rule = settings.optimizer.name if is_custom(settings.optimizer.name) else ""
            asked = settings.engine, settings.dtype, own_rule, settings.model, settings.activation
            with_engine: dict[str, RunSettings] = {}  # one settings object for all seeds of an arm: see by_arm
            for run in runs:
                key = *asked, self.sources.shape(run)
                if key not in tried:
                    tried[key] = self._choice(run)
                engine = tried[key].engine
                if engine not in with_engine:
                    with_engine[engine] = settings.model_copy(update={"engine": engine})
                settled.append(replace(run, settings=with_engine[engine]))
        self.runs = settled
        self.choices = tuple(dict.fromkeys(choice for choice in tried.values() if choice.reason))

    def _choice(self, run: Run) -> Choice:
        """The engine for the run's program, found by trying it at the starts of two seeds."""
        program = self._program(run)
        x = torch.from_numpy(self.sources.parts(run.settings, run.seed).train.x)
        starts = [starting_weights(program, replace(run, seed=seed), x) for seed in (run.seed, run.seed + 1)]
        with single_core():
            return choice_of(program, starts, x)

    def _check_schedule(self, run: Run) -> None:
        """Make the whole table of learning rates: one step can't show an error in a later epoch."""
        program = self._program(run)
        if not program.listens:
            length = {"epochs": program.epochs, "steps": program.steps, "steps_per_epoch": program.steps_per_epoch}
            lr_table(run.settings.schedule, lr=run.settings.lr, **length)

    def carry_out(self, hooks: Hooks) -> None:
        """Train the runs, probing their layers if asked to; `hooks` are called as runs finish."""
        self.halved = execute(self.runs, self.sources, self.machine, replace(hooks, watch=self.watch))


@dataclass(frozen=True)
class Estimate:
    """The cost of an experiment.

    Attributes:
        seconds: of computing, without start-up.
        memory_mib: at the peak, libraries included.
        num_tiles: groups in which the runs are trained.
    """

    seconds: float
    memory_mib: float
    num_tiles: int


def estimate(training: Training) -> Estimate:
    """The time and memory that the runs will take, from a few steps of one tile of each program.

    The training is rehearsed first, so that loading the libraries is not counted as work.
    """
    training.rehearse()
    machine, sources = training.machine, training.sources
    tiles = tiles_of(training.runs, sources.shape, threads=machine.threads)
    costs: dict[Program, float] = {}
    seconds, elements = 0.0, 0
    for tile in tiles:
        program = tile.program
        if program not in costs:
            costs[program] = _seconds_a_run(tile, sources, machine)
        seconds += costs[program] * len(tile.runs)
        # Twice the numbers of a step: room for the optimizer's state and for evaluation.
        elements = max(elements, 2 * program.elements * len(tile.runs))
    in_use = machine.threads * elements * 8 / 2**20
    return Estimate(seconds / min(machine.threads, len(tiles)), _LIBRARIES_MIB + in_use, len(tiles))


def _seconds_a_run(tile: Tile, sources: Sources, machine: Machine) -> float:
    """Seconds of one thread for a run of the tile, from two short trials of different length: they separate steps from evaluations."""
    program = tile.program
    # The loop trains its runs one by one, so one of them is enough.
    train, runs = (looped.fit, tile.runs[:1]) if program.engine == "loop" else (fit, tile.runs)
    data = sources.tile_data(Tile(program, runs), machine.device)
    took = []
    for steps in _TRIAL_STEPS:
        short = replace(program, asked_steps=min(steps, program.steps_per_epoch))
        start = time.perf_counter()
        with single_core():
            train(Tile(short, runs), data, FitOptions(machine.device))
        took.append(time.perf_counter() - start)
    extra = max(min(_TRIAL_STEPS[1], program.steps_per_epoch) - min(_TRIAL_STEPS[0], program.steps_per_epoch), 1)
    a_step = max(took[1] - took[0], 0.0) / extra
    an_evaluation = max(took[0] - _TRIAL_STEPS[0] * a_step, 0.0) / 2  # a trial evaluates before its steps and after
    return (program.steps * a_step + (program.epochs + 1) * an_evaluation) / len(runs)


def starting_sharpness(run: Run, dataset: Dataset) -> float | None:
    """The largest curvature of the run's training loss before its first step, in float64 on the CPU.

    None if the loss does not depend on the weights alone (dropout, batch norm).
    """
    double = run.settings.model_copy(update={"dtype": "float64", "engine": "loop"})
    run = replace(run, settings=double)
    sources = Sources(dataset)
    program = program_of(run, sources.shape(run))
    if is_random(program.layers):
        return None
    part = sources.tile_data(Tile(program, (run,)), torch.device("cpu")).train
    model, loss = starting_model(program, run, part.x[0]), plain_loss(program)
    with single_core():
        return largest_curvature(lambda: loss(model(part.x[0]), part.y[0]), list(model.parameters()))
