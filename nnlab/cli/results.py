"""Results that are there already, shown: a directory's answer, or any CSV file."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nnlab.cli.output import chosen_format, drawn, note, show, write
from nnlab.core.errors import DataError
from nnlab.experiments.answer_files import CHAIN, GRADCHECK, NEURON
from nnlab.report.arms import Judging, comparisons_table, curves_table, records_table, runs_table, summary_table
from nnlab.report.crossed import crossed_table, tuning_table
from nnlab.report.explanations import with_meanings
from nnlab.report.loss_matrix import metrics_table
from nnlab.report.text import sparkline
from nnlab.settings import DisplaySettings
from nnlab.storage.csv_files import COMPARISONS_CSV, CURVES_CSV, LAYERS_CSV, RUNS_CSV, SUMMARY_CSV, TUNING_CSV, read_csv
from nnlab.storage.manifest import MANIFEST, Manifest, read_manifest

if TYPE_CHECKING:
    import pandas as pd

    from nnlab.report.sheets import Sheet

_PICTURE_WIDTH: Final = 10
_DECADES: Final = 3  # of a signal's growth or decay, where it explodes or vanishes

_TABLES: Final[Mapping[str, Callable[..., Sheet]]] = {
    RUNS_CSV: runs_table,
    CURVES_CSV: curves_table,
    COMPARISONS_CSV: lambda frame, **_: comparisons_table(frame),
}


def show_results(path: Path, output: DisplaySettings, *, all_rows: bool = False, explain: bool = False) -> None:
    """Show the answer in a results directory: its summary, its notes, and where the files are.

    Args:
        path: the directory.
        output: how it looks.
        all_rows: also of a long summary.
        explain: say what the columns mean.
    """
    manifest = read_manifest(path)
    summary = path / SUMMARY_CSV
    single = next((path / name for name in (GRADCHECK, CHAIN, NEURON) if (path / name).exists()), None)
    if single is not None:
        show_file(single, output, all_rows=all_rows)
        note(f"Files: {path}", output)
        return
    if manifest is None or not summary.exists():
        raise DataError(f"{path} holds no finished results. Run its command again, or name another directory.")
    rows, factor = read_csv(summary), manifest.factor or ""

    def table(frame: pd.DataFrame) -> Sheet:
        drawn_rows = frame.assign(**pictures(path, manifest))
        sheet = summary_table(drawn_rows, judging=judging_of(manifest), all_rows=all_rows)
        return with_meanings(sheet, factor) if explain else sheet

    show(rows, table=table, output=output, csv=summary.read_bytes(), notes=manifest.notes)
    if manifest.command == "compare-loss":
        _show_metrics(rows, output, explain=explain)
    note(f"Files: {path}", output)


def _show_metrics(rows: pd.DataFrame, output: DisplaySettings, *, explain: bool) -> None:
    """Below a table, the matrix of losses and metrics; data have it among their columns."""
    form = chosen_format(output)
    if form == "table" or form == "markdown":
        sheet = metrics_table(rows)
        write(b"\n" + drawn(with_meanings(sheet, "loss") if explain else sheet, form, no_color=output.no_color))


def pictures(path: Path, manifest: Manifest) -> dict[str, list[str]]:
    """Columns of sparklines for the arms: the signal through the layers at the start, or the rate over the epochs."""
    if (path / LAYERS_CSV).exists():
        return _signal_pictures(read_csv(path / LAYERS_CSV), manifest.arms)
    if manifest.factor == "schedule":
        curves = read_csv(path / CURVES_CSV, columns=("run_id", "arm", "seed", "epoch", "step", "lr"))
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


def show_grid(path: Path, output: DisplaySettings) -> None:
    """Below a table, crossed factors as a grid, and every rate that was tried; data are in the files."""
    manifest, form = read_manifest(path), chosen_format(output)
    assert manifest is not None
    factors, metric = manifest.facts.get("factors"), judging_of(manifest).metric
    summary, tuning = read_csv(path / SUMMARY_CSV), path / TUNING_CSV
    sheets = []
    if isinstance(factors, list) and len(factors) > 1 and f"{metric}_mean" in summary:
        sheets.append(crossed_table(summary, [str(factor) for factor in factors], metric))
    if tuning.exists():
        sheets.append(tuning_table(read_csv(tuning)))
    if form == "table" or form == "markdown":
        for sheet in sheets:
            write(b"\n" + drawn(sheet, form, no_color=output.no_color))
    elif tuning.exists():
        note(f"Every rate that was tried: {tuning}", output)


def as_table(output: DisplaySettings) -> DisplaySettings:
    """The same, but with a table where the format is open, also into a pipe: the CSV file is there already."""
    return output.model_copy(update={"format": "table"}) if output.format == "auto" else output


def newest_results(root: Path = Path("results")) -> Path:
    """The results directory that was written last.

    Raises:
        DataError: there is none.
    """
    found = sorted(root.glob(f"*/*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise DataError(f"There are no results under {root}/ here. `nnlab sweep-lr` makes some, or name a directory.")
    return found[-1].parent


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


def show_file(path: Path, output: DisplaySettings, *, all_rows: bool) -> None:
    """Show a CSV file as a table; one of nnlab's own in the way that belongs to it.

    Raises:
        DataError: there is no such file.
    """
    if not path.exists():
        raise DataError(f"There is no {str(path)!r} here: neither a results directory nor a CSV file.")
    if path.name == SUMMARY_CSV and (manifest := read_manifest(path.parent)) is not None:
        table = partial(summary_table, judging=judging_of(manifest), all_rows=all_rows)
    else:
        table = partial(_TABLES.get(path.name, records_table), all_rows=all_rows)
    show(read_csv(path), table=table, output=output)


def show_stdin(output: DisplaySettings, *, all_rows: bool) -> None:
    """Show a CSV file that comes from a pipe."""
    text = io.StringIO(sys.stdin.buffer.read().decode("utf-8", errors="replace"))
    show(read_csv(text), table=partial(records_table, all_rows=all_rows), output=output)
