"""The contents of the catalogue as rows: its kinds, the names of one kind, and one ingredient in full.

Kinds and names are read from signatures, docstrings and the tables, without torch.
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
from nnlab.ingredients.index import TABLES

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

FactTexts = Mapping[str, str]

_SOURCE: Final = "Source: "
_PREFIXES: Final = {"metrics": "val_"}  # what stands before a name as a value of its option
_WORDS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {"schedules": WORDS}  # by kind and key


def kinds_frame() -> pd.DataFrame:
    """A row for each kind: `kind, number, option` (the options that take its names), `names`."""
    rows = [
        {"kind": kind, "number": len(table), "option": ", ".join(_options(kind)), "names": ", ".join(table)}
        for kind, table in TABLES.items()
    ]
    return pd.DataFrame(rows)


def names_frame(kind: str) -> pd.DataFrame:
    """A row for each name of a kind: `name, what, keys` (as in a specification), further facts from its table, `source`.

    Raises:
        UsageError: no such kind.
    """
    rows = []
    for name, entry in _table(kind).items():
        listed = ":".join(_key_default(key) for key in keys(entry.function).values())
        rows.append({"name": name, "what": _first_sentence(entry), "keys": listed, **_FACTS[kind](entry)})
    return pd.DataFrame(rows)


def ingredient(kind: str, text: str) -> tuple[pd.DataFrame, Portrait]:
    """One ingredient in full: rows `property, value`, and its portrait.

    Args:
        kind: as in `nnlab list KIND`.
        text: a name, a specification whose keys the pictures use, or a person's own FILE.py:NAME.

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
    if kind not in TABLES:
        raise unknown_name("nnlab list", kind, TABLES)
    return TABLES[kind]


def _options(kind: str) -> list[str]:
    return [flag(setting) for setting, listed in LISTED_AS.items() if listed == kind]


def _properties(kind: str, spec: Spec, entry: Entry, portrait: Portrait) -> list[tuple[str, str]]:
    words, _, source = _paragraph(entry.function).partition(_SOURCE)
    facts = dict(_FACTS[kind](entry))
    own_source = facts.pop("source")
    facts |= {**portrait.facts, "source": source.rstrip(".") or own_source}
    rows = [("what", words.strip())] if words else []
    rows += [("option", f"{_options(kind)[0]} {_PREFIXES.get(kind, '')}{spec}")]
    rows += [(f"{key.name}=", _key_words(key, kind)) for key in keys(entry.function).values()]
    return rows + [(name, text) for name, text in facts.items() if text]


def _first_sentence(entry: Entry) -> str:
    """The docstring's first line without the source, which has its own column."""
    return first_line(entry.function).partition(_SOURCE)[0].strip()


def _paragraph(function: Callable[..., object]) -> str:
    """The whole docstring as one paragraph."""
    return " ".join((inspect.getdoc(function) or "").replace("Args:", "").split())


def _key_default(key: Key) -> str:
    """`delta=1.0`; `step_size=...` if the key must be given or follows from something else."""
    return f"{key.name}={'...' if key.default is None else spell_value(key.default)}"


def _key_words(key: Key, kind: str) -> str:
    accepted = _WORDS.get(kind, {}).get(key.name, ())
    words = ", ".join(accepted) or kinds.KINDS[key.kind].accepts
    if key.required:
        return f"{words}; must be given"
    return f"{words}; default: {'see above' if key.default is None else spell_value(key.default)}"


def _path_in_torch(module: str, name: str | None) -> str:
    return f"{module}.{name}" if name else ""


def _data_facts(data: Data) -> FactTexts:
    return {"task": data.task, "origin": data.origin, "source": data.source}


def _model_facts(model: Model) -> FactTexts:
    return {"source": model.source}


def _activation_facts(activation: Activation) -> FactTexts:
    return {
        "range": "bounded" if activation.bounded else "unbounded",
        "pytorch": _path_in_torch("torch.nn", activation.torch_class),
        "source": activation.source,
    }


def _init_facts(init: Init) -> FactTexts:
    return {"law": init.law, "source": init.source}


def _loss_facts(loss: Loss) -> FactTexts:
    return {
        "tasks": ", ".join(loss.tasks),
        "link": loss.link,
        "estimates": loss.estimates,
        "pytorch": _path_in_torch("torch.nn", loss.torch_class),
        "source": loss.source,
    }


def _optimizer_facts(optimizer: Optimizer) -> FactTexts:
    return {"pytorch": _path_in_torch("torch.optim", optimizer.torch_class), "source": optimizer.source}


def _schedule_facts(schedule: Schedule) -> FactTexts:
    return {
        "per": f"{schedule.per}, listens" if schedule.listens else schedule.per,
        "pytorch": _path_in_torch("torch.optim.lr_scheduler", schedule.torch_class),
        "source": schedule.source,
    }


def _metric_facts(metric: Metric) -> FactTexts:
    better = "higher" if metric.higher_is_better else "lower"
    return {"tasks": ", ".join(metric.tasks), "better": better, "source": metric.source}


# The facts about a name in each kind's table, besides its function.
_FACTS: Final[Mapping[str, Callable[[Any], FactTexts]]] = {
    "data": _data_facts,
    "models": _model_facts,
    "activations": _activation_facts,
    "inits": _init_facts,
    "losses": _loss_facts,
    "optimizers": _optimizer_facts,
    "schedules": _schedule_facts,
    "metrics": _metric_facts,
}

# How a row is made for a person's own function.
_OWN: Final[Mapping[str, Callable[[Callable[..., Any]], Entry]]] = {
    "activations": own_activation,
    "inits": own_init,
    "losses": own_loss,
}
