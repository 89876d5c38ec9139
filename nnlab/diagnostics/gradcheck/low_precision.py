"""Gradients in low precision, or on another device, compared with the same gradient in float64 on the CPU.

The error of a correct program is not bounded by a constant: it grows with the machine epsilon and with the condition of the sums
inside. Both are measured together: every input, parameter and constant is changed at random by about an epsilon of itself, and
the change of the float64 gradient is observed. A sum whose terms cancel changes as much as rounding of its terms would change
it. In every second draw the result of each operation, forward and backward, is changed as well: a value that is 0 by an identity
(a bias before batch normalisation) stays 0 at every input, but not under rounding.
Only a gradient that differences have already confirmed in float64 is compared.

Source: the idea of Monte Carlo arithmetic, Parker 1997.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nnlab.core.rng import stream
from nnlab.diagnostics.gradcheck.autodiff import gradient
from nnlab.diagnostics.gradcheck.problem import Problem, constants, flat_outputs, nudge

_DRAWS: Final = 16
# Rounding inside a fused operation is not simulated. Measured on 40 nets of 2 to 7 layers, before the results of operations were
# changed too: errors were at most 2.6 times the bound without a margin in float32, and at most the bound in bfloat16, whose products
# are summed in float32.
_MARGIN: Final[Mapping[int, float]] = {4: 8.0, 2: 3.0, 8: 8.0}  # by bytes of a number


def low_precision_gradient(problem: Problem, dtype: torch.dtype, device: str) -> dict[str, Tensor]:
    """The gradient computed in `dtype` on `device`, converted to float64 on the CPU."""
    fixed = constants(problem.subject, dtype, device=device)
    outputs = flat_outputs(problem.subject, problem.complex_names, fixed, problem.random_seed)
    point = {name: tensor.to(device=device, dtype=dtype) for name, tensor in problem.point.items()}
    cotangent = problem.cotangent.to(device=device, dtype=dtype)
    found = gradient(problem.subject, outputs, point, fixed, cotangent)
    # The cotangent was rounded too: dividing by its rounded value loses no accuracy for a single output.
    unit = float(cotangent[0]) if len(cotangent) == 1 else 1.0
    return {name: part.to(device="cpu", dtype=torch.float64) / unit for name, part in found.items()}


def rounding_bounds(problem: Problem, exact: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Bounds on the change of each entry of the gradient by rounding in `dtype`.

    Args:
        exact: the gradient in float64.

    Returns: absolute bounds, of the tensors' shapes.
    """
    epsilon, margin = torch.finfo(dtype).eps, _MARGIN[dtype.itemsize]
    generator = stream(0, "noise")
    moved = {name: torch.zeros_like(part) for name, part in exact.items()}
    for draw in range(_DRAWS):
        # Half of the draws are four times as wide: they find kinks that rounding in deeper layers may cross.
        relative = epsilon if draw % 2 else 4 * epsilon
        fixed = nudge(constants(problem.subject, dtype, torch.float64), relative, generator)
        outputs = flat_outputs(problem.subject, problem.complex_names, fixed, problem.random_seed)
        point = nudge(problem.point, relative, generator)
        with _RoundedOperations(epsilon, generator) if draw % 2 else nullcontext():
            found = gradient(problem.subject, outputs, point, fixed, problem.cotangent)
        for name, part in found.items():
            moved[name] = torch.maximum(moved[name], (part / problem.unit - exact[name]).abs())
    return {
        name: margin * (moved[name] + epsilon * exact[name].abs()) + epsilon * _root_mean_square(exact[name])
        for name in exact
    }


class _RoundedOperations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Context manager: the result of every operation is changed by a random share, up to `epsilon`, of itself."""

    def __init__(self, epsilon: float, generator: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.epsilon, self.generator = epsilon, generator

    def __torch_dispatch__(  # type: ignore[no-untyped-def]
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ):
        result = func(*args, **(kwargs or {}))
        # Views and in-place operations do no rounding, and must return the same tensors.
        if any(returned.alias_info is not None for returned in func._schema.returns):
            return result
        return type(result)(map(self._round, result)) if isinstance(result, tuple | list) else self._round(result)

    def _round(self, part: object) -> object:
        if not isinstance(part, Tensor) or not part.is_floating_point():
            return part
        share = torch.rand(part.shape, generator=self.generator, dtype=torch.float64)
        return part * (1 + self.epsilon * (2 * share - 1)).to(part.dtype)


def _root_mean_square(tensor: Tensor) -> Tensor:
    return tensor.square().mean().sqrt()
