"""A subject in the form in which it is checked: real, float64, flat, weighted, and with its random draws fixed.

Complex tensors become pairs of reals; the gradient of a real L by a complex z is then dL/d(Re z) + i dL/d(Im z), PyTorch's
own convention. Outputs of any shape are weighted and summed, L = w . f, with fixed random weights: the gradient of L is
the transposed Jacobian times w, entry by entry of the inputs, so an error in a single entry of the Jacobian changes one
entry of the gradient. (Weighting the inputs as well, as a fast check does, hides it among the others.) Weights have sizes
from 0.5 to 1.5: none hides an output, and none is 1, so a backward pass that ignores its upstream gradient is found.
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
from nnlab.diagnostics.gradcheck.differences import FOREIGN_ERRORS, Evaluator, OutputFunction, new_evaluator
from nnlab.diagnostics.gradcheck.subjects import Subject, Tensors

_NUDGES: Final = 8


@dataclass(frozen=True)
class Problem:
    """Everything that both the differences and the gradient under test are computed from.

    Attributes:
        subject: the function and its point, as given.
        evaluator: gives the flat outputs f [M] at the real float64 point and at perturbed ones.
        cotangent: w, the upstream gradient of reverse mode.
        weights: the weights of the outputs in differences: w, or 1 if there is one output.
        unit: reverse mode's gradient is divided by it to be the gradient of `weights . f`.
        noise: the change of weights . f by rounding alone.
        complex_names: the tensors that are pairs of reals here.
        random_seed: the seed that every evaluation starts from; None if the function draws nothing.
        dtype: the precision to which point and constants were rounded before they became float64.
    """

    subject: Subject
    evaluator: Evaluator
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
        return self.evaluator.point


def problem_of(subject: Subject, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Problem:
    """The subject as a problem. Its tensors are first rounded to `dtype`, so that a check in that precision has the same point.

    Raises:
        UsageError: there is nothing to differentiate by, or the function raises or is not finite at the point.
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
        evaluator=new_evaluator(outputs, point, may_batch=random_seed is None),
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
) -> OutputFunction:
    """The subject's outputs, made real and joined in one vector, as a function of its real leaves."""

    def outputs(leaves: Mapping[str, Tensor]) -> Tensor:
        tensors = {
            name: torch.view_as_complex(leaf) if name in complex_names else leaf for name, leaf in leaves.items()
        }
        result = subject.function({**tensors, **fixed})
        parts = (result,) if isinstance(result, Tensor) else result
        flat = [real_leaf(part).flatten() for part in parts if part.is_floating_point() or part.is_complex()]
        return flat[0] if len(flat) == 1 else torch.cat(flat)

    return outputs if random_seed is None else _fix_seed(outputs, random_seed)


def constants(subject: Subject, *dtypes: torch.dtype, device: str = "cpu") -> dict[str, Tensor]:
    """The subject's constants; floating and complex ones are cast to each of `dtypes` in turn."""
    fixed = {name: tensor.to(device) for name, tensor in subject.constants.items()}
    for dtype in dtypes:
        fixed = {name: cast(t, dtype) if t.is_floating_point() or t.is_complex() else t for name, t in fixed.items()}
    return fixed


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor in `dtype`, or in the complex type of that precision."""
    return tensor.detach().to(dtype.to_complex() if tensor.is_complex() else dtype)


def real_leaf(tensor: Tensor) -> Tensor:
    """A complex tensor as pairs of reals [..., 2]; a real one as it is."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def nudge(tensors: Tensors, relative: float, generator: torch.Generator) -> dict[str, Tensor]:
    """The tensors with every floating or complex entry changed by a random share, up to `relative`, of itself."""
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


def _noise(outputs: OutputFunction, point: Mapping[str, Tensor], weights: Tensor, seed: int) -> float:
    """The change of w . f by rounding: eps times the sum of |w f|, plus the largest change when every input moves by up to 2 eps.

    The first term is the condition of the last sum. The second sees the cancellation inside the function (Monte Carlo
    arithmetic, Parker 1997), which affects differences as much as the function itself.
    """
    generator = stream(seed, "dropout")
    unit = torch.finfo(torch.float64).eps
    with torch.no_grad():
        here = outputs(point)
        moved = [(outputs(nudge(point, 2 * unit, generator)) - here) @ weights for _ in range(_NUDGES)]
    return unit * float(here.abs() @ weights.abs()) + float(torch.stack(moved).abs().max())


def _random_seed(
    subject: Subject, point: Tensors, complex_names: frozenset[str], dtype: torch.dtype, seed: int
) -> int | None:
    """A seed for the function's own draws; None if it makes none.

    Two evaluations may agree by chance (two dropout masks that keep equally many of equal units), so the state of the generator
    is compared as well.
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


def _fix_seed(outputs: OutputFunction, seed: int) -> OutputFunction:
    """The outputs, with the global generators started at `seed` and restored afterwards: layers accept no generator."""

    def seeded_outputs(leaves: Mapping[str, Tensor]) -> Tensor:
        devices = sorted({leaf.device.index or 0 for leaf in leaves.values() if leaf.is_cuda})
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            return outputs(leaves)

    return seeded_outputs
