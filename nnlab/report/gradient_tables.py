"""Checks of gradients as tables, and as XML for build servers: right gradients in few lines, wrong ones in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from nnlab.report.cells import MISSING, is_missing, number, value
from nnlab.report.columns import WORD_STYLES, frame_column, kept_rows, says_something, word_column
from nnlab.report.plots import Curves, Illustrated
from nnlab.report.sheets import Column, Line, Sheet
from nnlab.report.text import plain_text

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_SUBJECTS: Final = 30  # more are grouped by their kind: activation, loss, layer
_MOST_CAUSES: Final = 20
_NAMED_KINKS: Final = 40
_DIGITS: Final = 6
_ORDER: Final = ("wrong", "kink", "ok")


def gradient_sheets(rows: pd.DataFrame, *, title: str = "", all_rows: bool = False) -> list[Sheet]:
    """gradcheck.csv for a person: a row for each tensor of one subject, each of several subjects, or each kind of many.

    Wrong gradients are always shown tensor by tensor, with the worst entry and the likely cause; subjects at a kink are named.

    Args:
        rows: of gradcheck.csv, at least one.
        title: what was checked, and how.
        all_rows: show a row for each tensor, however many there are.
    """
    num_subjects = rows["subject"].nunique()
    if num_subjects == 1 or all_rows:
        return [_tensor_sheet(rows, title=title, lines=_verdict_lines(rows), all_rows=all_rows)]
    by = rows["subject"] if num_subjects <= _MOST_SUBJECTS else rows["subject"].str.partition(" ")[0]
    wrong = rows[rows["verdict"] == "wrong"]
    lines = [*_kink_lines(rows), *([] if len(wrong) else _verdict_lines(rows))]
    sheets = [_summary_sheet(rows, by, title=title, lines=lines)]
    return [*sheets, _tensor_sheet(wrong, title="wrong", lines=_verdict_lines(rows))] if len(wrong) else sheets


def _summary_sheet(rows: pd.DataFrame, by: pd.Series[str], *, title: str, lines: Sequence[Line]) -> Sheet:
    """A row for each group of gradients: its verdict, the counts, and the largest error of those that pass."""
    groups = [(str(name), part) for name, part in rows.groupby(by, sort=False)]
    passed = [part.loc[part["verdict"] == "ok", "max_rel_error"].astype(float).max() for _, part in groups]
    verdicts = [next(word for word in _ORDER if (part["verdict"] == word).any()) for _, part in groups]
    columns = [
        Column("subject", [plain_text(name) for name, _ in groups], folds=True),
        word_column("verdict", ["ok" if verdict == "kink" else verdict for verdict in verdicts]),
        Column("subjects", [str(part["subject"].nunique()) for _, part in groups], "decimal", rank=3),
        Column("gradients", [str(len(part)) for _, part in groups], "decimal", rank=1),
        Column("entries", [str(part["entries"].sum()) for _, part in groups], "decimal", rank=4),
        *(_count_column(word, groups) for word in ("kink", "wrong")),
        Column(
            "largest\nerror", [number(error, 2) if error == error else MISSING for error in passed], "decimal", rank=2
        ),
    ]
    shown = [column for column in columns if any(cell not in ("0", MISSING) for cell in column.cells)]
    if rows["subject"].nunique() == len(groups):
        shown = [column for column in shown if column.header != "subjects"]
    return Sheet(shown, title=plain_text(title), lines=lines)


def _count_column(word: str, groups: Sequence[tuple[str, pd.DataFrame]]) -> Column:
    counts = [int((part["verdict"] == word).sum()) for _, part in groups]
    styles = [WORD_STYLES.get(word, "") if count else "dim" for count in counts]
    return Column(word, [str(count) for count in counts], "decimal", styles=styles)


def _tensor_sheet(rows: pd.DataFrame, *, title: str, lines: Sequence[Line], all_rows: bool = False) -> Sheet:
    """A row for each tensor and check: its worst entry, with the gradient given there and the one by differences."""
    matter = [place for place, word in enumerate(rows["verdict"]) if word != "ok"]
    kept, gaps = kept_rows(len(rows), matter, all_rows=all_rows)
    shown = rows.iloc[kept]
    several = rows["subject"].nunique() > 1
    columns = [
        *([Column("subject", [value(cell) for cell in shown["subject"]], folds=True)] if several else []),
        Column("tensor", [value(cell) for cell in shown["parameter"]], folds=True),
        word_column("verdict", [value(cell) for cell in shown["verdict"]]),
        *([frame_column(shown, "check", rank=2)] if rows["check"].nunique() > 1 or several else []),
        Column("shape", [value(cell) for cell in shown["shape"]], rank=5),
        frame_column(shown, "entries", rank=6),
        Column("worst\nentry", [value(cell) for cell in shown["worst_index"]], rank=1, legend=_LEGEND),
        Column("given", _number_cells(shown, "analytic", _DIGITS), "decimal", rank=2),
        Column("differences", _number_cells(shown, "numeric", _DIGITS), "decimal", rank=3),
        Column("relative\nerror", _number_cells(shown, "max_rel_error", 2), "decimal"),
        Column("allowed", _number_cells(shown, "tolerance", 2), "decimal", rank=4),
    ]
    return Sheet([c for c in columns if says_something(c)], title=plain_text(title), lines=lines, gaps=gaps)


_LEGEND: Final = "worst entry: its index, counted from 0; the gradient given there, and the one by differences."


def _number_cells(rows: pd.DataFrame, name: str, digits: int) -> list[str]:
    return [MISSING if is_missing(cell) else number(float(cell), digits) for cell in rows[name]]


def _kink_lines(rows: pd.DataFrame) -> list[Line]:
    kinks = rows[rows["verdict"] == "kink"]
    names = list(dict.fromkeys(map(plain_text, kinks["subject"])))
    if not names:
        return []
    more = len(names) - _NAMED_KINKS
    listed = ", ".join(names[:_NAMED_KINKS]) + (f" and {more} more" if more > 0 else "")
    return [Line(f" {listed}. There the value given is a valid subgradient.", "At a kink:")]


def _verdict_lines(rows: pd.DataFrame) -> list[Line]:
    """The verdict in words: every cause, or that nothing is wrong."""
    several = rows["subject"].nunique() > 1
    wrong = rows[rows["verdict"] == "wrong"]
    told = wrong if several or len(wrong) else rows[rows["verdict"] == "kink"]
    lines = [
        Line(f" {plain_text(row['cause'])}", f"{place(row, several=several)}:")
        for _, row in told.head(_MOST_CAUSES).iterrows()
    ]
    if len(told) > _MOST_CAUSES:
        lines.append(Line(f"And {len(told) - _MOST_CAUSES} more: --format csv shows every cause."))
    if len(wrong):
        return [*lines, Line(f" {len(wrong)} of the {len(rows)} gradients checked.", "Wrong:", style="red")]
    subjects = f" of {rows['subject'].nunique()} subjects" if several else ""
    return [*lines, Line(f": {len(rows)} checked{subjects}.", "Every gradient is right")]


def place(row: pd.Series[Any], *, several: bool) -> str:
    """The place of the worst entry: `subject weight[2,1]`."""
    index = "" if is_missing(row["worst_index"]) else f"[{plain_text(row['worst_index'])}]"
    tensor = "" if is_missing(row["parameter"]) else f"{plain_text(row['parameter'])}{index}"
    check = "" if row["check"] == "reverse" else f"({plain_text(row['check'])})"
    return " ".join(filter(None, (plain_text(row["subject"]) if several or not tensor else "", tensor, check)))


def curve_sheet(curves: pd.DataFrame) -> Illustrated:
    """steps.csv for a person: the error of each tensor at each step, and the V-shaped curve in powers of ten."""
    named = [(plain_text(name), part) for name, part in curves.groupby("parameter", sort=False)]
    first = named[0][1]
    columns = [
        Column("step", _number_cells(first, "step", 3), "decimal"),
        *(Column(f"error\n{name}".rstrip(), _number_cells(part, "error", 3), "decimal") for name, part in named),
        Column("rounding\nalone", _number_cells(first, "rounding", 3), "decimal", rank=1),
    ]
    said = "Relative error |a - n| / (|a| + |n|) of the whole gradient; wide steps err by h^2, narrow ones by rounding."
    pictures = [Curves(_logarithms(named))]
    return Illustrated(columns, title="error against step", lines=[Line(said)], pictures=pictures)


def _logarithms(named: Sequence[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """The curves in powers of ten: the step, and a column of errors for each tensor."""
    drawn: dict[str, Any] = {}
    for name, curve in named:
        ascending = curve.sort_values("step")
        drawn.setdefault("log10 step", np.log10(ascending["step"].to_numpy(dtype=float)))
        # An error of 0 has no logarithm: the point is left out.
        errors = ascending["error"].to_numpy(dtype=float)
        logs = np.log10(errors, out=np.full_like(errors, -np.inf), where=errors > 0)
        drawn[f"log10 error {name}".rstrip()] = logs.round(3)
    return pd.DataFrame(drawn)


def chain_sheets(rows: pd.DataFrame, *, title: str) -> list[Sheet]:
    """chain.csv for a person: the numbers forward and back, single steps, paths, and their sums beside autograd's."""
    numbers, steps, paths, sums = (rows[rows["row"] == kind] for kind in ("number", "step", "path", "sum"))
    output = plain_text(numbers["name"].iloc[-1])
    return [
        Sheet(
            [
                Column("number", [plain_text(name) for name in numbers["name"]]),
                Column("formula", [value(text) for text in numbers["formula"]], folds=True),
                Column("value", _number_cells(numbers, "value", _DIGITS), "decimal"),
                Column(f"d{output}/d(number)", _number_cells(numbers, "upstream", _DIGITS), "decimal"),
            ],
            title=plain_text(title),
        ),
        Sheet(
            [
                Column(
                    "step", [f"d{name.replace(' by ', '/d')}" for name in map(plain_text, steps["name"])], folds=True
                ),
                Column("local", _number_cells(steps, "local", _DIGITS), "decimal"),
                Column("upstream", _number_cells(steps, "upstream", _DIGITS), "decimal"),
                Column("product", _number_cells(steps, "product", _DIGITS), "decimal"),
            ],
            title="steps back: local derivative times what arrives from above",
        ),
        Sheet(
            [
                Column("path", [plain_text(name) for name in paths["name"]], folds=True),
                Column("local derivatives", [plain_text(text) for text in paths["formula"]], folds=True),
                Column("product", _number_cells(paths, "product", _DIGITS), "decimal"),
            ],
            title="paths: the product of the local derivatives along each",
        ),
        _sum_sheet(sums, output),
    ]


def _sum_sheet(sums: pd.DataFrame, output: str) -> Sheet:
    columns = [
        Column(f"d{output} by", [plain_text(name) for name in sums["name"]]),
        Column("paths", [str(int(count)) for count in sums["paths"]], "decimal", rank=1),
        Column("sum over paths", _number_cells(sums, "value", 9), "decimal"),
        Column("autograd", _number_cells(sums, "autograd", 9), "decimal"),
        Column("differences", _number_cells(sums, "numeric", 9), "decimal"),
    ]
    return Sheet(columns, title="sum over all paths = autograd = differences")


def junit(rows: pd.DataFrame) -> bytes:
    """The rows as JUnit XML: a suite for each subject, a case for each check of a tensor, a failure for each wrong gradient."""
    suites = ElementTree.Element("testsuites", _counts(rows, "nnlab gradcheck"))
    for name, part in rows.groupby("subject", sort=False):
        suite = ElementTree.SubElement(suites, "testsuite", _counts(part, plain_text(name)))
        for _, row in part.iterrows():
            named = " ".join(filter(None, (plain_text(row["check"]), plain_text(row["parameter"]))))
            case = ElementTree.SubElement(suite, "testcase", classname=plain_text(name), name=named)
            if row["verdict"] == "wrong":
                said = f"{place(row, several=False)}: {plain_text(row['cause'])}"
                ElementTree.SubElement(case, "failure", message=said, type="wrong gradient").text = _row_numbers(row)
            elif row["verdict"] == "kink":
                ElementTree.SubElement(case, "system-out").text = plain_text(row["cause"])
    ElementTree.indent(suites)
    text: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _counts(rows: pd.DataFrame, name: str) -> dict[str, str]:
    return {
        "name": name,
        "tests": str(len(rows)),
        "failures": str(int((rows["verdict"] == "wrong").sum())),
        "errors": "0",
    }


def _row_numbers(row: pd.Series[Any]) -> str:
    names = ("analytic", "numeric", "max_abs_error", "max_rel_error", "tolerance")
    return ", ".join(f"{name} {row[name]!r}" for name in names)
