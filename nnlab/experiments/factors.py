"""A factor: the part of the settings that an experiment varies, and how a level is put into the settings.

`vary` takes `KEY=A,B,C`, where KEY is a setting (`optimizer`, `batch_size`) or a key of the model (`width`) or of the optimizer
(`momentum`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Final

from nnlab.catalog.entry import keys
from nnlab.catalog.optimizers import optimizer_named
from nnlab.core.errors import UsageError, did_you_mean
from nnlab.core.kinds import parse_value
from nnlab.core.spec import Spec, split_list
from nnlab.core.spelling import mention, spell_value
from nnlab.networks.models import MODELS, model_named
from nnlab.settings import ExperimentSettings, RunSettings

# Settings that decide the content of the data: an experiment has one data set.
_HELD: Final = frozenset({"data", "target", "task", "missing", "split"})


@dataclass(frozen=True)
class Factor:
    """One thing that is varied.

    Attributes:
        name: the setting or key.
        levels: in canonical spelling, in the order given.
        apply: puts a level into the settings.
        decides: the part of a run's identity that the level decides (`lr`, `model.width`).
    """

    name: str
    levels: tuple[str, ...]
    apply: Callable[[RunSettings, str], RunSettings]
    decides: str


@dataclass(frozen=True)
class Combination:
    """A level of every factor.

    Attributes:
        name: the arm's name: the level of a single factor, `init=zeros width=50` for several.
        levels: by factor.
        apply: puts all of them into the settings.
    """

    name: str
    levels: Mapping[str, str]
    apply: Callable[[RunSettings], RunSettings]


def setting_factor(name: str, levels: Sequence[str]) -> Factor:
    """The factor that varies a whole setting.

    Raises:
        UsageError: a level that the setting does not take.
    """
    levels = tuple(_canonical(name, level) for level in levels)
    # The one setting that becomes a key of another setting.
    decides = "optimizer.weight_decay" if name == "weight_decay" else name
    return Factor(name, levels, partial(_with_setting, name), decides)


def _with_setting(name: str, settings: RunSettings, level: str) -> RunSettings:
    value = getattr(RunSettings.from_values({name: level}), name)
    return settings.model_copy(update={name: value})


def _canonical(name: str, level: str) -> str:
    value = getattr(RunSettings.from_values({name: level}), name)
    return str(value) if isinstance(value, Spec) else spell_value(value)


def parse_factor(text: str, settings: ExperimentSettings) -> Factor:
    """The factor that `KEY=A,B,C` names, a value of the setting `vary`.

    Raises:
        UsageError: an unknown key, a key that can't vary within an experiment, or a level that the key does not take.
    """
    key, equals, listed = text.partition("=")
    key = key.strip().replace("-", "_")
    if not equals or not listed:
        raise UsageError(f"{mention('vary')} {text!r} is not KEY=A,B,C, such as optimizer=sgd,adam.")
    levels = split_list(listed, what=mention("vary", key))
    if key in _HELD:
        raise UsageError(f"{mention('vary', key)}: an experiment has one data set. Run one experiment for each.")
    if key in RunSettings.model_fields:
        return setting_factor(key, levels)
    model = keys(model_named(settings.model).function)
    optimizer = keys(optimizer_named(settings.optimizer).function)
    for place, accepted in (("model", model), ("optimizer", optimizer)):
        if key in accepted:
            kind = accepted[key].kind
            return key_factor(
                place, key, [spell_value(parse_value(kind, level, what=mention("vary", key))) for level in levels]
            )
    known = [*(set(RunSettings.model_fields) - _HELD), *model, *optimizer]
    raise UsageError(
        f"{mention('vary')} {key!r} is neither a setting nor a key of {mention('model', settings.model.name)} or "
        f"{mention('optimizer', settings.optimizer.name)}.{did_you_mean(key, known)}"
    )


def key_factor(place: str, key: str, levels: Sequence[str]) -> Factor:
    """The factor that varies one key of an ingredient: `model`'s width, `optimizer`'s momentum."""

    def apply(settings: RunSettings, level: str) -> RunSettings:
        spec = getattr(settings, place)
        if key in ("width", "depth"):
            spec = _by_size(spec, key)
        return settings.model_copy(update={place: spec.with_option(key, level)})

    return Factor(key, tuple(levels), apply, f"{place}.{key}")


def _by_size(model: Spec, key: str) -> Spec:
    """The model described by width and depth: `hidden=100x100` is `width=100:depth=2`.

    Raises:
        UsageError: a model without width and depth, or with hidden layers of several widths.
    """
    if key not in keys(model_named(model).function):
        fitting = [name for name, entry in MODELS.items() if key in keys(entry.function)]
        raise UsageError(f"{mention('model', model)} has no {key} to vary. These have: {', '.join(fitting)}.")
    text = model.option("hidden")
    if text is None:
        return model
    sizes = parse_value("Sizes", text, what=mention("model", "mlp:hidden"))
    assert isinstance(sizes, tuple)
    if len(set(sizes)) > 1:
        raise UsageError(
            f"{mention('model', model)} has hidden layers of several widths, so there is no {key} to vary. "
            f"Say {mention('model', 'mlp:width=100:depth=2')}, or vary hidden=100x100,50x25."
        )
    others = tuple(option for option in model.options if option[0] != "hidden")
    return Spec(model.name, (("width", str(sizes[0])), ("depth", str(len(sizes))), *others))


def cross(factors: Sequence[Factor]) -> list[Combination]:
    """Every combination of levels; the last factor varies fastest.

    Raises:
        UsageError: two factors with the same name.
    """
    names = [factor.name for factor in factors]
    if len(set(names)) < len(names):
        raise UsageError(
            f"{mention('vary')} names {next(n for n in names if names.count(n) > 1)!r} twice. Give its levels in one list."
        )

    def apply_all(levels: tuple[str, ...], settings: RunSettings) -> RunSettings:
        for factor, level in zip(factors, levels, strict=True):
            settings = factor.apply(settings, level)
        return settings

    return [
        Combination(_name(names, levels), dict(zip(names, levels, strict=True)), partial(apply_all, levels))
        for levels in product(*(factor.levels for factor in factors))
    ]


def _name(names: Sequence[str], levels: Sequence[str]) -> str:
    if len(names) == 1:
        return levels[0]
    return " ".join(f"{name}={level}" for name, level in zip(names, levels, strict=True))
