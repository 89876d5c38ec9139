"""One neuron, forward and backward, number by number: a sum, an activation, a loss, and the step that lowers the loss.

    s = w . x + b        O = f(s)        L = loss(O, y)
    dL/dw = dL/dO f'(s) x        dL/db = dL/dO f'(s)        w <- w - lr dL/dw

And the gates that one neuron can learn: `and` and `or`, never `xor`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nnlab.catalog.activations import ACTIVATIONS, Activation
from nnlab.catalog.entry import find, key_values
from nnlab.catalog.losses import LOSSES, Loss
from nnlab.core.errors import UsageError, unknown_name
from nnlab.core.kinds import Value
from nnlab.core.lazy import lazy
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy("torch")  # so that numbers that can't be used are refused at once

GATE_TARGETS: Final[Mapping[str, tuple[int, int, int, int]]] = {
    "and": (0, 0, 0, 1),
    "or": (0, 1, 1, 1),
    "xor": (0, 1, 1, 0),
}
GATE_INPUTS: Final = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))


@dataclass(frozen=True)
class NeuronStep:
    """One step of gradient descent on one row of data, with every number in it.

    Attributes:
        sum: w . x + b; output: f(sum).
        loss_by_output: dL/dO; output_by_sum: f'(s); loss_by_sum: their product; loss_by_weights: times each input.
        new_weights, new_bias: after the step; new_output, new_loss: with them.
    """

    step: int
    inputs: tuple[float, ...]
    target: float
    weights: tuple[float, ...]
    bias: float
    sum: float
    output: float
    loss: float
    loss_by_output: float
    output_by_sum: float
    loss_by_sum: float
    loss_by_weights: tuple[float, ...]
    loss_by_bias: float
    new_weights: tuple[float, ...]
    new_bias: float
    new_output: float
    new_loss: float

    @property
    def is_stuck(self) -> bool:
        """True if gradient descent changes nothing although the loss is not 0."""
        return self.loss > 0 and self.loss_by_sum == 0


@dataclass(frozen=True)
class GateEpoch:
    """The neuron after one pass over the four rows: its parameters, its output for each row, the number of wrong rows."""

    epoch: int
    weights: tuple[float, float]
    bias: float
    outputs: tuple[float, float, float, float]
    wrong: int


@dataclass(frozen=True)
class GateRun:
    """The training of a neuron on a gate.

    Attributes:
        rule: `perceptron` or `gradient descent`.
        learned: True if all four rows are right at the end.
        reason: why the gate is learned or not, in words.
        descent_gradient: the largest |dL/dw| or |dL/db| over the four rows at the start: 0 for a step, whatever is wrong.
    """

    gate: str
    activation: str
    rule: str
    epochs: tuple[GateEpoch, ...]
    learned: bool
    reason: str
    descent_gradient: float


@dataclass(frozen=True)
class _Neuron:
    """An activation and a loss with their keys, as functions of single numbers."""

    activation: Activation
    activation_keys: Mapping[str, Value | None]
    loss: Loss
    loss_keys: Mapping[str, Value | None]

    def output(self, total: float) -> float:
        return float(self.activation.function(_scalar(total), **self.activation_keys))

    def slope(self, total: float) -> float:
        given = self.output(total) if self.activation.slope_of == "output" else total
        return float(self.activation.slope(_scalar(given), **self.activation_keys))

    def loss_and_slope(self, output: float, target: float) -> tuple[float, float]:
        score = torch.tensor([[output]], dtype=torch.float64, requires_grad=True)
        targets = torch.tensor([target], dtype=torch.float64)
        loss: Tensor = self.loss.function(score, targets, **self.loss_keys).sum()
        return float(loss.detach()), float(torch.autograd.grad(loss, score)[0])


def _neuron(activation: Spec, loss: Spec) -> _Neuron:
    """The neuron with an activation and a loss of the catalogue.

    Raises:
        UsageError: an unknown name or key, or a loss that takes something other than a number.
    """
    row = find(ACTIVATIONS, activation, what=mention("activation"))
    keys = key_values(row.function, activation, what=mention("activation"))
    loss_row = find(LOSSES, loss, what=mention("loss"))
    loss_keys = key_values(loss_row.function, loss, what=mention("loss"))
    if "regression" not in loss_row.outputs:
        raise UsageError(
            f"{mention('loss', loss.name)} takes scores, not the output of a neuron. Use mse, l1 or huber."
        )
    return _Neuron(row, keys, loss_row, loss_keys)


def neuron_steps(
    *,
    weights: Sequence[float],
    bias: float,
    inputs: Sequence[float],
    target: float,
    lr: float,
    activation: Spec,
    loss: Spec,
    steps: int,
) -> tuple[NeuronStep, ...]:
    """Steps of gradient descent on one row of data, with every number in them.

    Args:
        loss: of the output and the target; `mse` is (O - y)^2, without a factor 1/2.

    Raises:
        UsageError: different numbers of weights and inputs, an unknown activation or loss, or a learning rate of 0 or below.
    """
    neuron = _neuron(activation, loss)
    if len(weights) != len(inputs):
        raise UsageError(
            f"{mention('weights')} and {mention('input')} take equally many numbers, not {len(weights)} and {len(inputs)}."
            " Give one weight for each input."
        )
    if lr <= 0 or steps < 1:
        raise UsageError(
            f"{mention('lr')} takes a number above 0 and {mention('train')} a count of 1 or more, not {lr!r} and {steps!r}."
        )
    taken: list[NeuronStep] = []
    w, b = tuple(map(float, weights)), float(bias)
    for step in range(1, steps + 1):
        taken.append(_neuron_step(neuron, step, w, b, tuple(map(float, inputs)), float(target), lr))
        w, b = taken[-1].new_weights, taken[-1].new_bias
    return tuple(taken)


def _neuron_step(
    neuron: _Neuron, step: int, w: tuple[float, ...], b: float, x: tuple[float, ...], target: float, lr: float
) -> NeuronStep:
    total = _sum(w, b, x)
    output, by_sum = neuron.output(total), neuron.slope(total)
    loss, by_output = neuron.loss_and_slope(output, target)
    delta = by_output * by_sum
    new_w = tuple(wi - lr * delta * xi for wi, xi in zip(w, x, strict=True))
    new_b = b - lr * delta
    new_output = neuron.output(_sum(new_w, new_b, x))
    return NeuronStep(
        step=step,
        inputs=x,
        target=target,
        weights=w,
        bias=b,
        sum=total,
        output=output,
        loss=loss,
        loss_by_output=by_output,
        output_by_sum=by_sum,
        loss_by_sum=delta,
        loss_by_weights=tuple(delta * xi for xi in x),
        loss_by_bias=delta,
        new_weights=new_w,
        new_bias=new_b,
        new_output=new_output,
        new_loss=neuron.loss_and_slope(new_output, target)[0],
    )


def gate_run(
    gate: str,
    *,
    activation: Spec,
    lr: float,
    epochs: int,
    weights: Sequence[float],
    bias: float,
) -> GateRun:
    """The training of a neuron with two inputs on the four rows of a gate, one row after the other.

    A `step` neuron learns by the perceptron rule, w <- w + lr (y - O) x, because its slope is 0 and gradient descent can't move it;
    any other neuron learns by gradient descent on (O - y)^2. A row is right if the output is on the target's side of 1/2.

    Args:
        epochs: the largest number of passes over the four rows.

    Source: the rule and its convergence, Rosenblatt 1958, Novikoff 1962; that xor can't be learned, Minsky and Papert 1969.
    """
    if gate not in GATE_TARGETS:
        raise unknown_name(mention("gate"), gate, GATE_TARGETS)
    if len(weights) != 2:
        raise UsageError(
            f"{mention('gate')} has two inputs: {mention('weights')} takes two numbers, not {len(weights)}."
        )
    neuron = _neuron(activation, Spec("mse"))
    perceptron = activation.name == "step"
    w, b = (float(weights[0]), float(weights[1])), float(bias)
    rows = list(zip(GATE_INPUTS, GATE_TARGETS[gate], strict=True))
    start = [_neuron_step(neuron, 0, w, b, x, float(y), lr) for x, y in rows]
    history = [_gate_epoch(neuron, 0, w, b, gate)]
    seen = {(w, b): 0}
    while history[-1].wrong and len(history) <= epochs:
        for x, y in rows:
            w, b = _next_parameters(neuron, perceptron, w, b, x, float(y), lr)
        history.append(_gate_epoch(neuron, len(history), w, b, gate))
        if (w, b) in seen:
            break
        seen[w, b] = len(history) - 1
    return GateRun(
        gate=gate,
        activation=activation.name,
        rule="perceptron" if perceptron else "gradient descent",
        epochs=tuple(history),
        learned=not history[-1].wrong,
        reason=_reason(gate, history, seen.get((w, b)), perceptron),
        descent_gradient=max(abs(part) for step in start for part in (*step.loss_by_weights, step.loss_by_bias)),
    )


def _next_parameters(
    neuron: _Neuron, perceptron: bool, w: tuple[float, float], b: float, x: tuple[float, float], y: float, lr: float
) -> tuple[tuple[float, float], float]:
    if perceptron:
        error = y - neuron.output(_sum(w, b, x))
        return (w[0] + lr * error * x[0], w[1] + lr * error * x[1]), b + lr * error
    step = _neuron_step(neuron, 0, w, b, x, y, lr)
    return (step.new_weights[0], step.new_weights[1]), step.new_bias


def _gate_epoch(neuron: _Neuron, epoch: int, w: tuple[float, float], b: float, gate: str) -> GateEpoch:
    first, second, third, fourth = (neuron.output(_sum(w, b, x)) for x in GATE_INPUTS)
    outputs = (first, second, third, fourth)
    wrong = sum((output > 0.5) != bool(y) for output, y in zip(outputs, GATE_TARGETS[gate], strict=True))
    return GateEpoch(epoch, w, b, outputs, wrong)


def _reason(gate: str, history: Sequence[GateEpoch], before: int | None, perceptron: bool) -> str:
    last = history[-1]
    if not last.wrong:
        return f"all four rows are right after {last.epoch} epochs"
    line = "no straight line separates the two classes of xor" if gate == "xor" else "not yet"
    if perceptron and before is not None and before < last.epoch:
        return (
            f"after epoch {last.epoch} the weights are those of epoch {before} again, so it goes round for ever: {line}"
        )
    return f"{last.wrong} of 4 rows are wrong after {last.epoch} epochs: {line}"


def reason_descent_fails(run: GateRun) -> str:
    """The reason why gradient descent can't teach a step neuron; empty for other neurons."""
    if run.descent_gradient or run.activation != "step":
        return ""
    return (
        "gradient descent moves nothing: the step's slope f'(s) is 0 wherever it has one, so dL/dw = dL/dO f'(s) x = 0 "
        "however wrong the output is; the perceptron rule uses the error y - O itself"
    )


def _sum(w: Sequence[float], b: float, x: Sequence[float]) -> float:
    return sum(wi * xi for wi, xi in zip(w, x, strict=True)) + b


def _scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)
