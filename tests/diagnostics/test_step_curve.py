"""numbers.md T4: the V, and the courses' three-layer net with a factor 2 in dW2 and a factor 4 in db1."""

import math

import pytest
import torch

from nnlab.diagnostics.gradcheck.checking import check_subject
from nnlab.diagnostics.gradcheck.gradient_report import Method
from nnlab.diagnostics.gradcheck.step_curve import curve_note, foot_of, step_curve
from nnlab.diagnostics.gradcheck.subjects import Subject


def three_layers(*, factor_w2: float = 1.0, factor_b1: float = 1.0) -> Subject:
    """LINEAR-RELU-LINEAR-RELU-LINEAR-SIGMOID with a mean cross-entropy; its backward written by hand, bugs and all."""
    generator = torch.Generator().manual_seed(1)
    shapes = {"W1": (5, 4), "b1": (5, 1), "W2": (3, 5), "b2": (3, 1), "W3": (1, 3), "b3": (1, 1)}
    point = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    y = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)

    def forward(p):
        a1 = torch.relu(p["W1"] @ p["x"] + p["b1"])
        a2 = torch.relu(p["W2"] @ a1 + p["b2"])
        return a1, a2, torch.sigmoid(p["W3"] @ a2 + p["b3"])

    def cost(p):
        a3 = forward(p)[2]
        return -(p["y"] * a3.log() + (1 - p["y"]) * (1 - a3).log()).sum() / p["y"].shape[1]

    def backward(p, upstream):
        m = p["y"].shape[1]
        a1, a2, a3 = forward(p)
        d3 = (a3 - p["y"]) / m
        d2 = (p["W3"].t() @ d3) * (a2 > 0)
        d1 = (p["W2"].t() @ d2) * (a1 > 0)
        gradients = {
            "W1": d1 @ p["x"].t(),
            "b1": factor_b1 * d1.sum(1, keepdim=True),
            "W2": factor_w2 * (d2 @ a1.t()),
            "b2": d2.sum(1, keepdim=True),
            "W3": d3 @ a2.t(),
            "b3": d3.sum(1, keepdim=True),
        }
        return {name: upstream * gradient for name, gradient in gradients.items()}

    return Subject("three layers", cost, point, {"x": x, "y": y}, backward)


def test_the_two_planted_factors_are_found_named_and_placed():
    report = check_subject(three_layers(factor_w2=2.0, factor_b1=4.0), Method())
    assert {row.parameter: row.cause for row in report.wrong} == {"b1": "factor 4", "W2": "factor 2"} or {
        row.parameter: row.cause.partition(" =")[0] for row in report.wrong
    } == {"b1": "factor 4", "W2": "factor 2"}


def test_without_them_nothing_is_wrong_and_the_best_step_is_good_to_1e_8():
    subject = three_layers()
    assert check_subject(subject, Method()).ok
    assert foot_of(step_curve(subject)).error < 1e-8


def test_steps_that_leave_the_domain_do_not_hide_the_foot():
    # The widest step, 0.1, goes below 0, where the logarithm is nan.
    x = torch.tensor([0.05, 1.0], dtype=torch.float64)
    curve = step_curve(Subject("log", lambda t: torch.log(t["x"]).sum(), {"x": x}))
    assert math.isnan(curve[0].error)
    assert foot_of(curve).error < 1e-8
    assert curve_note("x", curve).endswith("the foot of a V, as a right gradient has.")


def test_with_them_no_step_helps():
    assert foot_of(step_curve(three_layers(factor_w2=2.0, factor_b1=4.0))).error > 0.1


def test_error_against_step_is_a_v_with_slope_two_on_one_side_and_minus_one_on_the_other():
    x = torch.linspace(0.5, 1.5, 20, dtype=torch.float64)
    curve = step_curve(Subject("exp", lambda t: torch.exp(t["x"]).sum(), {"x": x}))
    errors = {point.step: point.error for point in curve}
    # Truncation: exp'''= exp, so the relative error is h^2 / 6, and half of it in this measure's |a| + |n|.
    assert errors[1e-2] == pytest.approx(1e-4 / 12, rel=0.01)
    assert math.log10(errors[1e-2] / errors[1e-3]) == pytest.approx(2.0, abs=0.01)
    # Rounding grows as 1/h: 2 decades narrower, about 2 decades worse (random, so to half a decade).
    assert math.log10(errors[1e-11] / errors[1e-9]) == pytest.approx(2.0, abs=0.5)
    assert 1e-7 <= foot_of(curve).step <= 1e-4
