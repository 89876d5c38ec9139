"""Metrics of many runs at once, compared run by run with scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from nnlab.catalog.links import decide, probabilities
from nnlab.catalog.metrics import METRICS, NUM_BINS, class_predictions, ece, measure, squared_calibration_error

RUNS, ROWS = 5, 301
CLASS_METRICS = ["accuracy", "balanced_accuracy", "macro_f1", "brier", "ece"]
NUMBER_METRICS = ["mae", "rmse", "median_ae", "r2"]


def class_problem(num_scores, num_classes, *, shared=False, seed=1):
    g = torch.Generator().manual_seed(seed)
    scores = 2.0 * torch.randn(RUNS, num_scores, ROWS, generator=g, dtype=torch.float64)
    targets = torch.randint(0, num_classes, (1 if shared else RUNS, ROWS), generator=g)
    return scores, targets


def number_problem(rows=ROWS, seed=2):
    g = torch.Generator().manual_seed(seed)
    targets = torch.randn(RUNS, rows, generator=g, dtype=torch.float64)
    noise = torch.randn(RUNS, rows, generator=g, dtype=torch.float64)
    return (targets + 0.5 * noise).unsqueeze(1), targets


def per_run(scores, targets):
    return zip(scores, targets.expand(RUNS, -1), strict=True)


def plain_calibration_error(correct, top):
    """The plug-in estimate, unlike the metric: the mean over rows of |accuracy - confidence| in the row's bin."""
    fraction, confidence = calibration_curve(correct, top, n_bins=NUM_BINS, strategy="uniform")
    counts = np.histogram(top, bins=np.linspace(0, 1, NUM_BINS + 1))[0]
    return (counts[counts > 0] * np.abs(fraction - confidence)).sum() / len(top)


def debiased_calibration_error(correct, top):
    """The root mean of squared gaps, bin by bin, each minus the variance of the bin's accuracy by chance."""
    edges, total = np.linspace(0, 1, NUM_BINS + 1), 0.0
    for low, high in itertools.pairwise(edges):
        inside = (low < top) & (top <= high)
        n = inside.sum()
        if n > 1:
            accuracy = correct[inside].mean()
            gap = top[inside].mean() - accuracy
            total += n / len(top) * (gap**2 - accuracy * (1 - accuracy) / (n - 1))
    return max(total, 0.0) ** 0.5


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("num_scores", "num_classes", "link"),
    [(1, 2, "sigmoid"), (1, 2, "softmax"), (2, 2, "softmax"), (10, 10, "softmax")],
)
def test_class_metrics_are_scikit_learns_run_by_run(num_scores, num_classes, link, shared):
    scores, targets = class_problem(num_scores, num_classes, shared=shared)
    task = "binary" if num_classes == 2 else "multiclass"
    found = measure(scores, targets, task=task, link=link)
    assert list(found) == CLASS_METRICS
    for run, (own, y) in enumerate(per_run(scores, targets)):
        chosen, p = decide(own, link).numpy(), probabilities(own, link).numpy().T
        y = y.numpy()
        expected = {
            "accuracy": sk.accuracy_score(y, chosen),
            "balanced_accuracy": sk.balanced_accuracy_score(y, chosen),
            "macro_f1": sk.f1_score(y, chosen, average="macro"),
            "brier": sk.brier_score_loss(y, p[:, 1] if num_classes == 2 else p),
            "ece": debiased_calibration_error(chosen == y, p.max(1)),
        }
        for name, value in expected.items():
            # 1e-12: sums of 301 rows in another order. A squared gap may lose two more digits when the variance is subtracted.
            assert float(found[name][run]) == pytest.approx(value, rel=1e-10 if name == "ece" else 1e-12), name


@pytest.mark.parametrize("link", ["margin", "identity"])
@pytest.mark.parametrize(("num_scores", "task"), [(1, "binary"), (4, "multiclass")])
def test_scores_that_are_no_probabilities_have_no_brier_and_no_calibration(link, num_scores, task):
    scores, targets = class_problem(num_scores, max(2, num_scores))
    found = measure(scores, targets, task=task, link=link)
    assert list(found) == ["accuracy", "balanced_accuracy", "macro_f1"]
    for run, (own, y) in enumerate(per_run(scores, targets)):
        assert float(found["accuracy"][run]) == pytest.approx(sk.accuracy_score(y, decide(own, link)), rel=1e-12)


@pytest.mark.parametrize(("num_rows", "num_classes"), [(40, 2), (200, 10), (800, 10)])
def test_a_network_that_is_calibrated_has_no_calibration_error_on_average(num_rows, num_classes):
    """Classes are drawn from the predicted probabilities, so the true error is 0."""
    g, draws = torch.Generator().manual_seed(11), 4000
    scores = 1.5 * torch.randn(draws, num_classes, num_rows, generator=g, dtype=torch.float64)
    p = probabilities(scores, "softmax")
    classes = torch.multinomial(p.movedim(-1, -2).reshape(-1, num_classes), 1, generator=g).view(draws, num_rows)
    rows = class_predictions(scores, classes, "softmax")
    squares = squared_calibration_error(rows)
    # 4 standard errors of the mean of 4000 draws.
    assert abs(float(squares.mean())) < 4 * float(squares.std()) / draws**0.5
    right, top = (rows.decided == classes).numpy(), p.amax(1).numpy()
    plain = np.mean([plain_calibration_error(*row) for row in zip(right[:500], top[:500], strict=True)])
    # Chance alone: about sqrt(bins in use / rows). The debiased error is 0 in most draws, never below.
    assert plain > 0.5 * num_rows**-0.5
    assert float(ece(rows).mean()) < 0.45 * plain


def test_a_network_that_is_too_sure_has_the_error_that_it_has():
    """Every row has confidence 0.9 and 0.7 of them are right: the root mean square gap is 0.2, on few rows as on many."""
    g, logit = torch.Generator().manual_seed(12), float(np.log(9.0))
    for num_rows, draws in ((25, 4000), (1000, 500)):
        classes = (torch.rand(draws, num_rows, generator=g) < 0.7).long()
        rows = class_predictions(torch.full((draws, 1, num_rows), logit, dtype=torch.float64), classes, "sigmoid")
        squares = squared_calibration_error(rows)
        assert float(squares.mean()) == pytest.approx(0.04, abs=4 * float(squares.std()) / draws**0.5)


def test_a_bin_of_one_row_tells_nothing_of_calibration():
    alone = measure(torch.tensor([[[3.0]]]), torch.tensor([[0]]), task="binary", link="sigmoid")
    assert float(alone["ece"]) == 0.0


def test_a_class_that_is_not_there_is_left_out_as_scikit_learn_does():
    scores, targets = class_problem(6, 3)
    scores[:, 4:] = -9.0  # classes 4 and 5 are neither present nor predicted; 3 is only predicted
    found = measure(scores, targets, task="multiclass", link="softmax")
    for run, (own, y) in enumerate(per_run(scores, targets)):
        chosen = decide(own, "softmax").numpy()
        recalls = sk.recall_score(y, chosen, labels=[0, 1, 2], average="macro")
        assert float(found["balanced_accuracy"][run]) == pytest.approx(recalls, rel=1e-12)
        assert float(found["macro_f1"][run]) == pytest.approx(sk.f1_score(y, chosen, average="macro"), rel=1e-12)


def test_sure_and_right_is_perfect_and_sure_and_wrong_is_worst():
    targets = torch.tensor([[0, 1, 2, 0]])
    sure = 1e3 * torch.nn.functional.one_hot(targets, 3).movedim(-1, -2).double()
    right = measure(sure, targets, task="multiclass", link="softmax")
    wrong = measure(sure, (targets + 1) % 3, task="multiclass", link="softmax")
    assert {name: float(value) for name, value in right.items()} == {
        "accuracy": 1.0,
        "balanced_accuracy": 1.0,
        "macro_f1": 1.0,
        "brier": 0.0,
        "ece": 0.0,
    }
    assert float(wrong["brier"]) == 2.0
    assert float(wrong["ece"]) == 1.0


def test_a_run_that_is_not_a_number_does_not_disturb_the_others():
    scores, targets = class_problem(4, 4)
    alone = measure(scores[:1], targets[:1], task="multiclass", link="softmax")
    scores[1:] = torch.nan
    beside = measure(scores, targets, task="multiclass", link="softmax")
    for name in CLASS_METRICS:
        assert torch.equal(beside[name][:1], alone[name])


@pytest.mark.parametrize("rows", [ROWS, ROWS + 1])
@pytest.mark.parametrize("each", [True, False])
def test_number_metrics_are_scikit_learns_in_the_targets_own_unit(rows, each):
    scores, targets = number_problem(rows)
    scale = torch.linspace(0.5, 30.0, RUNS, dtype=torch.float64) if each else torch.tensor(7.0, dtype=torch.float64)
    mean = torch.linspace(-100.0, 5.0, RUNS, dtype=torch.float64) if each else torch.tensor(150.0, dtype=torch.float64)
    found = measure(scores, targets, task="regression", link="identity", target_mean=mean, target_scale=scale)
    assert list(found) == NUMBER_METRICS
    for run in range(RUNS):
        m, s = (float(value.expand(RUNS)[run]) for value in (mean, scale))
        y, predicted = (targets[run] * s + m).numpy(), (scores[run, 0] * s + m).numpy()
        expected = {
            "mae": sk.mean_absolute_error(y, predicted),
            "rmse": sk.root_mean_squared_error(y, predicted),
            "median_ae": sk.median_absolute_error(y, predicted),
            "r2": sk.r2_score(y, predicted),
        }
        for name, value in expected.items():
            # 1e-10: predictions of size 100 lose the errors' last two or three digits.
            assert float(found[name][run]) == pytest.approx(value, rel=1e-10), name


def test_counts_are_predicted_through_the_exponential():
    scores, counts = torch.zeros(1, 1, 4), torch.tensor([[1.0, 2.0, 0.0, 1.0]])
    assert float(measure(scores, counts, task="regression", link="exp")["mae"]) == 0.5


def test_the_mean_explains_nothing_and_equal_targets_leave_nothing_to_explain():
    targets = torch.tensor([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]])
    r2 = measure(torch.full((2, 1, 3), 2.0), targets, task="regression", link="identity")["r2"]
    assert float(r2[0]) == 0.0
    assert bool(r2[1].isnan())


def test_float32_scores_are_summed_in_float64():
    scores, targets = number_problem()
    found = measure(scores.float(), targets.float(), task="regression", link="identity")
    assert {value.dtype for value in found.values()} == {torch.float64}


def test_the_table_says_which_way_is_up():
    upward = [name for name, metric in METRICS.items() if metric.higher_is_better]
    assert upward == ["accuracy", "balanced_accuracy", "macro_f1", "r2"]
