"""Settings made complete: names checked, defaults that hang on one another filled in, identity taken.

All of it without torch, so that a misspelt ingredient is refused at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from nnlab.catalog.activations import activation_named
from nnlab.catalog.averages import AVERAGES
from nnlab.catalog.custom import content_hash, is_custom
from nnlab.catalog.entry import Entry, find, key_values, keys
from nnlab.catalog.inits import init_named
from nnlab.catalog.losses import DEFAULT_LOSS, check_fits, loss_named
from nnlab.catalog.metrics import METRICS
from nnlab.catalog.optimizers import OPTIMIZERS, optimizer_named, optimizer_values
from nnlab.catalog.schedules import SCHEDULES, schedule_values
from nnlab.core.errors import UsageError, unknown_name
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention
from nnlab.data.dataset import Dataset
from nnlab.data.loading import data_named, is_file, load
from nnlab.data.splits import parse_split
from nnlab.data.target_noise import parse_outliers
from nnlab.networks.models import model_named
from nnlab.settings import ExperimentSettings, RunSettings

S = TypeVar("S", bound=RunSettings)
E = TypeVar("E", bound=ExperimentSettings)

# How the ingredient of each setting is found; a person's own functions where they can stand.
_FINDERS: Final[Mapping[str, Callable[[Spec], Entry]]] = {
    "data": data_named,
    "model": model_named,
    "activation": activation_named,
    "init": init_named,
    "loss": loss_named,
    "optimizer": optimizer_named,
    "schedule": partial(find, SCHEDULES, what=mention("schedule")),
    "average": partial(find, AVERAGES, what=mention("average")),
}

_LOSS_METRICS: Final = ("train_loss", "batch_loss", "val_loss")


def complete_settings(settings: S) -> S:
    """The same settings with every ingredient checked and every default that needs no data filled in.

    `mlp:activation=tanh` becomes `--activation tanh`, `--weight-decay` becomes the optimizer's own key, `auto` the init and, but for a
    person's own module and mixed precision, the engine; and the task, where the model has one of its own.

    Raises:
        UsageError: an unknown name or key, a flag and a key that say different things.
    """
    model, activation = _merged(
        settings.model, "activation", settings.activation, mention("model"), mention("activation")
    )
    decay = None if settings.weight_decay is None else Spec(repr(settings.weight_decay))
    optimizer = settings.optimizer
    if decay is not None:
        _, decay = _merged(optimizer, "weight_decay", decay, mention("optimizer"), mention("weight_decay"))
        assert decay is not None
        optimizer = optimizer.with_option("weight_decay", decay.name)
    is_module = model_named(model).is_module
    if model_named(model).reconstructs and settings.task not in ("auto", "reconstruction"):
        raise UsageError(
            f"{mention('model', model.name)} gives a row's own features back. Say {mention('task', 'reconstruction')}, or auto."
        )
    if is_module and settings.engine == "native":
        raise UsageError(
            f"{mention('engine', 'native')} has no rules for the nn.Module {model}. Say auto, vmap or loop."
        )
    is_own_rule, is_mixed = is_custom(optimizer.name), settings.dtype == "mixed"
    if is_mixed and settings.engine == "native":
        raise UsageError(
            f"{mention('dtype', 'mixed')} is PyTorch's autocast, which {mention('engine', 'native')} does not pass through. Say auto, vmap or loop."
        )
    if is_own_rule and settings.engine in ("native", "vmap"):
        raise UsageError(
            f"{mention('engine', settings.engine)} moves many runs at once, and {mention('optimizer', optimizer.name)} one. Say auto or loop."
        )
    complete = settings.model_copy(
        update={
            "model": model,
            "task": "reconstruction" if model_named(model).reconstructs else settings.task,
            "activation": activation or Spec("relu"),
            "optimizer": optimizer,
            "weight_decay": None,
            "init": Spec("as_built" if is_module else "torch_default")
            if settings.init == Spec("auto")
            else settings.init,
            # Which engine serves a person's own, and mixed precision, is found out when they are tried.
            "engine": "native"
            if settings.engine == "auto" and not (is_module or is_own_rule or is_mixed)
            else settings.engine,
        }
    )
    for name, finder in _FINDERS.items():
        spec = getattr(complete, name)
        if spec is not None and not (name == "data" and is_file(spec)):
            key_values(finder(spec).function, spec, what=f"--{name}")
    optimizer_values(complete.optimizer)
    schedule_values(complete.schedule)
    _check_momentum(complete)
    parse_split(complete.split)
    if complete.outliers is not None:
        parse_outliers(complete.outliers)
    return complete


def _check_momentum(settings: RunSettings) -> None:
    """Refuse a schedule that cycles a momentum which the optimizer has not.

    Raises:
        UsageError: no momentum to cycle.
    """
    accepted = keys(optimizer_named(settings.optimizer).function)
    if schedule_values(settings.schedule).get("cycle_momentum") and not accepted.keys() & {"momentum", "betas"}:
        fitting = [name for name, entry in OPTIMIZERS.items() if keys(entry.function).keys() & {"momentum", "betas"}]
        raise UsageError(
            f"{mention('schedule', settings.schedule)} cycles a momentum, and {mention('optimizer', settings.optimizer.name)} has none. "
            f"These have: {', '.join(fitting)}."
        )


def settings_and_data(settings: E) -> tuple[E, Dataset]:
    """Complete settings of an experiment and its data.

    Raises:
        UsageError: settings that can't be what is meant, or do not fit the data.
        DataError: data that can't be used.
    """
    complete = complete_settings(settings)
    dataset = load(
        complete.data,
        target=complete.target,
        task=complete.task,
        missing=complete.missing,
        split=parse_split(complete.split),
    )
    complete = fitted_to(complete, dataset)
    check_metric(complete, dataset)
    return complete, dataset


def _merged(spec: Spec, key: str, flagged: Spec | None, spec_flag: str, key_flag: str) -> tuple[Spec, Spec | None]:
    """`spec` without `key`, and the value of `key`, which may stand in `spec` or in a flag of its own."""
    text = spec.option(key)
    if text is None:
        return spec, flagged
    if flagged is not None and str(flagged) != text:
        raise UsageError(f"{spec_flag} {spec} says {key}={text}, {key_flag} says {flagged}. Say it once.")
    return Spec(spec.name, tuple(option for option in spec.options if option[0] != key)), Spec(text)


def fitted_to(settings: S, dataset: Dataset) -> S:
    """The settings with what only the data can say: the loss by task.

    Raises:
        UsageError: a loss or class weights that do not serve the task, a model that has another task, early stopping with nothing
            to stop by.
    """
    if (settings.task == "reconstruction") != (dataset.task == "reconstruction"):
        raise UsageError(
            f"{mention('model', settings.model)} is to learn the task {settings.task}, and the data are for {dataset.task}. "
            f"Say {mention('task', 'reconstruction')}, which every model can learn."
        )
    if settings.class_weights == "balanced" and not dataset.has_classes:
        raise UsageError(f"{mention('class_weights', 'balanced')} is for classes; the task is {dataset.task}.")
    if settings.early_stop is not None and settings.validation == 0:
        raise UsageError(
            f"{mention('early_stop')} looks at the validation loss, and {mention('validation', '0')} leaves none. Say one of them."
        )
    loss = settings.loss or Spec(DEFAULT_LOSS[dataset.task])
    check_fits(loss.name, dataset.task)
    return settings.model_copy(update={"loss": loss})


def check_metric(settings: ExperimentSettings, dataset: Dataset) -> None:
    """Refuse a metric that the runs will not have.

    Raises:
        UsageError: not a column, one that needs a part that there is not, or probabilities that the loss does not give.
    """
    measured = [name for name, metric in METRICS.items() if dataset.task in metric.tasks]
    accepted = [*_LOSS_METRICS, *(f"val_{name}" for name in measured)]
    if settings.metric.startswith("test_"):
        raise UsageError(
            f"{mention('metric', settings.metric)} would choose by the test part, which is for the report. Choose by val_{settings.metric[5:]}."
        )
    if settings.metric not in accepted:
        raise unknown_name(mention("metric"), settings.metric, accepted)
    name = settings.metric.removeprefix("val_")
    if settings.loss is not None and name in METRICS:
        link = loss_named(settings.loss).link_for(dataset.task)
        if not METRICS[name].applies(dataset.task, link):
            raise UsageError(
                f"{mention('metric', settings.metric)} is one of probabilities, and {mention('loss', settings.loss)} gives none. "
                f"Say {mention('metric', 'val_accuracy')}, or a loss that does."
            )


def identity(settings: RunSettings) -> dict[str, object]:
    """Everything in the settings that decides a run's numbers: `model` and `model.hidden`, each ingredient with all its keys."""
    found: dict[str, object] = {}
    for name in RunSettings.model_fields:
        value: Any = getattr(settings, name)
        if name in _FINDERS and isinstance(value, Spec) and not (name == "data" and is_file(value)):
            function = _FINDERS[name](value).function
            values = key_values(function, value, what=f"--{name}")
            found |= {f"{name}.{key}": setting for key, setting in values.items()}
            value = value.name
        found[name] = str(value) if isinstance(value, Spec) else value
    own = own_files(settings)
    return found | {"own code": own} if own else found


def own_files(settings: RunSettings) -> dict[str, str]:
    """The person's own code that the settings name, and the SHA-256 of its content."""
    found = {}
    specs = {name: value for name in RunSettings.model_fields if isinstance(value := getattr(settings, name), Spec)}
    for name, spec in specs.items():
        for word in filter(is_custom, (spec.name, *(text for _, text in spec.options))):
            try:
                found[word] = content_hash(word)
            except OSError as error:
                raise UsageError(f"{mention(name)} {spec}: {error.filename} can't be read: {error.strerror}.") from None
    return found


def digest(value: object) -> str:
    """SHA-256, in hex, of a value in JSON's types, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
