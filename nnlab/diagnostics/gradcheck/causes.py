"""The likely bug behind a wrong gradient, from a regression of the given gradient on the right one.

Each hypothesis says that the given gradient, a, is some simple change of the numeric one, n: a multiple, a rearrangement,
a sum broadcast back, the same outside one slice, or n with the share of one term changed. The first hypothesis that explains
every entry to the accuracy of the differences is the answer; if none fits, nothing is guessed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from nnlab.core.spelling import mention

CauseKind = Literal[
    "factor",
    "sign",
    "mean against sum",
    "transposed",
    "rearranged",
    "missing term",
    "doubled term",
    "term",
    "broadcast sum",
    "detached",
    "slice",
    "noise",
    "upstream ignored",
    "flat",
    "edge",
    "not finite",
    "raises",
    "unknown",
]

# Differences are accurate to about 1e-9; a planted factor of 1.0001 must not pass for 1.
_FIT: Final = 1e-5
_NAMED: Final = 1e-4


@dataclass(frozen=True)
class Cause:
    """The likely bug: its kind, and a sentence that describes it."""

    kind: CauseKind
    text: str


@dataclass(frozen=True)
class GradientEvidence:
    """Everything that is known about the gradient by one tensor.

    Attributes:
        analytic: the given gradient, of the tensor's shape.
        numeric: from differences; nan in entries that were not compared.
        wrong: a mask of the wrong entries.
        floor: the absolute error of `numeric`.
        again: the gradient from a second, equal call.
        value: the tensor itself.
        sizes: the sizes that a factor may come from, with their names.
        upstream: the upstream gradient of a single output; 0 if there are several.
        terms: finds a changed term of the function's own; called last, because it evaluates the function again.
    """

    analytic: Tensor
    numeric: Tensor
    wrong: Tensor
    floor: float
    again: Tensor
    value: Tensor
    sizes: Mapping[int, str]
    upstream: float
    terms: Callable[[], Cause | None]


def likely_cause(evidence: GradientEvidence) -> Cause:
    """The first hypothesis that explains the evidence."""
    hypotheses = (
        _domain_edge,
        _non_finite_values,
        _noise,
        _flat_function,
        _multiple,
        _rearrangement,
        _broadcast,
        _slice,
        _added_term,
    )
    for hypothesis in hypotheses:
        cause = hypothesis(evidence)
        if cause is not None:
            return cause
    return evidence.terms() or _unknown_cause(evidence)


def _domain_edge(e: GradientEvidence) -> Cause | None:
    if e.numeric[e.wrong].isfinite().all():
        return None
    return Cause(
        "edge", f"the function is not finite on both sides: the edge of its domain ({mention('domain', 'LOW:HIGH')})"
    )


def _non_finite_values(e: GradientEvidence) -> Cause | None:
    if e.analytic.isfinite().all():
        return None
    return Cause("not finite", "nan or inf where the slope is finite")


def _noise(e: GradientEvidence) -> Cause | None:
    changed = (e.again - e.analytic).abs()
    if not bool((changed > 1e-9 * e.analytic.abs() + e.floor).any()):
        return None
    return Cause("noise", f"noise: two equal calls differ by up to {float(changed.max()):.3g}")


def _flat_function(e: GradientEvidence) -> Cause | None:
    if bool((e.numeric.abs() > 10 * e.floor).any()):
        return None
    return Cause("flat", "the function is flat here and the gradient is not (a straight-through estimate?)")


def _multiple(e: GradientEvidence) -> Cause | None:
    known = ~e.numeric.isnan()
    factor = ratio(e.analytic[known], e.numeric[known], e.floor)
    if factor is None:
        return None
    if e.upstream and _is_near(factor * e.upstream, 1) and not _is_near(abs(factor), 1):
        return Cause(
            "upstream ignored", "the upstream gradient (grad_output) is ignored: it is the gradient of a plain sum"
        )
    return named_factor(factor, e.sizes)


def named_factor(factor: float, sizes: Mapping[int, str]) -> Cause:
    """The likely cause of a gradient that is `factor` times the right one."""
    if abs(factor) < _NAMED:
        return Cause("detached", "detached: zero, as if no gradient flowed back here")
    if _is_near(factor, -1):
        return Cause("sign", "sign flipped")
    sign = "sign flipped and " if factor < 0 else ""
    size = abs(factor)
    for simple, text in ((2.0, "2"), (0.5, "1/2")):
        if _is_near(size, simple):
            return Cause("sign" if sign else "factor", f"{sign}factor {text}")
    for count, what in sizes.items():
        if _is_near(size, count):
            return Cause("mean against sum", f"{sign}factor {count} = {what}: summed where the mean is due")
        if _is_near(size * count, 1):
            return Cause("mean against sum", f"{sign}factor 1/{count} ({what}): averaged where the sum is due")
    return Cause("sign" if sign else "factor", f"{sign}factor {size:.6g}")


def ratio(given: Tensor, wanted: Tensor, floor: float) -> float | None:
    """The number c for which given = c wanted in every entry, to the accuracy of the differences; None if there is none."""
    square = float((wanted * wanted).sum())
    if square <= len(wanted.flatten()) * (10 * floor) ** 2:
        return None
    c = float((given * wanted).sum()) / square
    rest = float((given - c * wanted).norm())
    allowed = _FIT * max(float(given.norm()), math.sqrt(square) * min(1.0, abs(c))) + 4 * floor * math.sqrt(
        given.numel()
    )
    return c if rest <= allowed else None


def _is_near(number: float, wanted: float) -> bool:
    return abs(number - wanted) <= _NAMED * abs(wanted)


def _rearrangement(e: GradientEvidence) -> Cause | None:
    if e.numeric.isnan().any() or e.numeric.numel() < 2:
        return None
    for kind, what, candidate in _arrangements(e.numeric):
        factor = ratio(e.analytic, candidate, e.floor)
        if factor is not None:
            also = "" if _is_near(factor, 1) else f" and {named_factor(factor, e.sizes).text}"
            return Cause(kind, what + also)
    return _permutation(e)


def _arrangements(n: Tensor) -> Iterator[tuple[CauseKind, str, Tensor]]:
    """Every transpose, flip, shift and row-major misreading of `n`, with its kind and its description."""
    dims = range(n.ndim)
    for order in itertools.permutations(dims):
        moved = n.permute(order)
        if list(order) == list(dims):
            continue
        what = "transposed" if n.ndim == 2 else f"dimensions in the order {', '.join(map(str, order))}"
        if moved.shape == n.shape:
            yield "transposed", what, moved
        else:
            yield "transposed", f"{what}, then read in the old shape", moved.reshape(n.shape)
    if n.ndim == 2:
        yield (
            "transposed",
            "computed transposed: the entries of the transpose's shape, misread",
            n.reshape(n.shape[::-1]).t(),
        )
    for count in range(1, n.ndim + 1):
        for flipped in itertools.combinations(dims, count):
            where = ", ".join(map(str, flipped))
            yield "rearranged", f"reversed along dimension {where} (correlation against convolution?)", n.flip(flipped)
    for dim in dims:
        for shift in (1, -1):
            yield "rearranged", f"shifted by {shift} along dimension {dim}", n.roll(shift, dim)


def _permutation(e: GradientEvidence) -> Cause | None:
    """The right values in other places; only for enough entries that this can't happen by chance."""
    if e.numeric.numel() < 4:
        return None
    same = (e.analytic.flatten().sort().values - e.numeric.flatten().sort().values).norm()
    if float(same) > _FIT * float(e.numeric.norm()):
        return None
    return Cause("rearranged", "the right values in the wrong places")


def _broadcast(e: GradientEvidence) -> Cause | None:
    if e.numeric.isnan().any():
        return None
    dims = [dim for dim in range(e.numeric.ndim) if e.numeric.shape[dim] > 1]
    for count in range(1, len(dims) + 1):
        for over in itertools.combinations(dims, count):
            summed = e.numeric.sum(over, keepdim=True).expand_as(e.numeric)
            factor = ratio(e.analytic, summed, e.floor)
            entries = math.prod(e.numeric.shape[dim] for dim in over)
            if factor is not None and (_is_near(factor, 1) or _is_near(factor * entries, 1)):
                what = "sum" if _is_near(factor, 1) else "mean"
                where = ", ".join(map(str, over))
                return Cause("broadcast sum", f"broadcast {what}: every entry is the {what} over dimension {where}")
    return None


def _slice(e: GradientEvidence) -> Cause | None:
    """One wrong block in a gradient that is right elsewhere: its place, and the change inside it."""
    informative = (e.numeric.abs() > 100 * e.floor) | e.wrong
    places = [_indices_along(e.wrong, dim) for dim in range(e.wrong.ndim)]
    block = torch.zeros_like(e.wrong)
    block[torch.meshgrid(*places, indexing="ij") if places else ()] = True
    if not bool((informative & ~block).any()) or bool((informative & block & ~e.wrong).any()):
        return None
    where = ", ".join(_index_text(place, size) for place, size in zip(places, e.wrong.shape, strict=True))
    inside = ratio(e.analytic[e.wrong], e.numeric[e.wrong], e.floor)
    what = "wrong" if inside is None else named_factor(inside, e.sizes).text
    noun = "entry" if int(e.wrong.sum()) == 1 else "slice"
    return Cause("slice", f"one wrong {noun} [{where}]: {what}")


def _indices_along(wrong: Tensor, dim: int) -> Tensor:
    """The indices along `dim` at which any entry is wrong."""
    others = [other for other in range(wrong.ndim) if other != dim]
    return (wrong.any(dim=others) if others else wrong).nonzero().flatten()


def _index_text(place: Tensor, size: int) -> str:
    first, last = int(place[0]), int(place[-1])
    if len(place) == size:
        return ":"
    if len(place) == 1:
        return str(first)
    if last - first + 1 == len(place):
        return f"{first}:{last + 1}"
    return "{" + " ".join(str(int(index)) for index in place[:8]) + (" ..." if len(place) > 8 else "") + "}"


def _added_term(e: GradientEvidence) -> Cause | None:
    """An added term that the function does not have, such as weight decay."""
    if e.numeric.isnan().any() or e.numeric.numel() < 4:
        return None
    rest = e.analytic - e.numeric
    known = {
        "the parameter itself (weight decay?)": e.value,
        "the parameter's sign (an L1 penalty?)": e.value.sign(),
        "the same number everywhere": torch.ones_like(e.value),
    }
    for what, term in known.items():
        factor = ratio(rest, term, e.floor)
        if factor is not None and factor:
            verb = "missing" if factor < 0 else "added"
            kind: CauseKind = "missing term" if factor < 0 else "term"
            return Cause(kind, f"a term {verb}: {abs(factor):.6g} times {what}")
    return None


def _unknown_cause(e: GradientEvidence) -> Cause:
    known = ~e.numeric.isnan()
    a, n = e.analytic[known], e.numeric[known]
    cosine = float((a * n).sum()) / max(float(a.norm() * n.norm()), 1e-300)
    if abs(cosine) < 0.1 and a.numel() >= 16:
        return Cause("noise", f"unrelated to the slope (cosine {cosine:.2f}): noise, or another function's gradient")
    return Cause(
        "unknown", f"{int(e.wrong.sum())} of {a.numel()} entries wrong by no simple rule (cosine {cosine:.4f})"
    )
