"""Sparklines for the arms of a summary, made from the tables beside it: the signal through the layers, the schedule's curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from nnlab.report.text import sparkline
from nnlab.storage.csv_files import CURVES_CSV, LAYERS_CSV, read_csv

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from nnlab.storage.manifest import Manifest

_MOST_LAYERS: Final = 10  # bars of a signal's picture
_RATE_WIDTH: Final = 12
_DECADES: Final = 3  # of growth or decay; beyond them a signal explodes or vanishes


def picture_columns(path: Path, manifest: Manifest) -> dict[str, list[str]]:
    """Columns of sparklines, one picture for each arm; none if the experiment looked at neither layers nor schedules.

    Args:
        path: the results directory.
        manifest: of the same directory.
    """
    if (path / LAYERS_CSV).exists():
        return _signal_columns(read_csv(path / LAYERS_CSV), manifest.arms)
    if manifest.factor == "schedule":
        curves = read_csv(path / CURVES_CSV, columns=("run_id", "arm", "seed", "epoch", "step", "lr"))
        return {"rate": _rate_pictures(curves[curves["seed"] == manifest.seeds[0]], manifest.arms)}
    return {}


def _rate_pictures(curves: pd.DataFrame, arms: Sequence[str]) -> list[str]:
    """The learning rate of each arm over the epochs of one seed."""
    rates = [curves.loc[curves["arm"] == arm, "lr"].astype(float).tolist() for arm in arms]
    return [sparkline(each, _RATE_WIDTH) for each in rates]


def _signal_columns(layers: pd.DataFrame, arms: Sequence[str]) -> dict[str, list[str]]:
    """A_l / A_1 and D_l / D_L of each arm before training, l = 1..L, medians over seeds: a level line is a healthy signal.

    A_l is the between-sample standard deviation of layer l's pre-activations, D_l the root mean square of dL/dz_l.
    """
    start = layers[layers["epoch"] == 0]
    medians = start.groupby(["arm", "layer"])[["between_sample_sd", "delta_rms"]].median().sort_index()
    by_arm = [medians.xs(arm, level="arm") for arm in arms]
    return {
        "forward": [_signal_picture(each["between_sample_sd"], reference=0) for each in by_arm],
        "back": [_signal_picture(each["delta_rms"], reference=-1) for each in by_arm],
    }


def _signal_picture(signal: pd.Series[float], *, reference: int) -> str:
    """The signal layer by layer, relative to the layer at `reference`, on a logarithmic scale from 10^-3 to 10^3."""
    values = signal.to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        decades = np.clip(np.log10(values / values[reference]), -_DECADES, _DECADES)
    places = np.linspace(0, len(decades) - 1, min(len(decades), _MOST_LAYERS))
    # Both ends of the scale are drawn too and then cut off, so that all arms have one scale.
    return sparkline([*(decades[round(place)] for place in places), -_DECADES, _DECADES])[:-2]
