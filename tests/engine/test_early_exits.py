"""Trainings that end early: by a stop, for lack of memory, by an error in the code that takes the results."""

from __future__ import annotations

import multiprocessing
import threading

import pytest
import torch
from problems import CPU, SOURCES, runs_of, trained

from nnlab.engine import looped, plan
from nnlab.engine.executors import Machine, execute
from nnlab.engine.fit import fit
from nnlab.engine.hooks import FitOptions, Hooks, Stopped
from nnlab.engine.outcomes import Fitted
from nnlab.engine.plan import Tile, tiles_of
from nnlab.settings.run_records import Run

SMALL = {"data": "moons:samples=60", "model": "mlp:hidden=4", "epochs": 3}
# The first layer is small and the second beyond any address space: the allocator itself refuses.
TOO_LARGE = {**SMALL, "model": "mlp:hidden=1x10000000000000000"}


def tile_of(settings: dict[str, object]) -> Tile:
    (tile,) = tiles_of(runs_of(settings, lrs=[0.1, 0.2]), SOURCES.shape)
    return tile


@pytest.mark.parametrize("engine", [fit, looped.fit], ids=["native", "loop"])
def test_a_tile_told_to_stop_gives_up(engine):
    tile = tile_of(SMALL)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        engine(tile, SOURCES.tile_data(tile, CPU), FitOptions(CPU, is_stopped=stop.is_set))


@pytest.mark.parametrize("engine", [fit, looped.fit], ids=["native", "loop"])
def test_a_stop_in_the_middle_is_heard_before_the_next_epoch_ends(engine):
    tile = tile_of({**SMALL, "epochs": 1000})
    stop = threading.Event()
    heard: list[int] = []

    def after_three(num_runs: int) -> None:
        heard.append(num_runs)
        if len(heard) == 3:
            stop.set()

    with pytest.raises(Stopped):
        engine(tile, SOURCES.tile_data(tile, CPU), FitOptions(CPU, Hooks(on_epoch=after_three), stop.is_set))
    assert len(heard) == 3


@pytest.mark.parametrize("engine", ["native", "loop"])
@pytest.mark.parametrize("threads", [1, 2])
def test_runs_too_large_for_the_memory_fail_and_the_others_finish(engine, threads):
    runs = (
        runs_of(SMALL, name="before") + runs_of(TOO_LARGE, name="huge") + runs_of({**SMALL, "epochs": 2}, name="after")
    )
    records = {name: fitted.record for name, fitted in trained(runs, engine=engine, threads=threads).items()}
    huge = records["huge|0.1|0"]
    assert (huge.status, huge.steps, dict(huge.scores)) == ("failed", 0, {})
    assert "memory" in huge.reason
    assert records["before|0.1|0"].status == records["after|0.1|0"].status == "done"


def test_memory_that_python_itself_lacks_fails_the_tile_and_no_other(monkeypatch):
    runs = runs_of({**SMALL, "optimizer": "adam"}, name="adam") + runs_of(SMALL, name="sgd")
    allocate = torch.zeros

    def scarce(*size: int, **options: object) -> torch.Tensor:
        if threading.current_thread() is not threading.main_thread() and not exhausted.is_set():
            exhausted.set()
            raise MemoryError("no room")
        return allocate(*size, **options)

    exhausted = threading.Event()
    monkeypatch.setattr(torch, "zeros", scarce)
    statuses = sorted(fitted.record.status for fitted in trained(runs).values())
    assert statuses == ["done", "failed"]


def test_an_error_that_is_not_about_memory_is_not_hidden():
    def broken_probe(*_: object) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        execute(runs_of(SMALL), SOURCES, Machine(CPU, 1), Hooks(watch=broken_probe))


def test_what_the_taker_of_results_raises_stops_everything(monkeypatch):
    monkeypatch.setattr(plan, "_LARGEST_TILE", 1)
    taken: list[str] = []

    def take_one(finished: list[Fitted]) -> None:
        taken.extend(fitted.record.run.run_id for fitted in finished)
        raise OSError("disk full")

    long: list[Run] = runs_of({**SMALL, "epochs": 100_000}, lrs=[0.1, 0.2], name="long")
    first = runs_of({**SMALL, "epochs": 1}, name="first")
    with pytest.raises(OSError, match="disk full"):
        execute(first + long, SOURCES, Machine(CPU, 2), Hooks(take_one))
    assert taken == ["first|0.1|0"]
    assert not multiprocessing.active_children()


def test_results_come_tile_by_tile_in_the_calling_thread(monkeypatch):
    monkeypatch.setattr(plan, "_LARGEST_TILE", 2)
    sizes: list[int] = []
    callers: set[str] = set()

    def take(finished: list[Fitted]) -> None:
        sizes.append(len(finished))
        callers.add(threading.current_thread().name)

    execute(runs_of(SMALL, lrs=[0.1, 0.2, 0.3, 0.4]), SOURCES, Machine(CPU, 2), Hooks(take))
    assert (sizes, callers) == ([2, 2], {threading.main_thread().name})


def test_every_epoch_of_every_living_run_is_told_of():
    told: list[int] = []
    runs = runs_of(SMALL, lrs=[0.1, 0.2, 1e30])
    execute(runs, SOURCES, Machine(CPU, 1), Hooks(on_epoch=told.append))
    assert told == [3, 2, 2]
