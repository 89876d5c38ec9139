"""A new ingredient is one function and one row: it is then available everywhere that the others are."""

import torch

from nnlab.catalog.constant_scores import root_of_slope
from nnlab.catalog.losses import LOSSES, Loss
from nnlab.core.kinds import Positive
from nnlab.diagnostics.gradcheck.checking import check_subject
from nnlab.diagnostics.gradcheck.gradient_report import Method
from nnlab.diagnostics.gradcheck.known_subjects import catalogue_subjects
from nnlab.ingredients.index import names_for
from nnlab.ingredients.listing import names_frame
from tests.cli.commands import nnlab
from tests.problems import numbers, runs_of, trained


def cauchy(scores, targets, *, c: "Positive" = 1.0):
    """log(1 + ((s - y) / c)^2): the negative log-likelihood of a Cauchy law, whose pull fades with distance."""
    return torch.log1p(((scores[..., 0, :] - targets) / c).square())


def cauchy_gradient(scores, targets, *, c: "Positive" = 1.0):
    """2 r / (c^2 + r^2), r = s - y."""
    distance = scores - targets.unsqueeze(-2)
    return 2 * distance / (c * c + distance.square())


CAUCHY = Loss(
    cauchy,
    cauchy_gradient,
    outputs={"regression": "one"},
    is_distance=True,
    estimates="mode",
    best_constant=root_of_slope(cauchy_gradient),
    source="Geman and McClure 1985",
)


def test_a_new_loss_is_listed_completed_checked_trained_and_gradient_checked(monkeypatch, tmp_path):
    monkeypatch.setitem(LOSSES, "cauchy", CAUCHY)

    assert "cauchy" in names_for("loss")
    assert "cauchy" in set(names_frame("losses")["name"])
    listed = nnlab("list", "losses", "cauchy", "--format", "csv", cwd=tmp_path)
    assert "whose pull fades with distance" in listed.out
    refused = nnlab("train", "--loss", "cauchy:d=1", cwd=tmp_path)
    assert refused.code == 2
    assert "Its keys: c." in refused.err

    mine = [subject for subject in catalogue_subjects() if "cauchy" in subject.name]
    assert mine
    assert all(check_subject(subject, Method()).ok for subject in mine)

    problem = {"data": "diabetes", "model": "linear", "loss": "cauchy:c=2", "dtype": "float64", "epochs": 2}
    native = trained(runs_of(problem, lrs=[0.05], seeds=[0]))
    loop = trained(runs_of({**problem, "engine": "loop"}, lrs=[0.05], seeds=[0]), engine="loop")
    (a,), (b,) = native.values(), loop.values()
    assert a.record.status == b.record.status == "done"
    # A convex-looking stretch of a smooth loss: rounding is not amplified.
    torch.testing.assert_close(a.record.scores["train_loss"], b.record.scores["train_loss"], rtol=1e-10, atol=0.0)
    assert numbers(a)
