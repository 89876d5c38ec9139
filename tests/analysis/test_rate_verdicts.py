"""sweep-lr's verdicts, each on the smallest sweep that shows it, and how a grid is extended."""

import itertools
import math

import pandas as pd
import pytest

from nnlab.analysis.rate_grids import extended_grid
from nnlab.analysis.verdicts import sweep_verdict
from nnlab.core.spec import parse_rates
from nnlab.core.spelling import mention

CONSTANT = 2.0
D, F = "diverged", "failed"


def _sweep(losses):
    """Rows of runs.csv from final training losses by rate; 'diverged' and 'failed' stand where there is none."""
    rows = []
    for lr, values in losses.items():
        for seed, value in enumerate(values):
            status = value if isinstance(value, str) else "done"
            loss = {D: math.inf, F: math.nan}.get(value, value)
            rows.append(
                (f"{lr}/{seed}", repr(lr), lr, seed, status, 12 + seed if status == D else None, loss, CONSTANT)
            )
    columns = ["run_id", "arm", "lr", "seed", "status", "diverged_step", "train_loss", "constant_loss"]
    return pd.DataFrame(rows, columns=columns)


TYPICAL = {
    0.001: [1.9, 1.9, 1.9],  # P = 0.1 / 1.5
    0.01: [0.64, 0.64, 0.64],  # P = 0.907
    0.1: [0.5, 0.5, 0.5],  # lr*, P = 1
    0.3: [0.6, 0.6, 0.6],  # P = 0.933
    1.0: [0.8, 0.8, 0.8],  # P = 0.8
    2.0: [0.5, 0.5, 1.95],  # the last seed collapsed
    3.0: [0.6, D, 2.3],
    10.0: [D, D, D],
}


def test_each_verdict_falls_as_defined():
    verdict = sweep_verdict(_sweep(TYPICAL))
    assert {rate.lr: rate.verdict for rate in verdict.rates} == {
        0.001: "too small",
        0.01: "good",
        0.1: "good",
        0.3: "good",
        1.0: "edge",
        2.0: "edge",
        3.0: "diverges",
        10.0: "diverges",
    }
    assert (verdict.lr_star, verdict.bracketed, verdict.advice, verdict.nothing_learned) == (0.1, True, "", False)


def test_failures_are_counted_by_kind():
    verdict = sweep_verdict(_sweep(TYPICAL))
    assert verdict.collapsed == {"2.0/2", "3.0/2"}
    assert [(rate.n_diverged, rate.n_collapsed) for rate in verdict.rates[-3:]] == [(0, 1), (1, 1), (3, 0)]


def test_reasons_say_the_numbers():
    reasons = {rate.lr: rate.reason for rate in sweep_verdict(_sweep(TYPICAL)).rates}
    assert reasons[0.001] == "reaches 6 % of the best progress; lower than the best training rate 0.1"
    assert reasons[0.1] == "least median training loss, 0.5"
    assert reasons[10.0] == "diverged in 3 of 3 seeds, from step 12 on"
    assert reasons[3.0].startswith("diverged in 1 of 3 seeds, from step 13 on; collapsed in 1 of 3 seeds")


def test_a_dead_run_below_the_best_rate_is_slow_not_collapsed():
    verdict = sweep_verdict(_sweep({0.001: [2.0, 2.0], 0.1: [0.5, 0.5], 1.0: [0.7, 0.7]}))
    assert verdict.rates[0].verdict == "too small"
    assert verdict.collapsed == frozenset()


def test_a_diverged_seed_below_the_best_rate_makes_it_an_edge():
    verdict = sweep_verdict(_sweep({0.01: [0.52, 0.52, D], 0.1: [0.5, 0.5, 0.5], 1.0: [0.9, 0.9, 0.9]}))
    assert verdict.rates[0].verdict == "edge"


def test_where_no_arm_learns_a_twentieth_there_are_no_zones():
    verdict = sweep_verdict(_sweep({0.1: [1.95, 1.95], 1.0: [1.91, 1.91], 10.0: [D, 1.99]}))
    assert verdict.nothing_learned
    assert {rate.verdict for rate in verdict.rates} == {"nothing learned"}
    assert "1.91, is not 5 % below a constant's, 2" in verdict.rates[0].reason
    assert verdict.rates[2].reason.startswith("diverged in 1 of 2 seeds")
    # At exactly a twentieth something is learned.
    assert not sweep_verdict(_sweep({0.1: [1.95], 1.0: [1.9], 10.0: [1.95]})).nothing_learned


def test_where_everything_diverges_nothing_is_learned_and_lower_rates_are_advised():
    verdict = sweep_verdict(_sweep({1.0: [D, D], 10.0: [D, D]}))
    assert (verdict.lr_star, verdict.nothing_learned, verdict.bracketed) == (None, True, False)
    assert verdict.advice == f"not bracketed: extend the grid to {mention('lr', '0.1:10:3')}"
    assert verdict.rates[0].reason == "diverged in 2 of 2 seeds, from step 12 on"


def test_an_optimum_at_an_end_of_the_grid_is_not_bracketed():
    falling = {0.01: [1.5], 0.1: [1.0], 1.0: [0.5]}
    rising = {0.01: [0.5], 0.1: [1.0], 1.0: [1.5]}
    assert sweep_verdict(_sweep(falling)).advice == f"not bracketed: extend the grid to {mention('lr', '0.01:10:4')}"
    assert sweep_verdict(_sweep(rising)).advice == f"not bracketed: extend the grid to {mention('lr', '0.001:1:4')}"
    assert not sweep_verdict(_sweep(rising)).bracketed


def test_runs_that_the_machine_spoilt_have_no_say():
    verdict = sweep_verdict(_sweep({0.01: [F, F], 0.1: [0.5, F], 1.0: [1.0, 1.0]}))
    assert [rate.verdict for rate in verdict.rates] == ["not run", "good", "edge"]
    nothing = sweep_verdict(_sweep({0.1: [F], 1.0: [F]}))
    assert {rate.verdict for rate in nothing.rates} == {"not run"}
    assert (nothing.lr_star, nothing.bracketed, nothing.advice) == (None, False, "")


def test_a_percentage_is_rounded_down_so_that_no_edge_reads_as_90_percent():
    # P = 0.8993: below 0.9, and 90 % when rounded.
    verdict = sweep_verdict(_sweep({0.01: [1.9], 0.1: [0.5], 1.0: [0.651]}))
    assert verdict.rates[2].verdict == "edge"
    assert "reaches 89 %" in verdict.rates[2].reason


@pytest.mark.parametrize("grid", ["1e-3:10:16", "1e-3:1:7", "1e-4:10:25", "1e-3:1:64", "0.3:0.9:5", "1e-6:1e-5:3"])
@pytest.mark.parametrize(("below", "above"), [(True, False), (False, True), (True, True)])
def test_a_logarithmic_grid_goes_on_a_decade_and_keeps_its_points_to_the_bit(grid, below, above):
    rates = parse_rates(grid, what="lr")
    longer = parse_rates(extended_grid(rates, below=below, above=above), what="lr")
    assert set(rates) <= set(longer)
    ratio = math.log(rates[1] / rates[0])
    assert [math.log(b / a) for a, b in itertools.pairwise(longer)] == pytest.approx(
        [ratio] * (len(longer) - 1), rel=1e-6
    )
    decades = {True: 1.0, False: 0.0}
    assert math.log10(rates[0] / longer[0]) >= decades[below] - 1e-6
    assert math.log10(longer[-1] / rates[-1]) >= decades[above] - 1e-6
    # No further than the first point at or beyond a decade.
    assert math.log10(longer[-1] / rates[-1]) < decades[above] + ratio / math.log(10) + 1e-6


def test_a_list_gets_a_rate_a_decade_on_and_a_single_rate_becomes_a_grid():
    assert extended_grid([0.01, 0.1, 0.5], below=False, above=True) == "0.01,0.1,0.5,5"
    assert extended_grid([0.01, 0.1, 0.5], below=True, above=False) == "0.001,0.01,0.1,0.5"
    assert extended_grid([0.1], below=True, above=True) == "0.01:1:5"
