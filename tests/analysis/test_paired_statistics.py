"""Paired tests against scipy's, closed forms and simulation."""

import numpy as np
import pytest
from scipy import stats

from nnlab.analysis.paired import detectable_difference, holm, paired_test, sign_flip_p, wins

BASELINE = np.array([0.52, 0.55, 0.49, 0.60, 0.51, 0.58, 0.53, 0.57])
ARM = BASELINE + np.array([-0.03, -0.01, -0.04, 0.01, -0.02, -0.05, -0.03, -0.02])


def test_the_primary_test_is_scipys_paired_t():
    test = paired_test(ARM, BASELINE)
    expected = stats.ttest_rel(ARM, BASELINE)
    ends = expected.confidence_interval(0.95)
    assert test.p == pytest.approx(expected.pvalue, rel=1e-10)
    assert (test.difference.low, test.difference.high) == pytest.approx((ends.low, ends.high), rel=1e-10)
    assert (test.n, test.direction) == (8, -1)


@pytest.mark.parametrize("num_pairs", [2, 5, 8, 12])
def test_the_sign_flip_p_is_scipys_exact_permutation_p(num_pairs):
    d = np.random.default_rng(num_pairs).normal(0.5, 1.0, num_pairs)
    expected = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(d) == pytest.approx(expected.pvalue, rel=1e-12)


def test_the_sign_flip_p_is_never_below_two_in_two_to_the_n():
    for num_pairs in (1, 3, 5, 10, 16):
        assert sign_flip_p(np.arange(1.0, num_pairs + 1)) == 2 / 2**num_pairs
    assert sign_flip_p(np.full(5, 0.1)) > 0.05


def test_above_16_pairs_random_signs_from_a_fixed_generator_stand_for_all():
    d = np.random.default_rng(5).normal(0.4, 1.0, 18)
    signs = 1 - 2 * ((np.arange(2**17)[:, None] >> np.arange(18)) & 1)
    exact = np.mean(np.abs(signs @ d) >= abs(d.sum()) - 1e-12)
    assert sign_flip_p(d) == sign_flip_p(d)
    # Three standard errors of 65536 random patterns.
    assert sign_flip_p(d) == pytest.approx(exact, abs=3 * np.sqrt(exact * (1 - exact) / 2**16))


def test_holm_by_hand_and_none_counts_for_nothing():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, None, 0.02]) == [0.9, None, 0.04]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_true_difference_of_the_detectable_size_is_found_in_80_percent():
    generator = np.random.default_rng(6)
    unit = generator.normal(size=10)
    delta = detectable_difference(unit) / unit.std(ddof=1)
    found = stats.ttest_1samp(generator.normal(delta, 1.0, (20_000, 10)), 0.0, axis=1).pvalue < 0.05
    # 20000 experiments: three standard errors are 0.85 %.
    assert found.mean() == pytest.approx(0.8, abs=0.0085)
    # Cohen 1988's table for the one-sample t: n = 10, power 0.8 needs d = 1.0.
    assert delta == pytest.approx(0.996, abs=0.002)


def test_the_detectable_difference_grows_with_the_family_and_falls_with_pairs():
    d = np.random.default_rng(7).normal(size=10)
    assert detectable_difference(d, family=9) > detectable_difference(d)
    assert detectable_difference(np.tile(d, 4)) < detectable_difference(d)
    assert detectable_difference(d[:2], family=63) > 100 * d[:2].std()
    assert detectable_difference([0.1]) is None
    assert detectable_difference([0.1, 0.1, 0.1]) is None
    assert detectable_difference([0.1, np.inf]) is None


def test_wins_count_pairs_by_what_is_better_and_a_tie_is_no_win():
    assert wins([1.0, 2.0, 3.0, np.inf], [2.0, 2.0, 2.0, 2.0], higher_is_better=False) == 1
    assert wins([1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.0, -np.inf], higher_is_better=True) == 2


def test_a_diverged_run_is_ranked_as_the_largest_difference():
    test = paired_test([np.inf, 1.0, 1.2, 1.1], [1.3, 1.1, 1.5, 1.3])
    # |d| = inf, 0.1, 0.3, 0.2 ranks 4, 1, 3, 2, with signs + - - -.
    expected = stats.permutation_test(
        (np.array([4.0, -1.0, -3.0, -2.0]),), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert test.p == test.p_sign_flip == pytest.approx(expected.pvalue)
    assert test.difference.kind == "not finite"
    assert test.direction == -1


def test_an_arm_that_always_diverges_is_worse_at_ten_seeds_and_not_at_five():
    baseline = np.linspace(1.0, 1.1, 10)
    assert paired_test(np.full(10, np.inf), baseline).p == 2 / 2**10
    assert paired_test(np.full(5, np.inf), baseline[:5]).p == 2 / 2**5
    assert paired_test(np.full(10, np.inf), baseline).direction == 1


def test_two_arms_that_both_diverge_do_not_differ():
    test = paired_test(np.full(4, np.inf), np.full(4, np.inf))
    assert (test.direction, test.p) == (0, None)


def test_equal_differences_without_spread_are_judged_by_their_signs():
    baseline = np.array([0.90, 0.93, 0.87, 0.90])
    test = paired_test(baseline + 0.01, baseline)
    assert test.p == test.p_sign_flip == 2 / 2**4


def test_inert_seeds_have_no_p_and_an_exact_direction():
    test = paired_test(np.full(6, 0.25), np.full(6, 0.5))
    assert (test.p, test.p_sign_flip, test.direction) == (None, None, -1)
    assert test.difference.kind == "identical"


def test_one_pair_has_no_p():
    assert paired_test([1.0], [2.0]).p is None


def test_the_paired_t_keeps_its_error_at_5_percent_for_gaussian_and_lognormal_pairs():
    generator = np.random.default_rng(8)
    for draws in (generator.normal(size=(1000, 2, 10)), generator.lognormal(size=(1000, 2, 10))):
        wrong = np.mean([paired_test(a, b).p < 0.05 for a, b in draws])
        # 5 % plus three standard errors of 1000 experiments.
        assert wrong < 0.05 + 0.021
