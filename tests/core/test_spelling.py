"""Settings in messages: one mark, spelled by each front end in its own way, and never changed into anything else."""

from __future__ import annotations

import shlex
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnlab.core.errors import UsageError
from nnlab.core.kinds import parse_value
from nnlab.core.spelling import (
    as_flag,
    as_key,
    as_keyword,
    as_plain,
    mention,
    mentioned_setting,
    mentioned_settings,
    spell,
    spell_value,
    with_value,
)

SPELLED = [
    # mark, then at the command line, in Python, in a file, without a front end
    (mention("batch_size"), "--batch-size", "batch_size=", "batch_size", "batch_size"),
    (mention("missing", "drop"), "--missing drop", "missing='drop'", 'missing = "drop"', "missing drop"),
    (mention("validation", 0), "--validation 0", "validation=0", "validation = 0", "validation 0"),
    (mention("lr", 1e-05), "--lr 1e-05", "lr=1e-05", "lr = 1e-05", "lr 1e-05"),
    (mention("standardize", False), "--no-standardize", "standardize=False", "standardize = false", "standardize false"),
    (mention("explain", True), "--explain", "explain=True", "explain = true", "explain true"),
    (mention("vary", "lr=1,2"), "--vary lr=1,2", "vary='lr=1,2'", 'vary = "lr=1,2"', "vary lr=1,2"),
    (f"{mention('init')} {'x'!r}", "--init 'x'", "init='x'", "init = 'x'", "init 'x'"),
    (f"{mention('vary', 'lr')} {'1,1'!r}", "--vary lr '1,1'", "vary='lr' '1,1'", "vary = \"lr\" '1,1'", "vary lr '1,1'"),
    (f"{mention('init')} is x", "--init is x", "init= is x", "init is x", "init is x"),
]  # fmt: skip


@pytest.mark.parametrize(("mark", "flag", "keyword", "key", "plain"), SPELLED, ids=[row[1] for row in SPELLED])
def test_each_front_end_spells_a_setting_as_it_is_written_there(mark, flag, keyword, key, plain):
    spelled = [spell(f"Say {mark}.", spelling) for spelling in (as_flag, as_keyword, as_key, as_plain)]
    assert spelled == [f"Say {words}." for words in (flag, keyword, key, plain)]


@pytest.mark.parametrize(
    "value", [0, -3, 0.1, 1e300, "moons:noise=0.2", "1e-3:1:7", "it's", 'a "b"', "drop", True, False]
)
def test_what_is_spelled_can_be_written_there_and_is_the_same_value(value):
    text = spell_value(value)
    assert spell_value(eval(f"dict({spell(mention('x', value), as_keyword)})")["x"]) == text
    if '"' not in text:
        assert spell_value(tomllib.loads(spell(mention("x", value), as_key))["x"]) == text
    words = spell(mention("x", value), as_flag)
    assert words in ("--x", "--no-x") if isinstance(value, bool) else words.partition(" ")[2] == text
    assert shlex.split("--x") == ["--x"]


@given(st.text(st.characters(exclude_characters="⟨⟩")))
def test_a_text_without_marks_stays_as_it_is(text):
    for spelling in (as_flag, as_keyword, as_key, as_plain):
        assert spell(text, spelling) == text
    assert mentioned_settings(text) == ()


def test_a_mention_takes_a_value_and_other_words_get_it_after_a_space():
    assert with_value(mention("init"), "normal:std") == mention("init", "normal:std")
    assert with_value("nnlab list losses", "huber") == "nnlab list losses huber"
    assert mentioned_setting(mention("init")) == "init"
    assert mentioned_setting("nnlab list losses") is None


def test_the_settings_of_a_message_are_named_once_and_in_order():
    text = f"{mention('lr')} and {mention('data', 'moons')}; {mention('lr', 0.1)}"
    assert mentioned_settings(text) == ("lr", "data")


def test_an_error_reads_plainly_and_in_the_words_of_a_front_end():
    error = UsageError(f"{mention('batch_size')} takes a count, not {'x'!r}. Say {mention('batch_size', 'full')}.")
    assert str(error) == "batch_size takes a count, not 'x'. Say batch_size full."
    assert str(error.respell(as_flag)) == "--batch-size takes a count, not 'x'. Say --batch-size full."
    assert str(error.respell(as_keyword)) == "batch_size= takes a count, not 'x'. Say batch_size='full'."
    assert type(error.respell(as_flag)) is UsageError


def test_the_parsers_of_values_name_the_setting_that_they_are_given():
    with pytest.raises(UsageError) as wrong:
        parse_value("Count", "0", what=mention("epochs"))
    assert wrong.value.respell(as_flag).message == "--epochs takes a whole number of 1 or more, not '0'."
