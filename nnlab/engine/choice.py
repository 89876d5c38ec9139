"""The choice of an engine for a network: the fastest that can train it.

`native` has kernels for the layers of the catalogue. `vmap` takes any `nn.Module` that torch.func can batch. That is tried: two runs of
different weights, batched, go forward and backward on a few rows, and are compared with the module alone. `loop` takes everything.

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
from nnlab.engine.kernels.site import Masks, Weights
from nnlab.engine.kernels.table import KERNELS, running_statistics
from nnlab.engine.modules import draws_globally, load_tensors, module_of, tensors_of
from nnlab.engine.precision import MIXED, scores_of, storage_dtype
from nnlab.engine.program import Program
from nnlab.engine.vmapped import ModuleKernel
from nnlab.networks.layers import Layers, parameters, walk
from nnlab.networks.module_layer import Module

EngineName = Literal["native", "vmap", "loop"]

_TRIED_RUNS: Final = 2
_MOST_ROWS: Final = 5
# Relative to a tensor's largest entry: sums in another order differ by rounding, a wrong rule by much more.
_TOLERANCES: Final[Mapping[str, float]] = {"float64": 1e-9, "float32": 1e-3, "bfloat16": 0.3, MIXED: 0.3}
_GRADIENT_OF: Final = "the gradient of"

# Parts of torch.func's messages, and the same in fewer words.
_KNOWN_REASONS: Final[Mapping[str, str]] = {
    "data-dependent control flow": "its control flow depends on the data",
    ".item()": "it asks a tensor for a Python number, with .item() or a condition",
    "setup_context": "its autograd.Function has no setup_context and no rule for vmap",
    "generate_vmap_rule": "its autograd.Function has no rule for vmap",
    "vmap: inplace arithmetic": "it writes what differs between runs into a tensor that they share",
    "randomness": "it draws at random",
}


@dataclass(frozen=True)
class Choice:
    """An engine, and, if it was chosen by trying, the reason in a sentence for the user."""

    engine: EngineName
    reason: str = ""


def choice_of(program: Program, starts: Sequence[Mapping[str, Tensor]], x_ND: Tensor) -> Choice:
    """The engine for a program.

    Args:
        program: with the engine that was asked for, or `auto`.
        starts: starting tensors of two runs of different seeds.
        x_ND: training rows; a few of them are tried.

    Raises:
        UsageError: the engine that was asked for can't train this network.
    """
    asked, dtype, optimizer = program.engine, program.dtype, program.optimizer.name
    if asked == "auto" and is_custom(optimizer):
        return Choice("loop", f"engine loop, run by run: {optimizer} moves one run at a time.")
    if asked == "loop" or (asked != "vmap" and is_native(program.layers) and dtype != MIXED):
        return Choice("loop" if asked == "loop" else "native")
    model = program.model.name
    obstacle = vmap_obstacle(program.layers, starts, x_ND[:_MOST_ROWS].cpu(), dtype)
    if obstacle is None:
        return Choice("vmap", "" if asked == "vmap" else f"engine vmap: torch.func batches {model}.")
    if asked == "vmap":
        raise UsageError(f"{mention('engine', 'vmap')} can't batch {model}: {obstacle}. Say auto or loop.")
    return Choice("loop", f"engine loop, run by run: vmap can't batch {model}: {obstacle}.")


def is_native(layers: Layers) -> bool:
    """True if every layer has a kernel."""
    return all(type(layer) in KERNELS or layer.sublayers for _, layer in walk(layers))


def vmap_obstacle(layers: Layers, starts: Sequence[Mapping[str, Tensor]], x_BD: Tensor, dtype: str) -> str | None:
    """The reason why vmap can't batch the network, in words; None if it can.

    Args:
        layers: the network.
        starts: two runs' starting tensors.
        x_BD: a few rows, on the CPU.
        dtype: of the runs, as `--dtype` has it.

    Raises:
        UsageError: the network itself fails on these rows.
    """
    if draws_globally(layers):
        return "it draws from PyTorch's global generator"
    x_BD = x_BD.to(storage_dtype(dtype))
    alone = [_results_alone(layers, start, x_BD, dtype) for start in starts[:_TRIED_RUNS]]
    try:
        with warnings.catch_warnings():
            # If vmap lacks a rule, it loops over the runs instead, with a warning.
            warnings.filterwarnings("error", message="There is a performance drop")
            together = _results_together(layers, starts[:_TRIED_RUNS], x_BD, dtype)
    except Exception as error:  # noqa: BLE001 - vmap raises errors of many classes
        return _reason_in(error)
    for one, found in zip(alone, together, strict=True):
        # Relative to the largest of all gradients: one that cancels, as a bias's before a batch norm does, is nothing but rounding.
        largest = max(_largest(value) for name, value in one.items() if name.startswith(_GRADIENT_OF))
        for name, wanted in one.items():
            scale = largest if name.startswith(_GRADIENT_OF) else _largest(wanted)
            if name in found and not _are_close(found[name], wanted, scale, _TOLERANCES[dtype]):
                return f"batched, {name} comes out different"
    return None


@contextmanager
def _blame_module(layers: Layers, x_BD: Tensor, dtype: str) -> Iterator[None]:
    """Context manager: an error from a person's own module becomes a UsageError that names the module and its rows."""
    match layers:
        case (Module(spec, row),):
            within = " under autocast in bfloat16" if dtype == MIXED else ""
            rows = f"training rows of shape {(len(x_BD), *row)}, {x_BD.dtype}{within}"
            with blame(spec.name, f"{mention('model', spec)}, given {rows}"):
                yield
        case _:
            yield


def _cotangent(scores: Tensor) -> Tensor:
    """An arbitrary gradient by the scores [..., B, C], the same for a run alone and in company."""
    return torch.linspace(-1.0, 2.0, scores.shape[-2] * scores.shape[-1]).to(scores).view(scores.shape[-2:])


def _results_alone(layers: Layers, start: Mapping[str, Tensor], x_BD: Tensor, dtype: str) -> dict[str, Tensor]:
    """Scores in training and in evaluation, gradients, and buffers afterwards, from PyTorch's own module."""
    module = module_of(layers, torch.Generator().manual_seed(0)).to(x_BD.dtype).train()
    load_tensors(module, start)
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    with torch.enable_grad(), _blame_module(layers, x_BD, dtype):
        scores = scores_of(module, x_BD, dtype)
        gradients = torch.autograd.grad(scores, list(trained.values()), _cotangent(scores), materialize_grads=True)
    found = {"the scores": scores.detach()}
    found |= {f"{_GRADIENT_OF} {name}": g for name, g in zip(trained, gradients, strict=True)}
    found |= {f"the buffer {name}": value.clone() for name, value in tensors_of(module).items() if name not in trained}
    with torch.no_grad(), _blame_module(layers, x_BD, dtype):
        found["the evaluation"] = scores_of(module.eval(), x_BD, dtype)
    return found


def _results_together(
    layers: Layers, starts: Sequence[Mapping[str, Tensor]], x_BD: Tensor, dtype: str
) -> list[dict[str, Tensor]]:
    """The same from the kernel that batches the runs; they share their masks, like runs of one seed."""
    stacked = {name: torch.stack([start[name] for start in starts]) for name in starts[0]}
    rounded = {name: v.to(x_BD.dtype) if v.is_floating_point() else v for name, v in stacked.items()}
    trained = [parameter.name for parameter in parameters(layers)]
    values = {name: rounded[name] for name in trained}
    buffers = {name: value for name, value in rounded.items() if name not in values} or running_statistics(
        values, layers
    )
    weights = Weights(values, {name: torch.zeros_like(p) for name, p in values.items()}, buffers, fused=False)
    kernel = ModuleKernel(layers, weights, _masks_from(torch.Generator().manual_seed(0)), dtype)
    x_RDB = x_BD.T.expand(len(starts), -1, -1)
    scores = kernel.forward(x_RDB, True).clone()
    kernel.backward(_cotangent(scores.transpose(1, 2)).T.expand_as(scores))
    found = {"the scores": scores.transpose(1, 2)}
    found |= {f"{_GRADIENT_OF} {name}": gradient for name, gradient in weights.gradients.items()}
    found |= {f"the buffer {name}": value.clone() for name, value in weights.buffers.items()}
    found["the evaluation"] = kernel.forward(x_RDB, False).transpose(1, 2)
    return [{name: value[run] for name, value in found.items()} for run in range(len(starts))]


def _masks_from(generator: torch.Generator) -> Masks:
    """A function that draws masks from this generator as `StreamedDropout` does, the same for all runs."""

    def masks(x: Tensor, p: float) -> Tensor:
        kept = torch.rand(*x.shape[1:], generator=generator, dtype=torch.float64) >= p
        return (kept.to(x) / (1 - p)).expand_as(x)

    return masks


def _largest(value: Tensor) -> float:
    """The absolute value of the largest finite entry."""
    return value.double().abs().nan_to_num(0.0, 0.0, 0.0).max().item() if value.numel() else 0.0


def _are_close(found: Tensor, wanted: Tensor, scale: float, rtol: float) -> bool:
    """True if they differ only by the rounding of numbers of this scale; entries that are not finite must be the same in both."""
    wanted = wanted.to(found.dtype)  # under autocast, a module alone may replace a buffer by one in bfloat16
    if not wanted.is_floating_point():
        return torch.equal(found, wanted)
    return torch.allclose(found, wanted, rtol=rtol, atol=rtol * scale + 1e-30, equal_nan=True)


def _reason_in(error: Exception) -> str:
    """The reason that torch.func's error gives: its first sentence, without the advice and links that follow."""
    text = str(error).strip().partition("\n")[0]
    operation = re.search(r"(?:not implemented for|batching rule for) (aten::\w+)", text)
    if operation:
        return f"torch.func has no rule for {operation[1]}"
    for part, meaning in _KNOWN_REASONS.items():
        if part in text:
            return meaning
    return text.partition(". ")[0].rstrip(".")
