"""Is the gradient right, tensor by tensor, and if not, what is the bug?

The gradient of every named tensor is held against central differences in every entry. An entry passes where

    |a - n| <= tolerance * max(|a|, |n|, floor),

with the floor chosen so that tolerance * floor is what rounding does to a difference: 8 * noise / step. What does not pass is
looked at again (`kinks.py`); what is then still wrong is explained (`causes.py`, `terms.py`).

N entries of a tensor, M outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import torch
from torch import Tensor

from nnlab.core.errors import UsageError, unknown
from nnlab.core.rng import stream
from nnlab.diagnostics import autodiff
from nnlab.diagnostics.causes import Cause, Evidence, likely_cause
from nnlab.diagnostics.differences import STEP, richardson, slopes, step_scales
from nnlab.diagnostics.kinks import closer_look, frozen_look, slope_along
from nnlab.diagnostics.precision import low_precision_gradient, rounding_bounds
from nnlab.diagnostics.problem import Problem, prepared
from nnlab.diagnostics.subjects import Backward, Function, Subject, Tensors
from nnlab.diagnostics.terms import changed_term

Verdict = Literal["ok", "kink", "wrong"]

CHECKS: Final = ("reverse", "forward", "second", "undefined", "batched")
DTYPES: Final[Mapping[str, torch.dtype]] = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# Differences in float64 are good to 1e-9 or better on anything that a network computes; a bug is off by far more.
TOLERANCE: Final = 1e-6
_MOST_LOOKS: Final = 512


@dataclass(frozen=True)
class Method:
    """How a gradient is checked.

    Attributes:
        checks: of CHECKS: reverse mode, forward mode, second order, undefined and batched upstream gradients.
        step: relative step of the differences; each entry's is this times its size, at least the tensor's typical one.
        sample: how many entries of every tensor; None for all. The rest is then asked along random directions.
        directions: how many.
        dtype: the precision under test; the reference is float64 on the CPU.
        device: where that gradient is computed.
        tolerance: relative, in float64.
        seed: of the weights, the sample, the directions and a stochastic layer's draws.
    """

    checks: tuple[str, ...] = ("reverse",)
    step: float = STEP
    sample: int | None = None
    directions: int = 4
    dtype: str = "float64"
    device: str = "cpu"
    tolerance: float = TOLERANCE
    seed: int = 0

    def __post_init__(self) -> None:
        for check in self.checks:
            if check not in CHECKS:
                raise unknown("check", check, CHECKS)
        if self.dtype not in DTYPES:
            raise unknown("--dtype", self.dtype, DTYPES)
        if not 0 < self.step < 1:
            raise UsageError(f"--step takes a number between 0 and 1, not {self.step!r}; 1e-4 is usual.")
        if self.sample is not None and self.sample < 1:
            raise UsageError(f"--sample takes a count of 1 or more, not {self.sample!r}.")

    @property
    def is_low(self) -> bool:
        """Whether the gradient under test is another than float64's on the CPU."""
        return self.dtype != "float64" or self.device != "cpu"


@dataclass(frozen=True)
class GradientRow:
    """What was found of one tensor by one check: a row of gradcheck.csv.

    Attributes:
        shape: `4x3`; empty for a scalar.
        entries: how many were compared.
        max_abs_error: the largest |analytic - numeric|.
        max_rel_error: the largest |analytic - numeric| / max(|analytic|, |numeric|, floor).
        tolerance: what max_rel_error may be.
        worst_index: `2,1`; for a complex tensor followed by `real` or `imag`.
        analytic: the gradient given there; numeric: from differences.
        cause: the likely bug, or why a kink passes.
    """

    subject: str
    check: str
    parameter: str
    shape: str
    entries: int
    max_abs_error: float
    max_rel_error: float
    tolerance: float
    worst_index: str
    analytic: float
    numeric: float
    verdict: Verdict
    cause: str


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        rows: one for each check and tensor.
        kinds: the kind of cause of every wrong row, by (check, parameter).
        evaluation: how the differences were evaluated: `vmap` or `loop`.
        noise: how far rounding moves the function, absolutely.
    """

    subject: str
    rows: tuple[GradientRow, ...]
    kinds: Mapping[tuple[str, str], str]
    evaluation: str
    noise: float

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong

    @property
    def wrong(self) -> tuple[GradientRow, ...]:
        """The rows with a wrong gradient."""
        return tuple(row for row in self.rows if row.verdict == "wrong")

    def row(self, parameter: str, check: str = "reverse") -> GradientRow:
        """The row of one tensor."""
        return next(row for row in self.rows if (row.parameter, row.check) == (parameter, check))


@dataclass(frozen=True)
class Numeric:
    """What differences say of the entries asked: values [N] and the absolute errors that rounding may leave [N]."""

    entries: Tensor
    values: Tensor
    floor: Tensor


@dataclass
class Comparison:
    """A gradient beside the differences, entry by entry, as the looks go on. All [N]."""

    analytic: Tensor
    numeric: Tensor
    floor: Tensor
    wrong: Tensor
    kink: Tensor
    note: str = ""


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
    problem = prepared(subject, seed=method.seed, dtype=DTYPES[method.dtype])
    numeric = {name: numeric_gradient(problem, name, method) for name, t in problem.point.items() if t.numel()}
    findings = _Findings(problem, method, numeric)
    for kind in method.checks:
        _RUN[kind](findings)
    evaluation = "vmap" if problem.at.batched else "loop"
    return Report(subject.name, tuple(findings.rows), findings.kinds, evaluation, problem.noise)


def check_all(subjects: Iterable[Subject], method: Method) -> tuple[Report, ...]:
    """Check one subject after the other."""
    return tuple(check_subject(subject, method) for subject in subjects)


def numeric_gradient(problem: Problem, name: str, method: Method) -> Numeric:
    """Central differences at h and h/2, extrapolated, in every entry or a sample."""
    count = problem.point[name].numel()
    entries = torch.arange(count)
    if method.sample is not None and method.sample < count:
        entries = torch.randperm(count, generator=stream(method.seed, "order"))[: method.sample].sort().values
    steps = method.step * step_scales(problem.point[name])[entries]
    seen = slopes(problem.at, name, entries, torch.stack([steps, steps / 2]), problem.weights_M)
    return Numeric(entries, richardson(seen.central[0], seen.central[1]), 8 * problem.noise / steps)


def compare(problem: Problem, name: str, gradient: Tensor, numeric: Numeric, tolerance: float) -> Comparison:
    """The gradient beside the differences: right, at a kink, or wrong, entry by entry."""
    analytic = gradient.flatten()[numeric.entries]
    error = (analytic - numeric.values).abs()
    allowed = tolerance * torch.maximum(analytic.abs(), numeric.values.abs()) + numeric.floor
    found = Comparison(
        analytic, numeric.values.clone(), numeric.floor, ~(error <= allowed), torch.zeros_like(error, dtype=torch.bool)
    )
    if found.wrong.any() and analytic.isfinite().all():
        _look_closer(problem, name, numeric.entries, found, tolerance)
    return found


def _look_closer(problem: Problem, name: str, entries: Tensor, found: Comparison, tolerance: float) -> None:
    """Ask again about every suspect; about the first few hundred only where none of them is cleared."""
    suspects = found.wrong.nonzero().flatten()
    for part in suspects.split(_MOST_LOOKS):
        cleared = _second_and_third_look(problem, name, entries, found, part, tolerance)
        if not cleared:
            return


def _second_and_third_look(
    problem: Problem, name: str, entries: Tensor, found: Comparison, part: Tensor, tolerance: float
) -> bool:
    analytic, floor = found.analytic[part], found.floor[part]
    closer = closer_look(problem, name, entries[part], analytic, tolerance, floor)
    right, kink, numeric = closer.right, closer.kink, closer.numeric.clone()
    if kink.any():
        low, high = closer.spread[kink][0].tolist()
        found.note = f"kink: one-sided slopes {low:.6g} and {high:.6g}; the value given is a valid subgradient"
    left = (~right & ~kink).nonzero().flatten()
    if len(left):
        held, slope = frozen_look(problem, name, entries[part][left], analytic[left], tolerance, floor[left])
        kink[left], numeric[left] = held, torch.where(held, slope, numeric[left])
        if held.any():
            found.note = "kink: several meet here; the value given is each part's own subgradient, chained"
    found.numeric[part] = numeric
    found.wrong[part], found.kink[part] = ~right & ~kink, kink
    return bool((right | kink).any())


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
    except autodiff.Raised as raised:
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
    relative = torch.nan_to_num(error / size, nan=torch.inf)
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
    dtype = DTYPES[method.dtype]
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
        seen = torch.tensor([slope_along(problem.at, name, sign, step, problem.weights_M) for sign in signs])
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
