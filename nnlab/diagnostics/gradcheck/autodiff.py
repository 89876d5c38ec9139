"""The gradients under test: reverse mode, forward mode, second order, and PyTorch's own tests of the backward protocol."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.autograd import forward_ad

from nnlab.diagnostics.gradcheck.differences import FOREIGN_ERRORS, OutputFunction
from nnlab.diagnostics.gradcheck.frozen_kinks import dual_numbers
from nnlab.diagnostics.gradcheck.problem import Problem, constants
from nnlab.diagnostics.gradcheck.subjects import Backward, Subject, Tensors


class RaisedError(Exception):
    """Computing the gradient under test raised an error; the message names it."""


def reverse_gradient(problem: Problem) -> dict[str, Tensor]:
    """The gradient of weights . f by every tensor, from one backward pass (or from the subject's hand-written one).

    Raises:
        RaisedError: the backward pass raised an error.
    """
    fixed = constants(problem.subject, problem.dtype, torch.float64)
    found = gradient(problem.subject, problem.evaluator.outputs, problem.point, fixed, problem.cotangent)
    return {name: part / problem.unit for name, part in found.items()}


def gradient(
    subject: Subject, outputs: OutputFunction, point: Tensors, fixed: Tensors, cotangent: Tensor
) -> dict[str, Tensor]:
    """The gradient of cotangent . outputs at `point`; zero for a tensor that the outputs do not depend on.

    Args:
        outputs: the subject's flat outputs, for tensors of the dtype and device of `point`.
        fixed: the subject's constants in that dtype, for a hand-written gradient.

    Raises:
        RaisedError: the backward pass raised an error.
    """
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in point.items()}
    try:
        if subject.backward is not None:
            return _hand_written_gradient(subject, subject.backward, {**point, **fixed}, cotangent)
        result = outputs(leaves)
        if not result.requires_grad:
            return {name: torch.zeros_like(leaf) for name, leaf in point.items()}
        found = torch.autograd.grad(result, list(leaves.values()), cotangent, allow_unused=True, materialize_grads=True)
    except FOREIGN_ERRORS as reason:
        raise RaisedError(f"raises {type(reason).__name__}: {str(reason).splitlines()[0]}") from reason
    return {name: part.detach() for name, part in zip(leaves, found, strict=True)}


def _hand_written_gradient(
    subject: Subject, backward: Backward, tensors: Tensors, cotangent: Tensor
) -> dict[str, Tensor]:
    output = subject.function(tensors)
    assert isinstance(output, Tensor), "a hand-written gradient needs a function with one output"
    found = backward(tensors, cotangent.view_as(output))
    parts = {name: found.get(name) for name in subject.point}
    return {name: torch.zeros_like(tensors[name]) if part is None else part.detach() for name, part in parts.items()}


def forward_gradient(problem: Problem) -> dict[str, Tensor]:
    """The gradient of weights . f from forward mode, with one tangent for every entry.

    Raises:
        RaisedError: an operation has no forward derivative, or raised an error.
    """
    return {name: _gradient_by_tangents(problem, name) for name in problem.point}


def _gradient_by_tangents(problem: Problem, name: str) -> Tensor:
    tensor = problem.point[name]
    gradient = torch.zeros(tensor.numel(), dtype=torch.float64)
    try:
        with dual_numbers():
            for entry in range(tensor.numel()):
                tangent = torch.zeros_like(tensor)
                tangent.view(-1)[entry] = 1.0
                dual = forward_ad.make_dual(tensor.clone(), tangent)  # type: ignore[no-untyped-call]
                result = forward_ad.unpack_dual(problem.evaluator.outputs({**problem.point, name: dual})).tangent  # type: ignore[no-untyped-call]
                gradient[entry] = 0.0 if result is None else float(result.detach() @ problem.weights)
    except FOREIGN_ERRORS as reason:
        raise RaisedError(f"raises {type(reason).__name__}: {str(reason).splitlines()[0]}") from reason
    return gradient.view_as(tensor)


def gradient_subject(problem: Problem) -> Subject:
    """A subject with the one output v . (gradient of the problem), for the check of second derivatives.

    Its own gradient is the Hessian times v, from a second backward pass; v has fixed random weights from 0.5 to 1.5.
    """
    generator = torch.Generator().manual_seed(len(problem.point))
    directions = {
        name: 0.5 + torch.rand(t.shape, generator=generator, dtype=torch.float64) for name, t in problem.point.items()
    }

    def projection(tensors: Mapping[str, Tensor]) -> Tensor:
        with torch.enable_grad():
            leaves = {n: t if t.requires_grad else t.detach().requires_grad_() for n, t in tensors.items()}
            result = problem.evaluator.outputs(leaves)
            if not result.requires_grad:
                return torch.zeros((), dtype=torch.float64)
            found = torch.autograd.grad(
                result,
                list(leaves.values()),
                problem.weights,
                create_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
        return torch.stack([(directions[n] * g).sum() for n, g in zip(leaves, found, strict=True)]).sum()

    return Subject(problem.subject.name, projection, problem.point)


def protocol_fault(problem: Problem, test: str) -> str:
    """The complaint of torch.autograd.gradcheck about undefined (`undefined`) or batched (`batched`) upstream gradients.

    Infinite tolerances switch off its comparison of Jacobians, which this package makes itself.

    Returns: the first line of the complaint; empty if there is none.
    """
    leaves = [tensor.detach().clone().requires_grad_() for tensor in problem.point.values()]

    def function(*tensors: Tensor) -> Tensor:
        return problem.evaluator.outputs(dict(zip(problem.point, tensors, strict=True)))

    infinite = float("inf")
    try:
        torch.autograd.gradcheck(
            function,
            leaves,
            atol=infinite,
            nondet_tol=infinite,
            check_undefined_grad=test == "undefined",
            check_batched_grad=test == "batched",
            fast_mode=True,
        )
    except FOREIGN_ERRORS as reason:
        return next(line.strip() for line in str(reason).splitlines() if line.strip())
    return ""
