"""The basis of a summary: what its arms were judged by, which is in the manifest beside it and not in its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnlab.storage.manifest import Manifest


@dataclass(frozen=True)
class Judging:
    """The basis on which the arms of a summary were judged.

    Attributes:
        factor: the varied factor's column (`lr`).
        metric: the column that arms were judged by (`val_loss`).
        basis: how the best arm was chosen, or why none was: `Selection.basis` of the analysis.
        threshold_loss: the loss to which steps were counted; None if they were not.
        reported: the metric on the test part; if empty, the one that belongs to `metric`.
        title: what was run, in one line.
    """

    factor: str
    metric: str
    basis: str
    threshold_loss: float | None = None
    reported: str = ""
    title: str = ""


def judging_of(manifest: Manifest) -> Judging:
    """The basis on which the arms of an experiment were judged, from its manifest."""
    settings = {name: resolved.value for name, resolved in manifest.settings.items()}
    threshold = manifest.facts.get("threshold_loss")
    shared = [_shared_value(name, settings[name], manifest) for name in ("data", "model", "optimizer")]
    unit = "step" if settings.get("steps") else "epoch"
    length = f"{settings[f'{unit}s']} {unit}{'s' * (settings[f'{unit}s'] != 1)}"
    seeds = f"{len(manifest.seeds)} seed{'s' * (len(manifest.seeds) > 1)}"
    return Judging(
        factor=manifest.factor or "model",
        metric=str(settings["metric"]),
        basis=str(manifest.facts.get("basis", "")),
        threshold_loss=threshold if isinstance(threshold, float) else None,
        title=", ".join([*filter(None, shared), seeds, length]),
    )


def _shared_value(name: str, value: object, manifest: Manifest) -> str:
    """The part of a setting that all arms share: all of it, its name alone if one of its keys is varied, or nothing."""
    varied = manifest.facts.get("varied")
    decided = [str(each) for each in varied] if isinstance(varied, list) else [manifest.factor or ""]
    if name in decided:
        return ""
    return str(value).partition(":")[0] if any(each.startswith(f"{name}.") for each in decided) else str(value)
