"""A network that is an `nn.Module`: a person's own, or one of the catalogue that no other layers describe.

The facts about it (its tensors, the law that each may be drawn from, the values it keeps per row) come from the module itself,
built once per process for this purpose and never trained. Modules are built under a seed of their own: PyTorch's constructors
draw from the global generator, which is restored afterwards.

Shapes: B rows of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from threading import RLock
from typing import TYPE_CHECKING, Final

from nnlab.catalog.custom import blame
from nnlab.core.errors import UsageError
from nnlab.core.lazy import lazy
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention
from nnlab.networks.layers import Law, Layer, Parameter
from nnlab.networks.row_shapes import RowShape

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
else:
    torch = lazy("torch")
    nn = lazy("torch.nn")

_TRIED_ROWS: Final = 2

# Held while the global generators are in use for one run or one module: they belong to the whole process.
GLOBAL_GENERATORS: Final = RLock()


@dataclass(frozen=True)
class Module(Layer):
    """scores = module(x): rows come in the data's own shape [B, *row]; scores are [B, outputs], or [B] if there is one per row.

    It is the only layer of its network, and its tensors have the names that the module itself gives them.

    Attributes:
        spec: the specification of the model.
        row: the shape of a row.
        outputs: scores per row.
        activation: the one that the module is given; None if it takes none.
        build: makes the module; its constructors draw from the global generator.
    """

    spec: Spec
    row: RowShape
    outputs: int
    activation: Spec | None
    build: Callable[[], nn.Module] = field(compare=False, repr=False)

    @property
    def units(self) -> int:
        return module_facts(self).units

    @property
    def mixes_rows(self) -> bool:
        return module_facts(self).mixes_rows

    @property
    def draws(self) -> bool:
        return True

    @property
    def gain_activation(self) -> Spec | None:
        return self.activation

    def parameters(self, name: str) -> Iterator[Parameter]:  # noqa: ARG002
        yield from module_facts(self).parameters


@dataclass(frozen=True)
class ModuleFacts:
    """Facts about a module that the engines need.

    Attributes:
        parameters: the trained ones.
        units: number of values in the outputs of all its parts for one row.
        mixes_rows: true if it has a batch norm.
        draws_globally: true if its forward pass in training draws from PyTorch's global generator.
    """

    parameters: tuple[Parameter, ...]
    units: int
    mixes_rows: bool
    draws_globally: bool


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Context manager: PyTorch's global CPU generator starts at `seed` and is this thread's alone; restored afterwards."""
    with GLOBAL_GENERATORS:
        before = torch.default_generator.get_state()
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            torch.default_generator.set_state(before)


def build_module(layer: Module, seed: int) -> nn.Module:
    """The module as its constructor makes it under `seed`. It takes flat rows [B, D] and returns scores [B, outputs].

    Raises:
        UsageError: the constructor fails, or makes anything but a module with parameters to train.
    """
    with global_seed(seed), blame(layer.spec.name, mention("model", layer.spec)):
        made = layer.build()
        if not isinstance(made, nn.Module):
            raise UsageError(f"{mention('model', layer.spec)} makes {made!r}, which is not an nn.Module.")
        made.register_forward_pre_hook(lambda _, given: (given[0].reshape(-1, *layer.row), *given[1:]))
        made.register_forward_hook(lambda _, given, scores: _check_scores(layer, given[0], scores))
        if any(nn.parameter.is_lazy(parameter) for parameter in made.parameters()):
            with torch.no_grad():  # lazy layers take their sizes from the first rows, and draw then
                made.eval()(torch.zeros(_TRIED_ROWS, math.prod(layer.row)))
    if not any(parameter.requires_grad for parameter in made.parameters()):
        raise UsageError(f"{mention('model', layer.spec)} has no parameters to train.")
    return made.train()


def _check_scores(layer: Module, rows: Tensor, scores: object) -> Tensor:
    """The scores as [B, outputs].

    Raises:
        UsageError: the module returned something else.
    """
    wanted = (rows.shape[0], layer.outputs)
    if isinstance(scores, torch.Tensor) and scores.shape == wanted[:1] and layer.outputs == 1:
        return scores.unsqueeze(1)
    if isinstance(scores, torch.Tensor) and scores.shape == wanted:
        return scores
    found = f"shape {tuple(scores.shape)}" if isinstance(scores, torch.Tensor) else f"a {type(scores).__name__}"
    raise UsageError(
        f"{mention('model', layer.spec)} gives {found} for rows of shape {tuple(rows.shape)} [B, *row]; it must give scores of"
        f" shape {wanted} [B, outputs]{', or one number per row' if layer.outputs == 1 else ''}."
    )


@cache
def module_facts(layer: Module) -> ModuleFacts:
    """The facts about the layer's module, found by building it and trying one forward pass.

    Raises:
        UsageError: the module can't be built, or fails on rows of the data's shape.
    """
    module = build_module(layer, 0).train()
    sizes: list[int] = []
    for part in leaves(module):
        part.register_forward_hook(lambda _, __, out: sizes.append(_num_elements(out)))
        if is_dropout(part):
            part.eval()  # its masks come from the run's own stream
    with global_seed(0), torch.no_grad():
        before = torch.default_generator.get_state()
        with blame(
            layer.spec.name, f"{mention('model', layer.spec)}, given zeros of shape {(_TRIED_ROWS, *layer.row)}"
        ):
            module(torch.zeros(_TRIED_ROWS, math.prod(layer.row)))
        drew = not torch.equal(before, torch.default_generator.get_state())
    return ModuleFacts(
        parameters=tuple(trained_parameters(module)),
        units=max(sum(sizes) // _TRIED_ROWS, layer.outputs),
        mixes_rows=any(is_batch_norm(part) for part in leaves(module)),
        draws_globally=drew,
    )


def is_batch_norm(module: nn.Module) -> bool:
    """True if in training its output for a row depends on the other rows of the batch."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def leaves(module: nn.Module) -> list[nn.Module]:
    """The parts of a module that have no parts themselves."""
    return [part for part in module.modules() if not list(part.children())]


def is_dropout(part: nn.Module) -> bool:
    """True if it is one of PyTorch's layers that drop units or channels. The run's own stream draws their masks instead."""
    return type(part) in (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d) and 0 < float(part.p) < 1  # type: ignore[arg-type]


def _num_elements(out: object) -> int:
    """Number of elements in a part's output."""
    if isinstance(out, tuple | list):
        return sum(_num_elements(each) for each in out)
    return out.numel() if isinstance(out, torch.Tensor) else 0


def trained_parameters(module: nn.Module) -> Iterator[Parameter]:
    """The module's trained tensors, each with the law for the kind of part that holds it."""
    holders: dict[nn.Parameter, tuple[nn.Module, str]] = {}
    for part in module.modules():
        for name, tensor in part.named_parameters(recurse=False):
            holders.setdefault(tensor, (part, name))
    for name, tensor in module.named_parameters():
        if tensor.requires_grad:
            part, own = holders[tensor]
            law, weight_shape = _law(part, own)
            recurrent = isinstance(part, nn.RNNBase | nn.RNNCellBase)
            bound = 1 / math.sqrt(part.hidden_size) if recurrent else None  # type: ignore[arg-type]
            yield Parameter(name, tuple(tensor.shape), law, weight_shape or tuple(tensor.shape), bound)


def _law(part: nn.Module, name: str) -> tuple[Law, tuple[int, ...]]:
    """The law of a part's tensor, and the shape of the weight that it belongs to.

    Tensors of linear, convolutional, recurrent and attention layers and of embeddings are drawn; those of any other kind of
    part stay as their constructor made them.
    """
    drawn = (
        nn.Linear,
        nn.Bilinear,
        nn.modules.conv._ConvNd,
        nn.Embedding,
        nn.EmbeddingBag,
        nn.RNNBase,
        nn.RNNCellBase,
        nn.MultiheadAttention,
    )
    if not isinstance(part, drawn):
        return "built", ()
    if "bias" not in name:
        return ("weight", ()) if getattr(part, name).ndim > 1 else ("built", ())
    weight = getattr(part, name.replace("bias", "weight"), None)
    return ("bias", tuple(weight.shape)) if weight is not None else ("built", ())
