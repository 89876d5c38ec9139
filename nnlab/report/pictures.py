"""Pictures of arms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nnlab.report.text import sparkline
from nnlab.storage.csv_files import CURVES, LAYERS, read_csv
from nnlab.storage.manifest import Manifest

if TYPE_CHECKING:
    import pandas as pd

_PICTURE_WIDTH: Final = 10
_DECADES: Final = 3  # of a signal's growth or decay, where it explodes or vanishes


def pictures(path: Path, manifest: Manifest) -> dict[str, list[str]]:
    """Columns of sparklines for the arms: the signal through the layers at the start, or the rate over the epochs."""
    if (path / LAYERS).exists():
        return _signal_pictures(read_csv(path / LAYERS), manifest.arms)
    if manifest.factor == "schedule":
        curves = read_csv(path / CURVES, columns=("run_id", "arm", "seed", "epoch", "step", "lr"))
        first = curves[curves["seed"] == manifest.seeds[0]]
        return {
            "rate": [
                sparkline(first.loc[first["arm"] == arm, "lr"].astype(float).tolist(), 12) for arm in manifest.arms
            ]
        }
    return {}


def _signal_pictures(layers: pd.DataFrame, arms: Sequence[str]) -> dict[str, list[str]]:
    """For each arm A_l / A_1 and D_l / D_L, l = 1..L, medians over seeds, from 10^-3 to 10^3: what is level stays alive."""
    from numpy import clip, errstate, linspace, log10

    start = layers[layers["epoch"] == 0]
    medians = start.groupby(["arm", "layer"])[["between_sample_sd", "delta_rms"]].median().sort_index()

    def picture(arm: str, column: str, reference: int) -> str:
        values = medians.xs(arm, level="arm")[column].to_numpy(dtype=float)
        with errstate(divide="ignore", invalid="ignore"):
            decades = clip(log10(values / values[reference]), -_DECADES, _DECADES)
        shown = [decades[round(i)] for i in linspace(0, len(decades) - 1, min(len(decades), _PICTURE_WIDTH))]
        # The two ends of the scale are drawn along and cut off, so that all arms are drawn to one scale.
        return sparkline([*shown, -_DECADES, _DECADES])[:-2]

    return {
        "forward": [picture(arm, "between_sample_sd", 0) for arm in arms],
        "back": [picture(arm, "delta_rms", -1) for arm in arms],
    }
