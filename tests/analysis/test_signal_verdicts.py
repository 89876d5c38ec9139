"""compare-init's verdicts, each on the layers that show it."""

import math

import pandas as pd
import pytest

from nnlab.analysis.init_verdicts import InitVerdict, init_verdict, majority_verdict


def _layers(**columns):
    """Four layers of a healthy network, with the columns given in their place."""
    healthy = {
        "layer": [1, 2, 3, 4],
        "units": [100, 100, 100, 10],
        "distinct_units": [100, 100, 100, 10],
        "between_sample_sd": [1.0, 0.9, 0.9, 0.8],
        "delta_rms": [0.02, 0.02, 0.03, 0.03],
        "dead_fraction": [0.0, 0.01, 0.02, math.nan],
        "saturated_fraction": [0.0, 0.0, 0.0, math.nan],
    }
    return pd.DataFrame(healthy | columns)


def _verdict(first_loss=2.4, **columns):
    return init_verdict(_layers(**columns), first_loss=first_loss, constant_loss=2.3)


@pytest.mark.parametrize(
    ("word", "columns"),
    [
        ("healthy", {}),
        ("symmetric", {"distinct_units": [100, 1, 100, 10]}),
        ("exploding", {"between_sample_sd": [1.0, 50.0, 300.0, 1001.0]}),
        ("exploding", {"delta_rms": [31.0, 1.0, 0.1, 0.03]}),
        ("exploding", {"between_sample_sd": [1.0, math.inf, math.nan, math.nan]}),
        ("exploding", {"first_loss": 23.1}),
        ("exploding", {"first_loss": math.nan}),
        ("vanishing", {"between_sample_sd": [1.0, 0.1, 0.01, 0.0009]}),
        ("vanishing", {"delta_rms": [0.00002, 0.001, 0.01, 0.03]}),
        ("vanishing", {"between_sample_sd": [0.0, 0.0, 0.0, 0.0]}),
        ("dead", {"dead_fraction": [0.0, 0.51, 0.0, math.nan]}),
        ("saturated", {"saturated_fraction": [0.6, 0.7, 0.1, math.nan]}),
    ],
)
def test_each_verdict_falls_as_defined(word, columns):
    assert _verdict(**columns).verdict == word


def test_bounds_themselves_are_healthy():
    assert _verdict(between_sample_sd=[1.0, 1.0, 1.0, 1000.0], delta_rms=[1.0, 1.0, 1.0, 1.0]).verdict == "healthy"
    assert _verdict(first_loss=23.0, dead_fraction=[0.5] * 4, saturated_fraction=[0.5] * 4).verdict == "healthy"


def test_the_first_match_wins():
    columns = {"between_sample_sd": [1.0, 1.0, 1.0, 1e-9], "dead_fraction": [0.9] * 4}
    assert _verdict(**columns).verdict == "vanishing"
    assert _verdict(**columns, distinct_units=[1, 1, 1, 10]).verdict == "symmetric"


def test_an_output_of_one_unit_is_not_symmetric():
    assert _verdict(distinct_units=[100, 100, 100, 1]).verdict == "healthy"


def test_a_hidden_layer_of_one_unit_is_not_symmetric():
    narrow = {"units": [100, 1, 100, 10], "distinct_units": [100, 1, 100, 10]}
    assert _verdict(**narrow).verdict == "healthy"
    assert _verdict(**narrow | {"distinct_units": [100, 1, 1, 10]}).reason == "all units of layer 3 compute the same"


def test_the_reason_names_the_layer_and_the_numbers():
    assert _verdict(distinct_units=[100, 1, 100, 10]).reason == "all units of layer 2 compute the same"
    assert _verdict(dead_fraction=[0.0, 0.6, 0.2, math.nan]).reason == "in layer 2 60 % of units are zero on every row"
    assert _verdict().reason == "signal x 0.8 from layer 1 to 4, gradient x 0.67 from layer 4 to 1"


def test_rows_may_come_in_any_order():
    shuffled = _layers(between_sample_sd=[1.0, 0.1, 0.01, 0.0001]).iloc[[2, 0, 3, 1]]
    assert init_verdict(shuffled, first_loss=2.3, constant_loss=2.3).verdict == "vanishing"


def test_a_linear_model_of_one_layer_is_judged_too():
    assert init_verdict(_layers().iloc[-1:], first_loss=2.3, constant_loss=2.3).verdict == "healthy"


def test_the_majority_of_seeds_decides_and_among_equals_the_first_defined():
    healthy, dead, exploding = InitVerdict("healthy", "h"), InitVerdict("dead", "d"), InitVerdict("exploding", "e")
    assert majority_verdict([healthy, dead, healthy]) == InitVerdict("healthy", "h (2 of 3 seeds)")
    assert majority_verdict([healthy, dead, exploding]) == InitVerdict("exploding", "e (1 of 3 seeds)")
    assert majority_verdict([dead, dead]) == InitVerdict("dead", "d")
