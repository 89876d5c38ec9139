"""Tables as a person sees them: golden pictures, and what must never happen to one.

A picture that is meant to change is made again by `python -m tests.report.test_tables` from the root, and looked at.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from nnlab.report.arms import comparisons_table, summary_table
from nnlab.report.judgement import Judging
from nnlab.report.markdown import markdown
from nnlab.report.records import curves_table, records_table, runs_table
from nnlab.report.sheets import Sheet
from tests.report.frames import JUDGING, NOTE, curves, runs, summary, through_csv

GOLDEN = Path(__file__).parent / "golden"


def picture(sheet: Sheet, width: int = 80, encoding: str = "utf-8", **console: object) -> str:
    page = io.BytesIO()
    paper = io.TextIOWrapper(page, encoding=encoding, errors="strict", newline="\n")
    Console(file=paper, width=width, **{"color_system": None, **console}).print(sheet)
    paper.flush()
    return "".join(f"{line.rstrip()}\n" for line in page.getvalue().decode(encoding).splitlines())


def inits(names: list[str], **cells: object) -> pd.DataFrame:
    frame = (
        summary().head(len(names)).drop(columns="lr").assign(arm=names, init=names, verdict=["healthy"] * len(names))
    )
    return frame.assign(**cells)


def comparisons() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "arm": ["zeros", "kaiming_normal", "zeros"],
            "baseline": ["torch_default"] * 3,
            "metric": ["val_loss", "val_loss", "val_accuracy"],
            "n": [10] * 3,
            "mean_difference": [math.nan, -0.0412, -0.4],
            "ci_low": [math.nan, -0.0551, -0.5],
            "ci_high": [math.nan, -0.0273, -0.3],
            "wins": [0, 10, 0],
            "p": [0.00195, 1e-5, 1e-6],
            "p_holm": [0.00195, 2e-5, 1e-6],
            "p_sign_flip": [0.00195] * 3,
            "detectable_difference": [math.nan, 0.021, 0.1],
            "verdict": ["worse", "better", None],
        }
    )


PICTURES = {
    "sweep-80": lambda: picture(summary_table(summary(), JUDGING).with_notes([NOTE])),
    "sweep-60": lambda: picture(summary_table(summary(), JUDGING).with_notes([NOTE]), 60),
    "sweep-40": lambda: picture(summary_table(summary(), JUDGING).with_notes([NOTE]), 40),
    "sweep-ascii": lambda: picture(summary_table(summary(), JUDGING).with_notes([NOTE]), encoding="ascii"),
    "sweep-markdown": lambda: markdown(summary_table(summary(), JUDGING).with_notes([NOTE])),
    "inits-80": lambda: picture(
        summary_table(
            inits(["torch_default", "zeros", "my_init.py:build_init:gain=1.4142135:mode=fan_out"]),
            Judging("init", "val_accuracy", "by mean val_accuracy over seeds", reported="test_accuracy"),
        )
    ),
    "runs-80": lambda: picture(runs_table(runs())),
    "comparisons-80": lambda: picture(comparisons_table(comparisons())),
    "curves-80": lambda: picture(curves_table(curves(3))),
    "epochs-80": lambda: picture(curves_table(curves(1))),
    "records-60": lambda: picture(records_table(summary()), 60),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_table_looks_as_it_was_approved(name):
    assert PICTURES[name]() == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "table", [lambda frame: summary_table(frame, JUDGING), records_table], ids=["sweep", "records"]
)
def test_a_table_is_the_same_before_and_after_the_file(table):
    assert picture(table(through_csv(summary()))) == picture(table(summary()))


@pytest.mark.parametrize("width", range(26, 120, 3))
def test_no_line_is_wider_than_the_terminal_and_no_word_is_cut(width):
    text = picture(summary_table(summary(), JUDGING), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    for word in ("best", "tied", "too small", "diverges", "0.0316"):
        assert word in text


def test_the_verdict_and_the_best_can_be_told_without_colour():
    line = next(line for line in picture(summary_table(summary(), JUDGING)).splitlines() if line.startswith("best"))
    assert line.split()[:3] == ["best", "0.1", "good"]


def test_with_colour_the_same_words_stand():
    coloured = picture(summary_table(summary(), JUDGING), color_system="standard", force_terminal=True)
    assert "\x1b[32mgood" in coloured.replace("\x1b[1;32m", "\x1b[32m")
    without = picture(summary_table(summary(), JUDGING), color_system="standard", force_terminal=True, no_color=True)
    assert "32m" not in without


def test_a_name_is_never_markup_nor_a_command_to_the_terminal():
    names = ["[red]x[/red]", "a\x1b[2Jb", "[/]", ":smile:"]
    text = picture(summary_table(inits(names), Judging("init", "val_loss", "by [bold]luck")))
    for shown in ("[red]x[/red]", r"a\x1b[2Jb", "[/]", ":smile:", "by [bold]luck"):
        assert shown in text
    assert "\x1b" not in text
    assert "[green]" in picture(records_table(pd.DataFrame({"[green]": ["[/green]"]})))


def test_the_answer_says_when_nothing_is_selected():
    frame = summary().assign(best=False, tied=None).drop(columns=[c for c in summary() if c.startswith("val_")])
    text = picture(summary_table(frame, Judging("lr", "val_loss", "there is no validation part")))
    assert "No best arm: there is no validation part." in text


def test_a_best_arm_with_a_bad_verdict_is_explained():
    frame = summary().assign(best=[False, True, *[False] * 4], reason="reaches 82 % of the best progress")
    text = picture(summary_table(frame, JUDGING), 200)
    assert "Its own verdict is 'too small': reaches 82 % of the best progress." in text


def test_a_single_arm_is_not_called_the_best():
    text = picture(summary_table(summary().iloc[2:3], JUDGING))
    assert "best" not in text.lower()
    assert "1.071 ±0.013" in text


def test_with_one_seed_there_is_no_interval_and_no_word_of_one():
    frame = summary().assign(n=1, n_diverged=[0, 0, 0, 0, 1, 1], n_collapsed=0)
    frame = frame.assign(**{c: math.nan for c in frame if c.endswith(("ci_low", "ci_high"))})
    text = picture(summary_table(frame, JUDGING))
    assert "±" not in text
    assert "1.071" in text


def test_runs_that_the_machine_failed_have_a_column_only_where_there_are_any():
    assert "not run" not in picture(summary_table(summary(), JUDGING), 120)
    frame = summary().assign(n_failed=[0, 3, 0, 0, 0, 0])
    assert "3/10" in picture(summary_table(frame, JUDGING), 120)
    assert "not run: out of memory" in picture(summary_table(frame, JUDGING), 120)


def test_a_long_table_shows_its_ends_and_its_best_and_counts_the_rest():
    many = pd.concat([summary().assign(best=False, tied=False)] * 50, ignore_index=True)
    many = many.assign(lr=[0.001 * (i + 1) for i in range(300)], best=[i == 150 for i in range(300)])
    text = picture(summary_table(many, JUDGING))
    assert "best  0.151" in text
    assert text.count("⋮") == 2
    assert "275 rows left out: --all shows every row." in text
    assert "⋮" not in picture(summary_table(many, JUDGING, all_rows=True))


def test_a_wide_table_shows_what_fits_and_says_where_the_rest_is():
    wide = pd.DataFrame({f"column_{i:02}": [i + 0.5, i] for i in range(40)})
    text = picture(records_table(wide), 50)
    assert text.startswith("column_00")
    assert "36 more columns: --format csv shows all." in text


def test_a_column_that_never_changes_gives_way_first():
    frame = pd.DataFrame({"data": ["mnist1d"] * 3, "x" * 30: [1, 2, 3], "loss": [0.1, 0.2, 0.3]})
    assert "data" not in picture(records_table(frame), 40).splitlines()[0]


def test_an_empty_file_is_told_as_such():
    assert "No rows." in picture(records_table(pd.DataFrame({"lr": []})))
    assert "No columns." in picture(records_table(pd.DataFrame()))


def test_markdown_shows_cells_as_they_are():
    text = markdown(records_table(pd.DataFrame({"a|b": ["*x*", "kaiming_normal", "_y_", "<b>"], "n": [1, 2, 3, 4]})))
    assert r"| a\|b | n |" in text
    assert r"| \*x\* | 1 |" in text
    assert "| kaiming_normal | 2 |" in text
    assert r"| \_y\_ | 3 |" in text
    assert r"| \<b\> | 4 |" in text


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (GOLDEN / f"{name}.txt").write_text(draw(), encoding="utf-8")
