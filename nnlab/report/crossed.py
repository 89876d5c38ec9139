"""Grids of two varied things: crossed factors, or arms by the rates tried for them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nnlab.report.arms import estimates
from nnlab.report.cells import distinct_numbers, is_missing, is_true, number, value
from nnlab.report.records import records_table
from nnlab.report.sheets import Column, Line, Sheet
from nnlab.report.text import plain_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

_MOST_ACROSS: Final = 8  # rates; more are a list


def crossed_table(summary: pd.DataFrame, factors: Sequence[str], metric: str) -> Sheet:
    """The metric judged by for every combination of levels: the last factor across, the others down, the best in bold.

    Args:
        summary: rows of summary.csv, the last factor's levels next to each other.
        factors: the columns of the factors, two or more.
        metric: the column of runs.csv that arms were judged by.
    """
    *down, across = factors
    levels = list(dict.fromkeys(summary[across]))
    first = summary[summary[across] == levels[0]]
    named = [Column(plain_text(name), [value(cell) for cell in first[name]], folds=True) for name in down]
    cells = [
        _level_column(
            summary[summary[across] == level], metric, f"{plain_text(across)}\n{value(level)}", rank=1 + place
        )
        for place, level in enumerate(levels)
    ]
    title = f"{plain_text(metric)} by {', '.join(map(plain_text, down))} and {plain_text(across)}"
    return Sheet([*named, *cells], title=title)


def _level_column(rows: pd.DataFrame, metric: str, header: str, rank: int) -> Column:
    styles = ["bold" if is_true(cell) else "" for cell in rows["best"]]
    return replace(estimates(rows, metric, rank=rank, header=header), styles=styles)


def tuning_table(tuning: pd.DataFrame) -> Sheet:
    """tuning.csv for a person: arms down, rates across, the rate chosen for each arm marked; a list if there are many rates."""
    rates = sorted(tuning["lr"].unique())
    if len(rates) > _MOST_ACROSS:
        return records_table(tuning, all_rows=True)
    metric = next(str(name).removesuffix("_mean") for name in tuning if str(name).endswith("_mean"))
    headers = distinct_numbers([float(rate) for rate in rates])
    by_rate = [tuning[tuning["lr"] == rate] for rate in rates]
    columns = [
        Column(
            header,
            [_rate_cell(*cell) for cell in zip(rows[f"{metric}_mean"], rows["n_lost"], rows["chosen"], strict=True)],
            "decimal",
            rank=1,
        )
        for header, rows in zip(headers, by_rate, strict=True)
    ]
    arms = Column("arm", [value(arm) for arm in by_rate[0]["arm"]], folds=True)
    seeds = int(tuning["n"].max())
    title = f"{plain_text(metric)} by arm and rate, mean over {seeds} tuning seed{'s' * (seeds > 1)}"
    lost = [Line("lost: at least one seed diverged.")] if (tuning["n_lost"] > 0).any() else []
    return Sheet([arms, *columns], title=title, lines=[Line("*: the rate chosen."), *lost])


def _rate_cell(mean: float, num_lost: int, chosen: object) -> str:
    text = "lost" if num_lost else value(mean) if is_missing(mean) else number(float(mean), 3)
    return f"{text}*" if is_true(chosen) else text
