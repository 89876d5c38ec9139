"""Complete settings: names are checked, defaults that depend on one another filled in, and the identity computed.

None of this loads torch, so that a misspelt ingredient is rejected at once.
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
from nnlab.settings import ExperimentSettings, RunSettings, Task

S = TypeVar("S", bound=RunSettings)
E = TypeVar("E", bound=ExperimentSettings)

# How the ingredient of each setting is found, a person's own included.
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
    """Return the settings with every ingredient checked and every default that needs no data filled in.

    The key `activation` of the model becomes the setting `activation`, and the setting `weight_decay` the optimizer's key. `auto`
    is replaced in `init`, in `task` if the model has a task of its own, and in `engine`, except for a person's own module or
    optimizer and mixed precision.

    Raises:
        UsageError: an unknown name or key, or a setting and a key with different values.
    """
    model, activation = _split_key(settings.model, "activation", settings.activation, setting="model")
    decay = None if settings.weight_decay is None else Spec(repr(settings.weight_decay))
    optimizer = settings.optimizer
    if decay is not None:
        _, decay = _split_key(optimizer, "weight_decay", decay, setting="optimizer")
        assert decay is not None
        optimizer = optimizer.with_option("weight_decay", decay.name)
    is_module = model_named(model).is_module
    if model_named(model).reconstructs and settings.task not in ("auto", "reconstruction"):
        raise UsageError(
            f"{mention('model', model.name)} reconstructs the features of a row. Say {mention('task', 'reconstruction')} or auto."
        )
    if is_module and settings.engine == "native":
        raise UsageError(
            f"{mention('engine', 'native')} has no rules for the nn.Module {model}. Say auto, vmap or loop."
        )
    is_own_rule, is_mixed = is_custom(optimizer.name), settings.dtype == "mixed"
    if is_mixed and settings.engine == "native":
        raise UsageError(
            f"{mention('dtype', 'mixed')} is PyTorch's autocast, which {mention('engine', 'native')} does not use. "
            "Say auto, vmap or loop."
        )
    if is_own_rule and settings.engine in ("native", "vmap"):
        raise UsageError(
            f"{mention('engine', settings.engine)} updates many runs at once, but {mention('optimizer', optimizer.name)} updates one "
            "at a time. Say auto or loop."
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
            # For a person's own code and mixed precision the engine is chosen later, by trying them.
            "engine": "native"
            if settings.engine == "auto" and not (is_module or is_own_rule or is_mixed)
            else settings.engine,
        }
    )
    for name, finder in _FINDERS.items():
        spec = getattr(complete, name)
        if spec is not None and not (name == "data" and is_file(spec)):
            key_values(finder(spec).function, spec, what=mention(name))
    optimizer_values(complete.optimizer)
    schedule_values(complete.schedule)
    _check_momentum(complete)
    parse_split(complete.split)
    if complete.outliers is not None:
        parse_outliers(complete.outliers)
    return complete


def _check_momentum(settings: RunSettings) -> None:
    """Reject a schedule that cycles the momentum of an optimizer that has none.

    Raises:
        UsageError: no momentum to cycle.
    """
    accepted = keys(optimizer_named(settings.optimizer).function)
    if schedule_values(settings.schedule).get("cycle_momentum") and not accepted.keys() & {"momentum", "betas"}:
        fitting = [name for name, entry in OPTIMIZERS.items() if keys(entry.function).keys() & {"momentum", "betas"}]
        raise UsageError(
            f"{mention('schedule', settings.schedule)} cycles the momentum, but {mention('optimizer', settings.optimizer.name)} has "
            f"none. Optimizers with a momentum: {', '.join(fitting)}."
        )


def data_of(settings: RunSettings) -> Dataset:
    """Load the data that complete settings name.

    Raises:
        UsageError: settings that do not fit the data.
        DataError: data that can't be used.
    """
    return load(
        settings.data,
        target=settings.target,
        task=settings.task,
        missing=settings.missing,
        split=parse_split(settings.split),
    )


def settings_and_data(settings: E, dataset: Dataset | None = None) -> tuple[E, Dataset]:
    """The complete settings of an experiment, and its data.

    Args:
        settings: the settings as given.
        dataset: their data, if already loaded.

    Raises:
        UsageError: settings that contradict each other or do not fit the data.
        DataError: data that can't be used.
    """
    complete = complete_settings(settings)
    dataset = data_of(complete) if dataset is None else dataset
    complete = settings_for_data(complete, dataset)
    check_metric(complete, dataset)
    return complete, dataset


def _split_key(spec: Spec, key: str, given: Spec | None, *, setting: str) -> tuple[Spec, Spec | None]:
    """Return `spec` without `key`, and the value of `key`, which may be in `spec` or `given` as a setting of its own.

    Raises:
        UsageError: both are given and differ.
    """
    text = spec.option(key)
    if text is None:
        return spec, given
    if given is not None and str(given) != text:
        raise UsageError(f"{mention(setting, spec)} and {mention(key, given)} contradict each other. Give one of them.")
    return Spec(spec.name, tuple(option for option in spec.options if option[0] != key)), Spec(text)


def settings_for_data(settings: S, dataset: Dataset) -> S:
    """The settings for this data set: the loss defaults to the one of its task.

    Raises:
        UsageError: a loss, class weights or a model that does not serve the task, or early stopping without a validation part.
    """
    if (settings.task == "reconstruction") != (dataset.task == "reconstruction"):
        raise UsageError(
            f"The task of {mention('model', settings.model)} is {settings.task}, but the task of the data is {dataset.task}. "
            f"Say {mention('task', 'reconstruction')}, which every model can learn."
        )
    if settings.class_weights == "balanced" and not dataset.has_classes:
        raise UsageError(f"{mention('class_weights', 'balanced')} is for classes; the task is {dataset.task}.")
    if settings.early_stop is not None and settings.validation == 0:
        raise UsageError(
            f"{mention('early_stop')} needs the validation loss, but {mention('validation', '0')} leaves no validation part. "
            "Give one of them."
        )
    loss = settings.loss or Spec(DEFAULT_LOSS[dataset.task])
    check_fits(loss.name, dataset.task)
    return settings.model_copy(update={"loss": loss})


def check_metric(settings: ExperimentSettings, dataset: Dataset) -> None:
    """Reject a metric that the runs will not have; the settings have their loss.

    Raises:
        UsageError: an unknown metric, one of the test part, or one of probabilities for a loss that gives none.
    """
    measured = [name for name, metric in METRICS.items() if dataset.task in metric.tasks]
    accepted = [*_LOSS_METRICS, *(f"val_{name}" for name in measured)]
    if settings.metric.startswith("test_"):
        raise UsageError(
            f"{mention('metric', settings.metric)} would select by the test part, which is only for the report. "
            f"Say val_{settings.metric[5:]}."
        )
    if settings.metric not in accepted:
        raise unknown_name(mention("metric"), settings.metric, accepted)
    assert settings.loss is not None
    if not loss_has_metric(settings.loss, settings.metric, dataset.task):
        raise UsageError(
            f"{mention('metric', settings.metric)} needs probabilities, but {mention('loss', settings.loss)} gives none. "
            f"Say {mention('metric', 'val_accuracy')}, or a loss that gives probabilities."
        )


def loss_has_metric(loss: Spec, metric: str, task: Task) -> bool:
    """True if runs with this loss have the metric: a metric of probabilities needs a loss that gives them."""
    name = metric.removeprefix("val_")
    return name not in METRICS or METRICS[name].applies(task, loss_named(loss).link_for(task))


def identity(settings: RunSettings) -> dict[str, object]:
    """The settings that determine a run's numbers: each ingredient and each of its keys, such as `model` and `model.hidden`."""
    found: dict[str, object] = {}
    for name in RunSettings.model_fields:
        value: Any = getattr(settings, name)
        if name in _FINDERS and isinstance(value, Spec) and not (name == "data" and is_file(value)):
            function = _FINDERS[name](value).function
            values = key_values(function, value, what=mention(name))
            found |= {f"{name}.{key}": setting for key, setting in values.items()}
            value = value.name
        found[name] = str(value) if isinstance(value, Spec) else value
    own = own_files(settings)
    return found | {"own code": own} if own else found


def own_files(settings: RunSettings) -> dict[str, str]:
    """The person's own code that the settings name, each with the SHA-256 of its file."""
    found = {}
    specs = {name: value for name in RunSettings.model_fields if isinstance(value := getattr(settings, name), Spec)}
    for name, spec in specs.items():
        for word in filter(is_custom, (spec.name, *(text for _, text in spec.options))):
            try:
                found[word] = content_hash(word)
            except OSError as error:
                raise UsageError(f"{mention(name, spec)}: {error.filename} can't be read: {error.strerror}.") from None
    return found


def digest(value: object) -> str:
    """SHA-256, in hex, of a value in JSON's types, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
