"""Gradient checks for other people's test suites.

from nnlab.testing import assert_gradients

def test_my_layer_backpropagates():
    assert_gradients(MyLayer(5, 3), torch.randn(4, 5))
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nnlab.core.errors import NnlabError
from nnlab.core.spelling import as_keyword, spell
from nnlab.diagnostics.gradcheck.checking import check_subject
from nnlab.diagnostics.gradcheck.gradient_report import Method, Report
from nnlab.diagnostics.gradcheck.subjects import Subject, function_subject, module_subject


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
        inputs: the arguments of the call. They are converted to float64 for the reference; the module itself is not changed.
        loss: of the module's output and `target`.
        method: how to check; by default every entry, in reverse mode, in float64.

    Returns: the report, with the numbers of every check.

    Raises:
        AssertionError: a gradient is wrong; the message has the tensor, the entry, the error and the likely cause.
        UsageError: the gradients can't be checked, because the function raises or is not finite at the inputs.
    """
    try:
        report = check_subject(_subject(subject, inputs, loss, target), method or Method())
    except NnlabError as error:
        raise error.respell(as_keyword) from error
    if not report.ok:
        raise AssertionError(spell(report.text(), as_keyword))
    return report


def _subject(
    given: nn.Module | Callable[..., Tensor] | type[torch.autograd.Function],
    inputs: tuple[Tensor, ...],
    loss: Callable[[Tensor, Tensor], Tensor] | None,
    target: Tensor | None,
) -> Subject:
    if isinstance(given, nn.Module):
        return module_subject(given, inputs, loss=loss, target=target)
    return function_subject(given, inputs)
