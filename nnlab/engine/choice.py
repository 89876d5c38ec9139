"""Which engine serves a network: the fastest that can.

`native` knows the layers of the catalogue. `vmap` takes any `nn.Module` that torch.func can batch: whether it can is tried, on
two runs of different weights and a few rows, forward and backward, held against the module alone. `loop` takes everything.

Shapes: R runs, C scores, D features, B rows.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from nnlab.catalog.custom import blame, is_custom
from nnlab.core.errors import UsageError
from nnlab.core.spelling import mention
from nnlab.engine.kernels.table import KERNELS, Weights, running_statistics
from nnlab.engine.modules import draws_globally, load_tensors, module_of, tensors_of
from nnlab.engine.plan import Program
from nnlab.engine.precision import MIXED, kept_in, scores_of
from nnlab.engine.vmapped import Masks, ModuleKernel
from nnlab.networks.layers import Layers, parameters, walk
from nnlab.networks.module_layer import Module

EngineName = Literal["native", "vmap", "loop"]

_TRIED_RUNS: Final = 2
_MOST_ROWS: Final = 5
# Relative to a tensor's largest entry: two ways to sum differ by rounding, a wrong rule by much more.
_ALLOWED: Final[Mapping[str, float]] = {"float64": 1e-9, "float32": 1e-3, "bfloat16": 0.3, MIXED: 0.3}
_GRADIENT: Final = "the gradient of"

# What torch.func says, in fewer words.
_KNOWN: Final[Mapping[str, str]] = {
    "data-dependent control flow": "its control flow hangs on the data",
    ".item()": "it asks a tensor for a Python number, with .item() or a condition",
    "setup_context": "its autograd.Function has no setup_context and no rule for vmap",
    "generate_vmap_rule": "its autograd.Function has no rule for vmap",
    "vmap: inplace arithmetic": "it writes what differs between runs into a tensor that they share",
    "randomness": "it draws at random",
}


@dataclass(frozen=True)
class Choice:
    """An engine, and where it was chosen by trying, what is to be said of it."""

    engine: EngineName
    reason: str = ""


def chosen(program: Program, starts: Sequence[Mapping[str, Tensor]], x_ND: Tensor) -> Choice:
    """The engine for a program.

    Args:
        program: whose settings name an engine, or `auto`.
        starts: starting tensors of two runs of different seeds.
        x_ND: training rows, of which a few are tried.

    Raises:
        UsageError: the engine that was asked for can't train this network.
    """
    asked, dtype, optimizer = program.settings.engine, program.settings.dtype, program.settings.optimizer.name
    if asked == "auto" and is_custom(optimizer):
        return Choice("loop", f"engine loop, run by run: {optimizer} moves one run at a time.")
    if asked == "loop" or (asked != "vmap" and is_native(program.layers) and dtype != MIXED):
        return Choice("loop" if asked == "loop" else "native")
    model = program.settings.model.name
    obstacle = what_hinders(program.layers, starts, x_ND[:_MOST_ROWS].cpu(), dtype)
    if obstacle is None:
        return Choice("vmap", "" if asked == "vmap" else f"engine vmap: torch.func batches {model}.")
    if asked == "vmap":
        raise UsageError(f"{mention('engine', 'vmap')} can't batch {model}: {obstacle}. Say auto or loop.")
    return Choice("loop", f"engine loop, run by run: vmap can't batch {model}: {obstacle}.")


def is_native(layers: Layers) -> bool:
    """Whether every layer has a kernel of its own."""
    return all(type(layer) in KERNELS or layer.sublayers for _, layer in walk(layers))


def what_hinders(layers: Layers, starts: Sequence[Mapping[str, Tensor]], x_BD: Tensor, dtype: str) -> str | None:
    """Why the network can't be batched, in words; None where it can.

    Args:
        layers: the network.
        starts: two runs' starting tensors.
        x_BD: a few rows, on the CPU.
        dtype: of the runs, as `--dtype` says it.

    Raises:
        UsageError: the network itself fails on such rows.
    """
    if draws_globally(layers):
        return "it draws from PyTorch's global generator"
    x_BD = x_BD.to(kept_in(dtype))
    alone = [_alone(layers, start, x_BD, dtype) for start in starts[:_TRIED_RUNS]]
    try:
        with warnings.catch_warnings():
            # A rule that vmap lacks is replaced by a loop over the runs, with a warning.
            warnings.filterwarnings("error", message="There is a performance drop")
            together = _together(layers, starts[:_TRIED_RUNS], x_BD, dtype)
    except Exception as error:  # noqa: BLE001 - what vmap can't do is raised in many classes
        return _in_words(error)
    for one, found in zip(alone, together, strict=True):
        # A gradient that cancels is nothing but rounding of the others: a bias before a batch norm has one.
        largest = max(_size(value) for name, value in one.items() if name.startswith(_GRADIENT))
        for name, wanted in one.items():
            scale = largest if name.startswith(_GRADIENT) else _size(wanted)
            if name in found and not _alike(found[name], wanted, scale, _ALLOWED[dtype]):
                return f"batched, {name} comes out otherwise"
    return None


@contextmanager
def _told_as_theirs(layers: Layers, x_BD: Tensor, dtype: str) -> Iterator[None]:
    """Within, a person's own module may fail; that is told to them."""
    match layers:
        case (Module(spec, row),):
            within = " under autocast in bfloat16" if dtype == MIXED else ""
            rows = f"training rows of shape {(len(x_BD), *row)}, {x_BD.dtype}{within}"
            with blame(spec.name, f"{mention('model', spec)}, given {rows}"):
                yield
        case _:
            yield


def _cotangent(scores: Tensor) -> Tensor:
    """Any gradient by the scores [..., B, C], the same for a run alone and in company."""
    return torch.linspace(-1.0, 2.0, scores.shape[-2] * scores.shape[-1]).to(scores).view(scores.shape[-2:])


def _alone(layers: Layers, start: Mapping[str, Tensor], x_BD: Tensor, dtype: str) -> dict[str, Tensor]:
    """Scores in training and in evaluation, gradients, and what the buffers have become: of PyTorch's own module."""
    module = module_of(layers, torch.Generator().manual_seed(0)).to(x_BD.dtype).train()
    load_tensors(module, start)
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    with torch.enable_grad(), _told_as_theirs(layers, x_BD, dtype):
        scores = scores_of(module, x_BD, dtype)
        gradients = torch.autograd.grad(scores, list(trained.values()), _cotangent(scores), materialize_grads=True)
    found = {"the scores": scores.detach()}
    found |= {f"{_GRADIENT} {name}": g for name, g in zip(trained, gradients, strict=True)}
    found |= {f"the buffer {name}": value.clone() for name, value in tensors_of(module).items() if name not in trained}
    with torch.no_grad(), _told_as_theirs(layers, x_BD, dtype):
        found["the evaluation"] = scores_of(module.eval(), x_BD, dtype)
    return found


def _together(
    layers: Layers, starts: Sequence[Mapping[str, Tensor]], x_BD: Tensor, dtype: str
) -> list[dict[str, Tensor]]:
    """The same of a kernel that batches the runs; their masks are the same, as those of runs of one seed."""
    stacked = {name: torch.stack([start[name] for start in starts]) for name in starts[0]}
    rounded = {name: v.to(x_BD.dtype) if v.is_floating_point() else v for name, v in stacked.items()}
    trained = [parameter.name for parameter in parameters(layers)]
    values = {name: rounded[name] for name in trained}
    buffers = {name: value for name, value in rounded.items() if name not in values} or running_statistics(
        values, layers
    )
    weights = Weights(values, {name: torch.zeros_like(p) for name, p in values.items()}, buffers, fused=False)
    kernel = ModuleKernel(layers, weights, _masks(torch.Generator().manual_seed(0)), dtype)
    x_RDB = x_BD.T.expand(len(starts), -1, -1)
    scores = kernel.forward(x_RDB, True).clone()
    kernel.backward(_cotangent(scores.transpose(1, 2)).T.expand_as(scores))
    found = {"the scores": scores.transpose(1, 2)}
    found |= {f"{_GRADIENT} {name}": gradient for name, gradient in weights.gradients.items()}
    found |= {f"the buffer {name}": value.clone() for name, value in weights.buffers.items()}
    found["the evaluation"] = kernel.forward(x_RDB, False).transpose(1, 2)
    return [{name: value[run] for name, value in found.items()} for run in range(len(starts))]


def _masks(generator: torch.Generator) -> Masks:
    """Dropout masks as `StreamedDropout` draws them from this generator, the same for all runs."""

    def masks(x: Tensor, p: float) -> Tensor:
        kept = torch.rand(*x.shape[1:], generator=generator, dtype=torch.float64) >= p
        return (kept.to(x) / (1 - p)).expand_as(x)

    return masks


def _size(value: Tensor) -> float:
    """The largest finite entry."""
    return value.double().abs().nan_to_num(0.0, 0.0, 0.0).max().item() if value.numel() else 0.0


def _alike(found: Tensor, wanted: Tensor, scale: float, rtol: float) -> bool:
    """Whether they differ by rounding of numbers of this size; what is not finite must be so in both."""
    wanted = wanted.to(found.dtype)  # under autocast a module alone may put a bfloat16 in a buffer's place
    if not wanted.is_floating_point():
        return torch.equal(found, wanted)
    return torch.allclose(found, wanted, rtol=rtol, atol=rtol * scale + 1e-30, equal_nan=True)


def _in_words(error: Exception) -> str:
    """The first sentence of what torch.func says, without the advice and the links that follow."""
    text = str(error).strip().partition("\n")[0]
    operation = re.search(r"(?:not implemented for|batching rule for) (aten::\w+)", text)
    if operation:
        return f"torch.func has no rule for {operation[1]}"
    for sign, meaning in _KNOWN.items():
        if sign in text:
            return meaning
    return text.partition(". ")[0].rstrip(".")
