"""A run's numbers are the same bits in any company, tile, position and number of threads (native engine, CPU)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from problems import SOURCES, numbers, runs_of, trained

from nnlab.catalog.activations import ACTIVATIONS
from nnlab.catalog.optimizers import OPTIMIZERS
from nnlab.engine import plan, seeds, updating
from nnlab.engine.population import Population
from nnlab.engine.rows import Batches
from nnlab.engine.starting import starting_weights
from nnlab.settings.run_records import Run

CPU: Final = torch.device("cpu")
POISON: Final = 1e30  # overflows within a few steps

LENGTHS: Final = st.integers(1, 130)
CHANNELS: Final = st.integers(1, 40)
MODELS: Final = st.one_of(
    st.just("linear"),
    st.builds("mlp:hidden={}".format, LENGTHS),
    st.builds("mlp:hidden={}x{}{}".format, LENGTHS, LENGTHS, st.sampled_from(["", ":norm=layer", ":norm=batch"])),
    st.builds("mlp:width={}:depth=3:residual=true{}".format, LENGTHS, st.sampled_from(["", ":dropout=0.3:norm=layer"])),
    st.builds("mlp:hidden={}x{}:dropout=0.5:bias=false".format, LENGTHS, LENGTHS),
    st.builds(
        "conv1d:channels={}x{}:kernel=3:stride={}:padding=1:pool=none{}".format,
        CHANNELS,
        CHANNELS,
        st.integers(1, 3),
        st.sampled_from(["", ":norm=batch", ":norm=group", ":bias=false"]),
    ),
    st.builds(
        "conv1d:channels={}x{}:kernel=2:padding=1:pool={}:dropout=0.2".format,
        CHANNELS,
        CHANNELS,
        st.sampled_from(["max", "mean"]),
    ),
    st.builds(
        "{}:hidden={}:layers={}:bidirectional={}:read={}:dropout=0.2".format,
        st.sampled_from(["rnn", "gru", "lstm"]),
        st.integers(1, 17),
        st.integers(1, 2),
        st.sampled_from(["true", "false"]),
        st.sampled_from(["all", "last"]),
    ),
    st.just("mlp:hidden=100x80"),  # wide enough for the optimizer's rule of one run at a time
)
TASKS: Final = {
    "linear_regression:samples={}:features={}": ["mse", "huber", "log_cosh", "quantile:q=0.3"],
    "blobs:samples={}:features={}:classes=5:std=5": ["cross_entropy", "focal", "hinge", "mse"],
    "blobs:samples={}:features={}:classes=2:std=5": ["bce", "focal", "hinge", "nll"],
    "counts:samples={}:features={}": ["mse", "l1", "smooth_l1", "log_cosh"],
}
OPTIMIZER_SPECS: Final = [
    *OPTIMIZERS,
    "sgd:momentum=0.9",
    "adam:weight_decay=0.01:amsgrad=true",
    "rmsprop:momentum=0.5",
]


@st.composite
def problems(draw: st.DrawFn) -> dict[str, object]:
    """Settings of any shape: odd widths, short last batches, one row, one feature."""
    data = draw(st.sampled_from(sorted(TASKS)))
    samples = draw(st.integers(60, 300))
    found: dict[str, object] = {
        "data": data.format(samples, draw(LENGTHS)),
        "task": "reconstruction" if data.startswith("counts") else "auto",
        "loss": draw(st.sampled_from(TASKS[data])),
        "model": draw(MODELS),
        "activation": draw(st.sampled_from(sorted(ACTIVATIONS))),
        "optimizer": draw(st.sampled_from(OPTIMIZER_SPECS)),
        "init": draw(st.sampled_from(["torch_default", "kaiming_normal", "lsuv"])),
        "batch_size": draw(LENGTHS),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "class_weights": draw(st.sampled_from(["none", "balanced"])) if "blobs" in data else "none",
        "steps": draw(st.integers(1, 6)),
    }
    num_train = samples - 2 * round(0.2 * samples)
    assume(found["init"] != "lsuv" or "bidirectional" not in found["model"])  # lsuv has no rule for recurrent layers
    # Batch norm refuses a batch of one row.
    assume("norm=batch" not in found["model"] or num_train % min(found["batch_size"], num_train) != 1)
    return found


def bits(runs: list[Run], *, threads: int = 1) -> dict[str, object]:
    return {run_id: numbers(fitted) for run_id, fitted in trained(runs, threads=threads).items()}


def assert_same(found: Mapping[str, object], among: Mapping[str, object]) -> None:
    for run_id, value in found.items():
        assert value == among[run_id], f"{run_id} has other bits"


@given(problems(), st.sampled_from([0, 30_000]))
@settings(max_examples=50)
def test_a_run_alone_has_the_same_bits_as_in_company_whatever_the_shapes(problem, worth):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(seeds, "_WORTH_A_PRODUCT", worth)
        company = bits(runs_of(problem, lrs=[0.003, 0.1, POISON, 0.01], seeds=[0, 1]))
    assert_same(bits(runs_of(problem, lrs=[0.1], seeds=[1])), company)
    assert_same(bits(runs_of(problem, lrs=[0.01, 0.003], seeds=[0])), company)


def test_clipping_a_run_alone_gives_the_same_bits_as_in_company():
    model = "mlp:hidden=4x9:norm=batch"
    problem = {"data": "moons:samples=200", "model": model, "clip_norm": 0.05, "epochs": 4, "batch_size": 11}
    company = bits(runs_of(problem, lrs=[0.003, 0.1, POISON, 0.01], seeds=[0, 1]))
    for lr in (0.003, 0.1, 0.01):
        assert_same(bits(runs_of(problem, lrs=[lr], seeds=[1])), company)


# Shapes at which a product took another way alone than in company: a column whose block is a whole number of vectors.
@pytest.mark.parametrize(
    "problem",
    [
        {"data": "sine:samples=120", "model": "mlp:hidden=128", "batch_size": 68},
        {"data": "blobs:samples=201:features=13:std=5", "model": "mlp:hidden=67x128", "batch_size": 1, "steps": 4},
        {"data": "moons:samples=100", "model": "mlp:hidden=64x32x96", "batch_size": 1, "steps": 9},
    ],
    ids=["one feature", "one row, 128 units", "one row, 96 units"],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_with_a_column_give_the_same_bits_alone_and_in_company(problem, dtype):
    problem = {**problem, "dtype": dtype, "epochs": 2}
    company = bits(runs_of(problem, lrs=[0.003, 0.1, 0.01]))
    for lr in (0.003, 0.1, 0.01):
        assert_same(bits(runs_of(problem, lrs=[lr])), company)


CONFIGURATIONS: Final = {
    "mnist1d-sized": {"data": "blobs:samples=500:features=40:classes=10:std=8", "model": "mlp:hidden=100x100"},
    "odd": {"data": "moons:samples=333", "model": "mlp:hidden=7x13", "batch_size": 33},
    "adam": {"data": "moons:samples=200", "model": "mlp:hidden=33x5", "optimizer": "adam", "activation": "gelu"},
    "dropout": {"data": "moons:samples=200", "model": "mlp:hidden=31:norm=layer:dropout=0.2", "batch_size": 17},
    "batch-norm": {
        "data": "blobs:samples=200:features=9:std=4",
        "model": "mlp:width=27:depth=3:norm=batch:residual=true",
        "optimizer": "rmsprop",
        "loss": "mse",
        "dtype": "float64",
    },
    "gru": {
        "data": "blobs:samples=200:features=9:std=4",
        "model": "gru:hidden=5:bidirectional=true",
        "optimizer": "adam",
        "batch_size": 23,
    },
    "lstm": {"data": "blobs:samples=150:features=6:std=4", "model": "lstm:hidden=3:layers=2:read=last:dropout=0.2"},
    "convolutions": {
        "data": "blobs:samples=200:features=21:classes=5:std=5",
        "model": "conv1d:channels=7x9:norm=group:hidden=11",
        "optimizer": "adam",
        "batch_size": 33,
    },
    "images": {"data": "digits:image=true", "model": "lenet", "steps": 7, "batch_size": 100},
    "autoencoder": {
        "data": "blobs:samples=150:features=13:std=4",
        "model": "autoencoder:hidden=9:code=3",
        "loss": "log_cosh",
        "optimizer": "adam",
        "batch_size": 33,
    },
    "early-stop": {
        "data": "moons:samples=140",
        "model": "mlp:hidden=9x5",
        "early_stop": 1,
        "optimizer": "adam",
        "average": "ema:decay=0.5",
        "batch_size": 13,
        "epochs": 6,
    },
    "lsuv": {
        "data": "linear_regression:samples=201:features=29",
        "model": "mlp:hidden=17",
        "init": "lsuv",
        "dtype": "float64",
    },
    "plateau": {
        "data": "linear_regression:samples=200",
        "model": "mlp:hidden=19",
        "schedule": "reduce_on_plateau:patience=0:threshold=0.5",
        "optimizer": "sgd:momentum=0.9",
    },
}
RATES: Final = [0.001, 0.01, 0.03, 0.1, 0.3, POISON]


@pytest.fixture(scope="module")
def references() -> dict[str, dict[str, object]]:
    return {
        name: bits(runs_of({"epochs": 3, **each}, lrs=RATES, seeds=[0, 1, 2])) for name, each in CONFIGURATIONS.items()
    }


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("size", [1, 2, 5, 7, 100])
def test_the_size_of_the_tiles_changes_no_bit(name, size, references, monkeypatch):
    monkeypatch.setattr(plan, "_LARGEST_TILE", size)
    monkeypatch.setattr(plan, "_TILE_ELEMENTS", 10**9)
    runs = runs_of({"epochs": 3, **CONFIGURATIONS[name]}, lrs=RATES, seeds=[0, 1, 2])
    assert bits(runs) == references[name]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_number_of_threads_changes_no_bit(name, references, monkeypatch):
    monkeypatch.setattr(plan, "_LARGEST_TILE", 4)
    runs = runs_of({"epochs": 3, **CONFIGURATIONS[name]}, lrs=RATES, seeds=[0, 1, 2])
    assert bits(runs, threads=3) == references[name]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_place_among_the_runs_changes_no_bit(name, references):
    runs = runs_of({"epochs": 3, **CONFIGURATIONS[name]}, lrs=RATES, seeds=[0, 1, 2])
    assert bits(runs[::-1]) == references[name]
    assert bits(runs[5:] + runs[:5]) == references[name]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_run_at_a_poisonous_rate_changes_no_bit_of_its_neighbours(name, references):
    calm = [rate for rate in RATES if rate != POISON]
    without = bits(runs_of({"epochs": 3, **CONFIGURATIONS[name]}, lrs=calm, seeds=[0, 1, 2]))
    assert_same(without, references[name])


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("worth", [0, 10**9], ids=["a product for each seed", "rows copied for each run"])
def test_how_the_rows_of_a_seed_reach_its_runs_changes_no_bit(name, worth, references, monkeypatch):
    monkeypatch.setattr(seeds, "_WORTH_A_PRODUCT", worth)
    # One seed with a run to itself, and one whose runs do not stand together.
    runs = runs_of({"epochs": 3, **CONFIGURATIONS[name]}, lrs=RATES, seeds=[0, 1, 2])
    runs = [run for run in runs if run.seed != 1 or run.settings.lr == RATES[2]]
    in_blocks = sorted(runs, key=lambda run: (run.seed == 1, run.settings.lr > RATES[3]))
    assert_same(bits(runs), references[name])
    assert_same(bits(in_blocks), references[name])


@pytest.mark.parametrize(("features", "kind"), [(40, seeds.LinearOfSeeds), (2, seeds.RowsOfRuns)])
def test_rows_are_copied_for_each_run_only_where_they_are_few(features, kind):
    problem = {"data": f"blobs:samples=200:features={features}:classes=5", "model": "mlp:hidden=8", "batch_size": 100}
    runs = runs_of(problem, lrs=[i / 100 for i in range(1, 11)], seeds=[0, 1])
    (tile,) = plan.tiles_of(runs, SOURCES.shape)
    train = SOURCES.tile_data(tile, CPU).train
    starts = [starting_weights(tile.program, run, train.x[run.seed]) for run in runs]
    population = Population(tile.program, runs, starts, CPU)
    population.scores(Batches(train, 100, whole=False).batch(0), training=True)
    assert isinstance(population.kernels[100, True][0], kind)


@pytest.mark.parametrize(
    "optimizer",
    [spec for spec in OPTIMIZER_SPECS if spec != "sgd"] + ["sgd:dampening=0.1:momentum=0.9"],
)
@pytest.mark.parametrize(
    "extra", [{}, {"clip_norm": 0.05, "average": "ema:decay=0.5"}], ids=["plain", "clipped, averaged"]
)
def test_one_update_for_all_parameters_has_the_bits_of_one_for_each(optimizer, extra, monkeypatch):
    problem = {
        "data": "moons:samples=200",
        "model": "mlp:hidden=33x5:norm=layer",
        "optimizer": optimizer,
        "epochs": 2,
        **extra,
    }
    together = bits(runs_of(problem, lrs=RATES, seeds=[0, 1]))
    monkeypatch.setattr(updating, "_FUSED_FROM", 0)
    monkeypatch.setattr(updating.Updates, "is_fused", False)
    assert bits(runs_of(problem, lrs=RATES, seeds=[0, 1])) == together


def test_other_schedules_inits_and_momenta_in_the_tile_change_no_bit():
    base = {"data": "moons:samples=200", "model": "mlp:hidden=13x7", "epochs": 3}
    variants = [
        {"optimizer": "sgd:momentum=0.9", "schedule": name, "init": init}
        for name, init in [
            ("none", "torch_default"),
            ("one_cycle:cycle_momentum=true", "torch_default"),
            ("cosine", "orthogonal"),
            ("one_cycle", "kaiming_normal"),
        ]
    ]
    runs = [run for i, one in enumerate(variants) for run in runs_of({**base, **one}, seeds=[0, 4], name=str(i))]
    together = bits(runs)
    for run in runs:
        assert bits([run])[run.run_id] == together[run.run_id]


def test_plain_sgd_has_the_same_bits_beside_a_schedule_that_cycles_momentum():
    base = {"data": "moons:samples=200", "model": "mlp:hidden=13x7", "epochs": 3}
    plain = runs_of({**base, "schedule": "none"}, name="plain")
    cycled = runs_of({**base, "schedule": "one_cycle:cycle_momentum=true"}, name="cycled")
    together = bits(plain + cycled)
    assert bits(plain)["plain|0.1|0"] == together["plain|0.1|0"]
    assert bits(cycled)["cycled|0.1|0"] == together["cycled|0.1|0"]


def test_runs_that_diverge_one_after_the_other_leave_and_the_last_goes_on_unchanged():
    """Rates so near the limit of a quadratic that each run leaves at an epoch of its own."""
    problem = {"data": "quadratic", "model": "linear", "epochs": 60, "batch_size": "full"}
    rates = [0.05, 1.3, 1.5, 2.0, 4.0, 30.0, POISON]
    together = trained(runs_of(problem, lrs=rates))
    left_at = [fitted.record.epochs for fitted in together.values()]
    assert len(set(left_at)) >= 5
    assert_same(bits(runs_of(problem, lrs=[0.05])), {key: numbers(fitted) for key, fitted in together.items()})
