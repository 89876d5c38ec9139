"""Gradient checks for other people's test suites.

from nnlab.testing import assert_gradients

def test_my_layer_backpropagates():
    assert_gradients(MyLayer(5, 3), torch.randn(4, 5))
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nnlab.diagnostics.gradcheck.checking import check_subject
from nnlab.diagnostics.gradcheck.gradient_report import Method, Report
from nnlab.diagnostics.gradcheck.subjects import of_function, of_module


def assert_gradients(
    subject: nn.Module | Callable[..., Tensor] | type[torch.autograd.Function],
    *inputs: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    target: Tensor | None = None,
    method: Method | None = None,
) -> Report:
    """Assert that every gradient of a module, a function or a `torch.autograd.Function` is right.

    Args:
        subject: a module is checked in its parameters and its inputs, a function in its arguments.
        inputs: what it is called with. They are taken to float64 for the reference, the module itself is left as it is.
        loss: of the module's output and `target`.
        method: how to check; every entry in reverse mode, in float64, where it is not given.

    Returns: the report, which says more than that nothing is wrong.

    Raises:
        AssertionError: a gradient is wrong; says which, where, by how much and the likely cause.
    """
    checked = (
        of_module(subject, inputs, loss=loss, target=target)
        if isinstance(subject, nn.Module)
        else of_function(subject, inputs)
    )
    report = check_subject(checked, method or Method())
    if not report.ok:
        raise AssertionError(report.text())
    return report
