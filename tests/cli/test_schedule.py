"""`nnlab schedule`: the rates of any schedule, held to PyTorch's own schedulers driven as its documentation says."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.optim import lr_scheduler
from typer.testing import CliRunner, Result

from nnlab.cli.app import app
from nnlab.core.errors import UsageError
from nnlab.ingredients.schedule_rates import STALLED
from nnlab.storage.csv_files import read_csv

PLAIN = {"COLUMNS": "80", "LC_ALL": "", "LANG": "en_US.UTF-8"}


def ran(spec: str, *options: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["schedule", spec, *options], env=PLAIN | environment)


def rates(spec: str, *options: str, **environment: str) -> pd.DataFrame:
    return read_csv(io.StringIO(ran(spec, *options, **environment).stdout))


def table(spec: str, *options: str, **environment: str) -> list[str]:
    return ran(spec, *options, "--format", "table", **environment).stdout.splitlines()


def shown_steps(lines: list[str]) -> list[int]:
    words = [line.split() for line in lines[3 : lines.index("")]]
    return [int(row[1]) for row in words if row[0].isdecimal()]


def driven(
    make: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler], lr: float, ticks: int
) -> list[tuple[float, float]]:
    """Rate and momentum of each tick of a scheduler, stepped after the optimizer."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr, momentum=0.5)
    scheduler = make(optimizer)
    seen = []
    for _ in range(ticks):
        seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        scheduler.step()
    return seen


def test_a_schedule_of_epochs_holds_its_rate_for_every_step_of_one():
    frame = rates("multi_step:milestones=2x5:gamma=0.5", "--epochs", "6", "--lr", "0.3", "--steps-per-epoch", "4")
    oracle = driven(lambda o: lr_scheduler.MultiStepLR(o, [2, 5], 0.5), 0.3, 6)
    assert frame["lr"].tolist() == [lr for lr, _ in oracle for _ in range(4)]
    assert frame["step"].tolist() == list(range(24))
    assert frame["epoch"].tolist() == [step // 4 for step in range(24)]
    assert list(frame) == ["epoch", "step", "lr"]


def test_a_schedule_of_steps_moves_every_step_and_shows_the_momentum_it_cycles():
    frame = rates("one_cycle:cycle_momentum=true", "--epochs", "3", "--lr", "0.3", "--steps-per-epoch", "7")
    oracle = driven(lambda o: lr_scheduler.OneCycleLR(o, 0.3, total_steps=21), 0.3, 20)
    assert list(zip(frame["lr"], frame["momentum"], strict=True))[:20] == oracle
    assert len(frame) == 21


def test_steps_decide_over_epochs_as_they_do_in_training():
    frame = rates("cosine", "--epochs", "100", "--steps", "10", "--steps-per-epoch", "4")
    oracle = driven(lambda o: lr_scheduler.CosineAnnealingLR(o, 3), 0.1, 3)
    assert frame["lr"].tolist() == [lr for lr, _ in oracle for _ in range(4)][:10]


def test_warm_up_rises_in_a_straight_line_to_the_rate():
    frame = rates("none", "--warmup", "4", "--epochs", "1", "--steps-per-epoch", "6")
    # PyTorch's LinearLR multiplies step by step: rounding.
    np.testing.assert_allclose(frame["lr"], [0.02, 0.04, 0.06, 0.08, 0.1, 0.1], rtol=1e-14)


def test_a_listener_is_shown_with_a_loss_that_stalls_and_says_so():
    done = ran("reduce_on_plateau:patience=1:factor=0.5", "--epochs", "8", "--steps-per-epoch", "2")
    frame = read_csv(io.StringIO(done.stdout))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler, oracle = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1), []
    for _ in range(8):
        oracle.append(optimizer.param_groups[0]["lr"])
        scheduler.step(0.25)
    assert frame["lr"].tolist() == [lr for lr in oracle for _ in range(2)]
    assert len(set(oracle)) > 2
    assert STALLED in done.stderr


def test_a_function_of_a_file_is_a_schedule(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("[red].py").write_text("def decay(epoch):\n    return 1 / (1 + epoch)\n", encoding="utf-8")
    spec = "lambda:lr_lambda=[red].py:decay"
    assert rates(spec, "--epochs", "3", "--steps-per-epoch", "1")["lr"].tolist() == [0.1, 0.1 / 2, 0.1 / 3]
    assert table(spec)[0].startswith("lambda:lr_lambda=[red].py:decay, lr 0.1, 320 steps, 32 an epoch")


def test_traps_stand_below_a_table_and_on_stderr_beside_data():
    trap = "--schedule cosine:T_max=3: past epoch T_max=3 the rate rises again"
    piped = ran("cosine:T_max=3")
    assert trap in piped.stderr
    assert "T_max" not in piped.stdout
    shown = ran("cosine:T_max=3", "--format", "table")
    assert trap in shown.stdout.replace("\n", " ")
    assert shown.stderr == ""
    assert ran("cosine:T_max=3", "--quiet").stderr == ""


def test_a_step_size_beyond_the_run_is_a_trap_and_a_default_is_none():
    assert "the rate never falls" in ran("step:step_size=20").stderr
    assert ran("step").stderr == ""


def test_a_table_has_the_changes_and_the_last_step():
    lines = table("step:step_size=4")
    assert shown_steps(lines) == [0, 128, 256, 319]
    assert "Each rate holds until the next row." in lines
    assert any(line.endswith(" lr") and "│" in line for line in lines)


def test_a_long_table_has_the_epochs_and_the_turns_and_all_has_every_change():
    assert shown_steps(table("cyclic")) == sorted({*range(0, 320, 32), 80, 160, 240, 319})
    assert shown_steps(table("cyclic", "--all")) == list(range(320))
    warmed = shown_steps(table("cosine", "--warmup", "40"))
    assert warmed == sorted({*range(0, 320, 32), 40, 319})
    many = table("exponential", "--epochs", "200")
    assert shown_steps(many) == [32 * epoch for epoch in (*range(10), *range(191, 200))] + [6399]
    assert "181 rows left out: --all shows every row." in many


def test_settings_may_come_from_the_environment():
    frame = rates("none", NNLAB_LR="0.5", NNLAB_EPOCHS="2")
    assert frame["lr"].unique().tolist() == [0.5]
    assert len(frame) == 64
    assert len(rates("none", "--epochs", "1", NNLAB_EPOCHS="2")) == 32


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stp"], "--schedule 'stp' is not known. Did you mean 'step'? `nnlab list schedules` shows all 14."),
        (["step:gama=2"], "--schedule step has no key 'gama'. Did you mean 'gamma'?"),
        (["step", "--lr", "0"], "--lr takes rates above 0, not '0'"),
        (["step", "--epochs", "many"], "--epochs takes a whole number"),
        (["step", "--steps-per-epoch", "0"], "--steps-per-epoch takes a whole number of 1 or more, not '0'."),
        (["one_cycle:total_steps=100"], "--schedule one_cycle:total_steps=100 within 320 steps: PyTorch's OneCycleLR"),
        (["lambda:lr_lambda=1-epoch"], "--schedule lambda:lr_lambda=1-epoch makes the rate -0.1 at epoch 2"),
        (["lambda:lr_lambda=nowhere.py:f"], "'nowhere.py:f': there is no file 'nowhere.py' here."),
    ],
)
def test_what_can_not_be_meant_is_refused(words, said):
    error = ran(*words).exception
    assert isinstance(error, UsageError)
    assert str(error).startswith(said)


@pytest.mark.parametrize("columns", [60, 80])
def test_an_ascii_terminal_gets_ascii_of_its_width(columns):
    lines = table("one_cycle:cycle_momentum=true", LC_ALL="C", COLUMNS=str(columns))
    assert all(line.isascii() for line in lines)
    assert max(map(len, lines)) <= columns
    assert any(line.endswith("* momentum") for line in lines)
