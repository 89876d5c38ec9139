"""The tables that answer a comparison of arms: rows of its files in, sheets out.

A table selects, rounds and marks; every number in it is in the file that it was made from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from nnlab.analysis.scores import is_loss, metric_name
from nnlab.report.cells import (
    MISSING,
    align,
    distinct_numbers,
    estimate,
    is_missing,
    is_true,
    number,
    value,
)
from nnlab.report.columns import kept_rows, says_something, two_lines, word_column
from nnlab.report.sheets import Column, Line, Sheet
from nnlab.report.text import plain_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nnlab.report.judgement import Judging

_MOST_TIED: Final = 8

# Verdicts of a best arm that need no comment.
_UNREMARKABLE: Final = frozenset({"good", "healthy", "better", "baseline", "not separated"})


_PICTURES: Final[Mapping[str, str]] = {
    "forward": "forward: spread of the pre-activations, layer by layer, relative to the first, from 1/1000 to 1000.",
    "back": "back: size of the gradient with respect to them, relative to the last layer, on the same scale.",
    "rate": "rate: over the epochs, for the first seed.",
}


def summary_table(summary: pd.DataFrame, judging: Judging, *, all_rows: bool = False) -> Sheet:
    """summary.csv for a person: a row for each arm, in the order of the file.

    Args:
        summary: rows of summary.csv, at least one.
        judging: how the arms were judged.
        all_rows: show every row of a long summary, not only its ends and the best with its neighbours.
    """
    levels = dict(zip(summary.index, _levels(summary, judging.factor), strict=True))
    best = [position for position, cell in enumerate(summary["best"]) if is_true(cell)]
    kept, gaps = kept_rows(len(summary), best, all_rows=all_rows)
    rows = summary.iloc[kept]
    columns = [
        word_column("", _marks(rows)),
        _arm_column(rows, judging.factor, [levels[index] for index in rows.index]),
        *_rate_column(rows),
        word_column("verdict", [value(cell) for cell in rows["verdict"]]),
        *_extra_columns(rows),
        *_metric_columns(rows, judging),
        *_count_columns(rows, judging),
    ]
    styles = ["bold" if is_true(cell) else "" for cell in rows["best"]]
    answer = _answer(summary, judging, list(levels.values()))
    return Sheet([c for c in columns if says_something(c)], styles, plain_text(judging.title), answer, gaps)


def _rate_column(rows: pd.DataFrame) -> list[Column]:
    """Each arm's own rate, if rates were tuned."""
    if "bracketed" not in rows.columns:
        return []
    cells = [number(float(lr), 3) for lr in rows["lr"]]
    if all(is_true(cell) for cell in rows["bracketed"]):
        return [Column("lr", align(cells))]
    marked = [cell if is_true(known) else f"{cell} *" for cell, known in zip(cells, rows["bracketed"], strict=True)]
    return [Column("lr", align(marked), legend="*: at the end of the rates searched.")]


def _extra_columns(rows: pd.DataFrame) -> list[Column]:
    """Columns that some commands add: pictures of the signal or of the schedule, and how many seeds trained."""
    found = [
        Column(name, [plain_text(cell) for cell in rows[name]], legend=legend)
        for name, legend in _PICTURES.items()
        if name in rows.columns
    ]
    if "n_trained" in rows.columns:
        cells = [f"{k}/{n}" for k, n in zip(rows["n_trained"], rows["n"], strict=True)]
        found.append(Column("trained", cells))
    return found


def _levels(summary: pd.DataFrame, factor: str) -> list[str]:
    """The arms for a person: rates and other numbers are rounded, but never to the same text."""
    column = summary[factor] if factor in summary else summary["arm"]
    if pd.api.types.is_float_dtype(column) and column.notna().all():
        return distinct_numbers([float(cell) for cell in column])
    return [value(cell) for cell in column]


def _arm_column(rows: pd.DataFrame, factor: str, levels: Sequence[str]) -> Column:
    numeric = factor in rows and pd.api.types.is_numeric_dtype(rows[factor])
    return Column(plain_text(factor), levels, align="decimal" if numeric else "left", folds=not numeric)


def _marks(rows: pd.DataFrame) -> list[str]:
    """`best` or `tied` for each arm that is; a single arm is neither."""
    if len(rows) == 1:
        return [""]
    pairs = zip(rows["best"], rows["tied"], strict=True)
    return ["best" if is_true(best) else "tied" if is_true(tied) else "" for best, tied in pairs]


def _metric_columns(rows: pd.DataFrame, judging: Judging) -> list[Column]:
    """The metric judged by, the one reported on the test part, and the training loss that verdicts look at."""
    reported = judging.reported or _reported_metric(rows, judging.metric)
    columns = [estimates(rows, judging.metric, rank=1)] if f"{judging.metric}_mean" in rows else []
    if reported and reported != judging.metric:
        columns.append(estimates(rows, reported, rank=4))
    # When losses are compared, each is in its own unit.
    if "train_loss_median" in rows and judging.metric != "train_loss" and judging.factor != "loss":
        losses = [value(cell) for cell in rows["train_loss_median"].astype(float)]
        columns.append(Column("train\nloss", losses, "decimal", rank=5, legend="train loss: median."))
    return columns


def _reported_metric(rows: pd.DataFrame, metric: str) -> str:
    """The test column that goes with the metric judged by: accuracy or RMSE for a loss, else the same metric."""
    wanted = ("test_accuracy", "test_rmse", "test_loss") if is_loss(metric) else (f"test_{metric_name(metric)}",)
    return next((name for name in wanted if f"{name}_mean" in rows), "")


def estimates(rows: pd.DataFrame, metric: str, rank: int, header: str = "") -> Column:
    """A metric's means over seeds with their intervals, from its columns of summary.csv."""
    parts = [rows[f"{metric}_{part}"].astype(float) for part in ("mean", "ci_low", "ci_high")]
    triples = list(zip(*parts, strict=True))
    full = [estimate(*triple) for triple in triples]
    short = [estimate(*triple, brief=True) for triple in triples]
    return Column(
        header or two_lines(metric), full, "decimal", rank=rank, narrow=short, legend=_interval_legend(rows, full)
    )


def _interval_legend(rows: pd.DataFrame, cells: Iterable[str]) -> str:
    if not any("±" in cell or "[" in cell for cell in cells):
        return ""
    return f"Intervals: 95 %, of the mean over {int(rows['n'].max())} seeds."


def _count_columns(rows: pd.DataFrame, judging: Judging) -> list[Column]:
    """The seeds lost, the seeds that the machine failed, and the steps to the threshold."""
    columns = [_lost_column(rows)]
    if (rows["n_failed"] > 0).any():
        cells = [f"{int(failed)}/{int(n)}" for failed, n in zip(rows["n_failed"], rows["n"], strict=True)]
        legend = "not run: out of memory or disk; the same command tries again."
        columns.append(Column("not\nrun", cells, "decimal", rank=2, legend=legend))
    if "steps_to_threshold_median" in rows:
        columns.append(_steps_column(rows, judging.threshold_loss))
    return columns


def _lost_column(rows: pd.DataFrame) -> Column:
    """The runs that diverged or collapsed, out of all."""
    collapsed = rows["n_collapsed"].astype(float)
    counts = (rows["n_diverged"] + collapsed.fillna(0)).astype(int)
    cells = [f"{count}/{int(n)}" if count else "0" for count, n in zip(counts, rows["n"], strict=True)]
    words = "seeds lost: diverged" + (", or collapsed (finite but dead)." if collapsed.notna().any() else ".")
    styles = ["red" if count else "dim" for count in counts]
    return Column("seeds\nlost", cells, "decimal", rank=3, styles=styles, legend=words if counts.any() else "")


def _steps_column(rows: pd.DataFrame, threshold_loss: float | None) -> Column:
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
    """The answer in words, for a reader who stops here; none for a single arm."""
    basis = plain_text(judging.basis)
    best = [index for index, cell in enumerate(summary["best"]) if is_true(cell)]
    if len(summary) == 1:
        return []
    if not best:
        return [Line(f" {basis}.", "No best arm:")] if basis else []
    level, row = levels[best[0]], summary.iloc[best[0]]
    tied = [levels[i] for i, cell in enumerate(summary["tied"]) if is_true(cell) and i != best[0]]
    name = f"{plain_text(judging.factor)} {level}"
    lines = [Line(f", {basis}. {_tie_sentence(tied)}", f"Best: {name}")]
    if not is_missing(row["verdict"]) and row["verdict"] not in _UNREMARKABLE:
        reason = "" if is_missing(row["reason"]) else f": {plain_text(row['reason'])}"
        lines.append(Line(f"Its own verdict is '{plain_text(row['verdict'])}'{reason}."))
    return lines


def _tie_sentence(tied: Sequence[str]) -> str:
    if not tied:
        return "Separated from every other arm."
    more = len(tied) - _MOST_TIED
    listed = f"{', '.join(tied[:_MOST_TIED])} and {more} more" if more > 0 else ", ".join(tied)
    return f"Not separated from it: {listed}."


def comparisons_table(comparisons: pd.DataFrame) -> Sheet:
    """comparisons.csv for a person: the rows with a verdict, which are those on the metric judged by."""
    judged = comparisons[[not is_missing(cell) for cell in comparisons["verdict"]]]
    rows = judged if len(judged) else comparisons
    columns = [
        Column("arm", [value(cell) for cell in rows["arm"]], folds=True),
        word_column("verdict", [value(cell) for cell in rows["verdict"]]),
        _difference_column(rows),
        Column("wins", [f"{int(w)}/{int(n)}" for w, n in zip(rows["wins"], rows["n"], strict=True)], "decimal", rank=2),
        Column("p\n(Holm)", [_p_cell(p) for p in rows["p_holm"].astype(float)], "decimal", rank=1),
        Column(
            "could\nfind",
            [value(cell) for cell in rows["detectable_difference"].astype(float)],
            "decimal",
            rank=3,
            legend="could find: the smallest difference that this many seeds would find in 4 of 5 experiments.",
        ),
    ]
    baseline, metric = plain_text(rows["baseline"].iloc[0]), plain_text(rows["metric"].iloc[0])
    said = f"Differences are arm minus {baseline} in {metric}, paired by seed."
    return Sheet([c for c in columns if says_something(c)], lines=[Line(said)])


def _difference_column(rows: pd.DataFrame) -> Column:
    triples = zip(*(rows[name].astype(float) for name in ("mean_difference", "ci_low", "ci_high")), strict=True)
    cells = [estimate(*triple) for triple in triples]
    return Column("difference", cells, "decimal", rank=1, legend=_interval_legend(rows, cells))


def _p_cell(p: float) -> str:
    return MISSING if is_missing(p) else "<0.001" if p < 0.001 else f"{p:.3f}"
