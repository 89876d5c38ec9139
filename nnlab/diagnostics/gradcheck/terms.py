"""Which term of the chain rule a wrong gradient lacks, or counts twice.

A derivative is the sum over all paths through the function. Three partitions of it are at hand without asking any backward pass:
by output (row by row), and by edge: with one argument of one operation held still, the differences lose exactly the paths through
it. What the gradient given lacks or has too much is compared with each share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from nnlab.diagnostics.gradcheck import tracing
from nnlab.diagnostics.gradcheck.causes import Cause, Kind
from nnlab.diagnostics.gradcheck.differences import (
    FOREIGN_ERRORS,
    Evaluator,
    jacobian_rows,
    richardson,
    slopes,
    step_scales,
)
from nnlab.diagnostics.gradcheck.gradient_report import STEP
from nnlab.diagnostics.gradcheck.problem import Problem, cast, constants, nudged

_ENTRIES: Final = 24
_MOST_EDGES: Final = 60
_FIT: Final = 1e-4
# Operations that stop a gradient on purpose.
_STOPS: Final = frozenset({"detach", "detach_", "item", "tolist", "numpy"})


@dataclass(frozen=True)
class Asked:
    """The entries that are regressed on.

    Attributes:
        entries: flat indices [K], wrong ones first.
        analytic, numeric: the gradients there [K].
    """

    entries: Tensor
    analytic: Tensor
    numeric: Tensor


def changed_term(problem: Problem, name: str, analytic: Tensor, numeric: Tensor, wrong: Tensor) -> Cause | None:
    """The share of the derivative that the gradient given lacks or repeats, or None where no single share explains it.

    Args:
        analytic, numeric, wrong: flat, over the whole tensor; numeric is nan where an entry was not asked.
    """
    order = torch.cat([wrong.nonzero().flatten(), (~wrong & ~numeric.isnan()).nonzero().flatten()])[:_ENTRIES]
    asked = Asked(order, analytic[order], numeric[order])
    return _upstream(problem, name, asked) or _rows(problem, name, asked) or _edges(problem, name, asked)


def _upstream(problem: Problem, name: str, asked: Asked) -> Cause | None:
    """Whether the gradient given is that of the plain sum of the outputs."""
    if problem.at.num_outputs == 1:
        return None
    plain = jacobian_rows(problem.at, name, asked.entries).sum(dim=1)
    if float((asked.analytic - plain).norm()) > _FIT * float(asked.analytic.norm()):
        return None
    return Cause(
        "upstream ignored", "the upstream gradient (grad_output) is ignored: it is the gradient of a plain sum"
    )


def _rows(problem: Problem, name: str, asked: Asked) -> Cause | None:
    """Shares by index along one dimension of the output: a sum over rows that lost or repeated some."""
    shape = _output_shape(problem)
    if shape is None:
        return None
    share = jacobian_rows(problem.at, name, asked.entries) * problem.weights
    for dim, size in enumerate(shape):
        if not 1 < size < len(asked.entries):
            continue
        others = [other + 1 for other in range(len(shape)) if other != dim]
        by_index = share.view(-1, *shape).sum(dim=others) if others else share.view(-1, *shape)
        counted = _counts(by_index, asked.analytic)
        if counted is not None:
            return _of_rows(counted, dim)
    return None


def _counts(shares_KR: Tensor, given_K: Tensor) -> Tensor | None:
    """How often each share is counted, where whole numbers explain the gradient given and are determined by it."""
    if int(torch.linalg.matrix_rank(shares_KR)) < shares_KR.shape[1]:
        return None
    counts = torch.linalg.lstsq(shares_KR, given_K[:, None]).solution[:, 0]
    whole = counts.round()
    fits = float((shares_KR @ whole - given_K).norm()) <= _FIT * float(given_K.norm())
    return whole if fits and bool((counts - whole).abs().max() < 1e-3) else None


def _of_rows(counts: Tensor, dim: int) -> Cause | None:
    missing, doubled = (counts == 0).nonzero().flatten().tolist(), (counts == 2).nonzero().flatten().tolist()
    if missing:
        kept = (counts != 0).nonzero().flatten().tolist()
        what = f"only indices {kept} are counted" if len(kept) < len(missing) else f"indices {missing} are left out"
        return Cause("missing term", f"missing terms: of the sum over the output's dimension {dim}, {what}")
    if doubled:
        return Cause("doubled term", f"doubled terms: indices {doubled} of the output's dimension {dim} count twice")
    return None


def _output_shape(problem: Problem) -> tuple[int, ...] | None:
    """The shape of the one output, where it is one tensor of several entries and real."""
    # In one precision: a float32 module may be checked at a float64 input.
    point = {name: cast(tensor, torch.float64) for name, tensor in problem.subject.point.items()}
    with torch.no_grad():
        result = problem.subject.function({**point, **constants(problem.subject, torch.float64)})
    if not isinstance(result, Tensor) or result.numel() == 1 or result.is_complex():
        return None
    return tuple(result.shape)


def _edges(problem: Problem, name: str, asked: Asked) -> Cause | None:
    """Shares by edge of the function's graph, as PyTorch's operations in Python show it; the last edge that fits."""
    point = problem.point
    generator = torch.Generator().manual_seed(0)
    moved: Mapping[str, Tensor] = {**point, **nudged({name: point[name] + STEP}, STEP, generator)}
    try:
        with torch.no_grad():
            calls = tracing.record(problem.at.outputs, point)
            passed = tracing.edges(calls, tracing.record(problem.at.outputs, moved))
        found = [_of_edge(problem, name, asked, calls, edge) for edge in reversed(passed[-_MOST_EDGES:])]
    except (tracing.MismatchError, *FOREIGN_ERRORS):
        return None
    fitting = sorted((fit for fit in found if fit is not None), key=lambda fit: fit[0])
    return fitting[0][1] if fitting else None


def _of_edge(
    problem: Problem, name: str, asked: Asked, calls: list[tracing.Call], edge: tracing.Edge
) -> tuple[int, Cause] | None:
    """How the share through one edge was changed, with a rank: the plainest explanation first."""
    at = replace(problem.at, outputs=tracing.cut(problem.at.outputs, calls, edge), batched=False)
    share = asked.numeric - _slope(at, name, asked.entries, problem.weights)
    size, whole = float(share.norm()), float(asked.numeric.norm())
    if size < 1e-7 * whole or float((share - asked.numeric).norm()) < 1e-7 * whole:
        return None  # no path goes through it, or all do
    rest = asked.analytic - asked.numeric
    change = float(rest @ share) / size**2
    if float((rest - change * share).norm()) > _FIT * float(rest.norm()):
        return None
    return _named_change(1 + change, edge, determined=len(asked.entries) > 2)


def _named_change(count: float, edge: tracing.Edge, *, determined: bool) -> tuple[int, Cause] | None:
    path = f"the paths through argument {edge.argument} of `{edge.operation}`"
    named: tuple[tuple[float, Kind, str], ...] = (
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


def _slope(at: Evaluator, name: str, entries: Tensor, weights: Tensor) -> Tensor:
    steps = STEP * step_scales(at.point[name])[entries]
    seen = slopes(at, name, entries, torch.stack([steps, steps / 2]), weights).central
    return richardson(seen[0], seen[1])
