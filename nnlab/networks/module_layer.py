"""A network that is an `nn.Module`: a person's own, or one of the catalogue that no other layers describe.

What is known of it (its tensors, the law that each may be drawn from, what it keeps of a row) is asked of the module itself,
built once a process and never trained. Modules are built under a seed of their own: PyTorch's constructors draw from the
global generator, which is put back afterwards.

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
    """scores = module(x): rows come in the data's own shape [B, *row], and scores go [B, outputs], or [B] where there is one.

    It is the only layer of its network, and its tensors have the names that the module itself gives them.

    Attributes:
        spec: the model, as `--model` names it.
        row: the shape of a row.
        outputs: scores of a row.
        activation: the one that it was handed; None where it takes none.
        build: makes the module, from the global generator where it draws.
    """

    spec: Spec
    row: tuple[int, ...]
    outputs: int
    activation: Spec | None
    build: Callable[[], nn.Module] = field(compare=False, repr=False)

    @property
    def units(self) -> int:
        return known(self).units

    @property
    def mixes_rows(self) -> bool:
        return known(self).mixes_rows

    @property
    def draws(self) -> bool:
        return True

    @property
    def follows(self) -> Spec | None:
        return self.activation

    def parameters(self, name: str) -> Iterator[Parameter]:  # noqa: ARG002
        yield from known(self).parameters


@dataclass(frozen=True)
class Known:
    """What a module says of itself.

    Attributes:
        parameters: those that are trained.
        units: outputs of all its parts for one row.
        mixes_rows: it has a batch norm.
        draws_globally: its forward pass draws from PyTorch's global generator while it is trained.
    """

    parameters: tuple[Parameter, ...]
    units: int
    mixes_rows: bool
    draws_globally: bool


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within, PyTorch's global CPU generator starts at `seed` and belongs to this thread; afterwards it is as before."""
    with GLOBAL_GENERATORS:
        before = torch.default_generator.get_state()
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            torch.default_generator.set_state(before)


def built(layer: Module, seed: int) -> nn.Module:
    """The module as its constructor makes it under `seed`, which takes flat rows [B, D] and gives scores [B, outputs].

    Raises:
        UsageError: the constructor fails, or makes something else than a module with parameters to train.
    """
    with seeded(seed), blame(layer.spec.name, mention("model", layer.spec)):
        made = layer.build()
        if not isinstance(made, nn.Module):
            raise UsageError(f"{mention('model', layer.spec)} makes no nn.Module but: {made!r}.")
        made.register_forward_pre_hook(lambda _, given: (given[0].reshape(-1, *layer.row), *given[1:]))
        made.register_forward_hook(lambda _, given, scores: _checked(layer, given[0], scores))
        if any(nn.parameter.is_lazy(parameter) for parameter in made.parameters()):
            with torch.no_grad():  # lazy layers learn their sizes from the first rows, and draw then
                made.eval()(torch.zeros(_TRIED_ROWS, math.prod(layer.row)))
    if not any(parameter.requires_grad for parameter in made.parameters()):
        raise UsageError(f"{mention('model', layer.spec)} has no parameters to train.")
    return made.train()


def _checked(layer: Module, rows: Tensor, scores: object) -> Tensor:
    """The scores as [B, outputs]."""
    wanted = (rows.shape[0], layer.outputs)
    if isinstance(scores, torch.Tensor) and scores.shape == wanted[:1] and layer.outputs == 1:
        return scores.unsqueeze(1)
    if isinstance(scores, torch.Tensor) and scores.shape == wanted:
        return scores
    found = f"shape {tuple(scores.shape)}" if isinstance(scores, torch.Tensor) else f"a {type(scores).__name__}"
    raise UsageError(
        f"{mention('model', layer.spec)} gives {found} for rows of shape {tuple(rows.shape)} [B, *row]; it must give scores of "
        f"shape {wanted} [B, outputs]{', or one number a row' if layer.outputs == 1 else ''}."
    )


@cache
def known(layer: Module) -> Known:
    """What the layer's module says of itself; its forward pass is tried once.

    Raises:
        UsageError: the module can't be built, or fails on rows of the data's shape.
    """
    module = built(layer, 0).train()
    sizes: list[int] = []
    for part in leaves(module):
        part.register_forward_hook(lambda _, __, out: sizes.append(_numbers(out)))
        if is_dropout(part):
            part.eval()  # its masks come from the run's own stream
    with seeded(0), torch.no_grad():
        before = torch.default_generator.get_state()
        with blame(
            layer.spec.name, f"{mention('model', layer.spec)}, given zeros of shape {(_TRIED_ROWS, *layer.row)}"
        ):
            module(torch.zeros(_TRIED_ROWS, math.prod(layer.row)))
        drew = not torch.equal(before, torch.default_generator.get_state())
    return Known(
        parameters=tuple(trained_parameters(module)),
        units=max(sum(sizes) // _TRIED_ROWS, layer.outputs),
        mixes_rows=any(is_batch_norm(part) for part in leaves(module)),
        draws_globally=drew,
    )


def is_batch_norm(module: nn.Module) -> bool:
    """Whether what it gives for a row hangs on the other rows."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def leaves(module: nn.Module) -> list[nn.Module]:
    """The parts of a module that have no parts themselves."""
    return [part for part in module.modules() if not list(part.children())]


def is_dropout(part: nn.Module) -> bool:
    """Whether it is one of PyTorch's layers that drop units or channels, whose masks are drawn for it from the run's stream."""
    return type(part) in (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d) and 0 < float(part.p) < 1  # type: ignore[arg-type]


def _numbers(out: object) -> int:
    """Elements of what a part gave."""
    if isinstance(out, tuple | list):
        return sum(_numbers(each) for each in out)
    return out.numel() if isinstance(out, torch.Tensor) else 0


def trained_parameters(module: nn.Module) -> Iterator[Parameter]:
    """The module's trained tensors, each with the law that goes by the kind of part that holds it."""
    holders: dict[int, tuple[nn.Module, str]] = {}
    for part in module.modules():
        for name, tensor in part.named_parameters(recurse=False):
            holders.setdefault(id(tensor), (part, name))
    for name, tensor in module.named_parameters():
        if tensor.requires_grad:
            part, own = holders[id(tensor)]
            law, weight_shape = _law(part, own)
            recurrent = isinstance(part, nn.RNNBase | nn.RNNCellBase)
            bound = 1 / math.sqrt(part.hidden_size) if recurrent else None  # type: ignore[arg-type]
            yield Parameter(name, tuple(tensor.shape), law, weight_shape or tuple(tensor.shape), bound)


def _law(part: nn.Module, name: str) -> tuple[Law, tuple[int, ...]]:
    """The law of a part's tensor, and the shape of the weight that it belongs to.

    Layers of weights, recurrent ones, embeddings and attention's projections are drawn; what belongs to any other kind of part
    stays as its constructor made it.
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
