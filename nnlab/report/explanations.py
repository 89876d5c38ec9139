"""The meaning of each column of an answer in one line, which `--explain` prints."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nnlab.catalog.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nnlab.report.sheets import Sheet

_PAIRED: Final = (
    "better or worse than the baseline by a paired t test over seeds, with Holm's correction for all arms; "
    "not separated: neither was shown."
)

_VERDICTS: Final[Mapping[str, str]] = {
    "lr": "good: at least 90 % of the best rate's progress in training loss, and no seed lost; too small, edge: less, "
    "below or above that rate; diverges: half the seeds or more are lost.",
    "init": "on the signal before the first step: symmetric units, exploding or vanishing by more than 1000, dead or "
    "saturated units; else healthy.",
}

_MEANINGS: Final[Mapping[str, str]] = {
    "": "best: chosen by the metric over seeds; tied: not separated from the best, all arms considered at once.",
    "lr": "the learning rate; if rates were tuned, each arm's own, chosen on seeds that are not reported.",
    "forward": "spread of the pre-activations between rows, from the first layer to the last, relative to the first.",
    "back": "size of the loss's gradient with respect to the pre-activations, from the first layer to the last, relative to the last.",
    "rate": "the learning rate over the epochs.",
    "trained": "seeds whose training loss ended at least 5 % below that of the best constant.",
    "train loss": "on the whole training part after the last step, median over seeds.",
    "seeds lost": "seeds whose run diverged (or, in sweep-lr, collapsed).",
    "not run": "seeds whose run the machine could not carry out: out of memory or disk.",
    "steps": "to the threshold loss, median over seeds; inf or never if too few get there.",
    "link": "the function that maps the network's scores to predictions.",
    "estimates": "the best possible prediction under this loss.",
    "torch class": "the class of torch.nn that computes it.",
}

_PARTS: Final = {"val": "the validation part", "test": "the test part"}


def with_meanings(sheet: Sheet, factor: str) -> Sheet:
    """The sheet with a line below it for each column that it shows.

    Args:
        sheet: a table of arms.
        factor: what is varied.
    """
    verdict = {"verdict": _VERDICTS.get(factor, _PAIRED)}
    metrics = {column.name: words for column in sheet.columns if (words := _metric_meaning(column.name))}
    return replace(sheet, meanings={**_MEANINGS, **metrics, **verdict, factor: "what is varied: one arm a row."})


def _metric_meaning(name: str) -> str:
    """The meaning of a metric's column such as `val accuracy`; empty for any other column."""
    whole = name.replace(" ", "_")
    part, _, metric = whole.partition("_")
    if whole in METRICS:
        return f"{METRICS[whole].words}: mean over seeds, and its 95 % interval."
    if part not in _PARTS:
        return ""
    words = "the loss, in its own unit" if metric == "loss" else METRICS[metric].words
    return f"{words}, on {_PARTS[part]}: mean over seeds, and its 95 % interval."
