"""The findings of `nnlab doctor` as two tables: the machine, and the self-check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nnlab.report.cells import MISSING, is_missing, number, value
from nnlab.report.columns import WORD_STYLES, word_column
from nnlab.report.sheets import Column, Line, Sheet
from nnlab.report.text import plain_text

if TYPE_CHECKING:
    import pandas as pd

_TITLE: Final = "the largest relative difference between batched runs and a plain torch.optim loop"


def doctor_sheets(rows: pd.DataFrame) -> list[Sheet]:
    """The facts of the machine, and for each model and optimizer the largest difference by engine and dtype."""
    machine = rows[rows["about"] == "machine"]
    facts = [Column("machine", _texts(machine, "name")), Column("", _texts(machine, "value"), folds=True)]
    return [Sheet(facts), _checks_sheet(rows[rows["about"] != "machine"])]


def _checks_sheet(rows: pd.DataFrame) -> Sheet:
    groups = [(str(name), part) for name, part in rows.groupby("name", sort=False)]
    verdicts = ["wrong" if (part["verdict"] == "wrong").any() else "ok" for _, part in groups]
    columns = [
        Column("", [plain_text(part["about"].iloc[0]) for _, part in groups], rank=1),
        Column("checked", [plain_text(name) for name, _ in groups], folds=True),
        word_column("verdict", verdicts),
        *(_difference_column(key, groups) for key in dict.fromkeys(zip(rows["engine"], rows["dtype"], strict=True))),
    ]
    return Sheet(columns, title=_TITLE, lines=_lines(rows))


def _difference_column(key: tuple[str, str], groups: list[tuple[str, pd.DataFrame]]) -> Column:
    engine, dtype = key
    found = [part[(part["engine"] == engine) & (part["dtype"] == dtype)].iloc[0] for _, part in groups]
    cells = [MISSING if is_missing(row["difference"]) else number(float(row["difference"]), 2) for row in found]
    return Column(
        f"{plain_text(engine)}\n{plain_text(dtype)}",
        cells,
        "decimal",
        styles=[WORD_STYLES.get(str(row["verdict"]), "") if row["verdict"] == "wrong" else "" for row in found],
    )


def _lines(rows: pd.DataFrame) -> list[Line]:
    """Lines on what is wrong, what was allowed, and what an engine does not batch."""
    wrong = rows[rows["verdict"] == "wrong"]
    lines = [
        Line(f" {_finding(row)}", f"{plain_text(row['name'])}, {row['engine']}, {row['dtype']}:", "red")
        for _, row in wrong.iterrows()
    ]
    if not len(wrong):
        lines.append(Line(f": {len(rows[rows['verdict'] == 'ok'])} checks.", "Every batched run equals its plain loop"))
    allowed = rows.drop_duplicates("dtype")[["dtype", "tolerance"]].itertuples(index=False)
    said = ", ".join(f"{number(tolerance, 2)} in {dtype}" for dtype, tolerance in allowed)
    lines.append(Line(f"Allowed for rounding: {said}.", style="dim"))
    if (rows["verdict"] == "not batched").any():
        lines.append(Line(f"{MISSING}: that engine does not batch that model; `auto` takes another.", style="dim"))
    return lines


def _finding(row: pd.Series[object]) -> str:  # type: ignore[type-var]
    where = plain_text(str(row["where"]))
    return f"{value(row['difference'])} in {where}." if not is_missing(row["difference"]) else f"{where}."


def _texts(rows: pd.DataFrame, name: str) -> list[str]:
    return [plain_text(str(cell)) for cell in rows[name]]
