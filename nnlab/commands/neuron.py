"""`nnlab neuron`: one neuron forward and backward, number by number, and the gates that it can learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from nnlab.commands.command import Answer, Command, rows_answer
from nnlab.core.errors import UsageError
from nnlab.core.lazy import lazy
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention
from nnlab.experiments.answer_files import Clock, write_files_if_named
from nnlab.settings import OutputSettings, Settings, SpecSetting, setting
from nnlab.settings.readers import OptionalCount, OptionalNumber, OptionalNumberList, OptionalRate, OptionalSpec

if TYPE_CHECKING:
    import pandas as pd

    from nnlab.diagnostics.chain.neuron_steps import GateEpoch, GateRun, NeuronStep
    from nnlab.experiments.watching import Watcher
    from nnlab.report.sheets import Sheet
    from nnlab.settings.given import Given
else:
    pd = lazy("pandas")

NAME: Final = "neuron"
NEURON_CSV: Final = "neuron.csv"

# A gate has rows and a loss of its own.
_NOT_OF_A_GATE: Final = ("input", "target", "loss")


class NeuronSettings(Settings):
    """`nnlab neuron`: one neuron, one row of data or a gate."""

    weights: OptionalNumberList = setting(
        None,
        f"Weights, one for each input (default: 0.5,-1; with {mention('gate')}: 0,0).",
        panel="Neuron",
        metavar="X,X",
    )
    bias: OptionalNumber = setting(
        None, f"Bias (default: 0.1; with {mention('gate')}: 0).", panel="Neuron", metavar="X"
    )
    activation: SpecSetting = setting(Spec("sigmoid"), "Activation.", panel="Neuron")
    input: OptionalNumberList = setting(None, "The row of data (default: 1,2).", panel="Neuron", metavar="X,X")
    target: OptionalNumber = setting(None, "Target of the output (default: 1).", panel="Neuron", metavar="X")
    loss: OptionalSpec = setting(None, "Loss of the output (default: mse).", panel="Neuron", metavar="SPEC")
    lr: OptionalRate = setting(None, f"Learning rate (default: 0.5; with {mention('gate')}: 1).", metavar="X")
    train: OptionalCount = setting(
        None, f"Steps to take (default: 1; with {mention('gate')}: at most 1000 passes over its rows).", metavar="N"
    )
    gate: Literal["and", "or", "xor"] | None = setting(None, "Learn a logic gate: and, or, xor.", metavar="GATE")
    all: bool = setting(False, "Show every row of a long table.", role="execution", panel="Output")


@dataclass(frozen=True, eq=False)
class NeuronAnswer:
    """A neuron's numbers.

    Attributes:
        rows: of one step: `quantity, formula, value`; of several steps: one row each; of a gate: one row for each pass over its
            four rows.
        title: the neuron in one line.
        notes: sentences about the numbers.
    """

    rows: pd.DataFrame
    title: str
    notes: tuple[str, ...]


def neuron_answer(settings: NeuronSettings) -> NeuronAnswer:
    """The numbers that the settings ask for.

    Raises:
        UsageError: an unknown name, or numbers that can't be combined.
    """
    return _descent(settings) if settings.gate is None else _gate(settings, settings.gate)


def _descent(settings: NeuronSettings) -> NeuronAnswer:
    from nnlab.diagnostics.chain.neuron_steps import neuron_steps

    loss, lr = settings.loss or Spec("mse"), 0.5 if settings.lr is None else settings.lr
    steps = neuron_steps(
        weights=(0.5, -1.0) if settings.weights is None else settings.weights,
        bias=0.1 if settings.bias is None else settings.bias,
        inputs=(1.0, 2.0) if settings.input is None else settings.input,
        target=1.0 if settings.target is None else settings.target,
        lr=lr,
        activation=settings.activation,
        loss=loss,
        steps=settings.train or 1,
    )
    rows = _quantities(steps[0], settings.activation, loss, lr) if len(steps) == 1 else map(_step_row, steps)
    title = f"One neuron, {settings.activation}, {loss}, lr {lr!r}"
    return NeuronAnswer(pd.DataFrame(rows), title, _notes(steps, settings.activation))


def _quantities(step: NeuronStep, activation: Spec, loss: Spec, lr: float) -> Iterator[dict[str, object]]:
    """Every number of one step, with the formula that gives it."""

    def row(quantity: str, formula: str, value: float) -> dict[str, object]:
        return {"quantity": quantity, "formula": formula, "value": value}

    terms = [f"{_number_text(w)}*{_number_text(x)}" for w, x in zip(step.weights, step.inputs, strict=True)]
    yield row("s", " + ".join([*terms, _number_text(step.bias)]), step.sum)
    yield row("O", f"{activation}(s)", step.output)
    yield row("L", f"{loss}(O, {_number_text(step.target)})", step.loss)
    yield row("dL/dO", f"the slope of {loss} at O", step.loss_by_output)
    yield row("dO/ds", f"the slope of {activation} at s", step.output_by_sum)
    yield row("dL/ds", "dL/dO * dO/ds", step.loss_by_sum)
    for i, (x, slope) in enumerate(zip(step.inputs, step.loss_by_weights, strict=True), start=1):
        yield row(f"dL/dw{i}", f"dL/ds * {_number_text(x)}", slope)
    yield row("dL/db", "dL/ds * 1", step.loss_by_bias)
    for i, (old, new) in enumerate(zip(step.weights, step.new_weights, strict=True), start=1):
        yield row(f"new w{i}", f"{_number_text(old)} - {_number_text(lr)} * dL/dw{i}", new)
    yield row("new b", f"{_number_text(step.bias)} - {_number_text(lr)} * dL/db", step.new_bias)
    yield row("new O", f"{activation}(new w . x + new b)", step.new_output)
    yield row("new L", f"{loss}(new O, {_number_text(step.target)})", step.new_loss)


def _number_text(value: float) -> str:
    text = f"{value:.6g}"
    return f"({text})" if value < 0 else text


def _step_row(step: NeuronStep) -> dict[str, object]:
    return {
        "step": step.step,
        **{f"w{i}": w for i, w in enumerate(step.weights, start=1)},
        "b": step.bias,
        "sum": step.sum,
        "output": step.output,
        "loss": step.loss,
        "dL_dO": step.loss_by_output,
        "dO_ds": step.output_by_sum,
        "dL_ds": step.loss_by_sum,
        **{f"dL_dw{i}": slope for i, slope in enumerate(step.loss_by_weights, start=1)},
        "dL_db": step.loss_by_bias,
        "new_output": step.new_output,
        "new_loss": step.new_loss,
    }


def _notes(steps: Sequence[NeuronStep], activation: Spec) -> tuple[str, ...]:
    last = steps[-1]
    if last.is_stuck:
        return (
            f"The loss is {last.loss:.4g}, and nothing moves: the slope of {activation} at s = {last.sum:.4g} is 0, so"
            " every derivative before it is 0 too.",
        )
    verb = "falls" if last.new_loss < steps[0].loss else "does not fall"
    return (f"The loss {verb}: {steps[0].loss:.6g} before, {last.new_loss:.6g} after.",)


def _gate(settings: NeuronSettings, gate: str) -> NeuronAnswer:
    from nnlab.diagnostics.chain.neuron_steps import gate_run, reason_descent_fails

    for name in _NOT_OF_A_GATE:
        if getattr(settings, name) is not None:
            raise UsageError(
                f"{mention('gate')} has four rows of its own and the squared error. It can't be combined with {mention(name)}."
            )
    lr = 1.0 if settings.lr is None else settings.lr
    run = gate_run(
        gate,
        activation=settings.activation,
        lr=lr,
        epochs=settings.train or 1000,
        weights=(0.0, 0.0) if settings.weights is None else settings.weights,
        bias=settings.bias or 0.0,
    )
    title = f"One neuron, {settings.activation}, taught '{run.gate}' by {_rule(run)}, lr {lr!r}"
    why = reason_descent_fails(run)
    verdict = f"'{run.gate}' is {'learned' if run.learned else 'not learned'}: {run.reason}."
    notes = (verdict, f"{why[:1].upper()}{why[1:]}.") if why else (verdict,)
    return NeuronAnswer(pd.DataFrame([_epoch_row(run, epoch) for epoch in run.epochs]), title, notes)


def _rule(run: GateRun) -> str:
    return "the perceptron rule" if run.rule == "perceptron" else run.rule


def _epoch_row(run: GateRun, epoch: GateEpoch) -> dict[str, object]:
    outputs = zip(("out_00", "out_01", "out_10", "out_11"), epoch.outputs, strict=True)
    return {
        "gate": run.gate,
        "activation": run.activation,
        "rule": run.rule,
        "epoch": epoch.epoch,
        "w1": epoch.weights[0],
        "w2": epoch.weights[1],
        "b": epoch.bias,
        **dict(outputs),
        "wrong": epoch.wrong,
    }


def answer(given: Given[NeuronSettings, OutputSettings], watcher: Watcher) -> Answer:
    """The neuron's numbers; files only if a place for them was named."""
    clock, shown = Clock(), neuron_answer(given.settings)
    if given.output.dry_run:
        from nnlab.experiments.dry_run import settings_frame

        return rows_answer(settings_frame(given, given.settings, {"rows": len(shown.rows)}))

    def sheets() -> Sequence[Sheet]:
        from nnlab.report.neuron_table import neuron_table

        sheet = neuron_table(shown.rows, title=shown.title, all_rows=given.settings.all)
        return [sheet.with_notes(shown.notes)]

    remarks = write_files_if_named(NAME, given, {NEURON_CSV: shown.rows}, shown.notes, clock, watcher)
    return Answer(shown.rows, sheets, notes=shown.notes, remarks=remarks)


COMMAND: Final = Command(
    NAME,
    "Show one neuron forward and backward, number by number, and which gates it can learn.",
    NeuronSettings,
    OutputSettings,
    answer,
    check=lambda _: None,
    examples=(
        "nnlab neuron --weights 0.5,-1 --input 1,2 --target 1",
        "nnlab neuron --activation tanh --train 5",
        "nnlab neuron --gate xor",
    ),
)
