"""Is the gradient right, tensor by tensor, and if not, what is the bug?

The gradient of every named tensor is held against central differences in every entry (`comparison.py`); what is wrong is
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
from nnlab.diagnostics.gradcheck.causes import Cause, Evidence, likely_cause
from nnlab.diagnostics.gradcheck.comparison import Comparison, Numeric, compare, numeric_gradient
from nnlab.diagnostics.gradcheck.differences import step_scales
from nnlab.diagnostics.gradcheck.gradient_report import GradientRow, Method, Report, Verdict
from nnlab.diagnostics.gradcheck.kinks import slope_along
from nnlab.diagnostics.gradcheck.low_precision import low_precision_gradient, rounding_bounds
from nnlab.diagnostics.gradcheck.problem import Problem, prepared
from nnlab.diagnostics.gradcheck.subjects import Backward, Function, Subject, Tensors
from nnlab.diagnostics.gradcheck.terms import changed_term


@dataclass
class _Findings:
    problem: Problem
    method: Method
    numeric: Mapping[str, Numeric]
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
        constants: what else the function needs.
        backward: a hand-written gradient to check in place of PyTorch's.
    """
    return check_subject(Subject(name, function, point, constants or {}, backward), method or Method())


def check_subject(subject: Subject, method: Method) -> Report:
    """Check a subject's gradients; one row for each check and tensor."""
    problem = prepared(subject, seed=method.seed, dtype=_dtype(method))
    numeric = {name: numeric_gradient(problem, name, method) for name, t in problem.point.items() if t.numel()}
    findings = _Findings(problem, method, numeric)
    for kind in method.checks:
        _RUN[kind](findings)
    evaluation = "vmap" if problem.at.batched else "loop"
    return Report(subject.name, tuple(findings.rows), findings.kinds, evaluation, problem.noise)


def _dtype(method: Method) -> torch.dtype:
    dtype = getattr(torch, method.dtype)
    assert isinstance(dtype, torch.dtype)
    return dtype


def _reverse(findings: _Findings) -> None:
    _mode(findings, "reverse", autodiff.reverse)
    if findings.numeric and findings.method.sample is not None:
        _directions(findings)


def _forward(findings: _Findings) -> None:
    _mode(findings, "forward", autodiff.forward)


def _mode(findings: _Findings, kind: str, gradient: Callable[[Problem], dict[str, Tensor]]) -> None:
    problem, method = findings.problem, findings.method
    try:
        given, again = gradient(problem), gradient(problem)
        found = {n: compare(problem, n, given[n], findings.numeric[n], method.tolerance) for n in findings.numeric}
        for name, comparison in found.items():
            _append(findings, kind, name, comparison, given[name], again[name])
        if method.is_low and kind == "reverse" and not any(comparison.wrong.any() for comparison in found.values()):
            _low_precision(findings, given, found)
    except autodiff.RaisedError as raised:
        _append_raised(findings, kind, str(raised))


def _append(findings: _Findings, kind: str, name: str, found: Comparison, given: Tensor, again: Tensor) -> None:
    cause = None
    if found.wrong.any():
        cause = _cause(findings.problem, name, found, findings.numeric[name].entries, given, again)
    elif _differs(given, again, found.floor):
        found.wrong[:] = True
        cause = Cause("noise", f"noise: two equal calls differ by up to {float((given - again).abs().max()):.3g}")
    row = _row(findings, kind, name, found, findings.method.tolerance, cause)
    findings.rows.append(row)
    if cause is not None:
        findings.kinds[kind, name] = cause.kind


def _differs(given: Tensor, again: Tensor, floor: Tensor) -> bool:
    return bool(((given - again).abs() > 1e-9 * given.abs() + float(floor.max())).any())


def _cause(problem: Problem, name: str, found: Comparison, entries: Tensor, given: Tensor, again: Tensor) -> Cause:
    numeric = torch.full((given.numel(),), torch.nan, dtype=torch.float64)
    wrong = torch.zeros(given.numel(), dtype=torch.bool)
    # At a kink the differences say nothing of their own: the value given there has been accepted.
    numeric[entries] = torch.where(found.kink, found.analytic, found.numeric)
    wrong[entries] = found.wrong
    return likely_cause(
        Evidence(
            analytic=given,
            numeric=numeric.view_as(given),
            wrong=wrong.view_as(given),
            floor=float(found.floor.median()),
            again=again,
            value=problem.point[name],
            sizes=_sizes(problem, name),
            upstream=problem.unit if problem.at.num_outputs == 1 else 0.0,
            terms=lambda: changed_term(problem, name, given.flatten(), numeric, wrong),
        )
    )


def _sizes(problem: Problem, name: str) -> dict[int, str]:
    """What a number could be the size of: dimensions of the other tensors first, for means go over rows of data."""
    tensors = {**problem.subject.constants, **problem.subject.point}
    ordered = [*(key for key in reversed(tensors) if key != name), name]
    sizes: dict[int, str] = {}
    for dim in range(4):
        for key in ordered:
            if dim < tensors[key].ndim and tensors[key].shape[dim] > 1:
                sizes.setdefault(tensors[key].shape[dim], f"N, the size of {key}'s dimension {dim}")
    for key in ordered:
        sizes.setdefault(tensors[key].numel(), f"N, the number of entries of {key}")
    sizes.setdefault(problem.at.num_outputs, "N, the number of outputs")
    return {size: what for size, what in sizes.items() if size > 1}


def _row(
    findings: _Findings, kind: str, name: str, found: Comparison, tolerance: float, cause: Cause | None
) -> GradientRow:
    problem = findings.problem
    error = torch.nan_to_num((found.analytic - found.numeric).abs(), nan=torch.inf)
    floor = found.floor / tolerance
    size = torch.maximum(torch.maximum(found.analytic.abs(), found.numeric.abs()), floor)
    # No error is none even where nothing has a size.
    relative = torch.where(error > 0, torch.nan_to_num(error / size, nan=torch.inf), 0.0)
    # Where a factor is wrong every entry is equally so: the largest of the wrong ones is shown.
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
        worst_index=_index(problem, name, int(findings.numeric[name].entries[worst])),
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


def _append_raised(findings: _Findings, kind: str, message: str) -> None:
    findings.rows.append(_protocol_row(findings, kind, message))
    findings.kinds[kind, ""] = "raises"


def _protocol_row(findings: _Findings, kind: str, complaint: str) -> GradientRow:
    nan = float("nan")
    verdict: Verdict = "wrong" if complaint else "ok"
    name = findings.problem.subject.name
    return GradientRow(name, kind, "", "", 0, nan, nan, nan, "", nan, nan, verdict, complaint)


def _low_precision(findings: _Findings, given: Mapping[str, Tensor], found: Mapping[str, Comparison]) -> None:
    """Replace the float64 rows by those of the precision asked for.

    Only where float64 is right: a bug there is one in every precision, and spoils the measure of what rounding may do.
    """
    problem, method = findings.problem, findings.method
    dtype = _dtype(method)
    low = low_precision_gradient(problem, dtype, method.device)
    bounds = rounding_bounds(problem, given, dtype)
    # The float64 rows, just added, were the reference's own.
    del findings.rows[-len(found) :]
    for name, exact in found.items():
        entries = findings.numeric[name].entries
        floor = bounds[name].flatten()[entries]
        analytic = low[name].flatten()[entries]
        wrong = ~((analytic - exact.analytic).abs() <= floor)
        numeric = torch.where(exact.kink, exact.analytic, exact.numeric)
        comparison = Comparison(analytic, numeric, floor, wrong, exact.kink, exact.note)
        cause = None
        if wrong.any():
            cause = _low_cause(problem, name, comparison, entries, low[name])
            findings.kinds["reverse", name] = cause.kind
        findings.rows.append(_row(findings, "reverse", name, comparison, _low_tolerance(comparison, dtype), cause))


def _low_tolerance(found: Comparison, dtype: torch.dtype) -> float:
    """The typical bound, relative to the typical entry: what the report says was allowed."""
    typical = float(found.numeric.square().mean().sqrt())
    return max(float(found.floor.median()) / typical if typical else 0.0, torch.finfo(dtype).eps)


def _low_cause(problem: Problem, name: str, found: Comparison, entries: Tensor, given: Tensor) -> Cause:
    cause = _cause(problem, name, found, entries, given, given)
    return replace(cause, text=f"right in float64, wrong here: {cause.text}")


def _directions(findings: _Findings) -> None:
    """Each tensor once more, along random signs of all its entries, for what the sample has left out."""
    problem, method = findings.problem, findings.method
    given = autodiff.reverse(problem)
    generator = stream(method.seed, "order")
    for name, numeric in findings.numeric.items():
        tensor = problem.point[name]
        if len(numeric.entries) == tensor.numel():
            continue
        step = method.step * float(step_scales(tensor).min()) / tensor.numel() ** 0.5
        signs = (
            torch.randint(0, 2, (method.directions, *tensor.shape), generator=generator, dtype=torch.float64) * 2 - 1
        )
        wanted = (signs * given[name]).flatten(1).sum(dim=1)
        seen = torch.tensor([slope_along(problem.at, name, sign, step, problem.weights) for sign in signs])
        floor = torch.full_like(wanted, 8 * problem.noise / step) + method.tolerance * given[name].norm()
        wrong = ~((wanted - seen).abs() <= floor + method.tolerance * wanted.abs())
        comparison = Comparison(wanted, seen.to(wanted), floor, wrong, torch.zeros_like(wrong))
        cause = Cause("unknown", "wrong in entries that were not sampled") if wrong.any() else None
        row = _row(findings, "directions", name, comparison, method.tolerance, cause)
        findings.rows.append(replace(row, worst_index=""))


def _second(findings: _Findings) -> None:
    """The gradient of a weighted sum of the gradients, by a second backward pass, against differences of first ones."""
    try:
        subject = autodiff.gradient_subject(findings.problem)
        report = check_subject(subject, replace(findings.method, checks=("reverse",), dtype="float64", device="cpu"))
    except UsageError as reason:
        _append_raised(findings, "second", str(reason))
        return
    findings.rows.extend(replace(row, check=_second_name(row.check)) for row in report.rows)
    findings.kinds.update({(_second_name(kind), name): cause for (kind, name), cause in report.kinds.items()})


def _second_name(check: str) -> str:
    return "second" if check == "reverse" else f"second {check}"


def _undefined(findings: _Findings) -> None:
    findings.rows.append(_protocol_row(findings, "undefined", autodiff.protocol_fault(findings.problem, "undefined")))


def _batched(findings: _Findings) -> None:
    findings.rows.append(_protocol_row(findings, "batched", autodiff.protocol_fault(findings.problem, "batched")))


_RUN: Final[Mapping[str, Callable[[_Findings], None]]] = {
    "reverse": _reverse,
    "forward": _forward,
    "second": _second,
    "undefined": _undefined,
    "batched": _batched,
}
