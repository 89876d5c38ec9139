"""Kinks: what passes as a subgradient, and what does not."""

import pytest
import torch

from nnlab.diagnostics.gradcheck.checking import check, check_subject
from nnlab.diagnostics.gradcheck.gradient_report import Method
from nnlab.diagnostics.gradcheck.subjects import function_subject

ZERO = torch.zeros(1, dtype=torch.float64)


def relu_with_slope_at_zero(slope: float):
    class Relu(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.relu(x)

        @staticmethod
        def backward(ctx, upstream):
            (x,) = ctx.saved_tensors
            return upstream * torch.where(x == 0, slope, (x > 0).double())

    return Relu


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0])
def test_a_value_between_the_one_sided_slopes_passes_with_a_note(slope):
    row = check_subject(function_subject(relu_with_slope_at_zero(slope), [ZERO]), Method()).rows[0]
    assert row.verdict == "kink"
    assert "one-sided slopes" in row.cause


@pytest.mark.parametrize("slope", [-0.1, 1.1, 7.0])
def test_a_value_outside_the_one_sided_slopes_is_wrong(slope):
    assert check_subject(function_subject(relu_with_slope_at_zero(slope), [ZERO]), Method()).rows[0].verdict == "wrong"


def test_a_kink_in_one_entry_does_not_hide_a_bug_in_another():
    x = torch.tensor([0.0, 1.0, -1.0, 2.0], dtype=torch.float64)

    class Relu(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.relu(x)

        @staticmethod
        def backward(ctx, upstream):
            (x,) = ctx.saved_tensors
            return upstream * (x > 0) * torch.where(x == 2, 1.5, 1.0)

    row = check_subject(function_subject(Relu, [x]), Method()).rows[0]
    assert (row.verdict, row.worst_index) == ("wrong", "3")


def test_where_kinks_meet_the_chained_subgradient_of_the_parts_passes():
    # relu(x) - relu(-x) is x, with slope 1; PyTorch's rule gives 0 - 0 at 0, and torch.autograd.gradcheck calls it wrong.
    row = check(lambda t: torch.relu(t["x"]) - torch.relu(-t["x"]), {"x": ZERO}).rows[0]
    assert (row.verdict, row.analytic) == ("kink", 0.0)
    assert "several meet" in row.cause


@pytest.mark.parametrize("distance", [1e-3, 1e-5, 1e-7, 1e-9, 1e-12])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_kink_near_the_point_is_no_alarm(distance, side):
    x = torch.tensor([side * distance, 1.0], dtype=torch.float64)
    assert check(lambda t: torch.relu(t["x"]).sum() + (t["x"] ** 3).sum(), {"x": x}).ok


def test_tied_maxima_are_no_alarm():
    x = torch.tensor([[1.0, 1.0, 1.0, 0.5]], dtype=torch.float64)
    assert check(lambda t: torch.max_pool1d(t["x"], 2), {"x": x}).ok
    assert check(lambda t: t["x"].amax(1), {"x": x}).ok
    assert check(lambda t: t["x"].max(1).values, {"x": x}).ok


def test_a_smooth_function_of_great_curvature_has_no_kink():
    row = check(lambda t: torch.sin(300 * t["x"]), {"x": torch.linspace(-1, 1, 9, dtype=torch.float64)}).rows[0]
    assert row.verdict == "ok"
