"""Losses, their gradients, links and best constants, compared with torch.nn, autograd and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import optimize

from nnlab.catalog.entry import key_values
from nnlab.catalog.links import LINKS, decide, probabilities
from nnlab.catalog.losses import DEFAULT_LOSS, LOSSES, Loss, check_fits, constant_loss, row_weights
from nnlab.core.errors import UsageError
from nnlab.core.spec import parse_spec

SPECS = (
    *LOSSES,
    "huber:delta=0.3",
    "smooth_l1:beta=0.5",
    "smooth_l1:beta=0",
    "quantile:q=0.9",
    "cross_entropy:label_smoothing=0.1",
    "hinge:margin=0.5",
    "focal:gamma=0",
    "focal:gamma=0.5",
    "poisson_nll:full=true",
)
NUM_CLASSES = 4
F64 = {"dtype": torch.float64}


def loss_and_values(text):
    spec = parse_spec(text, what="--loss")
    loss = LOSSES[spec.name]
    return loss, key_values(loss.function, spec, what="--loss")


CASES = [(text, task) for text in SPECS for task in loss_and_values(text)[0].tasks]


def problem(loss, task, runs=3, rows=40, seed=7):
    """Scores [R, C, B] and targets [R, B] (in reconstruction [R, C, B]) of a task, with distances of every size."""
    g = torch.Generator().manual_seed(seed)
    num_scores = {"one": 1, "classes": NUM_CLASSES if task == "multiclass" else 2, "features": 3}[loss.outputs[task]]
    scores = 2.0 * torch.randn(runs, num_scores, rows, generator=g, **F64)
    if task == "reconstruction":
        return scores, 2.0 * torch.randn(runs, num_scores, rows, generator=g, **F64)
    if task == "regression":
        targets = torch.poisson(torch.full((runs, rows), 3.0, **F64), generator=g)
        return scores, targets if loss.raw_targets else targets + torch.randn(runs, rows, generator=g, **F64)
    return scores, torch.randint(0, NUM_CLASSES if task == "multiclass" else 2, (runs, rows), generator=g)


def one_hot_last(scores, targets):
    """Scores and targets of one run as nn.MSELoss and similar classes take them, classes last."""
    if scores.shape[0] == 1:
        return scores[0], targets.double()
    if targets.ndim == 2:
        return scores.T, targets.T
    return scores.T, torch.nn.functional.one_hot(targets, scores.shape[0]).double()


@pytest.mark.parametrize(("text", "task"), [case for case in CASES if loss_and_values(case[0])[0].torch_class])
def test_mean_over_rows_and_its_gradient_are_those_of_the_torch_class(text, task):
    loss, values = loss_and_values(text)
    scores, targets = problem(loss, task)
    reference = getattr(torch.nn, loss.torch_class)(**values)
    for scores_CB, targets_B in zip(scores, targets, strict=True):
        leaf = scores_CB.clone().requires_grad_()
        whole = loss.link == "softmax"
        expected = reference(leaf.T, targets_B) if whole else reference(*one_hot_last(leaf, targets_B))
        (slope,) = torch.autograd.grad(expected, leaf)
        rows = loss.function(scores_CB, targets_B, **values)
        # 1e-12: the same sums in another order.
        torch.testing.assert_close(rows.mean(), expected.detach(), rtol=1e-12, atol=1e-15)
        by_hand = loss.gradient(scores_CB, targets_B, **values) / scores.shape[-1]
        torch.testing.assert_close(by_hand, slope, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("text", "task"), CASES)
def test_a_gradient_by_hand_is_autograds_also_where_the_score_meets_the_target(text, task):
    loss, values = loss_and_values(text)
    scores, targets = problem(loss, task)
    # Kinks: the target itself, a distance of 1, of 0.5 and of 0.3 on either side, and equal scores.
    wanted = targets.double().unsqueeze(1).expand_as(scores) if scores.shape[1] == 1 else torch.zeros_like(scores)
    wanted = targets if task == "reconstruction" else wanted
    shift = torch.tensor([0.0, 1.0, -1.0, 0.5, -0.5, 0.3, -0.3], **F64).repeat(6)[: scores.shape[-1]]
    for at in (scores, wanted + shift):
        leaf = at.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss.function(leaf, targets, **values).sum(), leaf)
        torch.testing.assert_close(loss.gradient(at, targets, **values), slope, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(("text", "task"), CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rows_have_the_scores_leading_axes_and_dtype_and_leave_the_scores_alone(text, task, dtype):
    loss, values = loss_and_values(text)
    scores, targets = problem(loss, task)
    scores, before = scores.to(dtype), scores.to(dtype)
    for given in (targets, targets[:1], *([] if task == "reconstruction" else [targets[0]])):
        rows = loss.function(scores, given, **values)
        slope = loss.gradient(scores, given, **values)
        assert (rows.shape, rows.dtype) == ((3, 40), dtype)
        assert (slope.shape, slope.dtype) == (scores.shape, dtype)
    assert torch.equal(scores, before)


# exp of a large score is infinite, like the mean count that it predicts.
@pytest.mark.parametrize(("text", "task"), [case for case in CASES if loss_and_values(case[0])[0].link != "exp"])
def test_losses_and_gradients_are_finite_at_scores_of_any_size(text, task):
    loss, values = loss_and_values(text)
    scores, targets = problem(loss, task)
    for at in (1e3 * scores, 1e-300 * scores):
        leaf = at.float().requires_grad_()
        rows = loss.function(leaf, targets, **values)
        (slope,) = torch.autograd.grad(rows.sum(), leaf)
        assert rows.isfinite().all()
        assert slope.isfinite().all()
        assert loss.gradient(at, targets, **values).isfinite().all()


@pytest.mark.parametrize("shape", [(40, 1), (39,), (), (3, 40, 1), (2, 3, 40)])
@pytest.mark.parametrize(("name", "task"), [("mse", "regression"), ("cross_entropy", "multiclass")])
def test_targets_of_another_shape_never_broadcast(name, task, shape):
    scores, _ = problem(LOSSES[name], task)
    with pytest.raises((ValueError, RuntimeError)):
        LOSSES[name].function(scores, torch.zeros(shape, dtype=torch.long))


# S1: a higher loss means a worse prediction.

STRICT = ("mse", "l1", "log_cosh", "quantile", "bce", "cross_entropy", "nll", "focal", "huber", "smooth_l1")


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if "regression" in loss.tasks])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_regression_loss_grows_with_the_distance_from_the_target(name, side):
    loss, target = LOSSES[name], 2.0
    centre = math.log(target) if loss.link == "exp" else target
    scores = centre + side * torch.linspace(0.0, 5.0, 200, **F64)
    rows = loss.function(scores.unsqueeze(0), torch.full((200,), target, **F64))
    assert (rows.diff() > 0).all()


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if "multiclass" in loss.tasks])
def test_a_class_loss_grows_as_the_right_class_loses_score(name):
    loss = LOSSES[name]
    right = torch.linspace(1.0, -5.0, 200, **F64)  # 1 is the target score of the right class for distances
    scores = torch.stack([torch.full_like(right, 0.5), right, torch.zeros_like(right)])
    rows = loss.function(scores, torch.ones(200, dtype=torch.long))
    assert (rows.diff() > 0).all() if name in STRICT else (rows.diff() >= 0).all()


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.outputs.get("binary") == "one"])
@pytest.mark.parametrize("target", [0, 1])
def test_a_binary_loss_on_one_score_grows_on_the_way_to_the_wrong_side(name, target):
    away = torch.linspace(0.0, 5.0, 200, **F64)
    scores = 1.0 - away if target == 1 else away
    rows = LOSSES[name].function(scores.unsqueeze(0), torch.full((200,), target))
    assert (rows.diff() > 0).all() if name in STRICT else (rows.diff() >= 0).all()


def test_hinge_grows_only_weakly_for_past_the_margin_nothing_costs_anything():
    rows = LOSSES["hinge"].function(torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(3))
    assert rows.tolist() == [0.0, 0.0, 0.0]


def test_label_smoothing_is_an_exception_a_right_answer_can_be_too_sure():
    scores = torch.stack([torch.linspace(0.0, 20.0, 100, **F64), torch.zeros(100, **F64)])
    rows = LOSSES["cross_entropy"].function(scores, torch.zeros(100, dtype=torch.long), label_smoothing=0.1)
    best = scores[0, rows.argmin()]
    # p = 0.95 at the least loss: a score of log(0.95 / 0.05).
    assert float(best) == pytest.approx(math.log(19.0), abs=0.2)
    assert rows[-1] > rows.min()


# S3: binary: sigmoid and BCE.


def test_bce_of_the_score_is_bce_of_its_sigmoid_until_that_saturates():
    scores = torch.linspace(-30.0, 30.0, 121, **F64).unsqueeze(0)
    targets = torch.arange(121) % 2
    after_sigmoid = torch.nn.BCELoss(reduction="none")(torch.sigmoid(scores[0]), targets.double())
    # 1 - sigmoid(30) has lost three digits, so the relative error of log(1 - p) is at most 1e-4.
    torch.testing.assert_close(LOSSES["bce"].function(scores, targets), after_sigmoid, rtol=1e-4, atol=1e-12)


def test_bce_goes_on_where_bce_of_probabilities_stops_at_a_hundred():
    score, target = torch.tensor([[-200.0]], **F64), torch.ones(1, **F64)
    assert float(LOSSES["bce"].function(score, target)) == 200.0
    assert float(torch.nn.BCELoss()(torch.sigmoid(score[0]), target)) == 100.0


def test_two_class_cross_entropy_on_zero_and_z_is_bce_on_z():
    z, targets = problem(LOSSES["bce"], "binary")
    pair = torch.cat([torch.zeros_like(z), z], 1)
    for name in ("cross_entropy", "nll"):
        torch.testing.assert_close(
            LOSSES[name].function(pair, targets), LOSSES["bce"].function(z, targets), rtol=1e-12, atol=1e-15
        )


def test_two_free_scores_double_the_effective_rate():
    z, targets = problem(LOSSES["bce"], "binary")
    pair = torch.cat([-z / 2, z / 2], 1)
    step = LOSSES["cross_entropy"].gradient(pair, targets)
    torch.testing.assert_close(
        (step[:, 1] - step[:, 0]), 2.0 * LOSSES["bce"].gradient(z, targets)[:, 0], rtol=1e-12, atol=1e-15
    )


# S4, S5: softmax and cross-entropy, or NLL.


def test_cross_entropy_is_nll_and_torchs_nll_of_log_softmax():
    scores, targets = problem(LOSSES["nll"], "multiclass")
    rows = LOSSES["nll"].function(scores, targets)
    expected = torch.nn.NLLLoss(reduction="none")(torch.log_softmax(scores, 1), targets)
    assert torch.equal(rows, LOSSES["cross_entropy"].function(scores, targets))
    torch.testing.assert_close(rows, expected, rtol=1e-12, atol=0.0)


def test_nll_punishes_a_right_class_given_small_probability_by_minus_log_p():
    for p in (0.9, 0.5, 0.1, 1e-6):
        chance = torch.tensor(p, requires_grad=True, **F64)
        scores = torch.stack([chance, 1.0 - chance]).log().unsqueeze(1)
        loss = LOSSES["nll"].function(scores, torch.zeros(1, dtype=torch.long)).sum()
        (slope,) = torch.autograd.grad(loss, chance, create_graph=True)
        (curvature,) = torch.autograd.grad(slope, chance)
        # rtol: log-softmax of a log-probability takes the logarithm of a sum that is 1.
        assert float(loss.detach()) == pytest.approx(-math.log(p), rel=1e-12)
        assert float(slope.detach()) == pytest.approx(-1.0 / p, rel=1e-9)
        assert float(curvature) == pytest.approx(1.0 / p**2, rel=1e-6)


def test_nlls_curvature_by_the_scores_is_that_of_the_softmax():
    scores = torch.tensor([0.3, -1.0, 2.0], **F64)
    nll = LOSSES["nll"].function
    hessian = torch.autograd.functional.hessian(lambda s: nll(s.unsqueeze(1), torch.tensor([2])).sum(), scores)
    p = scores.softmax(0)
    torch.testing.assert_close(hessian, torch.diag(p) - torch.outer(p, p), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("num_classes", "nats"), [(10, 2.302585), (2, 0.693147)])
def test_zero_scores_cost_the_logarithm_of_the_number_of_classes(num_classes, nats):
    rows = LOSSES["cross_entropy"].function(torch.zeros(num_classes, 5, **F64), torch.arange(5) % num_classes)
    assert rows.tolist() == pytest.approx([math.log(num_classes)] * 5, rel=1e-15)
    assert rows[0] == pytest.approx(nats, abs=1e-6)


# The other losses, compared with a second formula.


def test_hinge_on_classes_is_torchs_multi_margin_loss_and_its_gradient():
    for margin in (1.0, 0.5):
        scores, targets = problem(LOSSES["hinge"], "multiclass", runs=1)
        leaf = scores[0].T.clone().requires_grad_()
        expected = torch.nn.MultiMarginLoss(margin=margin, reduction="none")(leaf, targets[0])
        (slope,) = torch.autograd.grad(expected.sum(), leaf)
        rows = LOSSES["hinge"].function(scores[0], targets[0], margin=margin)
        torch.testing.assert_close(rows, expected.detach(), rtol=1e-12, atol=1e-15)
        by_hand = LOSSES["hinge"].gradient(scores[0], targets[0], margin=margin)
        torch.testing.assert_close(by_hand, slope.T, rtol=1e-12, atol=1e-15)


def test_log_cosh_quantile_hinge_and_focal_are_their_formulas():
    s, y = np.array([-2.0, 0.3, 1.5]), np.array([1.0, 0.0, 1.0])
    scores, targets = torch.from_numpy(s).unsqueeze(0), torch.from_numpy(y)
    p = np.where(y == 1, 1 / (1 + np.exp(-s)), 1 / (1 + np.exp(s)))
    formulas = {
        "log_cosh": np.log(np.cosh(s - y)),
        "quantile:q=0.9": np.where(y > s, 0.9 * (y - s), 0.1 * (s - y)),
        "hinge": np.maximum(0, 1 - (2 * y - 1) * s),
        "focal:gamma=3": -((1 - p) ** 3) * np.log(p),
        "poisson_nll": np.exp(s) - y * s,
    }
    for text, expected in formulas.items():
        loss, values = loss_and_values(text)
        np.testing.assert_allclose(loss.function(scores, targets, **values).numpy(), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_focal_without_focus_is_cross_entropy(task):
    scores, targets = problem(LOSSES["focal"], task)
    expected = LOSSES["bce" if task == "binary" else "cross_entropy"].function(scores, targets)
    torch.testing.assert_close(LOSSES["focal"].function(scores, targets, gamma=0.0), expected, rtol=1e-12, atol=1e-15)


def test_row_weights_make_the_mean_of_torchs_weighted_cross_entropy():
    scores, targets = problem(LOSSES["cross_entropy"], "multiclass")
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0], **F64)
    means = (row_weights(targets, weights) * LOSSES["cross_entropy"].function(scores, targets)).mean(-1)
    reference = torch.nn.CrossEntropyLoss(weight=weights)
    expected = torch.stack([reference(s.T, t) for s, t in zip(scores, targets, strict=True)])
    torch.testing.assert_close(means, expected, rtol=1e-12, atol=0.0)


# Links and decisions.


@pytest.mark.parametrize(("name", "loss"), LOSSES.items())
def test_every_loss_has_a_known_link(name, loss):
    assert loss.link in LINKS


def test_probabilities_of_one_score_are_those_of_the_pair_zero_and_z():
    z, _ = problem(LOSSES["bce"], "binary")
    expected = torch.cat([torch.zeros_like(z), z], 1).softmax(1)
    for link in ("sigmoid", "softmax"):
        torch.testing.assert_close(probabilities(z, link), expected, rtol=1e-12, atol=1e-15)
    for link in ("identity", "margin", "exp"):
        assert probabilities(z, link) is None


def test_a_decision_is_the_likelier_class():
    scores, _ = problem(LOSSES["cross_entropy"], "multiclass")
    assert torch.equal(decide(scores, "softmax"), probabilities(scores, "softmax").argmax(1))
    one = torch.tensor([[-0.1, 0.1, 0.4, 0.6]])
    for link, expected in {
        "sigmoid": [0, 1, 1, 1],
        "softmax": [0, 1, 1, 1],
        "margin": [0, 1, 1, 1],
        "identity": [0, 0, 0, 1],
    }.items():
        assert decide(one, link).tolist() == expected


# The best constant predictor.


def brute_force(loss, values, targets, num_scores):
    """The least mean loss of constant scores by Nelder and Mead's search from several starts."""

    def mean_loss(scores):
        constant = torch.from_numpy(scores).unsqueeze(1).expand(-1, targets.shape[-1])
        return float(loss.function(constant, targets, **values).mean())

    rng = np.random.default_rng(3)
    starts = [np.zeros(num_scores), *rng.normal(size=(3, num_scores))]
    settings = {"xatol": 1e-9, "fatol": 1e-13, "maxfev": 4000}
    return min(optimize.minimize(mean_loss, s, method="Nelder-Mead", options=settings).fun for s in starts)


@pytest.mark.parametrize(("text", "task"), CASES)
def test_the_best_constants_loss_is_what_brute_force_finds(text, task):
    loss, values = loss_and_values(text)
    scores, targets = problem(loss, task, runs=1, rows=23)
    found = constant_loss(loss, targets[0], scores.shape[1], values)
    by_search = brute_force(loss, values, targets[0], scores.shape[1])
    # The search may stop short of a minimum at a kink, hence one-sided; it must not be better than the closed form.
    assert found <= by_search + 1e-9
    assert found == pytest.approx(by_search, abs=2e-3)


def test_the_best_constants_losses_are_entropy_variance_and_mean_distance_from_the_median():
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    share = np.array([3, 2, 1]) / 6
    entropy = -(share * np.log(share)).sum()
    assert constant_loss(LOSSES["cross_entropy"], labels, 3, {}) == pytest.approx(entropy, rel=1e-12)
    numbers = torch.tensor([1.0, 2.0, 4.0, 9.0, 3.0], **F64)
    assert constant_loss(LOSSES["mse"], numbers, 1, {}) == pytest.approx(float(numbers.var(correction=0)), rel=1e-12)
    assert constant_loss(LOSSES["l1"], numbers, 1, {}) == pytest.approx(float((numbers - 3.0).abs().mean()), rel=1e-12)


@pytest.mark.parametrize("name", ["cross_entropy", "nll", "hinge", "focal"])
def test_a_class_that_never_occurs_does_no_harm(name):
    loss, values = loss_and_values(name)
    targets = torch.tensor([0, 1, 1, 1])
    with_absent = constant_loss(loss, targets, 3, values)
    assert math.isfinite(with_absent)
    if name != "hinge":  # whose sum is divided by the number of classes
        assert with_absent == pytest.approx(constant_loss(loss, targets, 2, values), abs=1e-6)


def test_one_class_alone_can_be_told_for_sure():
    assert constant_loss(LOSSES["bce"], torch.ones(5), 1, {}) == pytest.approx(0.0, abs=1e-12)


def test_a_persons_own_loss_gets_its_constant_by_descent():
    def quartic(scores, targets):
        return ((scores - targets.unsqueeze(-2)) ** 4).mean(-2)

    own = Loss(quartic, outputs={"regression": "one"})
    targets = torch.tensor([-1.0, 1.0, 3.0, 0.5], **F64)
    assert constant_loss(own, targets, 1, {}) == pytest.approx(brute_force(own, {}, targets, 1), rel=1e-9)


# Which loss serves which task.


@pytest.mark.parametrize(("task", "name"), DEFAULT_LOSS.items())
def test_the_default_loss_fits_its_task(task, name):
    check_fits(name, task)


def test_a_loss_that_does_not_fit_is_refused_with_those_that_do():
    with pytest.raises(UsageError, match=r"bce serves binary tasks, not regression. Losses that do: mse, l1, huber"):
        check_fits("bce", "regression")


@pytest.mark.parametrize("q", ["0", "1"])
def test_a_quantile_of_nothing_or_everything_is_refused(q):
    loss, values = loss_and_values(f"quantile:q={q}")
    with pytest.raises(UsageError, match="no such quantile"):
        loss.function(torch.zeros(1, 3), torch.zeros(3), **values)


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.both is not None])
@pytest.mark.parametrize("keys", [{}, {"label_smoothing": 0.1}], ids=["plain", "smoothed"])
def test_loss_and_gradient_in_one_call_are_those_of_two(name, keys):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 5, 17, generator=generator, dtype=torch.float64)
    targets = torch.randint(5, (17,), generator=generator)
    loss, gradient = LOSSES[name].both(scores, targets, **keys)
    # exp(log p) and p differ in the last bits.
    torch.testing.assert_close(loss, LOSSES[name].function(scores, targets, **keys), rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(gradient, LOSSES[name].gradient(scores, targets, **keys), rtol=1e-13, atol=1e-15)
