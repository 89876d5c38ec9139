"""The subject of a gradient check: a function of named tensors, and the point at which its gradient is checked.

A module is checked in its parameters *and* its inputs, each by name; a plain function or a `torch.autograd.Function` is checked
in its arguments. The function's other tensors (targets, buffers, class numbers) are constants: they are cast to the precision
under test, and never differentiated.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from nnlab.catalog.custom import load, load_function
from nnlab.core.errors import NnlabError, UsageError
from nnlab.core.rng import stream, stream_seed
from nnlab.core.spelling import mention

Tensors = Mapping[str, Tensor]
Function = Callable[[Tensors], Tensor | tuple[Tensor, ...]]
Backward = Callable[[Tensors, Tensor], Mapping[str, Tensor | None]]


@dataclass(frozen=True)
class Subject:
    """A function of named tensors at a point.

    Attributes:
        name: its name in the report.
        function: from every tensor of `point` and `constants`, by name, to one tensor or a tuple of them; real or complex.
        point: the tensors to differentiate by, floating or complex.
        constants: the other tensors.
        backward: a hand-written gradient, from (tensors, cotangent of the one output) to gradients by name; None for PyTorch's
            reverse mode.
    """

    name: str
    function: Function
    point: Tensors
    constants: Tensors = field(default_factory=dict)
    backward: Backward | None = None


def module_subject(
    module: nn.Module,
    inputs: Sequence[Tensor],
    *,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    target: Tensor | None = None,
    name: str = "",
) -> Subject:
    """A module's outputs, or their loss, as a function of its parameters and its inputs.

    The module stays in its mode: a dropout layer in training mode draws one mask and keeps it for every evaluation.

    Args:
        module: any module; its parameters keep their names (`fc1.weight`).
        inputs: the arguments of its `forward`, in order, which gives them their names.
        loss: from (output, target) to a tensor, reduced or not.
        target: the loss's second argument.
        name: defaults to the name of the class.
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
        # Batch normalisation updates its buffers in place; a check must not change the module.
        state = {key: tensors[key] for key in parameters} | {key: tensors[key].clone() for key in buffers}
        output: Tensor = torch.func.functional_call(module, state, tuple(tensors[key] for key in given))
        return output if loss is None else loss(output, tensors["target"])

    point = parameters | {key: value for key, value in given.items() if _is_differentiable(value)}
    constants = buffers | {key: value for key, value in given.items() if key not in point}
    if target is not None:
        constants |= {"target": target}
    return Subject(name or type(module).__name__, function, point, constants)


def function_subject(
    function: Callable[..., Tensor] | type[torch.autograd.Function],
    inputs: Sequence[Tensor],
    *,
    name: str = "",
) -> Subject:
    """A plain function, or a `torch.autograd.Function`, as a function of its arguments.

    Args:
        function: called with `inputs` in order.
        inputs: floating and complex tensors are differentiated by, the others are constants.
        name: defaults to the function's own name.
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


def own_function_subject(name: str, inputs: Sequence[Tensor]) -> Subject:
    """A person's own function `FILE.py:NAME` at the given inputs.

    Raises:
        UsageError: no such file or name, or something that is not a function.
    """
    function = load_function(name, what=mention("function"))
    is_module = isinstance(function, nn.Module) or (isinstance(function, type) and issubclass(function, nn.Module))
    if is_module:
        raise UsageError(f"{mention('function')} {name!r} is an nn.Module. Say {mention('module')}.")
    return function_subject(function, inputs, name=name)


def own_module_subject(name: str, inputs: Sequence[Tensor], *, seed: int) -> Subject:
    """A person's own module `FILE.py:NAME`, or what NAME returns when it is called without arguments, at the given inputs.

    Args:
        seed: of the weights.

    Raises:
        UsageError: no such file or name, or something that neither is nor makes a module.
    """
    made = load(name, what=mention("module"))
    if not isinstance(made, nn.Module) and callable(made):
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(stream_seed(seed, "init"))
                made = made()
        except NnlabError:
            raise
        except Exception as error:
            # The person's own code may raise anything, and they should be told.
            raise UsageError(
                f"{mention('module')} {name!r} can't be made without arguments: {type(error).__name__}: {error}. "
                "Name a function that makes it."
            ) from error
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"{mention('module')} {name!r} gives an object of type {type(made).__name__}, not an nn.Module. "
            f"Say {mention('function')} for a function."
        )
    return module_subject(made.double(), inputs, name=name)


def drawn_inputs(
    shapes: str, *, domain: tuple[float, float] | None = None, complex_values: bool = False, seed: int = 0
) -> tuple[Tensor, ...]:
    """Inputs of the shapes `4x3,5`: normal draws, or uniform draws inside `domain`.

    A margin of a fiftieth of the domain is kept at both ends, so that a difference step stays inside it. The shape `1` is a vector
    of one entry; `scalar` has no dimension.
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
    """The names of the first `count` positional parameters; numbered names if the signature has too few."""
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
