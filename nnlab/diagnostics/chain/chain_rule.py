"""The chain rule, number by number.

A computation is a graph of named numbers, each a formula of others. The derivative of the last by any of them is

    dZ/dt = sum over all paths from Z down to t of the product of the local derivatives along the path,

which for Z = h(X(t), Y(t)) is dZ/dX dX/dt + dZ/dY dY/dt. Every term is computed from single formulas; their sum is compared with
autograd of the whole and with central differences of the whole.

A small net is such a graph too: z = sum of weights times inputs plus bias, a = f(z), layer after layer, and a loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from nnlab.core.errors import UsageError
from nnlab.core.rng import stream
from nnlab.core.spelling import mention
from nnlab.diagnostics.chain.formulas import Formula, parse_formulas
from nnlab.diagnostics.gradcheck.gradient_report import STEP

MOST_PATHS: Final = 10_000


@dataclass(frozen=True)
class Node:
    """A number of the forward pass, and the derivative that the backward pass gives it.

    Attributes:
        formula: how it is computed; empty for a given number.
        upstream: the derivative of the output by it, the sum over its paths.
    """

    name: str
    formula: str
    value: float
    upstream: float


@dataclass(frozen=True)
class Link:
    """One step of the chain: the local derivative of `of` by `by`, and its product with the upstream derivative of `of`."""

    of: str
    by: str
    local: float
    upstream: float
    product: float


@dataclass(frozen=True)
class ChainPath:
    """One path from the output to an input.

    Attributes:
        names: from the output to the input.
        locals: the local derivatives between them.
        product: of all local derivatives.
    """

    names: tuple[str, ...]
    locals: tuple[float, ...]
    product: float


@dataclass(frozen=True)
class Total:
    """The derivative of the output by one input, computed in three ways.

    Attributes:
        paths: the number of paths.
        total: the sum of their products; autograd: of the whole; numeric: central differences of the whole.
    """

    output: str
    by: str
    paths: int
    total: float
    autograd: float
    numeric: float

    @property
    def agrees(self) -> bool:
        """True if the three are equal: sum and autograd up to rounding, differences up to their accuracy."""
        size = max(abs(self.total), abs(self.autograd))
        return (
            abs(self.total - self.autograd) <= 1e-12 * size + 1e-15
            and abs(self.total - self.numeric) <= 1e-6 * size + 1e-9
        )


@dataclass(frozen=True)
class ChainRule:
    """A computation taken apart by the chain rule. `links` go from the output back; `paths` are grouped by input."""

    output: str
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    paths: tuple[ChainPath, ...]
    totals: tuple[Total, ...]

    @property
    def ok(self) -> bool:
        """True if every sum over paths agrees with autograd and the differences."""
        return all(total.agrees for total in self.totals)

    def total(self, by: str) -> Total:
        """The derivative by one input."""
        return next(total for total in self.totals if total.by == by)


def chain_rule(text: str, at: Mapping[str, float]) -> ChainRule:
    """The chain rule of the formulas in `text`, where the free names have the values `at`.

    The output is the one name that no other formula uses.

    Raises:
        UsageError: formulas that can't be read, missing or unused values, several outputs, or a number that is not finite.
    """
    formulas = parse_formulas(text)
    defined = {formula.name for formula in formulas}
    used = {argument for formula in formulas for argument in formula.arguments}
    _check_values(used - defined, at)
    outputs = [formula.name for formula in formulas if formula.name not in used]
    if len(outputs) != 1:
        raise UsageError(
            f"{mention('chain')} needs one output that no other formula uses, not {len(outputs)}: {', '.join(outputs)}."
        )
    return _chain_rule_of(formulas, outputs[0], {name: at[name] for name in at})


def small_net(
    *,
    hidden: Sequence[int],
    activation: str,
    seed: int,
    inputs: Sequence[float] = (0.5, -1.0),
    target: float = 1.0,
) -> ChainRule:
    """The chain rule of a net with one output and the loss (y - target)^2 / 2.

    Names: x1, x2 inputs; w1_2_1 the weight in layer 1 to neuron 2 from neuron 1; b1_2 its bias; z1_2 its sum; a1_2 its activation;
    y the output; L the loss.

    Args:
        hidden: the number of neurons in each hidden layer.
        activation: of hidden and output neurons, a function of `formulas.py`.
        seed: of the weights, which are normal draws rounded to one decimal, so that a person can follow them.
    """
    sizes = [len(inputs), *hidden, 1]
    if min(sizes) < 1 or math.prod(sizes) > MOST_PATHS:
        model = f"mlp:hidden={'x'.join(map(str, hidden))}"
        raise UsageError(f"{mention('model', model)} is too large to be shown path by path. Try mlp:hidden=3x2.")
    generator = stream(seed, "init")
    lines, values = [], {f"x{i + 1}": float(value) for i, value in enumerate(inputs)} | {"target": float(target)}
    before = [f"x{i + 1}" for i in range(len(inputs))]
    for depth, width in enumerate(sizes[1:], start=1):
        last = depth == len(sizes) - 1
        for unit in range(1, width + 1):
            weights = [f"w{depth}_{unit}_{source}" for source in range(1, len(before) + 1)]
            drawn = torch.randn(len(weights) + 1, generator=generator, dtype=torch.float64).tolist()
            values |= {name: round(value, 1) for name, value in zip([*weights, f"b{depth}_{unit}"], drawn, strict=True)}
            terms = " + ".join(f"{w}*{x}" for w, x in zip(weights, before, strict=True))
            lines.append(f"z{depth}_{unit} = {terms} + b{depth}_{unit}")
            lines.append(f"{'y' if last else f'a{depth}_{unit}'} = {activation}(z{depth}_{unit})")
        before = ["y"] if last else [f"a{depth}_{unit}" for unit in range(1, width + 1)]
    return _chain_rule_of(parse_formulas("\n".join([*lines, "L = (y - target)**2 / 2"])), "L", values)


def _check_values(free: set[str], at: Mapping[str, float]) -> None:
    missing = sorted(free - set(at))
    if missing:
        raise UsageError(
            f"{mention('at')} gives no value for {', '.join(missing)}. Write {mention('at', f'{missing[0]}=0.7')}."
        )
    extra = sorted(set(at) - free)
    if extra:
        raise UsageError(
            f"{mention('at')} gives a value to {extra[0]!r}, which no formula uses. The free names: {', '.join(sorted(free))}."
        )


def _chain_rule_of(formulas: Sequence[Formula], output: str, at: Mapping[str, float]) -> ChainRule:
    values = _values(formulas, {name: torch.tensor(value, dtype=torch.float64) for name, value in at.items()})
    for name, value in values.items():
        if not value.isfinite():
            raise UsageError(
                f"{mention('chain')}: {name!r} is {float(value)} at the values given. Choose others with {mention('at')}."
            )
    locals_ = {formula.name: _local_derivatives(formula, values) for formula in formulas}
    upstream = _upstream(formulas, locals_, output)
    links = [
        Link(formula.name, by, local, upstream[formula.name], upstream[formula.name] * local)
        for formula in reversed(formulas)
        for by, local in locals_[formula.name].items()
    ]
    texts = {formula.name: formula.text for formula in formulas}
    nodes = [Node(name, texts.get(name, ""), float(value), upstream[name]) for name, value in values.items()]
    paths = {by: list(_paths(output, by, locals_)) for by in at}
    totals = [_total(formulas, output, by, at, paths[by]) for by in at]
    return ChainRule(
        output, tuple(nodes), tuple(links), tuple(p for some in paths.values() for p in some), tuple(totals)
    )


def _values(formulas: Sequence[Formula], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    values = dict(given)
    for formula in formulas:
        values[formula.name] = formula(values)
    return values


def _local_derivatives(formula: Formula, values: Mapping[str, Tensor]) -> dict[str, float]:
    """The derivative of one formula by each name in it, with the other names held fixed."""
    if not formula.arguments:
        return {}
    leaves = {name: values[name].detach().requires_grad_() for name in formula.arguments}
    result = formula(leaves)
    found = torch.autograd.grad(result, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return {name: float(part) for name, part in zip(leaves, found, strict=True)}


def _upstream(formulas: Sequence[Formula], locals_: Mapping[str, Mapping[str, float]], output: str) -> dict[str, float]:
    """The derivative of the output by every name, computed from the output back, as backpropagation does."""
    upstream = {name: 0.0 for formula in formulas for name in (formula.name, *formula.arguments)}
    upstream[output] = 1.0
    for formula in reversed(formulas):
        for by, local in locals_[formula.name].items():
            upstream[by] += upstream[formula.name] * local
    return upstream


def _paths(output: str, by: str, locals_: Mapping[str, Mapping[str, float]]) -> Iterator[ChainPath]:
    """Every path from the output down to `by`."""
    waiting: list[tuple[tuple[str, ...], tuple[float, ...]]] = [((output,), ())]
    count = 0
    while waiting:
        names, factors = waiting.pop()
        if names[-1] == by:
            yield ChainPath(names, factors, math.prod(factors))
            continue
        count += 1
        if count > MOST_PATHS:
            raise UsageError(f"The formulas have more than {MOST_PATHS} paths: too many to be shown one by one.")
        below = locals_.get(names[-1], {})
        waiting += [((*names, name), (*factors, local)) for name, local in reversed(list(below.items()))]


def _total(
    formulas: Sequence[Formula], output: str, by: str, at: Mapping[str, float], paths: Sequence[ChainPath]
) -> Total:
    given = {name: torch.tensor(value, dtype=torch.float64) for name, value in at.items()}
    leaf = given[by].clone().requires_grad_()
    whole = _values(formulas, {**given, by: leaf})[output]
    gradient = torch.autograd.grad(whole, leaf, allow_unused=True)[0] if whole.requires_grad else None
    step = STEP**1.5 * max(1.0, abs(at[by]))
    up, low = (float(_values(formulas, {**given, by: given[by] + h})[output]) for h in (step, -step))
    return Total(
        output=output,
        by=by,
        paths=len(paths),
        total=math.fsum(path.product for path in paths),
        autograd=0.0 if gradient is None else float(gradient),
        numeric=(up - low) / (2 * step),
    )
