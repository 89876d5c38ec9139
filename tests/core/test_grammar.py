"""The grammar of ingredients, lists, grids and seeds: what it reads, and that it refuses everything else in words."""

from __future__ import annotations

import math
import string
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from nnlab.core.errors import UsageError, did_you_mean, unknown_name
from nnlab.core.kinds import KINDS, parse_value
from nnlab.core.spec import (
    LARGEST_SEED,
    MOST_LEVELS,
    Spec,
    parse_rate,
    parse_rates,
    parse_seeds,
    parse_spec,
    split_list,
)
from nnlab.core.spelling import spell_value

WHAT: Final = "--flag"
IDENTIFIERS: Final = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)
# A value may hold a colon (`my.py:decay`), but no part of it after a colon may look like another key.
PLAIN: Final = st.text(string.ascii_letters + string.digits + "._-+x*/()", min_size=1, max_size=12)
VALUES: Final = st.lists(PLAIN, min_size=1, max_size=3).map(":".join)
NAMES: Final = st.one_of(IDENTIFIERS, st.builds("{}.py:{}".format, IDENTIFIERS, IDENTIFIERS))
SPECS: Final = st.builds(
    Spec, NAMES, st.lists(st.tuples(IDENTIFIERS, VALUES), max_size=4, unique_by=lambda option: option[0]).map(tuple)
)
RATES: Final = st.floats(min_value=5e-324, max_value=1.7e308, allow_nan=False, allow_infinity=False)

PARSERS: Final[dict[str, Callable[..., object]]] = {
    "parse_spec": parse_spec,
    "split_list": split_list,
    "parse_rate": parse_rate,
    "parse_rates": parse_rates,
    "parse_seeds": parse_seeds,
}


def refusal(parse: Callable[..., object], text: str) -> str:
    """The message with which `parse` refuses `text`: it names the option."""
    with pytest.raises(UsageError) as caught:
        parse(text, what=WHAT)
    message = str(caught.value)
    assert WHAT in message
    assert caught.value.exit_code == 2
    return message


# Ingredients


@given(SPECS)
def test_an_ingredient_reads_back_from_its_spelling(spec):
    assert parse_spec(str(spec), what=WHAT) == spec
    assert parse_spec(f"  {spec}\n", what=WHAT) == spec


def test_a_part_without_an_equals_sign_belongs_to_what_stands_before_it():
    assert parse_spec("my.py:build:width=64", what=WHAT) == Spec("my.py:build", (("width", "64"),))
    assert parse_spec("lambda:lr_lambda=my.py:decay:gamma=2", what=WHAT) == Spec(
        "lambda", (("lr_lambda", "my.py:decay"), ("gamma", "2"))
    )
    assert parse_spec("a:key=x=y", what=WHAT).option("key") == "x=y"


@pytest.mark.parametrize(
    "text",
    ["", "  ", ":", "=", "=3", "std=0.5", ":std=0.5", "a:", "a::b", "a:b=1:", "a:=3", "a:b=", "a:b=:c=1", "a:1b=2"],
)
def test_an_ingredient_without_a_name_a_key_or_a_value_is_refused(text):
    message = refusal(parse_spec, text)
    assert repr(text) in message
    assert "such as" in message


def test_a_key_given_twice_is_refused():
    assert "'std' twice" in refusal(parse_spec, "normal:std=1:std=2")


@given(SPECS, IDENTIFIERS, VALUES)
def test_an_option_set_is_the_option_found_and_the_others_stay(spec, key, value):
    changed = spec.with_option(key, value)
    assert changed.option(key) == value
    assert [option for option in changed.options if option[0] != key] == [o for o in spec.options if o[0] != key]
    assert spec.option("no such key") is None


# Values


@given(st.sampled_from(sorted(KINDS)), st.data())
def test_a_value_reads_back_from_its_spelling(kind, data):
    value = data.draw(VALUES_OF[kind])
    assert parse_value(kind, spell_value(value), what=WHAT) == value


VALUES_OF: Final = {
    "Number": st.floats(allow_nan=False, allow_infinity=False),
    "Positive": RATES,
    "NonNegative": st.floats(min_value=0, allow_infinity=False),
    "Fraction": st.floats(min_value=0, max_value=1, exclude_max=True),
    "Probability": st.floats(min_value=0, max_value=1),
    "Count": st.integers(1, 10**17),
    "Whole": st.integers(0, 10**17),
    "Flag": st.booleans(),
    "Gain": st.one_of(RATES, st.just("auto")),
    "Word": st.text(min_size=1),
    "Sizes": st.lists(st.integers(1, 10**6), min_size=1).map(tuple),
    "Numbers": st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1).map(tuple),
}

NOT_NUMBERS: Final = [
    "",
    " ",
    "inf",
    "-inf",
    "Infinity",
    "nan",
    "NaN",
    "1_0.5",
    "1_000",
    "0x10",
    "1e",
    "1e400",
    "-1e400",
    "1e-400",
    "1,5",
    " 1",
    "1\n",
    "٣",  # a three in Arabic-Indic digits
    "１",  # a full-width one
    "½",
    "1.2.3",
    "--1",
    "1e1.5",
    ".",
    "e5",
    "1j",
    "True",
]


@pytest.mark.parametrize("text", NOT_NUMBERS)
@pytest.mark.parametrize("kind", ["Number", "Positive", "NonNegative", "Fraction", "Probability", "Gain", "Numbers"])
def test_what_is_no_plain_finite_number_is_refused_by_every_kind_of_number(kind, text):
    if (kind, text) == ("Numbers", "0x10"):
        return  # the two numbers 0 and 10
    message = refusal(lambda given, what: parse_value(kind, given, what=what), text)
    assert repr(text) in message
    assert "number" in message


@pytest.mark.parametrize("text", [*NOT_NUMBERS, "1.0", "1e3", "-1", "9" * 19, "9" * 10_000])
@pytest.mark.parametrize("kind", ["Count", "Whole", "Sizes"])
def test_what_is_no_whole_number_is_refused_by_every_kind_of_count(kind, text):
    assert "whole number" in refusal(lambda given, what: parse_value(kind, given, what=what), text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("Positive", "0"),
        ("Positive", "-1e-9"),
        ("NonNegative", "-0.1"),
        ("Fraction", "1"),
        ("Fraction", "-0.1"),
        ("Probability", "1.01"),
        ("Count", "0"),
        ("Gain", "0"),
        ("Gain", "Auto"),
        ("Flag", "maybe"),
        ("Flag", "２"),
        ("Word", ""),
        ("Sizes", "100x"),
        ("Sizes", "100,100"),
        ("Sizes", "0x3"),
        ("Sizes", "x"),
        ("Numbers", "0.5xx1"),
    ],
)
def test_a_value_out_of_its_kind_is_refused_with_what_is_accepted(kind, text):
    message = refusal(lambda given, what: parse_value(kind, given, what=what), text)
    assert KINDS[kind].accepts in message
    assert repr(text) in message


def test_a_switch_is_read_in_its_usual_spellings():
    assert [parse_value("Flag", text, what=WHAT) for text in ("true", "Yes", "ON", "1")] == [True] * 4
    assert [parse_value("Flag", text, what=WHAT) for text in ("false", "No", "off", "0")] == [False] * 4


# Lists


@given(st.lists(PLAIN.filter(lambda part: not set("()") & set(part)), min_size=1, max_size=6, unique=True))
def test_a_list_is_split_at_its_commas(parts):
    assert split_list(", ".join(parts), what=WHAT) == tuple(parts)
    assert split_list(",".join(parts) + ",", what=WHAT) == tuple(parts)


@pytest.mark.parametrize("text", ["", ",", ",,", "a,,b", ",a", "a,b,,", " , a"])
def test_an_empty_part_of_a_list_is_refused(text):
    assert repr(text) in refusal(split_list, text)


def test_a_part_given_twice_is_refused_and_named():
    assert "'b' twice" in refusal(split_list, "a,b,c,b")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("lambda:lr_lambda=max(0.1,1-epoch/10),step", ("lambda:lr_lambda=max(0.1,1-epoch/10)", "step")),
        ("max(0.1,min(1,epoch)),none", ("max(0.1,min(1,epoch))", "none")),
        ("f(g(1,2),h(3,4)),b", ("f(g(1,2),h(3,4))", "b")),
        ("a[1,2],b", ("a[1,2]", "b")),
        ("a),b", ("a)", "b")),
    ],
)
def test_commas_inside_brackets_however_deep_belong_to_the_part(text, parts):
    assert split_list(text, what=WHAT) == parts


@pytest.mark.parametrize(
    "text", ["(" * 50_000 + ",", "," * 100_000, "a,(" * 30_000, ",".join(map(str, range(MOST_LEVELS)))]
)
def test_a_long_list_takes_no_longer_than_its_length_calls_for(text):
    start = time.process_time()
    with suppress(UsageError):
        split_list(text, what=WHAT)
    assert time.process_time() - start < 2.0  # a tenth of a second; what grows with the square takes minutes


def test_more_values_than_anyone_means_are_refused():
    assert f"at most {MOST_LEVELS}" in refusal(split_list, ",".join(map(str, range(MOST_LEVELS + 1))))


# Rates


@given(st.lists(RATES, min_size=1, max_size=8, unique=True))
def test_rates_come_ascending_and_read_back_from_their_spelling(rates):
    found = parse_rates(",".join(map(repr, rates)), what=WHAT)
    assert found == tuple(sorted(rates))


@given(RATES, RATES, st.integers(2, 60))
@example(1e-300, 1e300, 5)  # the ratio of the ends overflows
@example(5e-324, 1.7e308, 3)
def test_a_grid_has_its_ends_exactly_and_a_constant_ratio_between(start, stop, count):
    start, stop = sorted((start, stop))
    # Below 1e-300 floats have too few digits for twelve; closer ends are refused, by another test.
    assume(start > 1e-300 or count < 4)
    assume(stop / start > 1.0001)
    rates = parse_rates(f"{start!r}:{stop!r}:{count}", what=WHAT)
    assert (rates[0], rates[-1], len(rates)) == (start, stop, count)
    assert all(a < b for a, b in pairwise(rates))
    logs = [math.log(rate) for rate in rates]
    step = (logs[-1] - logs[0]) / (count - 1)
    if start > 1e-300:
        # Twelve digits of a rate: 1e-12 in its logarithm; and log() itself rounds to 1e-13 where it is 700.
        assert all(b - a == pytest.approx(step, abs=1e-9) for a, b in pairwise(logs))


@given(st.integers(-8, 0), st.integers(1, 4), st.integers(1, 12), st.integers(2, 5))
def test_grids_that_share_points_share_them_exactly(exponent, decades, count, factor):
    start, stop = f"1e{exponent}", f"1e{exponent + decades}"
    coarse = parse_rates(f"{start}:{stop}:{count + 1}", what=WHAT)
    fine = parse_rates(f"{start}:{stop}:{count * factor + 1}", what=WHAT)
    assert fine[::factor] == coarse
    longer = parse_rates(f"{start}:1e{exponent + 2 * decades}:{2 * count + 1}", what=WHAT)
    assert longer[: count + 1] == coarse


def test_a_grid_over_decades_has_round_points():
    assert parse_rates("1e-3:10:5", what=WHAT) == (0.001, 0.01, 0.1, 1.0, 10.0)
    assert parse_rates("1e-3:10:16", what=WHAT)[1] == 0.00184784979742  # 10^(-3 + 4/15), to twelve digits


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "above 0"),
        ("-0.1", "above 0"),
        ("0.1,-0", "above 0"),
        ("0.1,0.1", "twice"),
        ("0.1,1e-1", "same rate twice"),
        ("inf", "'inf'"),
        ("0.1,nan", "'nan'"),
        ("0.1,,1", "empty part"),
        ("", "empty part"),
        ("1e-3:1", "START:STOP:COUNT"),
        ("1:2:3:4", "START:STOP:COUNT"),
        ("1e-3:1:1000000000", "from 2 to 100000"),
        ("1e-3:1:1", "from 2 to 100000"),
        ("1e-3:1:-5", "from 2 to 100000"),
        ("1e-3:1:1e2", "whole number"),
        ("1e-3:1:", "whole number"),
        ("1e-3:1:２", "whole number"),
        ("1e-3:1:1_0", "whole number"),
        (":1:5", "not ''"),
        ("1:1e-3:5", "below STOP"),
        ("1:1:5", "below STOP"),
        ("0:1:5", "above 0"),
        ("-1:1:5", "above 0"),
        ("1e-3:inf:5", "'inf'"),
        ("1:1.0000000000000002:5", "too close"),
        ("0.01;0.1", "'0.01;0.1'"),
    ],
)
def test_what_is_no_list_and_no_grid_of_rates_is_refused_in_words(text, said):
    assert said in refusal(parse_rates, text)


# Seeds


@given(st.integers(1, 1000))
def test_a_count_of_seeds_is_so_many_from_zero(count):
    assert parse_seeds(str(count), what=WHAT) == tuple(range(count))


@given(st.lists(st.integers(0, LARGEST_SEED), min_size=1, unique=True))
def test_a_list_of_seeds_keeps_its_order(seeds):
    assert parse_seeds(",".join(map(str, seeds)) + ",", what=WHAT) == tuple(seeds)


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-3",
        "",
        ",",
        "3,,5",
        "3,3",
        "3,03",
        "1.5",
        "1e3",
        "nan",
        "٣",
        "1_0",
        "-1,2",
        f"{2**53 + 1},",
        "100001",
        "9" * 30,
    ],
)
def test_what_is_no_count_and_no_list_of_seeds_is_refused(text):
    refusal(parse_seeds, text)


# Any text at all

TEXTS: Final = st.one_of(
    st.text(),
    st.text("0123456789.,:;x=+-eE_()[]infa \n\t٣\0"),
    st.lists(st.sampled_from(["1", "0.1", ":", ",", "=", "(", ")", "a", "inf", "1e999", "-", " ", "\ud800"])).map(
        "".join
    ),
)


def read_or_refused(parse: Callable[..., object], text: str) -> tuple[object, str]:
    """The value read, or None and the message; any other exception is a bug and passes through."""
    try:
        return parse(text, what=WHAT), ""
    except UsageError as refused:
        return None, str(refused)


@given(st.sampled_from(sorted(PARSERS)), TEXTS)
@example("parse_rates", "1e-323:1e308:100000")
def test_any_text_is_read_or_refused_in_words(name, text):
    _, message = read_or_refused(PARSERS[name], text)
    assert not message or (WHAT in message and len(message) > len(WHAT) + 10)


@given(st.sampled_from(sorted(KINDS)), TEXTS)
def test_any_text_is_a_value_of_its_kind_or_refused_with_what_is_accepted(kind, text):
    value, message = read_or_refused(lambda given, what: parse_value(kind, given, what=what), text)
    if message:
        assert f"{WHAT} takes " in message
        assert repr(text) in message
    else:
        # The spelling of what was read is read again as the same.
        assert parse_value(kind, spell_value(value), what=WHAT) == value


# Near misses


@pytest.mark.parametrize(
    ("given_name", "meant"),
    [("kaiming_nromal", "kaiming_normal"), ("rleu", "relu"), ("sdg", "sgd"), ("crossentropy", "cross_entropy")],
)
def test_a_near_miss_is_told_what_was_meant(given_name, meant):
    names = ["kaiming_normal", "relu", "sgd", "cross_entropy", "zeros"]
    message = str(unknown_name("--flag", given_name, names))
    assert repr(given_name) in message
    assert f"Did you mean {meant!r}?" in message


def test_a_name_like_no_other_is_answered_with_all_there_are():
    assert did_you_mean("qqq", ["relu", "tanh"]) == ""
    assert str(unknown_name("--flag", "qqq", ["tanh", "relu"])) == "--flag 'qqq' is not known. Accepted: relu, tanh"
    assert str(unknown_name("--flag", "qqq", ["tanh"], see="Look there.")).endswith("Look there.")
