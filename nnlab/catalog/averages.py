"""Averages of the weights over training, which evaluation looks at in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nnlab.catalog.entry import find, key_values
from nnlab.core.spelling import mention

if TYPE_CHECKING:
    from nnlab.core.kinds import Fraction
    from nnlab.core.spec import Spec


@dataclass(frozen=True)
class Average:
    """A row of the table: `function(step, **keys)` is the share of the average that a step keeps."""

    function: Callable[..., float]
    source: str


def ema(*, decay: Fraction = 0.999) -> float:
    """The average keeps `decay` of itself at each step and takes 1 - decay of the new weights; it starts with the first step's.

    Source: Polyak and Juditsky 1992 (averaging); PyTorch's torch.optim.swa_utils.AveragedModel with get_ema_avg_fn.
    """
    return decay


AVERAGES: Final[Mapping[str, Average]] = {"ema": Average(ema, "Polyak and Juditsky 1992")}


def averaging_decay(spec: Spec, *, what: str = mention("average")) -> float:
    """The decay that `spec` names.

    Raises:
        UsageError: an unknown name or key.
    """
    entry = find(AVERAGES, spec, what=what)
    return entry.function(**key_values(entry.function, spec, what=what))
