"""What is in the catalogue? Its kinds, the names of one kind, and one ingredient in full, as rows.

Kinds and names come from signatures, docstrings and the tables beside them, without torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from nnlab.catalog.activations import own_activation
from nnlab.catalog.entry import LISTED_AS, Key, find, first_line, key_values, keys
from nnlab.catalog.inits import own_init
from nnlab.catalog.losses import own_loss
from nnlab.catalog.schedules import WORDS
from nnlab.core import kinds
from nnlab.core.errors import unknown_name
from nnlab.core.lazy import lazy
from nnlab.core.spec import Spec, parse_spec
from nnlab.core.spelling import flag, spell_value
from nnlab.ingredients.index import KINDS

if TYPE_CHECKING:
    import pandas as pd

    from nnlab.catalog.activations import Activation
    from nnlab.catalog.entry import Entry
    from nnlab.catalog.inits import Init
    from nnlab.catalog.losses import Loss
    from nnlab.catalog.metrics import Metric
    from nnlab.catalog.optimizers import Optimizer
    from nnlab.catalog.schedules import Schedule
    from nnlab.data.named_data import Data
    from nnlab.ingredients.portraits import Portrait
    from nnlab.networks.models import Model
else:
    pd = lazy("pandas")

Facts = Mapping[str, str]

_SOURCE: Final = "Source: "
_PREFIXES: Final = {"metrics": "val_"}  # what a name needs to be a value of its option


def kinds_frame() -> pd.DataFrame:
    """A row for each kind: `kind, number, option` (those that take its names), `names`."""
    rows = [
        {"kind": kind, "number": len(table), "option": ", ".join(_options(kind)), "names": ", ".join(table)}
        for kind, table in KINDS.items()
    ]
    return pd.DataFrame(rows)


def names_frame(kind: str) -> pd.DataFrame:
    """A row for each name of a kind: `name, what, keys` (as a specification has them), what its table tells, `source`.

    Raises:
        UsageError: no such kind.
    """
    rows = []
    for name, entry in _table(kind).items():
        listed = ":".join(_key_default(key) for key in keys(entry.function).values())
        rows.append({"name": name, "what": _first_sentence(entry), "keys": listed, **_FACTS[kind](entry)})
    return pd.DataFrame(rows)


def ingredient(kind: str, text: str) -> tuple[pd.DataFrame, Portrait]:
    """One ingredient in full: rows `property, value`, and what there is to see of it.

    Args:
        kind: as `nnlab list` names it.
        text: a name, a specification whose keys the pictures follow, or a person's own FILE.py:NAME.

    Raises:
        UsageError: no such kind, name or key.
    """
    from nnlab.ingredients.portraits import PORTRAITS, Portrait

    what = f"nnlab list {kind}"
    spec = parse_spec(text, what=what)
    entry = find(_table(kind), spec, what=what, own=_OWN.get(kind))
    missing = [key.name for key in keys(entry.function).values() if key.required and spec.option(key.name) is None]
    if missing and not spec.options:
        portrait = Portrait({"picture": f"none without a value for {missing[0]}="})
    else:
        values = key_values(entry.function, spec, what=what)
        portrait = PORTRAITS[kind](entry, spec, values) if kind in PORTRAITS else Portrait()
    return pd.DataFrame(_properties(kind, spec, entry, portrait), columns=["property", "value"]), portrait


def _table(kind: str) -> Mapping[str, Entry]:
    if kind not in KINDS:
        raise unknown_name("nnlab list", kind, KINDS)
    return KINDS[kind]


def _options(kind: str) -> list[str]:
    return [flag(setting) for setting, listed in LISTED_AS.items() if listed == kind]


def _properties(kind: str, spec: Spec, entry: Entry, portrait: Portrait) -> list[tuple[str, str]]:
    words, _, source = _paragraph(entry.function).partition(_SOURCE)
    told = dict(_FACTS[kind](entry))
    own_source = told.pop("source")
    facts = {**told, **portrait.facts, "source": source.rstrip(".") or own_source}
    rows = [("what", words.strip())] if words else []
    rows += [("option", f"{_options(kind)[0]} {_PREFIXES.get(kind, '')}{spec}")]
    rows += [(f"{key.name}=", _key_words(key, kind)) for key in keys(entry.function).values()]
    return rows + [(name, text) for name, text in facts.items() if text]


def _first_sentence(entry: Entry) -> str:
    """The docstring's first line; who proposed it stands in a column of its own."""
    return first_line(entry.function).partition(_SOURCE)[0].strip()


def _paragraph(function: Callable[..., object]) -> str:
    """A whole docstring as one paragraph."""
    return " ".join((inspect.getdoc(function) or "").replace("Args:", "").split())


def _key_default(key: Key) -> str:
    """`delta=1.0`; `step_size=...` where it must be given or follows from something else."""
    return f"{key.name}={'...' if key.default is None else spell_value(key.default)}"


def _key_words(key: Key, kind: str) -> str:
    accepted = WORDS.get(key.name, ()) if kind == "schedules" else ()
    words = ", ".join(accepted) or kinds.KINDS[key.kind].accepts
    if key.required:
        return f"{words}; must be given"
    return f"{words}; default: {'see above' if key.default is None else spell_value(key.default)}"


def _of_torch(module: str, name: str | None) -> str:
    return f"{module}.{name}" if name else ""


def _data(data: Data) -> Facts:
    return {"task": data.task, "origin": data.origin, "source": data.source}


def _model(model: Model) -> Facts:
    return {"source": model.source}


def _activation(activation: Activation) -> Facts:
    return {
        "range": "bounded" if activation.bounded else "unbounded",
        "pytorch": _of_torch("torch.nn", activation.torch_class),
        "source": activation.source,
    }


def _init(init: Init) -> Facts:
    return {"law": "one value" if init.law == "point" else init.law, "source": init.source}


def _loss(loss: Loss) -> Facts:
    return {
        "tasks": ", ".join(loss.tasks),
        "link": loss.link,
        "estimates": loss.estimates,
        "pytorch": _of_torch("torch.nn", loss.torch_class),
        "source": loss.source,
    }


def _optimizer(optimizer: Optimizer) -> Facts:
    return {"pytorch": _of_torch("torch.optim", optimizer.torch_class), "source": optimizer.source}


def _schedule(schedule: Schedule) -> Facts:
    return {
        "per": f"{schedule.per}, listens" if schedule.listens else schedule.per,
        "pytorch": _of_torch("torch.optim.lr_scheduler", schedule.torch_class),
        "source": schedule.source,
    }


def _metric(metric: Metric) -> Facts:
    better = "higher" if metric.higher_is_better else "lower"
    return {"tasks": ", ".join(metric.tasks), "better": better, "source": metric.source}


# What each kind's table tells of a name, beside its function.
_FACTS: Final[Mapping[str, Callable[[Any], Facts]]] = {
    "data": _data,
    "models": _model,
    "activations": _activation,
    "inits": _init,
    "losses": _loss,
    "optimizers": _optimizer,
    "schedules": _schedule,
    "metrics": _metric,
}

# What makes an entry of a person's own function.
_OWN: Final[Mapping[str, Callable[[Callable[..., Any]], Entry]]] = {
    "activations": own_activation,
    "inits": own_init,
    "losses": own_loss,
}
