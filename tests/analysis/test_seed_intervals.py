"""Intervals over seeds against scipy, closed forms and simulation."""

import numpy as np
import pytest
from scipy import stats

from nnlab.analysis.intervals import (
    Interval,
    interquartile_mean,
    logit_interval,
    metric_interval,
    t_interval,
)

VALUES = np.array([0.31, 0.28, 0.35, 0.30, 0.45, 0.29, 0.33, 0.27, 0.36, 0.90])


def test_the_t_interval_is_that_of_a_one_sample_t_test():
    interval = t_interval(VALUES)
    expected = stats.ttest_1samp(VALUES, 0.0).confidence_interval(0.95)
    assert interval.kind == "interval"
    assert interval.estimate == pytest.approx(VALUES.mean(), rel=1e-14)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_the_logit_interval_is_the_t_interval_carried_through_the_logit():
    interval = logit_interval(VALUES)
    mean = VALUES.mean()
    margin = stats.t.ppf(0.975, 9) * VALUES.std(ddof=1) / np.sqrt(10) / (mean * (1 - mean))
    expected = stats.logistic.cdf(stats.logistic.ppf(mean) + np.array([-margin, margin]))
    assert (interval.low, interval.high) == pytest.approx(tuple(expected), rel=1e-12)


def test_the_logit_interval_stays_inside_the_unit_interval_and_holds_the_mean_with_exact_ones_among_the_values():
    shares = [1.0, 1.0, 1.0, 0.99, 1.0, 0.9]
    interval = logit_interval(shares)
    assert t_interval(shares).high > 1.0
    assert 0.0 < interval.low < np.mean(shares) < interval.high < 1.0


def test_shares_get_the_logit_interval_and_losses_students():
    assert metric_interval("val_accuracy", VALUES) == logit_interval(VALUES)
    assert metric_interval("test_macro_f1", VALUES) == logit_interval(VALUES)
    assert metric_interval("val_loss", VALUES) == t_interval(VALUES)


def test_the_interquartile_mean_cuts_a_quarter_rounded_down_from_each_end():
    assert interquartile_mean([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 100.0]) == pytest.approx(4.5)
    assert interquartile_mean([1.0, 2.0, 30.0]) == pytest.approx(11.0)
    assert interquartile_mean([1.0, 2.0, 3.0, np.inf]) == pytest.approx(2.5)
    assert interquartile_mean([1.0, 2.0, np.inf, np.inf]) == np.inf


@pytest.mark.parametrize("interval", [t_interval, logit_interval])
def test_where_there_is_no_interval_the_kind_says_why(interval):
    assert interval([0.5]) == Interval("one seed", 0.5)
    assert interval([0.5, 0.5, 0.5]) == Interval("identical", 0.5)
    assert interval([1.0, 1.0]) == Interval("identical", 1.0)
    assert interval([0.5, np.nan]).kind == "not finite"
    assert interval([]).kind == "not finite"


def test_the_mean_of_losses_with_a_diverged_run_is_inf_and_has_no_interval():
    assert t_interval([1.0, 2.0, np.inf]) == Interval("not finite", np.inf)


def _coverage(interval, draws, truth):
    found = [interval(row) for row in draws]
    return np.mean([each.low <= truth <= each.high for each in found])


@pytest.mark.parametrize("interval", [t_interval, logit_interval], ids=["t", "logit"])
def test_intervals_cover_gaussian_values_in_93_to_97_percent_at_10_seeds(interval):
    draws = np.random.default_rng(1).normal(0.7, 0.03, (2000, 10))
    # 2000 experiments: three standard errors are 1.5 %.
    assert 0.93 <= _coverage(interval, draws, 0.7) <= 0.97


@pytest.mark.parametrize(("num_seeds", "covered"), [(5, 0.82), (10, 0.84)])
def test_for_lognormal_values_the_t_interval_covers_what_the_docs_say(num_seeds, covered):
    draws = np.random.default_rng(3).lognormal(size=(2000, num_seeds))
    # Three standard errors of 2000 experiments.
    assert _coverage(t_interval, draws, np.exp(0.5)) == pytest.approx(covered, abs=0.026)
