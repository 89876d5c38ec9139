"""Are these gradients right? What is checked and how, decided before anything is computed. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from nnlab.core.errors import UsageError
from nnlab.core.kinds import parse_value
from nnlab.core.spelling import mention
from nnlab.diagnostics.gradcheck.gradient_report import STEP, Method
from nnlab.ingredients.resolve import complete_settings
from nnlab.settings import GradcheckSettings, RunSettings, Settings

Kind = Literal["catalogue", "model", "function", "module"]

# Each belongs to a model: to check one is to check a model with it.
_MODEL: Final = ("model", "activation", "init", "loss", "data", "target")
_OWN: Final = ("function", "module")
_INPUTS: Final = ("input", "domain", "complex_inputs")


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
        return {"the command": "gradcheck", **identity_of(self.settings)}


def identity_of(settings: Settings) -> dict[str, object]:
    """Every setting that was given a value, less those that change no number."""
    shown = settings.with_role("execution")
    return {name: value for name, value in settings.as_json().items() if name not in shown}


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
