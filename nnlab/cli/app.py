"""The commands. Each: settings -> one question asked of a study -> files -> a table."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from nnlab import __version__
from nnlab.cli.completion import kinds_beginning, names_beginning
from nnlab.cli.options import with_display, with_options, with_synonym
from nnlab.cli.output import close_quietly, error
from nnlab.core.errors import NnlabError
from nnlab.core.spelling import as_flag, flag
from nnlab.settings import (
    CompareAnySettings,
    CompareInitSettings,
    CompareLossSettings,
    CompareScheduleSettings,
    DisplaySettings,
    GradcheckOutputSettings,
    GradcheckSettings,
    NeuronSettings,
    OutputSettings,
    Settings,
    SweepLrSettings,
    TrainSettings,
)
from nnlab.settings.given import Given
from nnlab.settings.origins import PREFIX

S = TypeVar("S", bound=Settings)

app = typer.Typer(
    name="nnlab",
    help="A laboratory for training neural networks: whole experiments as one batched program, with error bars and verdicts.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


class Terminated(BaseException):
    """SIGTERM: what is recorded stays, the rest is left for the same command again."""


def command(
    name: str, settings: type[S], output: type[OutputSettings] = OutputSettings
) -> Callable[[Callable[[Given[S]], None]], Callable[[Given[S]], None]]:
    """Make a command of a function that takes what was given; its options are the fields of `settings` and `output`."""

    def register(run: Callable[[Given[S]], None]) -> Callable[[Given[S]], None]:
        app.command(name)(with_options(name, settings, run, output))
        return run

    return register


def _version(value: bool) -> None:
    if value:
        typer.echo(f"nnlab {__version__}")
        raise typer.Exit


@app.callback()
def nnlab(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", metavar="", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A laboratory for training neural networks: whole experiments as one batched program, with error bars and verdicts."""


@command("sweep-lr", SweepLrSettings)
def sweep_lr(given: Given[SweepLrSettings]) -> None:
    """Train one model at many learning rates at once, over several seeds, and say which serve."""
    from nnlab.cli.experiments import answer
    from nnlab.commands.sweep_lr import SWEEP_LR

    answer(SWEEP_LR, given)


@command("compare-init", CompareInitSettings)
def compare_init(given: Given[CompareInitSettings]) -> None:
    """Which initialisation keeps the signal alive through the layers, and trains best?"""
    from nnlab.cli.experiments import answer
    from nnlab.commands.compare_init import COMPARE_INIT

    answer(COMPARE_INIT, given)


@command("compare-loss", CompareLossSettings)
def compare_loss(given: Given[CompareLossSettings]) -> None:
    """Which loss serves this task, each at its own best rate, judged by a metric that no loss owns?"""
    from nnlab.cli.experiments import answer
    from nnlab.commands.compare import COMPARE_LOSS

    answer(COMPARE_LOSS, given)


@command("compare-schedule", CompareScheduleSettings)
def compare_schedule(given: Given[CompareScheduleSettings]) -> None:
    """Which schedule of the learning rate, at equal budget?"""
    from nnlab.cli.experiments import answer
    from nnlab.commands.compare import COMPARE_SCHEDULE

    answer(COMPARE_SCHEDULE, given)


@command("compare", CompareAnySettings)
def compare(given: Given[CompareAnySettings]) -> None:
    """Compare the levels of any setting: optimizer, activation, batch_size, width, ..."""
    from nnlab.cli.experiments import answer
    from nnlab.commands.compare import COMPARE

    answer(COMPARE, given)


@command("train", TrainSettings)
def train(given: Given[TrainSettings]) -> None:
    """Train one configuration; the model is saved for `nnlab predict`."""
    from nnlab.cli.experiments import answer
    from nnlab.commands.train import TRAIN

    answer(TRAIN, given)


@command("gradcheck", GradcheckSettings, GradcheckOutputSettings)
def gradcheck(given: Given[GradcheckSettings]) -> None:
    """Check gradients against differences, tensor by tensor, and name the likely bug; nothing named: the whole catalogue."""
    from nnlab.cli.gradients import answer_gradcheck

    answer_gradcheck(given)


@command("neuron", NeuronSettings)
def neuron(given: Given[NeuronSettings]) -> None:
    """Show what happens inside one neuron, forward and backward, number by number, and which gates it can learn."""
    from nnlab.cli.gradients import answer_neuron

    answer_neuron(given)


def predict(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What `nnlab train` wrote.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A .csv, .parquet or .npz file with the same columns.")],
    output: DisplaySettings,
) -> None:
    """Apply a trained model to new rows: CSV in, CSV out, classes by name."""
    from nnlab.cli.output import show
    from nnlab.report.records import records_table
    from nnlab.storage.model_files import load_model

    model = load_model(directory)
    from nnlab.experiments.trained import predictions

    rows = predictions(model.description, model.weights, data)
    show(rows, table=partial(records_table, all_rows=True), output=output)


def show(
    output: DisplaySettings,
    what: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR|FILE.csv|-]", help="Results, a CSV file, or - for a pipe; else the newest results."
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every row of a long table.", metavar="")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say what the columns mean.", metavar="")] = False,
) -> None:
    """Show any result as a table."""
    from nnlab.cli.results import as_table, newest_results, show_file, show_results, show_stdin

    output = as_table(output)
    what = newest_results() if what is None else what
    if str(what) == "-":
        show_stdin(output, all_rows=every)
    elif what.is_dir():
        show_results(what, output, all_rows=every, explain=explain)
    else:
        show_file(what, output, all_rows=every)


def list_(
    output: DisplaySettings,
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="A kind: all its names.", autocompletion=kinds_beginning)
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A name, perhaps with keys.", autocompletion=names_beginning),
    ] = None,
) -> None:
    """Show what there is to choose from: data, models, losses, ...; of a name its formula, keys and a picture."""
    from nnlab.cli.listing import show_ingredient, show_kinds, show_names

    if kind is None:
        show_kinds(output)
    elif name is None:
        show_names(kind, output)
    else:
        show_ingredient(kind, name, output)


def _budget_option(setting: str, metavar: str, words: str) -> Any:
    """An option whose value may also come from the environment, as that of a training command may."""
    return typer.Option(
        flag(setting), metavar=metavar, help=words, envvar=f"{PREFIX}{setting.upper()}", show_envvar=False
    )


def schedule(
    output: DisplaySettings,
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A schedule: NAME or NAME:KEY=VALUE.")],
    lr: Annotated[str | None, _budget_option("lr", "X", "Learning rate (default: 0.1).")] = None,
    epochs: Annotated[str | None, _budget_option("epochs", "N", "Passes over the data (default: 10).")] = None,
    steps_per_epoch: Annotated[
        str | None, typer.Option(metavar="N", help="Batches of a pass (default: 32).", show_default=False)
    ] = None,
    steps: Annotated[str | None, _budget_option("steps", "N", "Stop after so many steps.")] = None,
    warmup: Annotated[str | None, _budget_option("warmup", "N", "Steps of linear warm-up (default: 0).")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every change of the rate.", metavar="")] = False,
) -> None:
    """Show what a schedule does to the learning rate, without training."""
    from nnlab.cli.listing import show_schedule

    given = {"schedule": spec, "lr": lr, "epochs": epochs, "steps_per_epoch": steps_per_epoch}
    given |= {"steps": steps, "warmup": warmup}
    show_schedule({name: text for name, text in given.items() if text is not None}, output, all_rows=every)


def doctor(
    output: DisplaySettings,
    device: Annotated[
        str, _budget_option("device", "DEVICE", "Device to check: auto, cpu, cuda, cuda:N or mps (default: auto).")
    ] = "auto",
) -> None:
    """Say what this machine is, and whether it computes what plain PyTorch computes: every model, optimizer and engine."""
    from nnlab.cli.doctor import show_doctor

    show_doctor(device, output)


app.command("predict")(with_display(predict))
app.command("show")(with_display(show))
app.command("list")(with_display(list_))
app.command("schedule")(with_display(schedule))
app.command("doctor")(with_display(doctor))


def main() -> NoReturn:
    """The program: exit codes as the README lists them, no traceback for a user's mistake."""
    signal.signal(signal.SIGTERM, _terminate)
    say = partial(error, no_color="--no-color" in sys.argv)
    try:
        status = app(standalone_mode=False)
        code = status if isinstance(status, int) else 0
        if code == 130:  # Typer's word for Ctrl-C
            raise KeyboardInterrupt
    except NnlabError as wrong:
        say(wrong.respell(as_flag).message)
        code = wrong.exit_code
    except typer.TyperException as wrong:
        say(with_synonym(wrong.format_message()))
        code = wrong.exit_code
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted. What is finished is recorded; the same command goes on from there.")
        code = 130
    except Terminated:
        say("terminated. What is finished is recorded; the same command goes on from there.")
        code = 143
    except BrokenPipeError:
        code = 0
    close_quietly()
    sys.exit(code)


def program() -> NoReturn:
    """`main` as a process of its own: what a short-lived process need not do costs it no time.

    Python collects cyclic garbage hundreds of times while it loads torch (a third of a second), and takes torch apart at the
    end (half a second). Both measured with MNIST-1D's default sweep.
    """
    gc.set_threshold(100_000, 50, 50)
    try:
        main()
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)


def _terminate(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise Terminated
