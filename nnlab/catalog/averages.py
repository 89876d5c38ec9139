"""Averages of the weights over training, which are evaluated in place of the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Final

from nnlab.catalog.entry import find, key_values
from nnlab.core.spelling import mention

if TYPE_CHECKING:
    from nnlab.core.kinds import Fraction
    from nnlab.core.spec import Spec


@dataclass(frozen=True)
class Average:
    """A row of AVERAGES.

    Attributes:
        function: `function(**keys)`: the share of the average that is kept at each step.
        source: who proposed it.
    """

    function: Callable[..., float]
    _: KW_ONLY
    source: str = ""


def ema(*, decay: Fraction = 0.999) -> float:
    """At each step a <- decay a + (1 - decay) w, with w the new weights; the first a is the weights after the first step.

    Source: Polyak and Juditsky 1992 (averaging); PyTorch's torch.optim.swa_utils.AveragedModel with get_ema_avg_fn.
    """
    return decay


AVERAGES: Final[Mapping[str, Average]] = {"ema": Average(ema, source="Polyak and Juditsky 1992")}


def averaging_decay(spec: Spec, *, what: str = mention("average")) -> float:
    """The decay of the average that `spec` names.

    Raises:
        UsageError: an unknown name or key.
    """
    entry = find(AVERAGES, spec, what=what)
    return entry.function(**key_values(entry.function, spec, what=what))
