"""Out of memory: fewer runs side by side, the same numbers."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from problems import CPU, SOURCES, numbers, runs_of, trained

from nnlab.engine import fit as fitting
from nnlab.engine import seeds
from nnlab.engine.fit import fit
from nnlab.engine.halving import fit_in_memory
from nnlab.engine.hooks import FitOptions, Hooks
from nnlab.engine.plan import tiles_of
from nnlab.engine.population import Population

SETTINGS = {"data": "moons:samples=90", "model": "mlp:hidden=7x5", "batch_size": 16, "epochs": 2}
OPTIONS = FitOptions(CPU, Hooks(keep_weights=True))


def one_tile(**settings):
    (tile,) = tiles_of(runs_of({**SETTINGS, **settings}, lrs=[0.01, 0.1, 0.3], seeds=[3, 1, 2]), SOURCES.shape)
    assert len(tile.runs) == 9
    return tile, SOURCES.tile_data(tile, CPU)


def with_room_for(most, error):
    """A trainer on a machine that has memory for this many runs side by side."""

    def train(tile, data, options):
        assert len(data.train.x) == len(tile.seeds)
        if len(tile.runs) > most:
            raise error
        return fit(tile, data, options)

    return train


@pytest.mark.parametrize("most", [1, 2, 5])
@pytest.mark.parametrize(
    "settings",
    [{}, {"data": "linear_regression:samples=60"}, {"class_weights": "balanced", "model": "mlp:hidden=8:dropout=0.2"}],
    ids=["moons", "regression", "weights and dropout"],
)
def test_halves_have_the_same_bits_as_the_whole(most, settings):
    tile, data = one_tile(**settings)
    halved = []
    error = RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory")
    found = fit_in_memory(tile, data, OPTIONS, with_room_for(most, error), halved.append)
    assert [fitted.record.run for fitted in found] == list(tile.runs)
    assert [numbers(one) for one in found] == [numbers(other) for other in fit(tile, data, OPTIONS)]
    assert halved == {1: [9, 4, 2, 2, 5, 2, 3, 2], 2: [9, 4, 5, 3], 5: [9]}[most]


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")], ids=str)
def test_a_run_that_is_too_large_alone_has_failed_and_says_so(error):
    tile, data = one_tile()
    found = fit_in_memory(tile, data, OPTIONS, with_room_for(0, error), lambda _: None)
    assert [fitted.record.status for fitted in found] == ["failed"] * 9
    assert all(fitted.record.reason.startswith("out of memory") for fitted in found)
    assert [fitted.record.run for fitted in found] == list(tile.runs)


def test_any_other_error_is_not_taken_for_a_lack_of_memory():
    tile, data = one_tile()
    with pytest.raises(RuntimeError, match="shapes"):
        fit_in_memory(tile, data, OPTIONS, with_room_for(0, RuntimeError("shapes")), lambda _: None)


LIMITED = """
import resource, sys
sys.path[:0] = [TESTS]
from problems import CPU, SOURCES, numbers, runs_of, trained
import torch
from nnlab.engine.fit import fit
from nnlab.engine.halving import fit_in_memory
from nnlab.engine.hooks import FitOptions
from nnlab.engine.plan import Tile
from nnlab.engine.program import program_of
torch.set_num_threads(1)
runs = runs_of({"data": "moons:samples=50", "model": "mlp:hidden=400x400", "steps": 1}, seeds=range(32))
tile = Tile(program_of(runs[0], SOURCES.shape(runs[0])), tuple(runs))  # larger than a cache would have it: some 100 MB
data = SOURCES.tile_data(tile, CPU)
alone = fit(Tile(tile.program, tile.runs[:1]), SOURCES.tile_data(Tile(tile.program, tile.runs[:1]), CPU), FitOptions(CPU))
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 50 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
halved = []
found = fit_in_memory(tile, data, FitOptions(CPU), fit, halved.append)
print(halved[0], len(found), {one.record.status for one in found}, numbers(found[0]) == numbers(alone[0]))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux how much memory the process has")
def test_memory_that_really_runs_out_is_got_along_with():
    code = LIMITED.replace("TESTS", repr(str(Path(__file__).parents[1])))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("32 32 {'done'} True\n", 0), done.stderr


@pytest.mark.parametrize(
    ("settings", "engine"),
    [
        ({"data": "blobs:samples=200:features=40", "model": "mlp:hidden=8", "optimizer": "adam"}, "native"),
        ({"data": "moons:samples=60", "model": "mlp:hidden=8:dropout=0.2:norm=batch:residual=true"}, "native"),
        ({"data": "blobs:samples=60:features=12", "model": "conv1d:channels=4:dropout=0.1"}, "native"),
        ({"data": "blobs:samples=60:features=6", "model": "gru:hidden=3:layers=2:dropout=0.1"}, "native"),
        ({"data": "moons:samples=60", "model": "mlp:hidden=8:dropout=0.2", "average": "ema:decay=0.5"}, "vmap"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["model"],
)
def test_a_tile_that_is_over_holds_no_memory_until_python_looks_for_circles(settings, engine, monkeypatch):
    made: list[weakref.ref[Population]] = []

    class Followed(Population):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)
            made.append(weakref.ref(self))

    monkeypatch.setattr(fitting, "Population", Followed)
    monkeypatch.setattr(seeds, "_WORTH_A_PRODUCT", 0)
    gc.collect()
    gc.disable()
    try:
        trained(runs_of({**settings, "epochs": 2}, lrs=[0.01, 0.1, 1e30], seeds=[0, 1]), engine=engine)
        assert made
        assert not any(population() for population in made)
    finally:
        gc.enable()
