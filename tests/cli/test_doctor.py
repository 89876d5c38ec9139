"""`nnlab doctor`: a table for a person, rows for a program, and an exit code for both."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import wraps

import pandas as pd
import pytest
from commands import nnlab

from nnlab.catalog.optimizers import OPTIMIZERS


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Two families, one optimizer, and short measurements: what is checked is what is shown."""
    monkeypatch.setattr("nnlab.diagnostics.doctor.self_check.MODELS", ["linear", "mlp"])
    monkeypatch.setattr("nnlab.diagnostics.doctor.self_check.OPTIMIZERS", ["adam"])
    monkeypatch.setattr("nnlab.diagnostics.doctor.machine._SECONDS", 0.01)


@pytest.fixture
def wrong(monkeypatch):
    """Adam's steps are 1 % too long."""
    adam = OPTIMIZERS["adam"].function

    @wraps(adam)
    def hasty(p, g, state, step, lr, **keys):
        return adam(p, g, state, step, 1.01 * lr, **keys)

    monkeypatch.setitem(OPTIMIZERS, "adam", replace(OPTIMIZERS["adam"], function=hasty))


def test_a_pipe_gets_the_machine_and_every_check_as_csv(tmp_path):
    ended = nnlab("doctor", cwd=tmp_path)
    assert ended.code == 0
    assert "plain loops" in ended.err
    rows = pd.read_csv(io.StringIO(ended.out))
    assert ended.out.startswith("about,name,value,engine,dtype,verdict,difference,tolerance,where\n")
    assert set(rows["about"]) == {"machine", "model", "optimizer"}
    told = rows.set_index("name")["value"].to_dict()
    assert told["device"] == "cpu"
    checked = rows[rows["about"] != "machine"]
    assert set(checked["verdict"]) <= {"ok", "not batched"}
    assert (checked.loc[checked["verdict"] == "ok", "difference"] < 1e-5).all()
    assert list(tmp_path.iterdir()) == []


def test_a_person_gets_two_tables_and_a_sentence(tmp_path):
    ended = nnlab("doctor", "--format", "table", "--quiet", "--device", "cpu", cwd=tmp_path, COLUMNS="100")
    assert (ended.code, ended.err) == (0, "")
    assert "float32 products, 1 core" in ended.out
    assert "Every batched run equals its plain loop" in ended.out
    assert "Allowed for rounding: 1e-11 in float64, 0.0001 in float32." in ended.out


def test_a_difference_is_told_with_its_place_and_ends_with_1(tmp_path, wrong):
    ended = nnlab("doctor", "--format", "table", cwd=tmp_path, COLUMNS="100")
    assert ended.code == 1
    assert "adam, native, float64: 0.00" in ended.out
    assert "Every batched run" not in ended.out
    rows = json.loads(nnlab("doctor", "--format", "json", cwd=tmp_path).out)
    assert {row["verdict"] for row in rows if row["name"] == "adam"} == {"wrong"}
    assert {row["verdict"] for row in rows if row["name"] == "linear"} == {"ok"}
    assert rows[0]["difference"] is None


def test_a_device_that_is_not_there_is_refused(tmp_path):
    ended = nnlab("doctor", "--device", "cuda:99", cwd=tmp_path)
    assert ended.code == 2
    assert "--device 'cuda:99' is not there. This machine has: cpu" in ended.err
    ended = nnlab("doctor", cwd=tmp_path, NNLAB_DEVICE="cuda:99")
    assert ended.code == 2
