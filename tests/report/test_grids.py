"""Grids of two things varied: every cell in its place, the chosen rate marked, a list where rates are many."""

from __future__ import annotations

import math

import pandas as pd

from nnlab.report.crossed import crossed_table, tuning_table
from nnlab.report.sheets import Sheet


def texts(sheet: Sheet) -> dict[str, list[str]]:
    return {column.name: [cell.strip() for cell in column.cells] for column in sheet.columns}


def tuning(rates: list[float]) -> pd.DataFrame:
    rows = [(arm, lr, 3, int(lr > 1), math.inf if lr > 1 else lr, lr == 1) for arm in ("a", "b") for lr in rates]
    return pd.DataFrame(rows, columns=["arm", "lr", "n", "n_lost", "val_loss_mean", "chosen"])


def test_arms_stand_by_the_rates_they_were_tried_at_with_the_one_chosen_marked():
    sheet = tuning_table(tuning([0.1, 1.0, 10.0]))
    assert texts(sheet) == {"arm": ["a", "b"], "0.1": ["0.1"] * 2, "1": ["1*"] * 2, "10": ["lost"] * 2}
    assert sheet.title == "val_loss by arm and rate, mean over 3 tuning seeds"
    assert [line.text for line in sheet.lines] == ["*: the rate chosen.", "lost: at least one seed diverged."]


def test_many_rates_are_a_list():
    sheet = tuning_table(tuning([0.1 * i for i in range(1, 10)]))
    assert len(texts(sheet)["lr"]) == 18


def test_the_last_of_three_factors_stands_across_and_the_best_is_bold():
    levels = [(init, width, depth) for init in ("x", "y") for width in (4, 8) for depth in (2, 5)]
    frame = pd.DataFrame(levels, columns=["init", "width", "depth"]).assign(
        val_loss_mean=[float(i) for i in range(8)], val_loss_ci_low=math.nan, val_loss_ci_high=math.nan, n=1
    )
    sheet = crossed_table(frame.assign(best=frame["val_loss_mean"] == 3.0), ["init", "width", "depth"], "val_loss")
    assert texts(sheet) == {
        "init": ["x", "x", "y", "y"],
        "width": ["4", "8", "4", "8"],
        "depth 2": ["0", "2", "4", "6"],
        "depth 5": ["1", "3", "5", "7"],
    }
    assert list(sheet.columns[-1].styles) == ["", "bold", "", ""]
