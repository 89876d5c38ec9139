"""The self-check passes where the engines are right, and finds what is planted."""

from __future__ import annotations

from dataclasses import replace
from functools import wraps

import pytest
import torch

from nnlab.catalog.optimizers import OPTIMIZERS
from nnlab.diagnostics.doctor.machine import machine_facts, product_rate
from nnlab.diagnostics.doctor.self_check import (
    ENGINES,
    SMALL_MODELS,
    TOLERANCES,
    EngineCase,
    EngineCheck,
    engine_cases,
    engine_checks,
)
from nnlab.networks.models import MODELS

CPU = torch.device("cpu")
ADAM = next(case for case in engine_cases() if case.name == "adam")


@pytest.fixture(scope="module")
def found() -> list[EngineCheck]:
    return list(engine_checks(CPU))


def test_every_model_of_the_catalogue_has_a_small_specification_of_its_own():
    assert set(SMALL_MODELS) == set(MODELS)
    for name, specifications in SMALL_MODELS.items():
        assert specifications
        assert all(text.partition(":")[0] == name for text, _ in specifications)


def test_every_model_and_optimizer_is_checked_by_every_engine_in_both_types(found):
    asked = {(case.name, engine, dtype) for case in engine_cases() for engine in ENGINES for dtype in TOLERANCES}
    assert {(check.case.name, check.engine, check.dtype) for check in found} == asked
    assert len(found) == len(asked)
    assert {check.case.name for check in found} >= {*OPTIMIZERS, "linear"}


def test_the_engines_here_are_right_within_rounding(found):
    assert [check for check in found if check.verdict == "wrong"] == []
    assert {check.engine for check in found if check.verdict == "ok"} == set(ENGINES)
    # Whatever stands in the catalogue, one of the engines batches it.
    batched = {check.case.name for check in found if check.verdict == "ok"}
    assert batched == {case.name for case in engine_cases()}


def test_what_an_engine_does_not_take_is_told_with_its_reason(found):
    assert all(check.where for check in found if check.verdict == "not batched")
    assert all(check.difference != check.difference for check in found if check.verdict == "not batched")


def planted(monkeypatch, function) -> None:
    monkeypatch.setitem(OPTIMIZERS, "adam", replace(OPTIMIZERS["adam"], function=function))


def test_a_step_that_is_one_percent_too_long_is_found(monkeypatch):
    adam = OPTIMIZERS["adam"].function

    @wraps(adam)
    def hasty(p, g, state, step, lr, **keys):
        return adam(p, g, state, step, 1.01 * lr, **keys)

    planted(monkeypatch, hasty)
    for check in engine_checks(CPU, of=[ADAM]):
        assert check.verdict == "wrong"
        assert check.difference > 10 * check.tolerance
        assert check.where in ("0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias")


def test_an_engine_that_fails_on_the_device_is_wrong_and_the_others_are_still_checked(monkeypatch):
    @wraps(OPTIMIZERS["adam"].function)
    def unable(p, g, state, step, lr, **keys):
        raise RuntimeError("no kernel image is available\nand more")

    planted(monkeypatch, unable)
    sgd = EngineCase("optimizer", "sgd", {"model": "linear"}, (3,))
    verdicts = {(check.case.name, check.verdict, check.where) for check in engine_checks(CPU, ["float64"], [ADAM, sgd])}
    assert ("adam", "wrong", "no kernel image is available") in verdicts
    assert {verdict for name, verdict, _ in verdicts if name == "sgd"} == {"ok"}


def test_the_machine_is_told_and_its_products_are_timed(monkeypatch):
    monkeypatch.setattr("nnlab.diagnostics.doctor.machine._SECONDS", 0.01)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # another number than the one thread that is timed
    try:
        facts = machine_facts(CPU)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert (facts["device"], facts["torch"]) == ("cpu", torch.__version__)
    assert all(facts.values())
    # Between a machine from before vector instructions and ten times the best there is.
    assert 1e8 < product_rate(CPU, torch.float32) < 1e15
