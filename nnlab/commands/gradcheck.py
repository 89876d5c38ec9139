"""Are these gradients right? The question that the settings ask, and everything about it that can be decided without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from nnlab.core.errors import UsageError, did_you_mean
from nnlab.core.kinds import parse_value
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention
from nnlab.diagnostics.gradcheck.gradient_report import STEP, Method
from nnlab.ingredients.resolve import complete_settings
from nnlab.settings import GradcheckSettings, RunSettings, Settings

if TYPE_CHECKING:
    from nnlab.diagnostics.chain.chain_rule import ChainRule
    from nnlab.diagnostics.gradcheck.subjects import Subject

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
# The activations that are a function of nnlab/diagnostics/chain/formulas.py.
_EXPLAINED_ACTIVATIONS: Final = ("relu", "sigmoid", "softplus", "tanh")


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
        return {"the command": "gradcheck", **identity_of(self.settings)}


def identity_of(settings: Settings) -> dict[str, object]:
    """Every setting that has a value, except those that change no number."""
    shown = settings.with_role("execution")
    return {name: value for name, value in settings.as_json().items() if name not in shown}


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
