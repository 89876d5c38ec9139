"""Text from a person is harmless in a terminal, and every sign has a spelling in ASCII."""

from __future__ import annotations

import math

import pytest

from nnlab.report.text import as_ascii, plain_text, sparkline

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("kaiming_normal", "kaiming_normal"),
        ("größe ± 数", "größe ± 数"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("two\nlines\tand a tab", r"two\nlines\tand a tab"),
        ("right\u202eto left", r"right\u202eto left"),
        ("byte \udcff", r"byte \udcff"),
        (7, "7"),
    ],
)
def test_control_characters_are_made_visible_and_letters_left_alone(given, shown):
    assert plain_text(given) == shown


def test_every_sign_that_tables_draw_has_a_spelling_in_ascii():
    drawn = "0.4 ±0.1 " + sparkline([1, 2, INF, -INF, NAN]) + " … ⋮ λ → 2×3 ≤ ∞"
    assert as_ascii(drawn).isascii()


def test_a_sparkline_spans_its_finite_values():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], ascii_only=True) == "_.-:=+*#"


def test_what_is_not_finite_has_signs_of_its_own_in_a_sparkline():
    assert sparkline([1.0, NAN, 2.0, INF, -INF]) == "▁ █↑↓"
    assert sparkline([NAN, INF]) == " ↑"
    assert sparkline([]) == ""


def test_equal_values_stand_half_way_and_enormous_ones_do_not_overflow():
    assert sparkline([3.0, 3.0]) == "▅▅"
    assert sparkline([-1.7e308, 0.0, 1.7e308]) == "▁▅█"


def test_a_long_sparkline_keeps_its_width_and_both_ends():
    line = sparkline([9.0, *[5.0] * 1000, 1.0], 8)
    assert len(line) == 8
    assert (line[0], line[-1]) == ("█", "▁")
    assert sparkline([1.0, 2.0], 1) == "▅"
