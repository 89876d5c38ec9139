"""On a quadratic, training converges if and only if the rate is below a known limit (numbers.md T8, claim L3).

Found to 1 % by growth or decay of the loss: just above the limit it takes thousands of steps to overflow.
"""

from __future__ import annotations

from typing import Final

import pytest
from problems import runs_of, trained

MOMENTUM: Final = 0.9
LIMITS: Final = {
    "sgd": 2.0,
    f"sgd:momentum={MOMENTUM}": 2 * (1 + MOMENTUM),
    f"sgd:momentum={MOMENTUM}:nesterov=true": 2 * (1 + MOMENTUM) / (1 + 2 * MOMENTUM),
    f"sgd:momentum={MOMENTUM}:dampening=0.5": 2 * (1 + MOMENTUM) / (1 - 0.5),
}
SETTLED: Final = 60  # epochs after which all slower components are gone: 0.95^120 = 0.002 of the loss is left of them


@pytest.mark.parametrize("optimizer", LIMITS)
@pytest.mark.parametrize("lambda_max", [2.0, 5.0, 31.0])
def test_rates_are_told_apart_at_the_limit_to_one_percent(optimizer, lambda_max):
    limit = LIMITS[optimizer] / lambda_max
    settings = {
        "data": f"quadratic:lambda_max={lambda_max}:condition=4",
        "model": "linear",
        "optimizer": optimizer,
        "batch_size": "full",
        "dtype": "float64",
        "epochs": 200,
    }
    finished = trained(runs_of(settings, lrs=[0.99 * limit, 1.01 * limit], seeds=[0, 1, 2]))
    for run_id, fitted in finished.items():
        losses = fitted.record.curves["train_loss"]
        if float(run_id.split("|")[1]) < limit:
            assert fitted.record.status == "done"
            assert losses[-1] < losses[SETTLED], run_id
        else:
            tail = losses[min(SETTLED, len(losses) // 2) :]
            assert tail[-1] > tail[0], run_id


def test_well_above_the_limit_every_run_diverges_and_well_below_none_does():
    settings = {"data": "quadratic", "model": "linear", "batch_size": "full", "epochs": 100}
    finished = trained(runs_of(settings, lrs=[0.25, 0.5, 0.9, 1.1, 1.5, 3.0], seeds=[0, 1, 2]))
    for run_id, fitted in finished.items():
        assert (fitted.record.status == "diverged") == (float(run_id.split("|")[1]) > 1.0), run_id


def test_the_smaller_the_rate_the_slower_the_descent_and_near_the_limit_it_slows_again():
    """Claim L2: on curvatures all alike the loss falls by (1 - lr lambda)^2 a step, fastest at 1 / lambda."""
    settings = {
        "data": "quadratic:condition=1",
        "model": "linear",
        "batch_size": "full",
        "dtype": "float64",
        "epochs": 3,
    }
    finished = trained(runs_of(settings, lrs=[0.05, 0.25, 0.4, 0.75, 0.95]))
    for run_id, fitted in finished.items():
        lr = float(run_id.split("|")[1])
        losses = fitted.record.curves["train_loss"]
        # Exact arithmetic but for rounding: every eigenvalue, the bias's too, is 2.
        assert losses[-1] / losses[0] == pytest.approx((1 - 2 * lr) ** 6, rel=1e-10)
