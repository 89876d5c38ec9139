"""Every kind of ingredient and its table, which `nnlab list` shows and completion offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nnlab.catalog.activations import ACTIVATIONS
from nnlab.catalog.entry import LISTED_AS, Entry
from nnlab.catalog.inits import INITS
from nnlab.catalog.losses import LOSSES
from nnlab.catalog.metrics import METRICS
from nnlab.catalog.optimizers import OPTIMIZERS
from nnlab.catalog.schedules import SCHEDULES
from nnlab.data.named_data import DATA
from nnlab.networks.models import MODELS

TABLES: Final[Mapping[str, Mapping[str, Entry]]] = {
    "data": DATA,
    "models": MODELS,
    "activations": ACTIVATIONS,
    "inits": INITS,
    "losses": LOSSES,
    "optimizers": OPTIMIZERS,
    "schedules": SCHEDULES,
    "metrics": METRICS,
}


def names_for(setting: str) -> tuple[str, ...]:
    """The names that a setting accepts; empty for a setting that takes no ingredient."""
    return tuple(TABLES.get(LISTED_AS.get(setting, ""), ()))
