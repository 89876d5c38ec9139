"""Where settings come from: flags over the environment over a file over defaults, and what is said of a wrong one in each."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest
from commands import Ended, nnlab

FILE = """
command = "sweep-lr"
description = "for a test"
[settings]
data = "moons:samples=100"
model = "mlp:hidden=4"
lr = [0.1, 1.0]
seeds = 2
epochs = 1
shuffle = false
threshold_loss = 0.6
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "file.toml").write_text(FILE)
    return tmp_path


def plan(*words: object, cwd, **environment: str) -> pd.DataFrame:
    """The settings of a dry run: value and origin by name."""
    ended = nnlab("sweep-lr", *words, "--dry-run", cwd=cwd, **environment)
    assert ended.code == 0, ended.err
    return pd.read_csv(io.StringIO(ended.out)).drop_duplicates("setting").set_index("setting")


def with_settings(folder, settings: str) -> Ended:
    (folder / "wrong.toml").write_text(f"[settings]\n{settings}\n")
    return nnlab("sweep-lr", "--config", "wrong.toml", cwd=folder)


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(folder):
    from_file = plan("--config", "file.toml", cwd=folder)
    assert tuple(from_file.loc["epochs"]) == ("1", "file")
    assert tuple(from_file.loc["batch_size"]) == ("100", "default")
    from_environment = plan("--config", "file.toml", cwd=folder, NNLAB_EPOCHS="2")
    assert tuple(from_environment.loc["epochs"]) == ("2", "environment")
    from_flag = plan("--config", "file.toml", "--epochs", 3, cwd=folder, NNLAB_EPOCHS="2")
    assert tuple(from_flag.loc["epochs"]) == ("3", "flag")


def test_the_file_itself_may_be_named_by_the_environment(folder):
    assert tuple(plan(cwd=folder, NNLAB_CONFIG="file.toml").loc["model"]) == ("mlp:hidden=4", "file")
    assert tuple(plan("--data", "moons", cwd=folder, NNLAB_CONFIG="").loc["seeds"])[1] == "default"


def test_values_of_a_file_have_tomls_own_types(folder):
    settings = plan("--config", "file.toml", cwd=folder)["value"]
    assert settings["lr"] == "0.1, 1.0"
    assert settings["seeds"] == "0, 1"
    assert settings["shuffle"] == "false"
    assert settings["threshold_loss"] == "0.6"


def test_the_manifest_has_each_value_and_where_it_came_from(folder):
    ended = nnlab(
        "sweep-lr", "--config", "file.toml", "--seeds", "3,", "--out", "out", cwd=folder, NNLAB_BATCH_SIZE="50"
    )
    assert ended.code == 0, ended.err
    settings = json.loads((folder / "out" / "manifest.json").read_text())["settings"]
    assert settings["epochs"] == {"value": 1, "origin": "file"}
    assert settings["batch_size"] == {"value": 50, "origin": "environment"}
    assert settings["seeds"] == {"value": [3], "origin": "flag"}
    assert settings["loss"] == {"value": "bce", "origin": "default"}


def test_output_settings_can_come_from_anywhere_too(folder):
    nnlab("sweep-lr", "--config", "file.toml", cwd=folder, NNLAB_NAME="mine", NNLAB_QUIET="true")
    assert (folder / "results" / "sweep-lr" / "mine" / "summary.csv").is_file()


def test_what_the_manifest_says_can_be_given_back_as_a_file(folder):
    assert nnlab("sweep-lr", "--config", "file.toml", "--out", "out", cwd=folder).code == 0
    settings = json.loads((folder / "out" / "manifest.json").read_text())["settings"]
    lines = [f"{name} = {json.dumps(setting['value'])}" for name, setting in settings.items()]
    (folder / "again.toml").write_text("[settings]\n" + "\n".join(lines))
    again = nnlab("sweep-lr", "--config", "again.toml", "--out", "out", "--dry-run", cwd=folder)
    assert "There is nothing to train" in again.err


def test_a_variable_that_is_no_setting_is_refused(folder):
    ended = nnlab("sweep-lr", cwd=folder, NNLAB_EPOHCS="3")
    assert ended.code == 2
    assert ended.err == (
        "error: NNLAB_EPOHCS in the environment is not a setting. Did you mean 'NNLAB_EPOCHS'? Unset it, or correct its name.\n"
    )


@pytest.mark.parametrize(
    ("name", "value", "typed", "in_file", "rest"),
    [
        ("epochs", "abc", "--epochs", "epochs", "takes a whole number such as 10, not 'abc'."),
        ("lr", "0", "--lr", "lr", "takes rates above 0, not '0': a rate of 0 or below does not descend."),
        ("model", "mlpp", "--model 'mlpp'", "model = 'mlpp'", "is not known. Did you mean 'mlp'?"),
        ("init", "normal:sdt=1", "--init normal", 'init = "normal"', "has no key 'sdt'. Did you mean 'std'?"),
        ("metric", "val_acuracy", "--metric 'val_acuracy'", "metric = 'val_acuracy'", "is not known. Did you mean "),
        (
            "activation",
            "gelu:approximate=x",
            "--activation gelu:approximate",
            'activation = "gelu:approximate"',
            "takes none or tanh, not 'x'.",
        ),
    ],
)
def test_the_same_wrong_value_says_where_it_came_from_as_it_is_spelled_there(folder, name, value, typed, in_file, rest):
    by_flag = nnlab("sweep-lr", "--data", "moons", f"--{name}", value, cwd=folder)
    by_environment = nnlab("sweep-lr", "--data", "moons", cwd=folder, **{f"NNLAB_{name.upper()}": value})
    by_file = with_settings(folder, f'data = "moons"\n{name} = "{value}"')
    assert by_flag.err.startswith(f"error: {typed} {rest}")
    assert by_environment.err == f"{by_flag.err}--{name} comes from NNLAB_{name.upper()} in the environment.\n"
    assert by_file.err == f"{by_flag.err.replace(typed, in_file)}{name} comes from wrong.toml.\n"
    assert {by_flag.code, by_environment.code, by_file.code} == {2}
    assert not (folder / "results").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[settings]\nepohcs = 3", "settings.epohcs is not known. Did you mean 'epochs'?"),
        ("epochs = 3", "'epochs' is not known. Settings stand under [settings]: did you mean settings.epochs?"),
        ("commnad = 'sweep-lr'", "'commnad' is not known."),
        ("command = 'train'", "is for `nnlab train`, not for `nnlab sweep-lr`."),
        ("settings = 3", "settings is a table, [settings], not 3."),
        ("[settings]\ndata = {name = 'moons'}", "settings.data takes text, a number, true or false, or a list, not {"),
        ("[settings]\ndata = 2026-01-01", "settings.data takes text, a number, true or false, or a list, not datetime"),
        ("[settings]\nepochs 3", "is not TOML: "),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(tmp_path, text, said):
    (tmp_path / "x.toml").write_text(text)
    ended = nnlab("sweep-lr", "--config", "x.toml", cwd=tmp_path)
    assert ended.code == 2
    assert ended.err.startswith("error: --config 'x.toml'")
    assert said in ended.err


def test_a_file_that_is_not_there_is_refused(tmp_path):
    ended = nnlab("sweep-lr", "--config", "none.toml", cwd=tmp_path)
    assert ended == Ended(2, "", "error: --config 'none.toml' can't be read: No such file or directory.\n")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("epochs = 1.5", "epochs takes a whole number such as 10, not '1.5'."),
        ("epochs = true", "epochs takes a whole number such as 10, not 'true'."),
        ("lr = inf", "lr takes a plain decimal number such as 0.01 or 1e-3, not 'inf'."),
        ("seeds = [1, 1]", "seeds = '1,1' names '1' twice."),
        ("shuffle = 'maybe'", "shuffle"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(tmp_path, settings, said):
    ended = with_settings(tmp_path, settings)
    assert ended.code == 2
    assert ended.err.startswith(f"error: {said}")
    assert ended.err.endswith("comes from wrong.toml.\n")
