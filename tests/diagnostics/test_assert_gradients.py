"""The helper for other people's suites."""

import pytest
import torch
import torch.nn.functional as F
from planted import SpoiledLinear, draws
from torch import nn

from nnlab.core.errors import UsageError
from nnlab.testing import assert_gradients


def test_a_right_layer_passes_and_the_report_comes_back():
    report = assert_gradients(nn.Linear(3, 2), *draws((4, 3)))
    assert [row.parameter for row in report.rows] == ["weight", "bias", "input"]


def test_a_wrong_layer_fails_with_its_parameter_place_and_cause():
    with pytest.raises(AssertionError, match=r"weight\[\d,\d\].*factor 2") as failure:
        assert_gradients(SpoiledLinear(3, 2, 1, lambda g: 2 * g), *draws((4, 3)))
    assert "1 of 3 gradients" in str(failure.value)


def test_settings_are_spelled_as_keywords():
    with pytest.raises(UsageError, match=r"is not finite at the point given.*domain='LOW:HIGH'"):
        assert_gradients(torch.log, -torch.ones(3))
    with pytest.raises(AssertionError, match=r"the edge of its domain \(domain='LOW:HIGH'\)"):
        assert_gradients(torch.sqrt, torch.tensor([0.0, 1.0], dtype=torch.float64))


class HalfTheRows(torch.autograd.Function):
    """x W^T whose backward sums the weights' gradient over the first two rows alone."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        return g @ weight, g[:2].T @ x[:2]


def test_a_float32_module_may_be_checked_at_float64_inputs():
    class Layer(nn.Linear):
        def forward(self, x):
            return HalfTheRows.apply(x, self.weight)

    layer = Layer(3, 2, bias=False)
    (x,) = draws((4, 3))
    assert (layer.weight.dtype, x.dtype) == (torch.float32, torch.float64)
    with pytest.raises(AssertionError, match=r"missing terms: .* only indices \[0, 1\]|indices \[2, 3\] are left out"):
        assert_gradients(layer, x)


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
