"""How arms were judged, from a manifest."""

from __future__ import annotations

from nnlab.report.arms import Judging
from nnlab.storage.manifest import Manifest


def judging_of(manifest: Manifest) -> Judging:
    """How the arms were judged, as the manifest has it."""
    settings = {name: resolved.value for name, resolved in manifest.settings.items()}
    threshold = manifest.facts.get("threshold_loss")
    seeds = f"{len(manifest.seeds)} seed{'s' * (len(manifest.seeds) > 1)}"
    unit = "step" if settings.get("steps") else "epoch"
    length = f"{settings[f'{unit}s']} {unit}{'s' * (settings[f'{unit}s'] != 1)}"
    held = [_held(name, settings[name], manifest) for name in ("data", "model", "optimizer")]
    return Judging(
        factor=manifest.factor or "model",
        metric=str(settings["metric"]),
        basis=str(manifest.facts.get("basis", "")),
        threshold_loss=threshold if isinstance(threshold, float) else None,
        title=", ".join([*filter(None, held), seeds, length]),
    )


def _held(name: str, value: object, manifest: Manifest) -> str:
    """What all arms have of a setting: all of it, its name alone where a key is varied, or nothing."""
    varied = manifest.facts.get("varied")
    decided = [str(each) for each in varied] if isinstance(varied, list) else [manifest.factor or ""]
    if name in decided:
        return ""
    return str(value).partition(":")[0] if any(each.startswith(f"{name}.") for each in decided) else str(value)
