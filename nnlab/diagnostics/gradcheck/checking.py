"""Is the gradient right, tensor by tensor, and if not, what is the bug?

The gradient by every named tensor is compared with central differences in every entry (`entry_verdicts.py`); a wrong one is
explained (`causes.py`, `terms.py`).

N entries of a tensor, M outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import Tensor

from nnlab.core.errors import UsageError
from nnlab.core.rng import stream
from nnlab.diagnostics.gradcheck import autodiff
from nnlab.diagnostics.gradcheck.causes import Cause, GradientEvidence, likely_cause
from nnlab.diagnostics.gradcheck.entry_verdicts import (
    EntryVerdicts,
    NumericGradient,
    direction_verdicts,
    entry_verdicts,
    numeric_gradient,
)
from nnlab.diagnostics.gradcheck.gradient_report import GradientRow, GradientVerdict, Method, Report
from nnlab.diagnostics.gradcheck.low_precision import low_precision_gradient, rounding_bounds
from nnlab.diagnostics.gradcheck.problem import Problem, problem_of
from nnlab.diagnostics.gradcheck.subjects import Backward, Function, Subject, Tensors
from nnlab.diagnostics.gradcheck.terms import changed_term


@dataclass
class _Findings:
    problem: Problem
    method: Method
    numeric: Mapping[str, NumericGradient]
    rows: list[GradientRow] = field(default_factory=list)
    kinds: dict[tuple[str, str], str] = field(default_factory=dict)


def check(
    function: Function,
    point: Tensors,
    *,
    constants: Tensors | None = None,
    backward: Backward | None = None,
    name: str = "function",
    method: Method | None = None,
) -> Report:
    """Check the gradient of a function of named tensors at a point.

    Args:
        function: from all tensors by name to one tensor or a tuple of them, of any shape.
        point: the tensors to differentiate by.
        constants: the function's other tensors.
        backward: a hand-written gradient to check in place of PyTorch's.
    """
    return check_subject(Subject(name, function, point, constants or {}, backward), method or Method())


def check_subject(subject: Subject, method: Method) -> Report:
    """Check a subject's gradients; one row for each check and tensor."""
    problem = problem_of(subject, seed=method.seed, dtype=_dtype(method))
    numeric = {name: numeric_gradient(problem, name, method) for name, t in problem.point.items() if t.numel()}
    findings = _Findings(problem, method, numeric)
    for kind in method.checks:
        _CHECK_BY_NAME[kind](findings)
    evaluation = "vmap" if problem.evaluator.batched else "loop"
    return Report(subject.name, tuple(findings.rows), findings.kinds, evaluation, problem.noise)


def _dtype(method: Method) -> torch.dtype:
    dtype = getattr(torch, method.dtype)
    assert isinstance(dtype, torch.dtype)
    return dtype


def _check_reverse(findings: _Findings) -> None:
    _check_mode(findings, "reverse", autodiff.reverse_gradient)
    if findings.numeric and findings.method.sample is not None:
        _check_directions(findings)


def _check_forward(findings: _Findings) -> None:
    _check_mode(findings, "forward", autodiff.forward_gradient)


def _check_mode(findings: _Findings, kind: str, gradient: Callable[[Problem], dict[str, Tensor]]) -> None:
    problem, method = findings.problem, findings.method
    try:
        given, again = gradient(problem), gradient(problem)
        found = {
            n: entry_verdicts(problem, n, given[n], findings.numeric[n], method.tolerance) for n in findings.numeric
        }
        for name, verdicts in found.items():
            _add_row(findings, kind, name, verdicts, given[name], again[name])
        if method.is_low and kind == "reverse" and not any(verdicts.wrong.any() for verdicts in found.values()):
            _replace_by_low_precision(findings, given, found)
    except autodiff.RaisedError as raised:
        _add_failure(findings, kind, str(raised))


def _add_row(findings: _Findings, kind: str, name: str, found: EntryVerdicts, given: Tensor, again: Tensor) -> None:
    cause = None
    if found.wrong.any():
        cause = _cause(findings.problem, name, found, given, again)
    elif _differs(given, again, found.floor):
        found.wrong[:] = True
        cause = Cause("noise", f"noise: two equal calls differ by up to {float((given - again).abs().max()):.3g}")
    findings.rows.append(_row(findings.problem, kind, name, found, findings.method.tolerance, cause))
    if cause is not None:
        findings.kinds[kind, name] = cause.kind


def _differs(given: Tensor, again: Tensor, floor: Tensor) -> bool:
    return bool(((given - again).abs() > 1e-9 * given.abs() + float(floor.max())).any())


def _cause(problem: Problem, name: str, found: EntryVerdicts, given: Tensor, again: Tensor) -> Cause:
    assert found.entries is not None, "a cause is found from entries, not from directions"
    numeric = torch.full((given.numel(),), torch.nan, dtype=torch.float64)
    wrong = torch.zeros(given.numel(), dtype=torch.bool)
    # At a kink the differences have no value of their own: the given value has been accepted there.
    numeric[found.entries] = torch.where(found.kink, found.analytic, found.numeric)
    wrong[found.entries] = found.wrong
    return likely_cause(
        GradientEvidence(
            analytic=given,
            numeric=numeric.view_as(given),
            wrong=wrong.view_as(given),
            floor=float(found.floor.median()),
            again=again,
            value=problem.point[name],
            sizes=_sizes(problem, name),
            upstream=problem.unit if problem.evaluator.num_outputs == 1 else 0.0,
            terms=lambda: changed_term(problem, name, given.flatten(), numeric, wrong),
        )
    )


def _sizes(problem: Problem, name: str) -> dict[int, str]:
    """The sizes that a factor may come from, with their names. Dimensions of the other tensors first: means go over rows of data."""
    tensors = {**problem.subject.constants, **problem.subject.point}
    ordered = [*(key for key in reversed(tensors) if key != name), name]
    sizes: dict[int, str] = {}
    for dim in range(4):
        for key in ordered:
            if dim < tensors[key].ndim and tensors[key].shape[dim] > 1:
                sizes.setdefault(tensors[key].shape[dim], f"N, the size of {key}'s dimension {dim}")
    for key in ordered:
        sizes.setdefault(tensors[key].numel(), f"N, the number of entries of {key}")
    sizes.setdefault(problem.evaluator.num_outputs, "N, the number of outputs")
    return {size: what for size, what in sizes.items() if size > 1}


def _row(
    problem: Problem, kind: str, name: str, found: EntryVerdicts, tolerance: float, cause: Cause | None
) -> GradientRow:
    error = torch.nan_to_num((found.analytic - found.numeric).abs(), nan=torch.inf)
    floor = found.floor / tolerance
    size = torch.maximum(torch.maximum(found.analytic.abs(), found.numeric.abs()), floor)
    # Where the error is 0 the relative error is 0, even if all sizes are 0.
    relative = torch.where(error > 0, torch.nan_to_num(error / size, nan=torch.inf), 0.0)
    # A wrong factor makes the relative errors of all entries equal: of the wrong entries, the row shows the largest error.
    worst = int(torch.where(found.wrong, error, -1.0).argmax() if found.wrong.any() else relative.argmax())
    return GradientRow(
        subject=problem.subject.name,
        check=kind,
        parameter=name,
        shape="x".join(map(str, problem.subject.point[name].shape)),
        entries=len(error),
        max_abs_error=float(error.max()),
        max_rel_error=float(relative.max()),
        tolerance=tolerance,
        worst_index="" if found.entries is None else _index(problem, name, int(found.entries[worst])),
        analytic=float(found.analytic[worst]),
        numeric=float(found.numeric[worst]),
        verdict="wrong" if found.wrong.any() else "kink" if found.kink.any() else "ok",
        cause=cause.text if cause is not None else found.note,
    )


def _index(problem: Problem, name: str, entry: int) -> str:
    place = [int(i) for i in torch.unravel_index(torch.tensor(entry), problem.point[name].shape)]
    if name not in problem.complex_names:
        return ",".join(map(str, place))
    part = ("real", "imag")[place.pop()]
    return " ".join(filter(None, (",".join(map(str, place)), part)))


def _add_failure(findings: _Findings, kind: str, message: str) -> None:
    findings.rows.append(_protocol_row(findings, kind, message))
    findings.kinds[kind, ""] = "raises"


def _protocol_row(findings: _Findings, kind: str, complaint: str) -> GradientRow:
    nan = float("nan")
    verdict: GradientVerdict = "wrong" if complaint else "ok"
    name = findings.problem.subject.name
    return GradientRow(name, kind, "", "", 0, nan, nan, nan, "", nan, nan, verdict, complaint)


def _replace_by_low_precision(
    findings: _Findings, given: Mapping[str, Tensor], found: Mapping[str, EntryVerdicts]
) -> None:
    """Replace the float64 rows by those of the precision asked for.

    Only if float64 is right: a bug there is a bug in every precision, and it makes the rounding bounds meaningless.
    """
    problem, method = findings.problem, findings.method
    dtype = _dtype(method)
    low = low_precision_gradient(problem, dtype, method.device)
    bounds = rounding_bounds(problem, given, dtype)
    # The float64 rows, which were just added, are about the reference.
    del findings.rows[-len(found) :]
    for name, exact in found.items():
        floor = bounds[name].flatten()[exact.entries]
        analytic = low[name].flatten()[exact.entries]
        wrong = ~((analytic - exact.analytic).abs() <= floor)
        numeric = torch.where(exact.kink, exact.analytic, exact.numeric)
        verdicts = EntryVerdicts(exact.entries, analytic, numeric, floor, wrong, exact.kink, exact.note)
        cause = None
        if wrong.any():
            cause = _low_cause(problem, name, verdicts, low[name])
            findings.kinds["reverse", name] = cause.kind
        findings.rows.append(_row(problem, "reverse", name, verdicts, _low_tolerance(verdicts, dtype), cause))


def _low_tolerance(found: EntryVerdicts, dtype: torch.dtype) -> float:
    """The typical bound relative to the typical entry: the report's value for what was allowed."""
    typical = float(found.numeric.square().mean().sqrt())
    return max(float(found.floor.median()) / typical if typical else 0.0, torch.finfo(dtype).eps)


def _low_cause(problem: Problem, name: str, found: EntryVerdicts, given: Tensor) -> Cause:
    cause = _cause(problem, name, found, given, given)
    return replace(cause, text=f"right in float64, wrong here: {cause.text}")


def _check_directions(findings: _Findings) -> None:
    """Check each tensor once more along random signs of all its entries, for errors in the entries left out of the sample."""
    problem, method = findings.problem, findings.method
    given = autodiff.reverse_gradient(problem)
    generator = stream(method.seed, "order")
    for name, numeric in findings.numeric.items():
        shape = problem.point[name].shape
        if len(numeric.entries) == shape.numel():
            continue
        signs = torch.randint(0, 2, (method.directions, *shape), generator=generator, dtype=torch.float64) * 2 - 1
        verdicts = direction_verdicts(problem, name, given[name], signs, method)
        cause = None
        if verdicts.wrong.any():
            cause = Cause("unknown", "wrong in entries that were not sampled")
            findings.kinds["directions", name] = cause.kind
        findings.rows.append(_row(problem, "directions", name, verdicts, method.tolerance, cause))


def _check_second(findings: _Findings) -> None:
    """Check the gradient of a weighted sum of the gradients, from a second backward pass, against differences of first ones."""
    try:
        subject = autodiff.gradient_subject(findings.problem)
        report = check_subject(subject, replace(findings.method, checks=("reverse",), dtype="float64", device="cpu"))
    except UsageError as reason:
        _add_failure(findings, "second", reason.message)
        return
    findings.rows.extend(replace(row, check=_second_name(row.check)) for row in report.rows)
    findings.kinds.update({(_second_name(kind), name): cause for (kind, name), cause in report.kinds.items()})


def _second_name(check: str) -> str:
    return "second" if check == "reverse" else f"second {check}"


def _check_undefined(findings: _Findings) -> None:
    findings.rows.append(_protocol_row(findings, "undefined", autodiff.protocol_fault(findings.problem, "undefined")))


def _check_batched(findings: _Findings) -> None:
    findings.rows.append(_protocol_row(findings, "batched", autodiff.protocol_fault(findings.problem, "batched")))


_CHECK_BY_NAME: Final[Mapping[str, Callable[[_Findings], None]]] = {
    "reverse": _check_reverse,
    "forward": _check_forward,
    "second": _check_second,
    "undefined": _check_undefined,
    "batched": _check_batched,
}
