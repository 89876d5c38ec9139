"""`nnlab gradcheck`: gradients against differences, with the likely bug named; or the chain rule explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from nnlab.catalog.custom import content_hash
from nnlab.commands.command import Answer, Command, plan_answer
from nnlab.core.errors import UsageError
from nnlab.core.kinds import parse_value
from nnlab.core.spelling import mention
from nnlab.diagnostics.chain.explanation import chain_frame, explained
from nnlab.diagnostics.gradcheck.gradient_report import STEP, Method
from nnlab.experiments.answer_files import (
    CHAIN,
    GRADCHECK,
    STEPS,
    AnswerFiles,
    Clock,
    write_files,
    write_files_if_named,
)
from nnlab.experiments.dry_run import settings_frame
from nnlab.ingredients.resolve import complete_settings, own_files
from nnlab.settings import CountSetting, OutputSettings, RunSettings, Settings, setting
from nnlab.settings.readers import (
    OptionalCount,
    OptionalPositive,
    OptionalSpec,
    OptionalWhole,
    PositiveSetting,
    WordList,
)
from nnlab.storage.directory import directory_for

if TYPE_CHECKING:
    from pathlib import Path

    from nnlab.diagnostics.gradcheck.carried_out import Checked
    from nnlab.experiments.watching import Watcher
    from nnlab.report.sheets import Sheet
    from nnlab.settings.given import Given

NAME: Final = "gradcheck"

Kind = Literal["catalogue", "model", "function", "module"]

# Each belongs to a model: to check one is to check a model with it.
_MODEL: Final = ("model", "activation", "init", "loss", "data", "target")
_OWN: Final = ("function", "module")
_INPUTS: Final = ("input", "domain", "complex_inputs")


class GradcheckSettings(Settings):
    """`nnlab gradcheck`: what is checked, how closely, or what is explained. Nothing named: the whole catalogue."""

    model: OptionalSpec = setting(
        None,
        "Model, with a loss and rows of data (default: mlp:hidden=100x100).",
        panel="What is checked",
        metavar="SPEC",
    )
    activation: OptionalSpec = setting(
        None, f"Its activation (default: relu; {mention('explain')}: sigmoid).", panel="What is checked", metavar="SPEC"
    )
    init: OptionalSpec = setting(None, "Its weights (default: torch_default).", panel="What is checked", metavar="SPEC")
    loss: OptionalSpec = setting(
        None, "Its loss (default: cross_entropy, bce or mse by task).", panel="What is checked", metavar="SPEC"
    )
    data: OptionalSpec = setting(None, "Its data (default: mnist1d).", panel="What is checked", metavar="SPEC")
    target: str | None = setting(None, "Column of the file to predict.", panel="What is checked", metavar="COLUMN")
    rows: CountSetting = setting(4, "So many rows of the data.", panel="What is checked", metavar="N")
    function: str | None = setting(
        None,
        f"A function, or a torch.autograd.Function, of the {mention('input')}.",
        panel="What is checked",
        metavar="FILE.py:NAME",
    )
    module: str | None = setting(
        None, "An nn.Module, its class, or what makes it.", panel="What is checked", metavar="FILE.py:NAME"
    )
    input: str | None = setting(
        None, "Shapes of the inputs: 4x3,5 (scalar: no dimension).", panel="What is checked", metavar="SHAPES"
    )
    domain: str | None = setting(
        None, "Keep inputs where the function is defined: 0.1:2.", panel="What is checked", metavar="LOW:HIGH"
    )
    complex_inputs: bool = setting(False, "Draw complex inputs.", panel="What is checked")

    checks: WordList = setting(
        "reverse", "Of reverse, forward, second, undefined, batched.", panel="How", metavar="NAME,NAME"
    )
    order: CountSetting = setting(1, "2: second derivatives as well.", panel="How", metavar="1|2")
    step: OptionalPositive = setting(
        None, "Relative step of the differences (default: 2^-12).", panel="How", metavar="X"
    )
    sample: OptionalCount = setting(
        None, "Ask N entries of every tensor, and random directions (default: every entry).", panel="How", metavar="N"
    )
    directions: CountSetting = setting(4, "So many directions.", panel="How", metavar="N")
    tolerance: PositiveSetting = setting(1e-6, "Relative error allowed in float64.", panel="How", metavar="X")
    dtype: Literal["float64", "float32", "bfloat16", "float16"] = setting(
        "float64", "Precision to check; float64 on the CPU is the reference.", panel="How"
    )
    device: str = setting("cpu", "Device to check: auto, cpu, cuda, cuda:N or mps.", panel="How")
    seed: OptionalWhole = setting(
        None, f"Seed of weights, inputs and samples (default: 0; {mention('explain')}: 2).", panel="How", metavar="N"
    )

    explain_step: bool = setting(False, "Show the error against the step: a V if right.", panel="Explaining")
    explain: bool = setting(False, "A small net forward and back, number by number.", panel="Explaining")
    chain: str | None = setting(
        None, "The same of formulas: 'h=X*Y+X; X=sin(t); Y=t**2'.", panel="Explaining", metavar="FORMULAS"
    )
    at: str | None = setting(None, "Where: t=0.7,u=2.", panel="Explaining", metavar="NAME=X")
    all: bool = setting(False, "Every row of a long table.", role="execution", panel="Output")


class GradcheckOutputSettings(OutputSettings):
    """A check may also answer a build server."""

    format: Literal["auto", "table", "csv", "json", "jsonl", "markdown", "junit"] = setting(  # type: ignore[assignment]
        "auto", "auto: a table for a terminal, CSV for a pipe.", role="execution", panel="Output"
    )


@dataclass(frozen=True)
class Check:
    """What is to be checked.

    Attributes:
        kind: the whole catalogue, a model on data, or a person's own function or module.
        words: the subject, in a line.
        run: of a model, complete but for the loss where it goes by the data's task.
        domain: where inputs are drawn.
    """

    kind: Kind
    words: str
    settings: GradcheckSettings
    method: Method
    run: RunSettings | None = None
    domain: tuple[float, float] | None = None

    @property
    def seed(self) -> int:
        """Of weights, inputs and samples."""
        return self.method.seed

    @property
    def identity(self) -> dict[str, object]:
        """What decides the check's numbers, so that its files belong to it alone."""
        return {"the command": "gradcheck", **self.settings.deciding()}


def planned(settings: GradcheckSettings) -> Check:
    """The check that the settings ask for, every name in it looked up.

    Raises:
        UsageError: a name that is not known, or settings that do not go together.
    """
    kind = _kind(settings)
    _refuse_strays(settings, kind)
    run = _model(settings) if kind == "model" else None
    domain = None if settings.domain is None else _domain(settings.domain)
    return Check(kind, _words(settings, kind, run), settings, _method(settings), run, domain)


def _kind(settings: GradcheckSettings) -> Kind:
    given: dict[Kind, list[str]] = {"model": [name for name in _MODEL if getattr(settings, name) is not None]}
    given |= {"function": ["function"] * (settings.function is not None)}
    given |= {"module": ["module"] * (settings.module is not None)}
    kinds = [kind for kind, names in given.items() if names]
    if len(kinds) > 1:
        first, second = (mention(given[kind][0]) for kind in kinds[:2])
        raise UsageError(f"{first} and {second} name two things to check. Give one of them.")
    return kinds[0] if kinds else "catalogue"


def _refuse_strays(settings: GradcheckSettings, kind: Kind) -> None:
    """Refuse what has no meaning for this kind of subject, and miss what one needs."""
    given = [name for name in _INPUTS if getattr(settings, name) not in (None, False)]
    if kind in _OWN and settings.input is None:
        raise UsageError(
            f"--{kind} needs the shapes of its inputs: {mention('input', '4x3')} or, for two of them, {mention('input', '4x3,5')}."
        )
    if kind not in _OWN and given:
        raise UsageError(
            f"{mention(given[0])} goes with {mention('function')} or {mention('module')}, which say what the input is of."
        )
    if settings.domain is not None and settings.complex_inputs:
        raise UsageError(
            f"{mention('domain')} is of real inputs, {mention('complex_inputs')} are not. Give one of them."
        )
    if settings.at is not None:
        raise UsageError(f"{mention('at')} goes with {mention('chain')}, whose names it gives values.")
    if settings.explain_step and kind == "catalogue":
        raise UsageError(
            f"{mention('explain_step')} is of one subject. Name it: {mention('model', 'SPEC')}, {mention('function')} or {mention('module', 'FILE.py:NAME')}."
        )


def _model(settings: GradcheckSettings) -> RunSettings:
    given = {name: getattr(settings, name) for name in _MODEL if getattr(settings, name) is not None}
    # No row is kept from a check: it judges no training.
    return complete_settings(RunSettings.from_values({"validation": 0, "test": 0, **given}))


def _domain(text: str) -> tuple[float, float]:
    parts = text.split(":")
    if len(parts) != 2:
        raise UsageError(f"{mention('domain')} takes LOW:HIGH, such as 0.1:2, not {text!r}.")
    low, high = (float(parse_value("Number", part, what=mention("domain"))) for part in parts)  # type: ignore[arg-type]
    if low >= high:
        raise UsageError(f"{mention('domain')} takes LOW:HIGH with LOW below HIGH, not {text!r}.")
    return low, high


def _method(settings: GradcheckSettings) -> Method:
    if settings.order > 2:
        raise UsageError(f"{mention('order')} takes 1 or 2, not {settings.order}.")
    second = ("second",) if settings.order == 2 and "second" not in settings.checks else ()
    return Method(
        checks=(*settings.checks, *second),
        step=STEP if settings.step is None else settings.step,
        sample=settings.sample,
        directions=settings.directions,
        dtype=settings.dtype,
        device=settings.device,
        tolerance=settings.tolerance,
        seed=settings.seed or 0,
    )


def _words(settings: GradcheckSettings, kind: Kind, run: RunSettings | None) -> str:
    if run is not None:
        loss = "" if run.loss is None else f", {run.loss}"
        return f"{run.model}, {run.activation}, {run.init}{loss}, {settings.rows} rows of {run.data}"
    if kind == "catalogue":
        return "the whole catalogue"
    return f"{settings.function or settings.module} of {settings.input}"


def answer(given: Given[GradcheckSettings, GradcheckOutputSettings], watcher: Watcher) -> Answer:
    """The verdict on each gradient, or the numbers of an explanation."""
    if given.settings.explain or given.settings.chain is not None:
        return _explanation_answer(given, watcher)
    check, clock = planned(given.settings), Clock()
    path = directory_for(NAME, _words_of_directory(check), check.identity, given.output)
    from nnlab.diagnostics.gradcheck.carried_out import checked, entries

    if given.output.dry_run:
        return plan_answer(settings_frame(given, given.settings, {**entries(check), "directory": path}))
    found = checked(check)
    watcher.end_phase(f"the check of {check.words}")
    path = write_files(_files(check, found, clock), given, watcher)
    return _check_answer(check, found, given, path)


def _words_of_directory(check: Check) -> tuple[str, str]:
    """The words that name the check's directory."""
    settings = check.settings
    if check.run is not None:
        return str(check.run.data), str(check.run.model)
    own = settings.function or settings.module
    return (own.rpartition(":")[2], str(settings.input)) if own else ("catalogue", check.method.dtype)


def _files(check: Check, found: Checked, clock: Clock) -> AnswerFiles:
    own = check.settings.function or check.settings.module
    hashes = {} if check.run is None else own_files(check.run)
    return AnswerFiles(
        command=NAME,
        identity=check.identity,
        words=_words_of_directory(check),
        tables={GRADCHECK: found.rows} | ({} if found.curves is None else {STEPS: found.curves}),
        torch=found.torch,
        started=clock.started,
        seconds=clock.seconds,
        seeds=(check.seed,),
        device=found.device,
        dtype=check.method.dtype,
        notes=found.notes,
        facts={word: int((found.rows["verdict"] == word).sum()) for word in ("ok", "kink", "wrong")},
        data_hash=found.data_hash,
        file_hashes=hashes if own is None else {own: content_hash(own)},
    )


def _check_answer(
    check: Check, found: Checked, given: Given[GradcheckSettings, GradcheckOutputSettings], path: Path
) -> Answer:
    if given.output.format == "junit":
        from nnlab.report.gradient_tables import junit

        return Answer(found.rows, list, document=junit(found.rows), is_wrong=not found.ok)

    def sheets() -> Sequence[Sheet]:
        from nnlab.report.gradient_tables import curve_sheet, gradient_sheets

        title = f"{check.words}; {check.method.dtype}, {', '.join(check.method.checks)}"
        shown = gradient_sheets(found.rows, title=title, all_rows=given.settings.all)
        *first, last = shown if found.curves is None else [*shown, curve_sheet(found.curves)]
        return [*first, last.with_notes(found.notes)]

    rows, name = (found.rows, GRADCHECK) if found.curves is None else (found.curves, STEPS)
    return Answer(
        rows,
        sheets,
        csv=(path / name).read_bytes(),
        notes=found.notes,
        remarks=[f"Files: {path}"],
        is_wrong=not found.ok,
    )


def _explanation_answer(given: Given[GradcheckSettings, GradcheckOutputSettings], watcher: Watcher) -> Answer:
    """A computation forward and back; files only if a place for them was named."""
    clock = Clock()
    if given.output.format == "junit":
        raise UsageError(
            f"{mention('format', 'junit')} is for a check; an explanation has table, csv, json, jsonl and markdown."
        )
    chain, title = explained(given.settings)
    rows = chain_frame(chain)
    if given.output.dry_run:
        return plan_answer(
            settings_frame(given, given.settings, {"numbers": len(chain.nodes), "paths": len(chain.paths)})
        )
    agrees = "The sum over paths, autograd and differences agree for every input."
    notes = (agrees if chain.ok else "The sum over paths, autograd and differences do not agree.",)

    def sheets() -> Sequence[Sheet]:
        from nnlab.report.gradient_tables import chain_sheets

        *first, last = chain_sheets(rows, title=title)
        return [*first, last.with_notes(notes)]

    remarks = write_files_if_named(NAME, given, {CHAIN: rows}, notes, clock, watcher)
    return Answer(rows, sheets, notes=notes, remarks=remarks, is_wrong=not chain.ok)


COMMAND: Final = Command(
    NAME,
    "Check gradients against differences, tensor by tensor, and name the likely bug; nothing named: the whole catalogue.",
    GradcheckSettings,
    GradcheckOutputSettings,
    answer,
    check=lambda settings: None if settings.explain or settings.chain else planned(settings),
    examples=(
        "nnlab gradcheck --function my.py:my_loss --input 4x3,4x3",
        "nnlab gradcheck --model mlp:hidden=5x4:norm=batch --data moons",
        "nnlab gradcheck --chain 'h=X*Y+X; X=sin(t); Y=t**2' --at t=0.7",
    ),
)
