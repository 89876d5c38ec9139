"""A subject made ready for checking: real, float64, flat, weighted, and fixed where it draws at random.

Complex tensors are seen as pairs of reals; the gradient of a real L by a complex z is then dL/d(Re z) + i dL/d(Im z), PyTorch's
own convention. Outputs of any shape are weighted and summed, L = w . f, with fixed random weights: the gradient of L is
the transposed Jacobian times w, entry by entry of the inputs, so an error in a single entry of the Jacobian moves one
entry of it. (Weighting the inputs as well, as a fast check does, hides it among the others.) Weights have sizes
from 0.5 to 1.5: none hides an output, and none is 1, so a backward that forgets its upstream gradient shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from nnlab.core.errors import UsageError
from nnlab.core.rng import stream, stream_seed
from nnlab.core.spelling import mention
from nnlab.diagnostics.gradcheck.differences import FOREIGN_ERRORS, Evaluator, Outputs, evaluator
from nnlab.diagnostics.gradcheck.subjects import Subject, Tensors

_NUDGES: Final = 8


@dataclass(frozen=True)
class Problem:
    """What both the differences and the gradient under test are computed from.

    Attributes:
        subject: what was given.
        at: the flat outputs f [M] of the real float64 point, and perturbed ones.
        cotangent: w, what reverse mode is given.
        weights: what differences are weighted with: w, or 1 where there is one output.
        unit: what reverse mode's gradient is divided by, to be that of `weights . f`.
        noise: how far rounding alone moves weights . f.
        complex_names: the tensors seen as pairs of reals.
        random_seed: the seed that every evaluation starts from; None where the function draws nothing.
        dtype: what point and constants were rounded to before they were made float64.
    """

    subject: Subject
    at: Evaluator
    cotangent: Tensor
    weights: Tensor
    unit: float
    noise: float
    complex_names: frozenset[str]
    random_seed: int | None
    dtype: torch.dtype

    @property
    def point(self) -> Mapping[str, Tensor]:
        """The tensors to differentiate by, real and float64."""
        return self.at.point


def prepared(subject: Subject, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Problem:
    """The subject as a problem, its tensors first rounded to `dtype`, so that a check in it sees the same point.

    Raises:
        UsageError: nothing to differentiate by, or a function that raises or is not finite at the point.
    """
    if not any(tensor.numel() for tensor in subject.point.values()):
        raise UsageError(f"{subject.name} has no floating-point tensor to differentiate by.")
    complex_names = frozenset(name for name, tensor in subject.point.items() if tensor.is_complex())
    point = {name: real_leaf(cast(tensor, dtype)).double() for name, tensor in subject.point.items()}
    random_seed = _random_seed(subject, point, complex_names, dtype, seed)
    outputs = flat_outputs(subject, complex_names, constants(subject, dtype, torch.float64), random_seed)
    with torch.no_grad():
        here = outputs(point)
    cotangent = _cotangent(len(here), seed)
    unit = float(cotangent[0]) if len(here) == 1 else 1.0
    weights = cotangent / unit
    return Problem(
        subject=subject,
        at=evaluator(outputs, point, may_batch=random_seed is None),
        cotangent=cotangent,
        weights=weights,
        unit=unit,
        noise=_noise(outputs, point, weights, seed),
        complex_names=complex_names,
        random_seed=random_seed,
        dtype=dtype,
    )


def flat_outputs(
    subject: Subject, complex_names: frozenset[str], fixed: Tensors, random_seed: int | None = None
) -> Outputs:
    """The subject's outputs, all of them real and in one vector, as a function of its real leaves."""

    def outputs(leaves: Mapping[str, Tensor]) -> Tensor:
        tensors = {
            name: torch.view_as_complex(leaf) if name in complex_names else leaf for name, leaf in leaves.items()
        }
        result = subject.function({**tensors, **fixed})
        parts = (result,) if isinstance(result, Tensor) else result
        flat = [real_leaf(part).flatten() for part in parts if part.is_floating_point() or part.is_complex()]
        return flat[0] if len(flat) == 1 else torch.cat(flat)

    return outputs if random_seed is None else _seeded(outputs, random_seed)


def constants(subject: Subject, *dtypes: torch.dtype, device: str = "cpu") -> dict[str, Tensor]:
    """The subject's constants, the floating ones cast through `dtypes` in turn."""
    fixed = {name: tensor.to(device) for name, tensor in subject.constants.items()}
    for dtype in dtypes:
        fixed = {name: cast(t, dtype) if t.is_floating_point() or t.is_complex() else t for name, t in fixed.items()}
    return fixed


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor in `dtype`, or in its complex companion."""
    return tensor.detach().to(dtype.to_complex() if tensor.is_complex() else dtype)


def real_leaf(tensor: Tensor) -> Tensor:
    """A complex tensor as pairs of reals [..., 2]; a real one as it is."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def nudged(tensors: Tensors, relative: float, generator: torch.Generator) -> dict[str, Tensor]:
    """The tensors with every floating entry moved by a random share, up to `relative`, of itself."""
    return {
        name: t * (1 + relative * (2 * torch.rand(t.shape, generator=generator, dtype=torch.float64) - 1))
        if t.is_floating_point() or t.is_complex()
        else t
        for name, t in tensors.items()
    }


def _cotangent(count: int, seed: int) -> Tensor:
    generator = stream(seed, "noise")
    sizes = 0.5 + torch.rand(count, generator=generator, dtype=torch.float64)
    return torch.where(torch.rand(count, generator=generator) < 0.5, -sizes, sizes)


def _noise(outputs: Outputs, point: Mapping[str, Tensor], weights: Tensor, seed: int) -> float:
    """How far rounding moves w . f: a unit of the sum of the sizes summed, and what two units in every input do.

    The first is the condition of the last sum; the second sees the cancellation inside the function (Monte Carlo
    arithmetic, Parker 1997), to which differences are as exposed as it is.
    """
    generator = stream(seed, "dropout")
    unit = torch.finfo(torch.float64).eps
    with torch.no_grad():
        here = outputs(point)
        moved = [(outputs(nudged(point, 2 * unit, generator)) - here) @ weights for _ in range(_NUDGES)]
    return unit * float(here.abs() @ weights.abs()) + float(torch.stack(moved).abs().max())


def _random_seed(
    subject: Subject, point: Tensors, complex_names: frozenset[str], dtype: torch.dtype, seed: int
) -> int | None:
    """A seed for the function's own draws, or None where it makes none.

    Two evaluations may agree by chance (two dropout masks that keep as many of equal units), so the generator is asked.
    """
    outputs = flat_outputs(subject, complex_names, constants(subject, dtype, torch.float64))
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            before = torch.random.get_rng_state()
            first, second = outputs(point), outputs(point)
            draws = not torch.equal(before, torch.random.get_rng_state())
    except FOREIGN_ERRORS as reason:
        raise UsageError(f"{subject.name} raises {type(reason).__name__} at the point given: {reason}") from reason
    if not first.isfinite().all():
        raise UsageError(
            f"{subject.name} is not finite at the point given. Choose other inputs ({mention('domain', 'LOW:HIGH')})."
        )
    return stream_seed(seed, "dropout") if draws or not torch.equal(first, second) else None


def _seeded(outputs: Outputs, seed: int) -> Outputs:
    """The outputs with the global generators started at `seed` and afterwards put back: a layer takes no generator."""

    def fixed(leaves: Mapping[str, Tensor]) -> Tensor:
        devices = sorted({leaf.device.index or 0 for leaf in leaves.values() if leaf.is_cuda})
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            return outputs(leaves)

    return fixed
