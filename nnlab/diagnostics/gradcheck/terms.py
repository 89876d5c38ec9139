"""The term of the chain rule that a wrong gradient lacks, or counts twice.

A derivative is the sum over all paths through the function. It can be split into shares without any backward pass: by output (row
by row), and by edge: with one argument of one operation held fixed, the differences lose exactly the paths through it. The error
of the given gradient is compared with each share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from nnlab.diagnostics.gradcheck import tracing
from nnlab.diagnostics.gradcheck.causes import Cause, CauseKind
from nnlab.diagnostics.gradcheck.differences import (
    FOREIGN_ERRORS,
    Evaluator,
    jacobian_rows,
    richardson,
    slopes,
    step_scales,
)
from nnlab.diagnostics.gradcheck.gradient_report import STEP
from nnlab.diagnostics.gradcheck.problem import Problem, cast, constants, nudge

_ENTRIES: Final = 24
_MOST_EDGES: Final = 60
_FIT: Final = 1e-4
# Operations that stop a gradient on purpose.
_STOPS: Final = frozenset({"detach", "detach_", "item", "tolist", "numpy"})


@dataclass(frozen=True)
class SelectedEntries:
    """The entries that the regression uses.

    Attributes:
        entries: flat indices [K], wrong ones first.
        analytic, numeric: the gradients in these entries [K].
    """

    entries: Tensor
    analytic: Tensor
    numeric: Tensor


def changed_term(problem: Problem, name: str, analytic: Tensor, numeric: Tensor, wrong: Tensor) -> Cause | None:
    """The share of the derivative that the given gradient lacks or repeats; None if no single share explains it.

    Args:
        analytic, numeric, wrong: flat, over the whole tensor; numeric is nan in entries that were not compared.
    """
    order = torch.cat([wrong.nonzero().flatten(), (~wrong & ~numeric.isnan()).nonzero().flatten()])[:_ENTRIES]
    selected = SelectedEntries(order, analytic[order], numeric[order])
    return (
        _upstream_cause(problem, name, selected)
        or _rows_cause(problem, name, selected)
        or _edges_cause(problem, name, selected)
    )


def _upstream_cause(problem: Problem, name: str, selected: SelectedEntries) -> Cause | None:
    """The cause if the given gradient is that of the plain sum of the outputs; None otherwise."""
    if problem.evaluator.num_outputs == 1:
        return None
    plain = jacobian_rows(problem.evaluator, name, selected.entries).sum(dim=1)
    if float((selected.analytic - plain).norm()) > _FIT * float(selected.analytic.norm()):
        return None
    return Cause(
        "upstream ignored", "the upstream gradient (grad_output) is ignored: it is the gradient of a plain sum"
    )


def _rows_cause(problem: Problem, name: str, selected: SelectedEntries) -> Cause | None:
    """The cause if a sum over the rows of the output (its indices along one dimension) leaves some out or repeats some."""
    shape = _output_shape(problem)
    if shape is None:
        return None
    share = jacobian_rows(problem.evaluator, name, selected.entries) * problem.weights
    for dim, size in enumerate(shape):
        if not 1 < size < len(selected.entries):
            continue
        others = [other + 1 for other in range(len(shape)) if other != dim]
        by_index = share.view(-1, *shape).sum(dim=others) if others else share.view(-1, *shape)
        counted = _counts(by_index, selected.analytic)
        if counted is not None:
            return _cause_of_counts(counted, dim)
    return None


def _counts(shares_KR: Tensor, given_K: Tensor) -> Tensor | None:
    """The times that each share is counted [R]; None unless whole numbers explain the given gradient and it determines them."""
    if int(torch.linalg.matrix_rank(shares_KR)) < shares_KR.shape[1]:
        return None
    counts = torch.linalg.lstsq(shares_KR, given_K[:, None]).solution[:, 0]
    whole = counts.round()
    fits = float((shares_KR @ whole - given_K).norm()) <= _FIT * float(given_K.norm())
    return whole if fits and bool((counts - whole).abs().max() < 1e-3) else None


def _cause_of_counts(counts: Tensor, dim: int) -> Cause | None:
    missing, doubled = (counts == 0).nonzero().flatten().tolist(), (counts == 2).nonzero().flatten().tolist()
    if missing:
        kept = (counts != 0).nonzero().flatten().tolist()
        what = f"only indices {kept} are counted" if len(kept) < len(missing) else f"indices {missing} are left out"
        return Cause("missing term", f"missing terms: of the sum over the output's dimension {dim}, {what}")
    if doubled:
        return Cause("doubled term", f"doubled terms: indices {doubled} of the output's dimension {dim} count twice")
    return None


def _output_shape(problem: Problem) -> tuple[int, ...] | None:
    """The shape of the output; None unless it is one real tensor of several entries."""
    # All tensors in one precision: a float32 module may be checked at a float64 input.
    point = {name: cast(tensor, torch.float64) for name, tensor in problem.subject.point.items()}
    with torch.no_grad():
        result = problem.subject.function({**point, **constants(problem.subject, torch.float64)})
    if not isinstance(result, Tensor) or result.numel() == 1 or result.is_complex():
        return None
    return tuple(result.shape)


def _edges_cause(problem: Problem, name: str, selected: SelectedEntries) -> Cause | None:
    """The cause if the share through one edge of the function's graph was changed; of several edges that fit, the last.

    The graph is that of the PyTorch operations called from Python.
    """
    point = problem.point
    generator = torch.Generator().manual_seed(0)
    moved: Mapping[str, Tensor] = {**point, **nudge({name: point[name] + STEP}, STEP, generator)}
    try:
        with torch.no_grad():
            calls = tracing.record(problem.evaluator.outputs, point)
            passed = tracing.edges(calls, tracing.record(problem.evaluator.outputs, moved))
        found = [_edge_cause(problem, name, selected, calls, edge) for edge in reversed(passed[-_MOST_EDGES:])]
    except (tracing.MismatchError, *FOREIGN_ERRORS):
        return None
    fitting = sorted((fit for fit in found if fit is not None), key=lambda fit: fit[0])
    return fitting[0][1] if fitting else None


def _edge_cause(
    problem: Problem, name: str, selected: SelectedEntries, calls: list[tracing.Call], edge: tracing.Edge
) -> tuple[int, Cause] | None:
    """The change of the share through one edge as a cause, with its rank: the lowest is the simplest explanation."""
    cut = replace(problem.evaluator, outputs=tracing.cut_edge(problem.evaluator.outputs, calls, edge), batched=False)
    share = selected.numeric - _slope(cut, name, selected.entries, problem.weights)
    size, whole = float(share.norm()), float(selected.numeric.norm())
    if size < 1e-7 * whole or float((share - selected.numeric).norm()) < 1e-7 * whole:
        return None  # no path goes through this edge, or all paths do
    rest = selected.analytic - selected.numeric
    change = float(rest @ share) / size**2
    if float((rest - change * share).norm()) > _FIT * float(rest.norm()):
        return None
    return _named_change(1 + change, edge, determined=len(selected.entries) > 2)


def _named_change(count: float, edge: tracing.Edge, *, determined: bool) -> tuple[int, Cause] | None:
    path = f"the paths through argument {edge.argument} of `{edge.operation}`"
    named: tuple[tuple[float, CauseKind, str], ...] = (
        (0.0, "missing term", f"missing term: {path} are left out"),
        (2.0, "doubled term", f"doubled term: {path} count twice"),
        (-1.0, "term", f"a term's sign flipped: {path}"),
    )
    for rank, (wanted, kind, text) in enumerate(named):
        if abs(count - wanted) < _FIT:
            if kind == "missing term" and edge.operation in _STOPS:
                return -1, Cause("detached", f"detached part: `{edge.operation}` lets nothing through")
            return rank, Cause(kind, text)
    return (len(named), Cause("term", f"a term {count:.6g} times what it should be: {path}")) if determined else None


def _slope(evaluator: Evaluator, name: str, entries: Tensor, weights: Tensor) -> Tensor:
    steps = STEP * step_scales(evaluator.point[name])[entries]
    seen = slopes(evaluator, name, entries, torch.stack([steps, steps / 2]), weights).central
    return richardson(seen[0], seen[1])
