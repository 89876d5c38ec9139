"""Settings: frozen, checked, readable from text and from TOML's own types, and read back from their own spelling."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nnlab.commands.sweep_lr import SweepLrSettings
from nnlab.commands.train import TrainSettings
from nnlab.core.errors import UsageError
from nnlab.core.spec import Spec, parse_rates
from nnlab.settings import (
    ExperimentSettings,
    OutputSettings,
    RunSettings,
    Settings,
)

COMMANDS: Final[list[type[Settings]]] = [
    RunSettings,
    ExperimentSettings,
    TrainSettings,
    SweepLrSettings,
    OutputSettings,
]


def test_the_defaults_are_those_that_the_design_names():
    run = RunSettings.from_values({})
    assert (run.data, run.model, run.optimizer) == (Spec("mnist1d"), Spec("mlp", (("hidden", "100x100"),)), Spec("sgd"))
    assert (run.lr, run.batch_size, run.epochs, run.validation, run.test) == (0.1, 100, 10, 0.2, 0.2)
    sweep = SweepLrSettings.from_values({})
    assert (sweep.lr, sweep.seeds, sweep.metric) == (parse_rates("1e-3:10:16", what=""), tuple(range(10)), "val_loss")
    train = TrainSettings.from_values({})
    assert (train.epochs, train.seeds) == (20, (0,))


@pytest.mark.parametrize("command", COMMANDS)
def test_settings_can_not_be_changed(command):
    settings = command.from_values({})
    for name in command.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(settings, name, getattr(settings, name))


@pytest.mark.parametrize(
    ("given_name", "meant"), [("epoch", "epochs"), ("batchsize", "batch_size"), ("modle", "model")]
)
def test_a_setting_that_there_is_not_is_refused_with_the_nearest(given_name, meant):
    with pytest.raises(
        UsageError, match=f"'{given_name}' is not a setting.*Did you mean '{meant}'\\?.*Accepted: data, "
    ):
        RunSettings.from_values({given_name: 1})


def test_every_setting_has_a_role_and_one_line_of_help():
    for command in COMMANDS:
        for name, field in command.model_fields.items():
            assert command.role_of(name) in ("training", "arms", "analysis", "execution")
            assert field.description
            assert "\n" not in field.description
    assert SweepLrSettings.with_role("arms") == ("lr", "seeds")
    assert set(OutputSettings.with_role("execution")) == set(OutputSettings.model_fields)
    assert set(RunSettings.with_role("training")) == set(RunSettings.model_fields)


TOML: Final = """
data = "moons:samples=200"
model = "mlp:width=64:depth=3"
activation = "tanh"
lr = [0.01, 0.1, 1]
seeds = [3, 5]
epochs = 7
batch_size = "full"
validation = 0
standardize = false
clip_norm = 1
weight_decay = 1e-4
threads = 2
threshold_loss = 0.5
"""


def test_the_types_of_toml_are_read_as_text_is():
    from_file = SweepLrSettings.from_values(tomllib.loads(TOML))
    from_text = SweepLrSettings.from_values(
        {
            "data": "moons:samples=200",
            "model": "mlp:width=64:depth=3",
            "activation": "tanh",
            "lr": "1,0.1,0.01",
            "seeds": "3,5",
            "epochs": "7",
            "batch_size": "full",
            "validation": "0",
            "standardize": "false",
            "clip_norm": "1.0",
            "weight_decay": "0.0001",
            "threads": "2",
            "threshold_loss": "0.5",
        }
    )
    assert from_file == from_text
    assert from_file.lr == (0.01, 0.1, 1.0)
    assert from_file.standardize is False


def test_one_seed_in_a_list_of_toml_is_that_seed_and_a_number_is_a_count():
    assert ExperimentSettings.from_values({"seeds": [5]}).seeds == (5,)
    assert ExperimentSettings.from_values({"seeds": 5}).seeds == (0, 1, 2, 3, 4)
    assert SweepLrSettings.from_values({"lr": [0.5]}).lr == (0.5,)
    assert SweepLrSettings.from_values({"lr": 0.5}).lr == (0.5,)
    assert SweepLrSettings.from_values({"lr": "1e-3:1:4"}).lr == (0.001, 0.01, 0.1, 1.0)


GIVEN: Final = st.fixed_dictionaries(
    {},
    optional={
        "data": st.sampled_from(["moons", "my data.csv", "blobs:classes=4:std=0.5"]),
        "target": st.text(min_size=1, max_size=9),
        "model": st.sampled_from(["linear", "mlp:hidden=8x8", "my.py:build:width=3"]),
        "activation": st.sampled_from(["tanh", "leaky_relu:negative_slope=0.2"]),
        "loss": st.sampled_from(["mse", "huber:delta=0.5"]),
        "lr": st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=5, unique=True),
        "seeds": st.lists(st.integers(0, 2**53), min_size=1, max_size=5, unique=True),
        "schedule": st.sampled_from(["step:step_size=3", "lambda:lr_lambda=max(0.1,1-epoch/10)"]),
        "epochs": st.integers(1, 10**6),
        "steps": st.integers(1, 10**6),
        "batch_size": st.one_of(st.just("full"), st.integers(1, 10**6)),
        "weight_decay": st.floats(0, 1e300),
        "clip_norm": st.floats(1e-300, 1e300),
        "validation": st.floats(0, 0.999),
        "shuffle": st.booleans(),
        "threshold_loss": st.one_of(st.just("auto"), st.floats(-1e9, 1e9)),
        "dtype": st.sampled_from(["float32", "float64", "bfloat16", "mixed"]),
    },
)


@given(GIVEN)
def test_settings_read_back_from_their_spelling_in_json(values):
    settings = SweepLrSettings.from_values(values)
    assert SweepLrSettings.from_values(json.loads(json.dumps(settings.as_json()))) == settings


WRONG: Final[list[tuple[dict[str, object], str]]] = [
    ({"lr": "0"}, "lr"),
    ({"lr": "inf"}, "lr"),
    ({"lr": True}, "lr"),
    ({"lr": "1_0.5"}, "lr"),
    ({"epochs": 0}, "epochs"),
    ({"epochs": -3}, "epochs"),
    ({"epochs": 2.0}, "epochs"),
    ({"epochs": [1, 2]}, "epochs"),
    ({"epochs": "٣"}, "epochs"),
    ({"steps": 0}, "steps"),
    ({"batch_size": "half"}, "batch_size"),
    ({"batch_size": 0}, "batch_size"),
    ({"batch_size": 1.5}, "batch_size"),
    ({"validation": 1}, "validation"),
    ({"validation": -0.1}, "validation"),
    ({"validation": float("nan")}, "validation"),
    ({"weight_decay": -1}, "weight_decay"),
    ({"clip_norm": 0}, "clip_norm"),
    ({"clip_norm": float("inf")}, "clip_norm"),
    ({"shuffle": "perhaps"}, "shuffle"),
    ({"dtype": "float16"}, "dtype"),
    ({"task": "clustering"}, "task"),
    ({"engine": 3}, "engine"),
    ({"target": 3}, "target"),
    ({"model": ""}, "model"),
    ({"model": "mlp:hidden=3:hidden=4"}, "model"),
    ({"data": {"name": "moons"}, "epochs": "x"}, "epochs"),
    ({"warmup": -1}, "warmup"),
]


@pytest.mark.parametrize(("values", "named"), WRONG, ids=str)
def test_a_value_that_can_not_be_meant_is_refused_with_its_name(values: Mapping[str, object], named: str):
    with pytest.raises(UsageError) as caught:
        RunSettings.from_values(values)
    assert re.match(rf"{named}\b", str(caught.value))


@pytest.mark.parametrize("seeds", ["0", "-1", "3,3", [1, 1], [-1], [1.5], "a,b", [], "1e3", True])
def test_seeds_that_can_not_be_meant_are_refused(seeds):
    with pytest.raises(UsageError, match=r"^seeds"):
        ExperimentSettings.from_values({"seeds": seeds})


# Without commas: a single value may stand in a list of one, `["moons"]`, which is read as `moons,`.
WORDS: Final = st.text(st.characters(exclude_characters=",", exclude_categories=["Cs"]))
ANYTHING: Final = st.one_of(
    WORDS,
    st.integers(),
    st.floats(),
    st.booleans(),
    st.lists(st.one_of(WORDS, st.integers(), st.floats(), st.lists(st.integers())), max_size=3),
    st.dictionaries(WORDS, st.integers(), max_size=1),
    st.datetimes(),
    st.dates(),
)


@given(st.sampled_from([(command, name) for command in COMMANDS for name in command.model_fields]), ANYTHING)
def test_whatever_stands_in_a_file_is_read_or_refused_with_its_name(place, value):
    command, name = place
    try:
        settings, message = command.from_values({name: value}), ""
    except UsageError as refused:
        settings, message = None, str(refused)
    if settings is None:
        assert re.match(rf"{name}\b", message)
    else:
        assert command.from_values(json.loads(json.dumps(settings.as_json()))) == settings
