"""The tables that commands answer with: rows as the files have them in, sheets out.

A table selects, rounds and points; every number in it stands in the file that it was made from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pandas as pd

from nnlab.report.cells import (
    MISSING,
    distinct_numbers,
    estimate,
    is_missing,
    is_true,
    number,
    value,
)
from nnlab.report.sheets import Column, Line, Sheet
from nnlab.report.text import plain, sparkline

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_ROWS: Final = 60  # longer frames show their ends, and the rows that matter
_END_ROWS: Final = 10
_MOST_TIED: Final = 8
_SPARK_WIDTH: Final = 16

WORD_STYLES: Final = {
    **dict.fromkeys(("good", "healthy", "better", "done", "ok"), "green"),
    **dict.fromkeys(("edge", "saturated", "kink"), "yellow"),
    **dict.fromkeys(("diverges", "exploding", "vanishing", "dead", "symmetric", "worse", "diverged", "wrong"), "red"),
    **dict.fromkeys(("too small", "tied"), "cyan"),
    **dict.fromkeys(("nothing learned", "failed", "not run"), "magenta"),
    "best": "bold green",
    "not separated": "dim",
}


@dataclass(frozen=True)
class Judging:
    """How the arms of a summary were judged, which its rows don't say.

    Attributes:
        factor: the varied factor's column (`lr`).
        metric: the column that arms were judged by (`val_loss`).
        basis: how the best was chosen or why none was, in words: `Selection.basis` of the analysis.
        threshold_loss: the loss that steps were counted to, where they were.
        reported: the metric on the test part; where empty, the one that belongs to `metric`.
        title: what was run, in a line.
    """

    factor: str
    metric: str
    basis: str
    threshold_loss: float | None = None
    reported: str = ""
    title: str = ""


def sweep_table(summary: pd.DataFrame, judging: Judging, *, all_rows: bool = False) -> Sheet:
    """sweep-lr's answer: a row for each rate, its verdict beside it, the best and those tied with it marked."""
    return summary_table(summary, judging, all_rows=all_rows)


def summary_table(summary: pd.DataFrame, judging: Judging, *, all_rows: bool = False) -> Sheet:
    """summary.csv for a person: a row for each arm, in the order of the file.

    Args:
        summary: rows of summary.csv, at least one.
        judging: what the rows don't say.
        all_rows: also of a long summary; else its ends, and the best with its neighbours.
    """
    levels = dict(zip(summary.index, _levels(summary, judging.factor), strict=True))
    best = [position for position, cell in enumerate(summary["best"]) if is_true(cell)]
    kept, gaps = _kept(len(summary), best, all_rows=all_rows)
    rows = summary.iloc[kept]
    columns = [
        _words("", _marks(rows)),
        _arm_column(rows, judging.factor, [levels[index] for index in rows.index]),
        _words("verdict", [value(cell) for cell in rows["verdict"]]),
        *_measured(rows, judging),
        *_counted(rows, judging),
    ]
    styles = ["bold" if is_true(cell) else "" for cell in rows["best"]]
    answer = _answer(summary, judging, list(levels.values()))
    return Sheet([c for c in columns if _says_something(c)], styles, plain(judging.title), answer, gaps)


def _says_something(column: Column) -> bool:
    return any(cell not in ("", MISSING) for cell in column.cells)


def _levels(summary: pd.DataFrame, factor: str) -> list[str]:
    """The arms as a person reads them: rates and other numbers rounded, but never to the same text."""
    column = summary[factor] if factor in summary else summary["arm"]
    if pd.api.types.is_float_dtype(column) and column.notna().all():
        return distinct_numbers([float(cell) for cell in column])
    return [value(cell) for cell in column]


def _arm_column(rows: pd.DataFrame, factor: str, levels: Sequence[str]) -> Column:
    numeric = factor in rows and pd.api.types.is_numeric_dtype(rows[factor])
    return Column(plain(factor), levels, align="decimal" if numeric else "left", folds=not numeric)


def _marks(rows: pd.DataFrame) -> list[str]:
    pairs = zip(rows["best"], rows["tied"], strict=True)
    return ["best" if is_true(best) else "tied" if is_true(tied) else "" for best, tied in pairs]


def _words(header: str, cells: Sequence[str], rank: int = 0) -> Column:
    return Column(header, cells, rank=rank, styles=[WORD_STYLES.get(cell, "") for cell in cells])


def _header(column: str) -> str:
    """`val_loss` in two short lines."""
    return plain(column).replace("_", "\n", 1)


def _measured(rows: pd.DataFrame, judging: Judging) -> list[Column]:
    """The metric judged by, the one reported on the test part, and the training loss that verdicts look at."""
    reported = judging.reported or reported_metric(rows, judging.metric)
    columns = [_estimates(rows, judging.metric, rank=1)] if f"{judging.metric}_mean" in rows else []
    if reported and reported != judging.metric:
        columns.append(_estimates(rows, reported, rank=4))
    if "train_loss_median" in rows and judging.metric != "train_loss":
        losses = [value(cell) for cell in rows["train_loss_median"].astype(float)]
        columns.append(Column("train\nloss", losses, "decimal", rank=5, legend="train loss: median."))
    return columns


def reported_metric(rows: pd.DataFrame, metric: str) -> str:
    """The test column that goes with the metric judged by: accuracy or rmse beside a loss, else the same on test."""
    own = "test_" + metric.removeprefix("val_").removeprefix("train_").removeprefix("batch_")
    wanted = ("test_accuracy", "test_rmse", "test_loss") if metric.endswith("loss") else (own,)
    return next((name for name in wanted if f"{name}_mean" in rows), "")


def _estimates(rows: pd.DataFrame, metric: str, rank: int) -> Column:
    parts = [rows[f"{metric}_{part}"].astype(float) for part in ("mean", "ci_low", "ci_high")]
    triples = list(zip(*parts, strict=True))
    full = [estimate(*triple) for triple in triples]
    short = [estimate(*triple, brief=True) for triple in triples]
    return Column(_header(metric), full, "decimal", rank=rank, narrow=short, legend=_interval_legend(rows, full))


def _interval_legend(rows: pd.DataFrame, cells: Iterable[str]) -> str:
    signs = [sign for sign in ("±", "[") if any(sign in cell for cell in cells)]
    if not signs:
        return ""
    return f"{' or '.join(signs).replace('[', '[ ]')}: 95 % interval of the mean over {int(rows['n'].max())} seeds."


def _counted(rows: pd.DataFrame, judging: Judging) -> list[Column]:
    """How many seeds were lost, by the run's fault or the machine's, and how soon the others got there."""
    columns = [_lost(rows)]
    if (rows["n_failed"] > 0).any():
        cells = [f"{int(failed)}/{int(n)}" for failed, n in zip(rows["n_failed"], rows["n"], strict=True)]
        legend = "not run: for want of memory or disk; the same command tries again."
        columns.append(Column("not\nrun", cells, "decimal", rank=2, legend=legend))
    if "steps_to_threshold_median" in rows:
        columns.append(_steps(rows, judging.threshold_loss))
    return columns


def _lost(rows: pd.DataFrame) -> Column:
    """Runs that diverged or collapsed, of all."""
    collapsed = rows["n_collapsed"].astype(float)
    counts = (rows["n_diverged"] + collapsed.fillna(0)).astype(int)
    cells = [f"{count}/{int(n)}" if count else "0" for count, n in zip(counts, rows["n"], strict=True)]
    words = "seeds lost: diverged" + (", or collapsed (finite but dead)." if collapsed.notna().any() else ".")
    styles = ["red" if count else "dim" for count in counts]
    return Column("seeds\nlost", cells, "decimal", rank=3, styles=styles, legend=words if counts.any() else "")


def _steps(rows: pd.DataFrame, threshold_loss: float | None) -> Column:
    triples = zip(rows["steps_to_threshold_median"].astype(float), rows["n_reached"], rows["n"], strict=True)
    cells = [_steps_cell(median, reached, n) for median, reached, n in triples]
    goal = "the threshold loss" if threshold_loss is None else f"loss {number(threshold_loss)}"
    some = "; k/n: k of n seeds got there" if any("/" in cell for cell in cells) else ""
    brief = [cell if cell.startswith("inf") else cell.partition(" ")[0] for cell in cells]
    return Column("steps", cells, "decimal", rank=6, narrow=brief, legend=f"steps: median, to {goal}{some}.")


def _steps_cell(median: float, reached: float, n: float) -> str:
    if is_missing(reached) or is_missing(median):
        return MISSING
    if reached == 0:
        return "never"
    return number(median, 6) if reached == n else f"{number(median, 6)} {int(reached)}/{int(n)}"


def _answer(summary: pd.DataFrame, judging: Judging, levels: Sequence[str]) -> list[Line]:
    """The answer in plain words, for who reads no further."""
    basis = plain(judging.basis)
    best = [index for index, cell in enumerate(summary["best"]) if is_true(cell)]
    if not best:
        return [Line(f" {basis}.", "No best arm:")] if basis else []
    level, row = levels[best[0]], summary.iloc[best[0]]
    tied = [levels[i] for i, cell in enumerate(summary["tied"]) if is_true(cell) and i != best[0]]
    name = f"{plain(judging.factor)} {level}"
    lines = [Line(f", {basis}. {_tied_words(tied, len(summary))}".rstrip(), f"Best: {name}")]
    if not is_missing(row["verdict"]) and row["verdict"] not in ("good", "healthy"):
        reason = "" if is_missing(row["reason"]) else f": {plain(row['reason'])}"
        lines.append(Line(f"Its own verdict is '{plain(row['verdict'])}'{reason}."))
    return lines


def _tied_words(tied: Sequence[str], num_arms: int) -> str:
    if not tied:
        return "Separated from every other arm." if num_arms > 1 else ""
    more = len(tied) - _MOST_TIED
    listed = f"{', '.join(tied[:_MOST_TIED])} and {more} more" if more > 0 else ", ".join(tied)
    return f"Not separated from it: {listed}."


def _kept(num_rows: int, matter: Iterable[int], *, all_rows: bool) -> tuple[list[int], dict[int, int]]:
    """The rows shown of a long frame, and, by place among them, how many are left out before each."""
    if all_rows or num_rows <= MOST_ROWS:
        return list(range(num_rows)), {}
    near = {row + step for row in matter for step in (-2, -1, 0, 1, 2)}
    shown = near | {*range(_END_ROWS), *range(num_rows - _END_ROWS, num_rows)}
    kept = sorted(row for row in shown if 0 <= row < num_rows)
    gaps = {i: row - kept[i - 1] - 1 for i, row in enumerate(kept) if i and row - kept[i - 1] > 1}
    return kept, gaps


def comparisons_table(comparisons: pd.DataFrame) -> Sheet:
    """comparisons.csv for a person: the rows that carry a verdict, which are those on the metric judged by."""
    judged = comparisons[[not is_missing(cell) for cell in comparisons["verdict"]]]
    rows = judged if len(judged) else comparisons
    columns = [
        Column("arm", [value(cell) for cell in rows["arm"]], folds=True),
        _words("verdict", [value(cell) for cell in rows["verdict"]]),
        _difference(rows),
        Column("wins", [f"{int(w)}/{int(n)}" for w, n in zip(rows["wins"], rows["n"], strict=True)], "decimal", rank=2),
        Column("p\n(Holm)", [_p_cell(p) for p in rows["p_holm"].astype(float)], "decimal", rank=1),
        Column(
            "could\nfind",
            [value(cell) for cell in rows["detectable_difference"].astype(float)],
            "decimal",
            rank=3,
            legend="could find: the least difference that so many seeds would find in 4 experiments of 5.",
        ),
    ]
    baseline, metric = plain(rows["baseline"].iloc[0]), plain(rows["metric"].iloc[0])
    said = f"Differences are arm minus {baseline} in {metric}, paired by seed."
    return Sheet([c for c in columns if _says_something(c)], lines=[Line(said)])


def _difference(rows: pd.DataFrame) -> Column:
    triples = zip(*(rows[name].astype(float) for name in ("mean_difference", "ci_low", "ci_high")), strict=True)
    cells = [estimate(*triple) for triple in triples]
    return Column("difference", cells, "decimal", rank=1, legend=_interval_legend(rows, cells))


def _p_cell(p: float) -> str:
    return MISSING if is_missing(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def runs_table(runs: pd.DataFrame, *, all_rows: bool = False) -> Sheet:
    """runs.csv for a person: what became of each run."""
    kept, gaps = _kept(len(runs), (), all_rows=all_rows)
    rows = runs.iloc[kept]
    metrics = [name for name in ("test_accuracy", "test_rmse") if name in rows][:1]
    ranked = {"train_loss": 2, "val_loss": 1, **dict.fromkeys(metrics, 1), "steps_to_threshold": 4, "steps": 5}
    status = [value(cell) for cell in rows["status"]]
    columns = [
        _any_column(rows, "arm"),
        _any_column(rows, "seed"),
        _words("status", status),
        _any_column(rows, "diverged_step", rank=3),
        *(_any_column(rows, name, rank=rank) for name, rank in ranked.items() if name in rows),
    ]
    shown = [c for c in columns if _says_something(c)]
    return Sheet(shown, gaps=gaps, num_unlisted=len(runs.columns) - len(shown))


def curves_table(curves: pd.DataFrame, *, all_rows: bool = False) -> Sheet:
    """curves.csv for a person: the epochs of a single run, or a row for each run with its curve as bars."""
    if curves["run_id"].nunique() == 1:
        return _epochs_table(curves, all_rows=all_rows)
    by_run = curves.sort_values("epoch", kind="stable").groupby("run_id", sort=False)
    last = by_run.tail(1).set_index("run_id").loc[list(by_run.groups)].reset_index()
    kept, gaps = _kept(len(last), (), all_rows=all_rows)
    rows = last.iloc[kept]
    drawn = next((name for name in ("val_loss", "train_loss") if curves[name].notna().any()), "train_loss")
    lines = [sparkline(by_run.get_group(run)[drawn].astype(float).tolist(), _SPARK_WIDTH) for run in rows["run_id"]]
    columns = [
        _any_column(rows, "arm"),
        _any_column(rows, "seed"),
        Column(_header(drawn) + " by epoch", lines, legend="Each curve has its own scale."),
        *(_any_column(rows, name, rank=rank) for name, rank in (("epoch", 3), ("train_loss", 2), ("val_loss", 1))),
    ]
    shown = [c for c in columns if _says_something(c)]
    said = [Line("Numbers are those of each run's last epoch.")]
    return Sheet(shown, lines=said, gaps=gaps, num_unlisted=len(curves.columns) - len(shown) + 1)


def _epochs_table(curves: pd.DataFrame, *, all_rows: bool) -> Sheet:
    kept, gaps = _kept(len(curves), (), all_rows=all_rows)
    rows = curves.iloc[kept]
    ranked = {"epoch": 0, "step": 5, "lr": 4, "batch_loss": 3, "train_loss": 0, "val_loss": 1}
    ranked |= {name: 2 for name in ("val_accuracy", "val_rmse") if name in rows}
    columns = [_any_column(rows, name, rank=rank) for name, rank in ranked.items() if name in rows]
    shown = [c for c in columns if _says_something(c)]
    return Sheet(shown, gaps=gaps, num_unlisted=len(curves.columns) - len(shown))


# What a reader of any file looks for first; columns not named here rank by their place.
_SOUGHT: Final = ("arm", "verdict", "best", "tied", "seed", "status", "epoch", "layer", "parameter", "cause")
_LAST_SOUGHT: Final = ("run_id", "engine")


def records_table(frame: pd.DataFrame, *, all_rows: bool = False) -> Sheet:
    """Any table of any file: its own columns in its own order, those that vary before those that don't.

    Args:
        frame: any rows; none is told as such.
        all_rows: also of a long frame; else its ends.
    """
    if frame.columns.empty:
        return Sheet([Column("", [])], lines=[Line("No columns.")])
    kept, gaps = _kept(len(frame), (), all_rows=all_rows)
    rows = frame.iloc[kept]
    ranks = _ranks(frame)
    columns = [_any_column(rows, name, rank=ranks[name]) for name in frame.columns]
    return Sheet(columns, lines=[] if len(frame) else [Line("No rows.")], gaps=gaps)


def _ranks(frame: pd.DataFrame) -> dict[str, int]:
    """The order in which columns give way: constant and empty ones first, then from the right; the first one stays."""
    constant = [name for name in frame.columns if len(frame) > 1 and frame[name].nunique(dropna=False) == 1]
    sought = [name for name in _SOUGHT if name in frame and name not in constant]
    late = [*constant, *(name for name in _LAST_SOUGHT if name in frame and name not in constant)]
    others = [name for name in frame.columns if name not in sought and name not in late]
    return {name: rank for rank, name in enumerate([*sought, *others, *late])}


def _any_column(rows: pd.DataFrame, name: str, rank: int = 0) -> Column:
    """A column of a frame as it is: numbers with their points above each other, known words in their colour."""
    column = rows[name]
    cells = [value(cell) for cell in column.tolist()]
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return Column(plain(name), cells, "decimal", rank=rank)
    styles = [WORD_STYLES.get(cell, "") for cell in cells]
    return Column(plain(name), cells, rank=rank, styles=styles, folds=True)
