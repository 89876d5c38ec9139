"""What bug makes a wrong gradient: the gradient given, regressed on what it should be.

Each hypothesis says that the gradient given, a, is some simple change of the numeric one, n: a multiple, a rearrangement,
a sum broadcast back, the same outside one slice, or n with one term's share changed. The first that explains every
entry to the accuracy of the differences is the answer; none is guessed where none fits.
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

Kind = Literal[
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

# Differences are good to about 1e-9; a planted 1.0001 must not pass for 1.
_FIT: Final = 1e-5
_NAMED: Final = 1e-4


@dataclass(frozen=True)
class Cause:
    """The likely bug: its kind, and a sentence."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Evidence:
    """All that is known of one tensor's gradient.

    Attributes:
        analytic: the gradient given, of the tensor's shape.
        numeric: from differences; nan where an entry was not asked.
        wrong: which entries are wrong.
        floor: the absolute error of `numeric`.
        again: the gradient of a second, equal call.
        value: the tensor itself.
        sizes: what a number N could be the size of.
        upstream: the upstream gradient of a single output; 0 where there are several.
        terms: finds changed terms among the function's own; asked last, for it evaluates the function again.
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


def likely_cause(evidence: Evidence) -> Cause:
    """The first hypothesis that explains the evidence."""
    hypotheses = (_edge, _not_finite, _noise, _flat, _multiple, _rearranged, _broadcast, _slice, _added)
    for hypothesis in hypotheses:
        cause = hypothesis(evidence)
        if cause is not None:
            return cause
    return evidence.terms() or _unknown(evidence)


def _edge(e: Evidence) -> Cause | None:
    if e.numeric[e.wrong].isfinite().all():
        return None
    return Cause(
        "edge", f"the function is not finite on both sides: the edge of its domain ({mention('domain', 'LOW:HIGH')})"
    )


def _not_finite(e: Evidence) -> Cause | None:
    if e.analytic.isfinite().all():
        return None
    return Cause("not finite", "nan or inf where the slope is finite")


def _noise(e: Evidence) -> Cause | None:
    changed = (e.again - e.analytic).abs()
    if not bool((changed > 1e-9 * e.analytic.abs() + e.floor).any()):
        return None
    return Cause("noise", f"noise: two equal calls differ by up to {float(changed.max()):.3g}")


def _flat(e: Evidence) -> Cause | None:
    if bool((e.numeric.abs() > 10 * e.floor).any()):
        return None
    return Cause("flat", "the function is flat here and the gradient is not (a straight-through estimate?)")


def _multiple(e: Evidence) -> Cause | None:
    known = ~e.numeric.isnan()
    factor = ratio(e.analytic[known], e.numeric[known], e.floor)
    if factor is None:
        return None
    # One number can be any multiple of another: only those that a bug would make are named with so little to go by.
    if e.upstream and _near(factor * e.upstream, 1) and not _near(abs(factor), 1):
        return Cause(
            "upstream ignored", "the upstream gradient (grad_output) is ignored: it is the gradient of a plain sum"
        )
    return named_factor(factor, e.sizes)


def named_factor(factor: float, sizes: Mapping[int, str]) -> Cause:
    """What a gradient that is `factor` times the right one most likely suffers from."""
    if abs(factor) < _NAMED:
        return Cause("detached", "detached: zero, as if no gradient flowed back here")
    if _near(factor, -1):
        return Cause("sign", "sign flipped")
    sign = "sign flipped and " if factor < 0 else ""
    size = abs(factor)
    for simple, text in ((2.0, "2"), (0.5, "1/2")):
        if _near(size, simple):
            return Cause("sign" if sign else "factor", f"{sign}factor {text}")
    for count, what in sizes.items():
        if _near(size, count):
            return Cause("mean against sum", f"{sign}factor {count} = {what}: summed where the mean is due")
        if _near(size * count, 1):
            return Cause("mean against sum", f"{sign}factor 1/{count} ({what}): averaged where the sum is due")
    return Cause("sign" if sign else "factor", f"{sign}factor {size:.6g}")


def ratio(given: Tensor, wanted: Tensor, floor: float) -> float | None:
    """c where given = c wanted in every entry, to the differences' accuracy; None where no c does."""
    square = float((wanted * wanted).sum())
    if square <= len(wanted.flatten()) * (10 * floor) ** 2:
        return None
    c = float((given * wanted).sum()) / square
    rest = float((given - c * wanted).norm())
    allowed = _FIT * max(float(given.norm()), math.sqrt(square) * min(1.0, abs(c))) + 4 * floor * math.sqrt(
        given.numel()
    )
    return c if rest <= allowed else None


def _near(number: float, wanted: float) -> bool:
    return abs(number - wanted) <= _NAMED * abs(wanted)


def _rearranged(e: Evidence) -> Cause | None:
    if e.numeric.isnan().any() or e.numeric.numel() < 2:
        return None
    for kind, what, candidate in _arrangements(e.numeric):
        factor = ratio(e.analytic, candidate, e.floor)
        if factor is not None:
            also = "" if _near(factor, 1) else f" and {named_factor(factor, e.sizes).text}"
            return Cause(kind, what + also)
    return _permuted(e)


def _arrangements(n: Tensor) -> Iterator[tuple[Kind, str, Tensor]]:
    """Every transposition, flip and row-major misreading of `n`, with its name."""
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


def _permuted(e: Evidence) -> Cause | None:
    """The right values in other places; asked of enough entries that chance can't do it."""
    if e.numeric.numel() < 4:
        return None
    same = (e.analytic.flatten().sort().values - e.numeric.flatten().sort().values).norm()
    if float(same) > _FIT * float(e.numeric.norm()):
        return None
    return Cause("rearranged", "the right values in the wrong places")


def _broadcast(e: Evidence) -> Cause | None:
    if e.numeric.isnan().any():
        return None
    dims = [dim for dim in range(e.numeric.ndim) if e.numeric.shape[dim] > 1]
    for count in range(1, len(dims) + 1):
        for over in itertools.combinations(dims, count):
            summed = e.numeric.sum(over, keepdim=True).expand_as(e.numeric)
            factor = ratio(e.analytic, summed, e.floor)
            entries = math.prod(e.numeric.shape[dim] for dim in over)
            if factor is not None and (_near(factor, 1) or _near(factor * entries, 1)):
                what = "sum" if _near(factor, 1) else "mean"
                where = ", ".join(map(str, over))
                return Cause("broadcast sum", f"broadcast {what}: every entry is the {what} over dimension {where}")
    return None


def _slice(e: Evidence) -> Cause | None:
    """One block is wrong and the rest right: which, and what is wrong inside it."""
    informative = (e.numeric.abs() > 100 * e.floor) | e.wrong
    places = [_along(e.wrong, dim) for dim in range(e.wrong.ndim)]
    block = torch.zeros_like(e.wrong)
    block[torch.meshgrid(*places, indexing="ij") if places else ()] = True
    if not bool((informative & ~block).any()) or bool((informative & block & ~e.wrong).any()):
        return None
    where = ", ".join(_indices(place, size) for place, size in zip(places, e.wrong.shape, strict=True))
    inside = ratio(e.analytic[e.wrong], e.numeric[e.wrong], e.floor)
    what = "wrong" if inside is None else named_factor(inside, e.sizes).text
    noun = "entry" if int(e.wrong.sum()) == 1 else "slice"
    return Cause("slice", f"one wrong {noun} [{where}]: {what}")


def _along(wrong: Tensor, dim: int) -> Tensor:
    """The indices along `dim` at which anything is wrong."""
    others = [other for other in range(wrong.ndim) if other != dim]
    return (wrong.any(dim=others) if others else wrong).nonzero().flatten()


def _indices(place: Tensor, size: int) -> str:
    first, last = int(place[0]), int(place[-1])
    if len(place) == size:
        return ":"
    if len(place) == 1:
        return str(first)
    if last - first + 1 == len(place):
        return f"{first}:{last + 1}"
    return "{" + " ".join(str(int(index)) for index in place[:8]) + (" ..." if len(place) > 8 else "") + "}"


def _added(e: Evidence) -> Cause | None:
    """A term that the function does not have, such as a weight decay."""
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
            kind: Kind = "missing term" if factor < 0 else "term"
            return Cause(kind, f"a term {verb}: {abs(factor):.6g} times {what}")
    return None


def _unknown(e: Evidence) -> Cause:
    known = ~e.numeric.isnan()
    a, n = e.analytic[known], e.numeric[known]
    cosine = float((a * n).sum()) / max(float(a.norm() * n.norm()), 1e-300)
    if abs(cosine) < 0.1 and a.numel() >= 16:
        return Cause("noise", f"unrelated to the slope (cosine {cosine:.2f}): noise, or another function's gradient")
    return Cause(
        "unknown", f"{int(e.wrong.sum())} of {a.numel()} entries wrong by no simple rule (cosine {cosine:.4f})"
    )
