"""The set tied with the best, held by simulation to excluding any of equal arms in 5 % of experiments at most.

Each share below is of 1000 seeded experiments unless it says otherwise, so three standard errors of 5 % are 2 %: a
bound of 0.07 allows that much and no more.
"""

import numpy as np
import pytest
from scipy import stats

from nnlab.analysis.paired import holm
from nnlab.analysis.ties import critical_distance, ties_with_best

ALLOWED = 0.07


def _equal_arms(num_arms, num_seeds, spreads=1.0, experiments=1000):
    generator = np.random.default_rng(7)
    noise = generator.standard_normal((experiments, num_arms, num_seeds)) * np.reshape(spreads, (-1, 1))
    return noise + 2.0 * generator.standard_normal((experiments, 1, num_seeds))  # what a seed does to every arm


def _share_excluding_any(experiments):
    return np.mean([not ties_with_best(values).all() for values in experiments])


def _holm_against_the_observed_best_excludes_any(values):
    best = values[values.mean(axis=1).argmin()]
    others = np.delete(values, values.mean(axis=1).argmin(), axis=0)
    return min(holm(stats.ttest_rel(others, best, axis=1).pvalue.tolist())) < 0.05


@pytest.mark.parametrize(("num_arms", "num_seeds"), [(2, 3), (2, 10), (6, 5), (16, 3), (16, 10), (10, 20)])
def test_among_equal_arms_any_is_excluded_in_5_percent(num_arms, num_seeds):
    assert _share_excluding_any(_equal_arms(num_arms, num_seeds)) < ALLOWED


def test_64_equal_arms_too():
    assert _share_excluding_any(_equal_arms(64, 10)) < ALLOWED


@pytest.mark.parametrize("spreads", [np.geomspace(0.1, 10, 16), [10.0] + 15 * [1.0], [0.05] + 15 * [1.0]])
def test_unequal_spreads_exclude_no_more(spreads):
    assert _share_excluding_any(_equal_arms(16, 10, spreads)) < ALLOWED


def test_skewed_values_of_one_shape_exclude_no_more():
    assert _share_excluding_any(np.random.default_rng(8).lognormal(size=(1000, 16, 5))) < ALLOWED


@pytest.mark.parametrize(("rows", "num_seeds"), [(30, 3), (30, 10), (200, 5)])
def test_a_metric_counted_in_rows_excludes_no_more(rows, num_seeds):
    correct = np.random.default_rng(9).binomial(rows, 0.9, (1000, 16, num_seeds))
    assert _share_excluding_any(-correct / rows) < ALLOWED


def test_holm_against_the_observed_best_excludes_three_times_as_often():
    experiments = _equal_arms(16, 10, experiments=400)
    naive = np.mean([_holm_against_the_observed_best_excludes_any(values) for values in experiments])
    assert naive > 0.13
    assert _share_excluding_any(experiments) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_none_of_the_best_is_excluded_more_often_when_others_are_worse():
    for worse_by in (1.0, 3.0):
        experiments = _equal_arms(12, 8)
        experiments[:, 6:] += worse_by
        wrong = np.mean([not ties_with_best(values)[:6].all() for values in experiments])
        assert wrong < ALLOWED


def test_arms_far_off_are_excluded_and_do_not_shield_each_other():
    experiments = _equal_arms(16, 5, experiments=50)
    experiments[:, 8:] += 10.0
    tied = np.array([ties_with_best(values) for values in experiments])
    assert tied[:, 8:].mean() < 0.01


def test_the_best_is_always_tied_with_itself():
    for values in _equal_arms(5, 4, experiments=50):
        assert ties_with_best(values)[values.mean(axis=1).argmin()]


def test_with_two_arms_the_critical_distance_is_the_two_sided_point_of_t():
    for num_seeds in (5, 10, 20):
        # 20000 simulated experiments: the tail beyond it is 5 % to 0.5 % (three standard errors).
        tail = 2 * stats.t.sf(critical_distance(2, num_seeds), num_seeds - 1)
        assert tail == pytest.approx(0.05, abs=0.005)


def test_the_critical_distance_grows_with_arms_and_falls_with_seeds():
    assert critical_distance(3, 10) < critical_distance(8, 10) < critical_distance(32, 10)
    assert critical_distance(8, 20) < critical_distance(8, 10) < critical_distance(8, 4)


def test_one_seed_separates_nothing():
    assert ties_with_best([[1.0], [2.0], [300.0]]).tolist() == [True, True, True]


def test_where_no_arm_varies_over_seeds_differences_are_exact():
    assert ties_with_best([[0.5] * 3, [0.4] * 3, [0.4] * 3]).tolist() == [False, True, True]


def test_the_same_difference_at_three_seeds_of_a_counted_metric_separates_nothing():
    errors = np.array([[0.10, 0.20, 0.10], [0.20, 0.30, 0.20]])
    assert ties_with_best(errors).all()


def test_of_64_arms_those_that_are_5_standard_deviations_worse_are_separated():
    values = _equal_arms(64, 10, experiments=1)[0]
    values[40:] += 5.0
    flags = ties_with_best(values)
    assert not flags[40:].any()
    assert flags[:40].sum() > 30  # of equal arms a few may be excluded by chance
