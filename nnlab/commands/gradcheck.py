"""`nnlab gradcheck`: gradients against finite differences, with the likely bug named; or the chain rule explained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from nnlab.commands.command import Answer, Command, rows_answer
from nnlab.core.errors import UsageError, did_you_mean
from nnlab.core.kinds import parse_value
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention, spell
from nnlab.diagnostics.gradcheck.gradient_report import STEP, Method
from nnlab.experiments.answer_files import (
    AnswerFiles,
    Clock,
    write_files,
    write_files_if_named,
)
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

    from nnlab.diagnostics.chain.chain_rule import ChainRule
    from nnlab.diagnostics.gradcheck.check_tables import CheckTables
    from nnlab.diagnostics.gradcheck.subjects import Subject
    from nnlab.experiments.watching import Watcher
    from nnlab.report.sheets import Sheet
    from nnlab.settings.given import Given

NAME: Final = "gradcheck"

GRADCHECK_CSV: Final = "gradcheck.csv"
STEPS_CSV: Final = "steps.csv"
CHAIN_CSV: Final = "chain.csv"

# Four checks, and two explanations of the chain rule.
GradcheckQuestion = Literal["catalogue", "model", "function", "module", "explain", "chain"]
EXPLANATIONS: Final = ("explain", "chain")

_MODEL: Final = ("model", "activation", "init", "loss", "data", "target")
_INPUTS: Final = ("input", "domain", "complex_inputs")
# How to check. `rows` and `directions` are accepted by every check, though only a model has rows and only a sample directions.
_METHOD: Final = ("rows", "checks", "order", "step", "sample", "directions", "tolerance", "dtype", "device", "seed")
# For each question: the settings that ask it, and the other settings that belong to it. The first question asked counts.
_SETTINGS_OF: Final[Mapping[GradcheckQuestion, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "chain": (("chain",), ("at", "explain")),
    "explain": (("explain",), ("model", "activation", "seed")),
    "function": (("function",), (*_INPUTS, *_METHOD, "explain_step")),
    "module": (("module",), (*_INPUTS, *_METHOD, "explain_step")),
    "model": (_MODEL, (*_METHOD, "explain_step")),
    "catalogue": ((), _METHOD),
}
# The activations that nnlab/diagnostics/chain/formulas.py has as functions.
_EXPLAINED_ACTIVATIONS: Final = ("relu", "sigmoid", "softplus", "tanh")


class GradcheckSettings(Settings):
    """`nnlab gradcheck`: what is checked and how, or what is explained. With nothing named, the whole catalogue is checked."""

    model: OptionalSpec = setting(
        None,
        "Model to check on rows of data (default: mlp:hidden=100x100).",
        panel="What is checked",
        metavar="SPEC",
    )
    activation: OptionalSpec = setting(
        None,
        f"Its activation (default: relu; with {mention('explain')}: sigmoid).",
        panel="What is checked",
        metavar="SPEC",
    )
    init: OptionalSpec = setting(
        None, "Its initial weights (default: torch_default).", panel="What is checked", metavar="SPEC"
    )
    loss: OptionalSpec = setting(
        None, "Its loss (default: cross_entropy, bce or mse, by task).", panel="What is checked", metavar="SPEC"
    )
    data: OptionalSpec = setting(None, "Its data (default: mnist1d).", panel="What is checked", metavar="SPEC")
    target: str | None = setting(
        None, "Column to predict, for data from a file.", panel="What is checked", metavar="COLUMN"
    )
    rows: CountSetting = setting(4, "Number of rows of the data.", panel="What is checked", metavar="N")
    function: str | None = setting(
        None,
        f"A function or torch.autograd.Function, called with the {mention('input')}.",
        panel="What is checked",
        metavar="FILE.py:NAME",
    )
    module: str | None = setting(
        None, "An nn.Module, its class, or a function that makes one.", panel="What is checked", metavar="FILE.py:NAME"
    )
    input: str | None = setting(
        None, "Shapes of the inputs: 4x3,5; scalar for a number.", panel="What is checked", metavar="SHAPES"
    )
    domain: str | None = setting(
        None,
        "Interval to draw inputs from, where the function is defined: 0.1:2.",
        panel="What is checked",
        metavar="LOW:HIGH",
    )
    complex_inputs: bool = setting(False, "Draw complex inputs.", panel="What is checked")

    checks: WordList = setting(
        "reverse", "Checks to make: reverse, forward, second, undefined, batched.", panel="How", metavar="NAME,NAME"
    )
    order: CountSetting = setting(1, "2: check second derivatives as well.", panel="How", metavar="1|2")
    step: OptionalPositive = setting(
        None, "Relative step of the finite differences (default: 2^-12).", panel="How", metavar="X"
    )
    sample: OptionalCount = setting(
        None, "Check N entries of every tensor, and random directions (default: every entry).", panel="How", metavar="N"
    )
    directions: CountSetting = setting(4, "Number of random directions.", panel="How", metavar="N")
    tolerance: PositiveSetting = setting(1e-6, "Relative error allowed in float64.", panel="How", metavar="X")
    dtype: Literal["float64", "float32", "bfloat16", "float16"] = setting(
        "float64", "Precision to check; float64 on the CPU is the reference.", panel="How"
    )
    device: str = setting("cpu", "Device to check: auto, cpu, cuda, cuda:N or mps.", panel="How")
    seed: OptionalWhole = setting(
        None,
        f"Seed of weights, inputs and samples (default: 0; with {mention('explain')}: 2).",
        panel="How",
        metavar="N",
    )

    explain_step: bool = setting(
        False, "Show the error for steps of many sizes: a V if the gradient is right.", panel="Explaining"
    )
    explain: bool = setting(False, "Show the chain rule in a small net, number by number.", panel="Explaining")
    chain: str | None = setting(
        None,
        "Show the chain rule in these formulas: 'h=X*Y+X; X=sin(t); Y=t**2'.",
        panel="Explaining",
        metavar="FORMULAS",
    )
    at: str | None = setting(None, "Values of the variables: t=0.7,u=2.", panel="Explaining", metavar="NAME=X")
    all: bool = setting(False, "Show every row of a long table.", role="execution", panel="Output")


class GradcheckOutputSettings(OutputSettings):
    """The usual output settings, with JUnit XML for build servers as one more format."""

    format: Literal["auto", "table", "csv", "json", "jsonl", "markdown", "junit"] = setting(  # type: ignore[assignment]
        "auto", "auto: a table for a terminal, CSV for a pipe.", role="execution", panel="Output"
    )


def question_of(settings: GradcheckSettings) -> GradcheckQuestion:
    """The question that the settings ask; with nothing named, the check of the whole catalogue.

    Raises:
        UsageError: a setting that belongs to another question.
    """
    defaults = GradcheckSettings()
    given = [name for name in GradcheckSettings.model_fields if getattr(settings, name) != getattr(defaults, name)]
    asked = ((question, name) for question, (asking, _) in _SETTINGS_OF.items() for name in asking if name in given)
    question, asking = next(asked, ("catalogue", ""))
    for name in given:
        if name != "all" and question not in _questions_with(name):
            raise _stray(name, question, asking)
    return question


def _questions_with(name: str) -> list[GradcheckQuestion]:
    return [question for question, (asking, others) in _SETTINGS_OF.items() if name in (*asking, *others)]


def _stray(name: str, question: GradcheckQuestion, asking: str) -> UsageError:
    """The error for a setting that does not belong to the question that the setting `asking` asks."""
    homes = _questions_with(name)
    both = f"{mention(asking)} can't be combined with {mention(name)}"
    if question in EXPLANATIONS:
        why = "" if set(homes) & set(EXPLANATIONS) else ", which applies only to gradient checks"
        takes = [other for other in _SETTINGS_OF[question][1] if other not in EXPLANATIONS]
        return UsageError(f"{both}{why}. It takes {_list_text(takes, 'and')}.")
    if name in _SETTINGS_OF:  # it asks a question of its own
        return UsageError(f"{both}. Give one of them.")
    goes_with = f"goes with {_list_text(homes, 'or')}"
    return UsageError(f"{both}, which {goes_with}." if asking else f"{mention(name)} {goes_with}.")


def _list_text(names: Iterable[str], word: str) -> str:
    *first, last = map(mention, names)
    return f"{', '.join(first)} {word} {last}" if first else last


@dataclass(frozen=True)
class GradientCheck:
    """A check of gradients, planned.

    Attributes:
        question: the whole catalogue, a model on data, or a person's own function or module.
        title: the subject in one line.
        run: the settings of the model, complete except for the loss if the data's task decides it; None without a model.
        domain: the interval of the inputs; None for normal draws.
    """

    question: GradcheckQuestion
    title: str
    settings: GradcheckSettings
    method: Method
    run: RunSettings | None = None
    domain: tuple[float, float] | None = None

    @property
    def own(self) -> str | None:
        """The person's own function or module: `FILE.py:NAME`."""
        return self.settings.function or self.settings.module

    @property
    def identity(self) -> dict[str, object]:
        """Everything that decides the numbers: a check with another identity has another directory."""
        return {"the command": NAME, **self.settings.deciding()}


def gradient_check(settings: GradcheckSettings) -> GradientCheck:
    """The check that the settings ask for, with every name in it looked up.

    Raises:
        UsageError: an unknown name, or settings that can't be combined.
    """
    question = question_of(settings)
    if question in ("function", "module") and settings.input is None:
        raise UsageError(
            f"{mention(question)} needs the shapes of its inputs: {mention('input', '4x3')} or, for two of them,"
            f" {mention('input', '4x3,5')}."
        )
    if settings.domain is not None and settings.complex_inputs:
        raise UsageError(
            f"{mention('domain')} is an interval of real numbers and can't be combined with {mention('complex_inputs')}."
            " Give one of them."
        )
    run = _model_settings(settings) if question == "model" else None
    domain = None if settings.domain is None else _interval(settings.domain)
    return GradientCheck(question, _title(settings, run), settings, _method(settings), run, domain)


def _model_settings(settings: GradcheckSettings) -> RunSettings:
    from nnlab.ingredients.resolve import complete_settings

    given = {name: getattr(settings, name) for name in _MODEL if getattr(settings, name) is not None}
    # No row is held out: a check judges no training.
    return complete_settings(RunSettings.from_values({"validation": 0, "test": 0, **given}))


def _interval(text: str) -> tuple[float, float]:
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


def _title(settings: GradcheckSettings, run: RunSettings | None) -> str:
    if run is not None:
        loss = "" if run.loss is None else f", {run.loss}"
        return f"{run.model}, {run.activation}, {run.init}{loss}, {settings.rows} rows of {run.data}"
    own = settings.function or settings.module
    return f"{own} of {settings.input}" if own else "the whole catalogue"


def subjects_of(check: GradientCheck) -> tuple[list[Subject], str | None]:
    """The subjects of a check, and the fingerprint of the data if it has any. Loads torch.

    Raises:
        UsageError: a subject that can't be loaded or made.
    """
    settings, seed = check.settings, check.method.seed
    if check.own is not None:
        from nnlab.diagnostics.gradcheck.subjects import drawn_inputs, own_function_subject, own_module_subject

        assert settings.input is not None
        inputs = drawn_inputs(settings.input, domain=check.domain, complex_values=settings.complex_inputs, seed=seed)
        if check.question == "function":
            return [own_function_subject(check.own, inputs)], None
        return [own_module_subject(check.own, inputs, seed=seed)], None
    from nnlab.diagnostics.gradcheck.known_subjects import catalogue_subjects
    from nnlab.diagnostics.gradcheck.model_subjects import catalogue_models, model_subject
    from nnlab.engine.sources import Sources

    if check.run is None:
        return [*catalogue_subjects(), *catalogue_models(seed=seed)], None
    sources = Sources()
    subject = model_subject(check.run, sources, rows=settings.rows, seed=seed)
    return [subject], sources.dataset(check.run).fingerprint()


def explanation(settings: GradcheckSettings) -> tuple[ChainRule, str]:
    """The chain rule of the formulas, or of a small net, and its title. Loads torch when everything else is decided.

    Raises:
        UsageError: settings that belong to a check, or formulas or values that can't be used.
    """
    if question_of(settings) == "chain":
        assert settings.chain is not None
        at = _values(settings.at or "")
        from nnlab.diagnostics.chain.chain_rule import chain_rule

        return chain_rule(settings.chain, at), settings.chain
    hidden, activation = _hidden_sizes(settings.model), settings.activation or Spec("sigmoid")
    if str(activation) not in _EXPLAINED_ACTIVATIONS:
        near = did_you_mean(str(activation), _EXPLAINED_ACTIVATIONS)
        raise UsageError(
            f"{mention('explain')} shows the activations {', '.join(_EXPLAINED_ACTIVATIONS)}, not"
            f" {mention('activation', activation)}.{near}"
        )
    from nnlab.diagnostics.chain.chain_rule import small_net

    seed = 2 if settings.seed is None else settings.seed  # with seed 2, no weight of the net of 3 and 2 neurons is 0.0
    title = f"2 inputs, hidden neurons {'x'.join(map(str, hidden))}, {activation}, L = (y - target)**2 / 2, seed {seed}"
    return small_net(hidden=hidden, activation=activation.name, seed=seed), title


def _values(text: str) -> Mapping[str, float]:
    """The numbers of `t=0.7,u=2` by name."""
    values: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, number = (word.strip() for word in part.partition("="))
        if not equals or not name.isidentifier():
            raise UsageError(f"{mention('at')} takes NAME=X,NAME=X, such as t=0.7, not {text!r}.")
        if name in values:
            raise UsageError(f"{mention('at')} {text!r} gives {name!r} twice.")
        values[name] = float(parse_value("Number", number, what=mention("at", name)))  # type: ignore[arg-type]
    return values


def _hidden_sizes(model: Spec | None) -> tuple[int, ...]:
    if model is None:
        return (3, 2)
    hidden = model.option("hidden")
    if model.name != "mlp" or hidden is None or len(model.options) > 1:
        raise UsageError(
            f"{mention('explain')} takes {mention('model', 'mlp:hidden=3x2')} or other sizes, not {model}."
        )
    return parse_value("Sizes", hidden, what=mention("model", "mlp:hidden"))  # type: ignore[return-value]


def answer(given: Given[GradcheckSettings, GradcheckOutputSettings], watcher: Watcher) -> Answer:
    """The verdict on each gradient, or the numbers of an explanation."""
    if question_of(given.settings) in EXPLANATIONS:
        return _explanation_answer(given, watcher)
    check, clock = gradient_check(given.settings), Clock()
    path = directory_for(NAME, _directory_words(check), check.identity, given.output)
    from nnlab.diagnostics.gradcheck.check_tables import check_size, check_tables

    subjects, data_hash = subjects_of(check)
    if given.output.dry_run:
        from nnlab.experiments.dry_run import settings_frame

        plan = {**check_size(subjects, check.method), "directory": path}
        return rows_answer(settings_frame(given, given.settings, plan))
    tables = check_tables(subjects, check.method, with_curves=check.settings.explain_step)
    # A cause may name a setting.
    tables.rows["cause"] = [spell(cause, given.front_end.spelling) for cause in tables.rows["cause"]]
    watcher.end_phase(f"the check of {check.title}")
    write_files(path, _files(check, tables, data_hash, clock), given, watcher)
    return _check_answer(check, tables, given, path)


def _directory_words(check: GradientCheck) -> tuple[str, str]:
    """The words in the name of the check's default directory."""
    if check.run is not None:
        return str(check.run.data), str(check.run.model)
    if check.own is not None:
        return check.own.rpartition(":")[2], str(check.settings.input)
    return "catalogue", check.method.dtype


def _files(check: GradientCheck, tables: CheckTables, data_hash: str | None, clock: Clock) -> AnswerFiles:
    from nnlab.catalog.custom import content_hash
    from nnlab.ingredients.resolve import own_files

    hashes = {} if check.run is None else own_files(check.run)
    return AnswerFiles(
        command=NAME,
        identity=check.identity,
        tables={GRADCHECK_CSV: tables.rows} | ({} if tables.curves is None else {STEPS_CSV: tables.curves}),
        torch=tables.torch,
        started=clock.started,
        seconds=clock.seconds,
        seeds=(check.method.seed,),
        device=tables.device,
        dtype=check.method.dtype,
        notes=tables.notes,
        facts={word: int((tables.rows["verdict"] == word).sum()) for word in ("ok", "kink", "wrong")},
        data_hash=data_hash,
        file_hashes=hashes if check.own is None else {check.own: content_hash(check.own)},
    )


def _check_answer(
    check: GradientCheck, tables: CheckTables, given: Given[GradcheckSettings, GradcheckOutputSettings], path: Path
) -> Answer:
    if given.output.format == "junit":
        from nnlab.report.gradient_tables import junit

        return Answer(tables.rows, list, document=junit(tables.rows), is_wrong=not tables.ok)

    def sheets() -> Sequence[Sheet]:
        from nnlab.report.gradient_tables import curve_sheet, gradient_sheets

        title = f"{check.title}; {check.method.dtype}, {', '.join(check.method.checks)}"
        shown = gradient_sheets(tables.rows, title=title, all_rows=given.settings.all)
        *first, last = shown if tables.curves is None else [*shown, curve_sheet(tables.curves)]
        return [*first, last.with_notes(tables.notes)]

    rows, name = (tables.rows, GRADCHECK_CSV) if tables.curves is None else (tables.curves, STEPS_CSV)
    csv, remarks = (path / name).read_bytes(), [f"Files: {path}"]
    return Answer(rows, sheets, csv=csv, notes=tables.notes, remarks=remarks, is_wrong=not tables.ok)


def _explanation_answer(given: Given[GradcheckSettings, GradcheckOutputSettings], watcher: Watcher) -> Answer:
    """The chain rule of a computation; files only if a place for them was named."""
    clock = Clock()
    if given.output.format == "junit":
        raise UsageError(
            f"{mention('format', 'junit')} applies only to gradient checks. An explanation has the formats table, csv, json,"
            " jsonl and markdown."
        )
    chain, title = explanation(given.settings)
    if given.output.dry_run:
        from nnlab.experiments.dry_run import settings_frame

        plan = {"numbers": len(chain.nodes), "paths": len(chain.paths)}
        return rows_answer(settings_frame(given, given.settings, plan))
    from nnlab.diagnostics.chain.chain_table import chain_table

    rows = chain_table(chain)
    agrees = "The sum over paths, autograd and differences agree for every input."
    notes = (agrees if chain.ok else "The sum over paths, autograd and differences do not agree.",)

    def sheets() -> Sequence[Sheet]:
        from nnlab.report.gradient_tables import chain_sheets

        *first, last = chain_sheets(rows, title=title)
        return [*first, last.with_notes(notes)]

    remarks = write_files_if_named(NAME, given, {CHAIN_CSV: rows}, notes, clock, watcher)
    return Answer(rows, sheets, notes=notes, remarks=remarks, is_wrong=not chain.ok)


def _check_settings(settings: GradcheckSettings) -> None:
    if question_of(settings) not in EXPLANATIONS:
        gradient_check(settings)


COMMAND: Final = Command(
    NAME,
    "Check gradients against finite differences and name the likely bug; with no subject named, check the whole catalogue.",
    GradcheckSettings,
    GradcheckOutputSettings,
    answer,
    check=_check_settings,
    examples=(
        "nnlab gradcheck --function my.py:my_loss --input 4x3,4x3",
        "nnlab gradcheck --model mlp:hidden=5x4:norm=batch --data moons",
        "nnlab gradcheck --chain 'h=X*Y+X; X=sin(t); Y=t**2' --at t=0.7",
    ),
)
