"""Pictures for a terminal: where the dots are, and what stands beside them."""

from __future__ import annotations

import io
import math

import pandas as pd
import pytest
from rich.console import Console

from nnlab.report.plots import Curves, Illustrated
from nnlab.report.sheets import Column

BLANK = "\u2800"


def drawn(picture: object, width: int = 60, encoding: str = "utf-8") -> list[str]:
    page = io.BytesIO()
    paper = io.TextIOWrapper(page, encoding=encoding, newline="\n")
    Console(file=paper, width=width, force_terminal=False).print(picture)
    paper.flush()
    return page.getvalue().decode(encoding).splitlines()


def ramp(num: int = 50) -> pd.DataFrame:
    return pd.DataFrame({"x": range(num), "up": [i / (num - 1) for i in range(num)]})


def test_a_curve_goes_from_corner_to_corner():
    lines = drawn(Curves(ramp()))
    assert lines[0].startswith("1 │")
    assert lines[9].startswith("0 │")
    top, bottom = (line.partition("│")[2].removesuffix(" up").rstrip() for line in (lines[0], lines[9]))
    width = len(lines[10].partition("└")[2].partition(" ")[0])
    assert len(top) == width
    assert not top[0].strip()
    assert bottom[0].strip()
    assert len(bottom) < width / 2


def test_names_stand_where_the_curves_end_and_the_axis_below():
    frame = ramp().assign(down=lambda rows: -rows["up"])
    lines = drawn(Curves(frame))
    assert lines[0].endswith(" up")
    assert lines[9].endswith(" down")
    assert lines[10].endswith(" x")
    assert lines[11].split() == ["0", "49"]


def test_two_curves_that_end_together_keep_both_names():
    frame = ramp().assign(same=lambda rows: rows["up"])
    text = drawn(Curves(frame))
    assert sum(line.endswith(" up") for line in text) == 1
    assert sum(line.endswith(" same") for line in text) == 1


def test_zero_is_marked_where_a_curve_crosses_it():
    frame = pd.DataFrame({"x": [-2.0, 2.0], "y": [-3.0, 5.0]})
    lines = drawn(Curves(frame))
    (zero,) = [line for line in lines[1:9] if line.lstrip().startswith("0 │")]
    assert "┈" in zero
    assert lines[11].split() == ["-2", "0", "2"]


def test_what_does_not_vary_is_drawn_against_zero():
    lines = drawn(Curves(pd.DataFrame({"x": [0, 1, 2], "lr": [0.1, 0.1, 0.1]})))
    assert lines[0].startswith("0.1 │")
    assert lines[9].startswith("  0 │")
    assert drawn(Curves(pd.DataFrame({"x": [0], "y": [0.0]})))[9].startswith("0 │")


def test_a_histogram_is_filled_down_to_its_axis():
    frame = pd.DataFrame({"weight": [-1.0, 0.0, 1.0], "draws": [1, 4, 2]})
    lines = drawn(Curves(frame, filled=True), encoding="ascii")
    rows = [line.partition("|")[2] for line in lines[:10]]
    columns = list(zip(*(row.ljust(60) for row in rows), strict=True))
    heights = [column.count("*") for column in columns[:40]]
    assert heights[0] == pytest.approx(10 / 4, abs=1)
    assert max(heights) == 10
    assert all("".join(column).lstrip(" ") == "*" * column.count("*") for column in columns[:40])


def test_values_that_are_not_finite_are_passed_over():
    frame = pd.DataFrame({"x": [0, 1, 2, 3], "y": [math.inf, 1.0, math.nan, 2.0]})
    lines = drawn(Curves(frame))
    assert lines[0].startswith("2 │")
    assert lines[9].startswith("1 │")


def test_ascii_gives_each_curve_a_sign_of_its_own():
    frame = ramp().assign(down=lambda rows: -rows["up"])
    lines = drawn(Curves(frame), encoding="ascii")
    assert all(line.isascii() for line in lines)
    assert lines[0].endswith("* up")
    assert lines[9].endswith("o down")
    assert "+--" in lines[10]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_no_line_is_longer_than_the_terminal(width, encoding):
    frame = ramp(100_000).assign(**{"a longer name": lambda rows: rows["up"] ** 2})
    assert max(map(len, drawn(Curves(frame), width, encoding))) <= width


def test_names_are_literal_and_pictures_stand_below_the_sheet():
    frame = ramp().rename(columns={"up": "[red]up[/red]", "x": "a\x1bb"})
    sheet = Illustrated([Column("name", ["[bold]n[/bold]"])], pictures=[Curves(frame)]).with_notes(["a note"])
    lines = drawn(sheet)
    assert "[bold]n[/bold]" in lines[2]
    assert lines.index("a note") < next(i for i, line in enumerate(lines) if "│" in line)
    assert any(line.endswith("[red]up[/red]") for line in lines)
    assert lines[-2].endswith("a\\x1bb")
    assert BLANK not in "".join(lines)
