"""Rounding for the eye."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnlab.core.spec import parse_rates
from nnlab.report.cells import align, distinct_numbers, estimate, is_true, number, value

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("given_value", "shown"),
    [
        (0.412345, "0.4123"),
        (0.5, "0.5"),
        (10.0, "10"),
        (0.00184784979742, "0.001848"),
        (12345.6, "12346"),
        (999_999.7, "1e6"),
        (999.96, "1000"),
        (0.99999, "1"),
        (1e-5, "1e-5"),
        (1.23456e-7, "1.235e-7"),
        (9.87654e20, "9.877e20"),
        (-0.03, "-0.03"),
        (-0.0, "0"),
        (0.0, "0"),
        (INF, "inf"),
        (-INF, "-inf"),
    ],
)
def test_a_number_has_four_digits_and_no_zeros_for_nothing(given_value, shown):
    assert number(given_value) == shown


@given(st.floats(-1e300, 1e300))
def test_a_rounded_number_is_the_number_to_three_digits_or_better(x):
    # Half a unit in the fourth digit is at most 5e-4 of the value; subnormal numbers have fewer digits themselves.
    assert float(number(x)) == pytest.approx(x, rel=5.1e-4, abs=1e-320)
    assert len(number(x)) <= 11


@given(st.floats(1e-12, 1e12), st.floats(1e-12, 1e12), st.floats(0.67, 1))
def test_an_estimate_is_right_to_a_sixth_of_its_interval(mean, half, evenness):
    text = estimate(mean, mean - half * evenness, mean + half)
    shown, _, margin = text.partition(" ±")
    # One digit from 3.55 on, two below: half a unit of 3.6 is 0.14 of it. Beside a far larger mean: 6 digits of the mean.
    assert float(shown) == pytest.approx(mean, abs=0.16 * half + 1e-5 * mean)
    assert float(margin) == pytest.approx(half, rel=0.16, abs=1e-5 * mean)


@pytest.mark.parametrize(
    ("given_values", "shown"),
    [
        ((0.412345, 0.399, 0.4257), "0.412 ±0.013"),
        ((1.23456, 1.15, 1.31), "1.23 ±0.08"),
        ((0.412345, NAN, NAN), "0.4123"),
        ((0.5, None, None), "0.5"),
        ((56789.0, 55555.0, 58023.0), "56800 ±1200"),
        ((-0.001, -0.5, 0.498), "0.0 ±0.5"),
        ((3.21e-7, 3.11e-7, 3.31e-7), "3.21e-7 ±1e-8"),
        ((0.4123456, 0.4123456 - 1e-12, 0.4123456 + 1e-12), "0.412346 ±1e-12"),
        ((INF, NAN, NAN), "inf"),
        ((NAN, NAN, NAN), "-"),
        ((0.97, 0.94, 0.985), "0.970 [0.940, 0.985]"),
        ((0.412, 0.399, 0.426), "0.412 ±0.014"),
        ((0.0, -1e-5, 1e-5), "0 ±1e-5"),
    ],
)
def test_an_estimate_has_the_digits_that_its_interval_justifies(given_values, shown):
    assert estimate(*given_values) == shown


def test_a_brief_estimate_has_one_digit_of_the_longer_side():
    assert estimate(0.97, 0.94, 0.985, brief=True) == "0.97 ±0.03"
    assert estimate(2.2931, 2.2900, 2.2962, brief=True) == "2.293 ±0.003"


def test_rates_get_as_many_digits_as_tell_them_apart():
    assert distinct_numbers(parse_rates("1e-3:10:5", what="lr")) == ["0.001", "0.01", "0.1", "1", "10"]
    assert distinct_numbers([0.1, 0.10001]) == ["0.1", "0.10001"]
    close = parse_rates("0.1,0.10000000000000002", what="lr")
    assert len(set(distinct_numbers(close))) == 2


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (True, "true"),
        (False, "false"),
        (None, "-"),
        (NAN, "-"),
        (pd.NA, "-"),
        ("", "-"),
        (3, "3"),
        (0.25, "0.25"),
        ("[red]x[/red]", "[red]x[/red]"),
        ("a\nb", r"a\nb"),
    ],
)
def test_any_cell_of_a_frame_has_a_text(cell, shown):
    assert value(cell) == shown


def test_flags_are_read_from_frames_and_from_text():
    assert [is_true(flag) for flag in (True, False, "true", "false", None, NAN, pd.NA)] == [True, False, True] + [
        False
    ] * 4


def test_numbers_stand_with_their_points_above_each_other():
    assert align(["0.001", "10", "inf", "1.85", "-", "-2"]) == [
        " 0.001",
        "10    ",
        "inf   ",
        " 1.85 ",
        "-     ",
        "-2    ",
    ]
    assert align([]) == []
