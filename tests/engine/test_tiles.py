"""The grouping of runs into tiles: each run in one tile, with runs of its own program and, if possible, of its own seed."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import SOURCES, runs_of

from nnlab.engine.plan import by_arm, largest_tile_size, tiles_of
from nnlab.engine.program import program_of
from nnlab.settings.run_records import Run

BASE: Final = {"data": "moons:samples=60", "model": "mlp:hidden=8x8"}


def programs(*variants: dict[str, object]) -> set[object]:
    runs = [run for variant in variants for run in runs_of({**BASE, **variant})]
    return {program_of(run, SOURCES.shape(run)) for run in runs}


@pytest.mark.parametrize(
    "variant",
    [
        {"lr": 3},
        {"init": "orthogonal"},
        {"schedule": "cosine"},
        {"schedule": "one_cycle:cycle_momentum=false"},
        {"warmup": 7},
    ],
    ids=str,
)
def test_what_changes_numbers_is_an_axis_of_one_program(variant):
    assert len(programs({}, variant)) == 1


@pytest.mark.parametrize(
    "variant",
    [
        {"model": "mlp:hidden=8x9"},
        {"activation": "tanh"},
        {"loss": "mse"},
        {"batch_size": 7},
        {"epochs": 3},
        {"optimizer": "adam"},
        {"optimizer": "sgd:momentum=0.9"},
        {"clip_norm": 1},
        {"schedule": "reduce_on_plateau"},
        {"schedule": "one_cycle:cycle_momentum=true"},
        {"dtype": "float64"},
        {"engine": "loop"},
        {"shuffle": False},
        {"init": "lsuv"},
        {"steps": 5},
        {"early_stop": 2},
        {"average": "ema:decay=0.5"},
        {"class_weights": "balanced"},
        {"validation": 0.1},
        {"label_noise": 0.1},
        {"optimizer": "sgd:momentum=0.9:nesterov=true"},
    ],
    ids=str,
)
def test_what_changes_the_program_makes_another(variant):
    assert len(programs({}, variant)) == 2


def test_momenta_and_norms_that_are_given_are_axes_too():
    assert len(programs({"optimizer": "sgd:momentum=0.9"}, {"optimizer": "sgd:momentum=0.5"})) == 1
    assert len(programs({"optimizer": "adam:weight_decay=0.1"}, {"optimizer": "adam:weight_decay=0.2"})) == 1
    assert len(programs({"clip_norm": 1}, {"clip_norm": 2})) == 1
    # One with a momentum and one without differ in a term, and so would their bits in company.
    assert len(programs({"optimizer": "sgd:momentum=0.9"}, {"optimizer": "sgd:weight_decay=0.1"})) == 2


def test_runs_side_by_side_of_one_arm_with_equal_settings_are_one_group():
    few, many = runs_of(BASE, lrs=[0.1], seeds=[0, 1]), runs_of(BASE, lrs=[0.2], seeds=[0, 1, 2])
    groups = list(by_arm([*few, *many, few[0]]))
    assert [group for _, group in groups] == [few, many, [few[0]]]
    assert [arm.lr for arm, _ in groups] == [0.1, 0.2, 0.1]


@settings(max_examples=30)
@given(num_rates=st.integers(1, 40), num_seeds=st.integers(1, 9), hidden=st.sampled_from([8, 40, 300]))
def test_every_run_is_in_one_tile_with_others_of_its_program(num_rates, num_seeds, hidden):
    rates = [0.1 * (1 + i) for i in range(num_rates)]
    problem = {**BASE, "model": f"mlp:hidden={hidden}"}
    runs = runs_of(problem, lrs=rates, seeds=range(num_seeds)) + runs_of({**problem, "loss": "mse"}, name="other")
    tiles = tiles_of(runs, SOURCES.shape)
    assert sorted(run.run_id for tile in tiles for run in tile.runs) == sorted(run.run_id for run in runs)
    for tile in tiles:
        assert {program_of(run, SOURCES.shape(run)) for run in tile.runs} == {tile.program}
        # Tiles of a seed are rounded to equal lengths: at most half as many again as fit.
        assert len(tile.runs) <= 1.5 * largest_tile_size(tile.program)


def test_a_seed_with_many_runs_has_tiles_of_its_own():
    rates = [0.01 * (1 + i) for i in range(64)]
    runs: list[Run] = runs_of({**BASE, "model": "mlp:hidden=100x100"}, lrs=rates, seeds=[0, 1, 2])
    assert all(len(tile.seeds) == 1 for tile in tiles_of(runs, SOURCES.shape))
