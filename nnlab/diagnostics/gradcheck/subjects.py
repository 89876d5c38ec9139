"""What a gradient is checked of: a function of named tensors, and the point at which it is asked.

A module is checked in its parameters *and* its inputs, each by name; a plain function or a `torch.autograd.Function` in its
arguments. Everything else that the function needs (targets, buffers, class numbers) stands beside the point as constants:
cast with it where another precision is asked for, never differentiated.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from nnlab.core.errors import UsageError
from nnlab.core.rng import stream
from nnlab.core.spelling import mention

Tensors = Mapping[str, Tensor]
Function = Callable[[Tensors], Tensor | tuple[Tensor, ...]]
Backward = Callable[[Tensors, Tensor], Mapping[str, Tensor | None]]


@dataclass(frozen=True)
class Subject:
    """A function of named tensors at a point.

    Attributes:
        name: what the report calls it.
        function: from every tensor of `point` and `constants`, by name, to one tensor or a tuple of them; real or complex.
        point: the tensors that are differentiated, floating or complex.
        constants: the others.
        backward: the gradient as somebody wrote it by hand, from (tensors, cotangent of the one output) to gradients by
            name; PyTorch's reverse mode where it is None.
    """

    name: str
    function: Function
    point: Tensors
    constants: Tensors = field(default_factory=dict)
    backward: Backward | None = None


def of_module(
    module: nn.Module,
    inputs: Sequence[Tensor],
    *,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    target: Tensor | None = None,
    name: str = "",
) -> Subject:
    """The module's outputs, or the loss of them, as a function of its parameters and its inputs.

    The module's mode stays as it is: a dropout layer in training mode draws one mask and keeps it for every evaluation.

    Args:
        module: any module; its parameters keep their names (`fc1.weight`).
        inputs: what it is called with; named as its `forward` names them.
        loss: from (output, target) to a tensor, reduced or not.
        target: the loss's second argument.
        name: defaults to the class's name.
    """
    given = dict(zip(_argument_names(module.forward, len(inputs)), inputs, strict=True))
    parameters = {key: value.detach() for key, value in module.named_parameters()}
    buffers = {key: value.detach() for key, value in module.named_buffers()}
    clash = next((key for key in given if key in parameters or key in buffers), None)
    if clash is not None:
        raise UsageError(
            f"{clash!r} names both an input and a parameter of {type(module).__name__}. Rename one of them."
        )
    if loss is not None and target is None:
        raise UsageError("A loss was given without its target. Give both, or neither.")

    def function(tensors: Tensors) -> Tensor:
        # Batch normalisation updates its buffers in place; a check must leave the module as it was.
        state = {key: tensors[key] for key in parameters} | {key: tensors[key].clone() for key in buffers}
        output: Tensor = torch.func.functional_call(module, state, tuple(tensors[key] for key in given))
        return output if loss is None else loss(output, tensors["target"])

    point = parameters | {key: value for key, value in given.items() if _is_differentiable(value)}
    constants = buffers | {key: value for key, value in given.items() if key not in point}
    if target is not None:
        constants |= {"target": target}
    return Subject(name or type(module).__name__, function, point, constants)


def of_function(
    function: Callable[..., Tensor] | type[torch.autograd.Function],
    inputs: Sequence[Tensor],
    *,
    name: str = "",
) -> Subject:
    """A plain function, or a `torch.autograd.Function`, as a function of its arguments.

    Args:
        function: called with `inputs` in their order.
        inputs: floating and complex ones are differentiated, the others are constants.
        name: defaults to the function's own.
    """
    if isinstance(function, type) and issubclass(function, torch.autograd.Function):
        takes_context = function.setup_context is torch.autograd.Function.setup_context
        names = _argument_names(function.forward, len(inputs), skip=int(takes_context))
        call: Callable[..., Tensor] = function.apply
    else:
        names, call = _argument_names(function, len(inputs)), cast("Callable[..., Tensor]", function)
    given = dict(zip(names, inputs, strict=True))
    point = {key: value.detach() for key, value in given.items() if _is_differentiable(value)}
    constants = {key: value for key, value in given.items() if key not in point}
    return Subject(
        name or str(getattr(function, "__name__", "function")),
        lambda tensors: call(*(tensors[key] for key in names)),
        point,
        constants,
    )


def drawn_inputs(
    shapes: str, *, domain: tuple[float, float] | None = None, complex_values: bool = False, seed: int = 0
) -> tuple[Tensor, ...]:
    """Inputs of the shapes `4x3,5`: normal draws, or uniform ones well inside `domain`.

    A margin of a fiftieth of the domain is kept at both ends, so that a difference step stays where the function is
    defined. A shape `1` is a vector of one entry and `scalar` has no dimension.
    """
    low, high = domain if domain is not None else (-math.inf, math.inf)
    if low >= high:
        raise UsageError(f"{mention('domain')} takes LOW:HIGH with LOW below HIGH, not {low!r}:{high!r}.")
    generator = stream(seed, "init")
    drawn = []
    for text in shapes.split(","):
        size = _shape(text)
        if domain is None:
            kind = torch.complex128 if complex_values else torch.float64
            drawn.append(torch.randn(size, generator=generator, dtype=kind))
        else:
            margin = (high - low) / 50
            unit = torch.rand(size, generator=generator, dtype=torch.float64)
            drawn.append(low + margin + (high - low - 2 * margin) * unit)
    return tuple(drawn)


def _shape(text: str) -> tuple[int, ...]:
    if text == "scalar":
        return ()
    sizes = text.split("x")
    if not all(size.isascii() and size.isdigit() and int(size) > 0 for size in sizes):
        raise UsageError(f"{mention('input')} takes shapes such as 4x3,5 (or scalar), not {text!r}.")
    return tuple(int(size) for size in sizes)


def _argument_names(function: Callable[..., object], count: int, *, skip: int = 0) -> list[str]:
    """The names of the first `count` positional parameters; numbered where the signature has no names for them."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds][skip:]
    except ValueError:  # a builtin without a signature, such as torch.mul
        parameters = []
    if len(parameters) >= count:
        return parameters[:count]
    return [f"input{i}" for i in range(count)] if count > 1 else ["input"]


def _is_differentiable(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
