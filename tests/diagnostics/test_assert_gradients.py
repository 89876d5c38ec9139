"""The helper for other people's suites."""

import pytest
import torch
import torch.nn.functional as F
from planted import SpoiledLinear, draws
from torch import nn

from nnlab.testing import assert_gradients


def test_a_right_layer_passes_and_the_report_comes_back():
    report = assert_gradients(nn.Linear(3, 2), *draws((4, 3)))
    assert [row.parameter for row in report.rows] == ["weight", "bias", "input"]


def test_a_wrong_layer_fails_with_its_parameter_place_and_cause():
    with pytest.raises(AssertionError, match=r"weight\[\d,\d\].*factor 2") as failure:
        assert_gradients(SpoiledLinear(3, 2, 1, lambda g: 2 * g), *draws((4, 3)))
    assert "1 of 3 gradients" in str(failure.value)


def test_functions_and_losses_are_taken_too():
    assert_gradients(torch.tanh, *draws((4, 3)))
    x, y = draws((4, 3), (4, 2))
    assert_gradients(nn.Linear(3, 2), x, loss=F.mse_loss, target=y)


def test_s5_nll_is_minus_log_p_with_gradient_minus_one_over_p():
    (p,) = (torch.tensor([0.02, 0.2, 0.9], dtype=torch.float64),)
    report = assert_gradients(lambda p: -torch.log(p), p)
    assert report.ok
    leaf = p.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((-torch.log(leaf)).sum(), leaf, create_graph=True)
    (curvature,) = torch.autograd.grad(gradient.sum(), leaf)
    torch.testing.assert_close(gradient.detach(), -1 / p)
    torch.testing.assert_close(curvature, 1 / p**2)
