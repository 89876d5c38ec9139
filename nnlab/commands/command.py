"""A command: its settings, its answer, how the answer is shown, and examples. The front ends loop over a table of commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, TypeVar

from nnlab.experiments.study import Study
from nnlab.report.results_view import ResultsView, no_sheets, summary_sheet, view_results
from nnlab.settings import CompareSettings, DisplaySettings, ExperimentSettings, OutputSettings, Settings
from nnlab.storage.csv_files import SUMMARY_CSV, TUNING_CSV

if TYPE_CHECKING:
    import pandas as pd

    from nnlab.core.errors import PartialError
    from nnlab.experiments.watching import Watcher
    from nnlab.report.sheets import Sheet
    from nnlab.settings.given import Given

S = TypeVar("S", bound=Settings)
E = TypeVar("E", bound=ExperimentSettings)
O = TypeVar("O", bound=DisplaySettings)  # noqa: E741 - output, beside S for settings

# Names that a shell may offer for an argument, given the arguments before it and the letters typed.
Completion = Callable[[Mapping[str, Any], str], Sequence[str]]

_NO_COMPLETIONS: Final[Mapping[str, Completion]] = {}


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer of a command: rows for a program, sheets for a person.

    Attributes:
        rows: the result.
        sheets: makes the sheets that show it, with its notes; called only for a person.
        csv: the bytes of the file that holds the rows; None if there is no such file.
        notes: sentences about the result; they go to stderr where the rows go to stdout.
        document: the result in a format of the command's own (JUnit XML); None in the common formats.
        remarks: sentences for stderr after the result, in any format: where the files are.
        failure: the error to raise once the answer is shown, if some runs failed.
        is_wrong: a check found something wrong: the exit code is 1.
    """

    rows: pd.DataFrame
    sheets: Callable[[], Sequence[Sheet]]
    csv: bytes | None = None
    notes: Sequence[str] = ()
    document: bytes | None = None
    remarks: Sequence[str] = ()
    failure: PartialError | None = None
    is_wrong: bool = False


@dataclass(frozen=True)
class Command(Generic[S, O]):
    """One command of nnlab.

    Attributes:
        name: as it is typed.
        help: what it does, in a sentence or two.
        settings: their class; each field is an option or an argument.
        output: the class of the settings that say where the answer goes.
        answer: carries out the command.
        check: raises an error if the settings are wrong, as far as that shows without computing.
        examples: command lines to paste, two or three.
        auto_format: the format of `auto` where stdout is not a terminal.
        completions: by argument, the names that a shell may offer.
    """

    name: str
    help: str
    settings: type[S]
    output: type[O]
    answer: Callable[[Given[S, O], Watcher], Answer]
    check: Callable[[S], object]
    examples: Sequence[str]
    auto_format: Literal["csv", "table"] = "csv"
    completions: Mapping[str, Completion] = field(default_factory=lambda: _NO_COMPLETIONS)


@dataclass(frozen=True)
class ExperimentCommand(Generic[E]):
    """A command that trains; what all such commands share is here.

    Attributes:
        name, help, settings, examples: as in Command.
        study: plans the experiment and draws its conclusion.
        further_sheets: makes the sheets below the table of arms.
    """

    name: str
    help: str
    settings: type[E]
    study: Study[E]
    examples: Sequence[str]
    further_sheets: Callable[[ResultsView], Sequence[Sheet]] = no_sheets
    output: ClassVar[type[OutputSettings]] = OutputSettings
    auto_format: ClassVar[Literal["csv", "table"]] = "csv"
    completions: ClassVar[Mapping[str, Completion]] = _NO_COMPLETIONS

    def check(self, settings: E) -> object:
        """Return the plan of the experiment; an error if the settings are wrong."""
        return self.study.plan(settings)

    def answer(self, given: Given[E, OutputSettings], watcher: Watcher) -> Answer:
        """Carry out the experiment, or the part of it that is missing in its directory."""
        from nnlab.experiments.carry_out import ask, carry_out

        question = ask(self.study, given)
        dataset, settings = question.experiment.dataset, given.settings
        for text in dataset.notes:
            watcher.note(text)
        watcher.end_phase(f"settings and data ({settings.data}, {len(dataset.y)} rows)")
        if given.output.dry_run:
            from nnlab.experiments.dry_run import plan_frame

            rows, note = plan_frame(question)
            return rows_answer(rows, [note])
        completion = carry_out(question, watcher)
        # From the files, as `nnlab show` reads them: both show the same.
        has_grids = isinstance(settings, CompareSettings) and settings.show_grid
        view = view_results(question.path, explain=settings.explain, has_grids=has_grids)
        return show_results(view, given.output, further_sheets=self.further_sheets, failure=completion.failure)


# What the front ends loop over.
AnyCommand = Command[Any, Any] | ExperimentCommand[Any]


def rows_answer(rows: pd.DataFrame, remarks: Sequence[str] = ()) -> Answer:
    """The answer that shows every row as it is: the plan of a dry run, predictions."""

    def sheets() -> Sequence[Sheet]:
        from nnlab.report.records import records_table

        return [records_table(rows, all_rows=True)]

    return Answer(rows, sheets, remarks=remarks)


def show_results(
    view: ResultsView,
    output: DisplaySettings,
    *,
    further_sheets: Callable[[ResultsView], Sequence[Sheet]],
    failure: PartialError | None = None,
) -> Answer:
    """The answer that a results directory holds.

    Args:
        view: the directory, and how much of it is to be shown.
        output: the format, no longer auto.
        further_sheets: the sheets below the table of arms.
        failure: raised once the answer is shown.
    """
    notes, remarks = view.manifest.notes, [f"Files: {view.path}"]
    tuning = view.path / TUNING_CSV
    if view.has_grids and tuning.exists() and not output.is_for_a_person:
        remarks.append(f"Every rate that was tried: {tuning}")
    return Answer(
        view.summary,
        lambda: [summary_sheet(view).with_notes(notes), *further_sheets(view)],
        csv=(view.path / SUMMARY_CSV).read_bytes(),
        notes=notes,
        remarks=remarks,
        failure=failure,
    )
