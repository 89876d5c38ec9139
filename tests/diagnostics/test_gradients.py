# ruff: noqa: ARG004 - a custom Function has a context whether it needs one or not
"""The checker against bugs that are known, code that is right, and torch.autograd.gradcheck."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from nets import random_net
from planted import BANK, LAYERS, Planted, draws, spoiled
from torch import nn

from nnlab.core.errors import UsageError
from nnlab.diagnostics.gradcheck.checking import check, check_subject
from nnlab.diagnostics.gradcheck.gradient_report import GradientRow, Method, Report
from nnlab.diagnostics.gradcheck.known_subjects import catalogue_subjects
from nnlab.diagnostics.gradcheck.subjects import Subject, drawn_inputs, function_subject, module_subject

CATALOGUE = list(catalogue_subjects())
BY_NAME = {bug.name: bug for bug in BANK}


@cache
def found(name: str) -> Report:
    return check_subject(BY_NAME[name].subject, Method())


def torch_agrees(subject: Subject) -> bool:
    """The verdict of torch.autograd.gradcheck, in slow mode, with its own tolerances."""
    names = list(subject.point)
    leaves = [tensor.clone().requires_grad_() for tensor in subject.point.values()]
    return torch.autograd.gradcheck(
        lambda *tensors: subject.function({**dict(zip(names, tensors, strict=True)), **subject.constants}),
        leaves,
        raise_exception=False,
        check_undefined_grad=False,
    )


def test_the_bank_has_more_than_sixty_bugs_with_names_of_their_own():
    assert len(BANK) >= 60
    assert len(BY_NAME) == len(BANK)


@pytest.mark.parametrize("bug", BANK, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found_and_its_parameters_and_place_are_named(bug: Planted):
    report = found(bug.name)
    assert {row.parameter for row in report.wrong} == set(bug.wrong)
    row = report.row(bug.wrong[0])
    assert bug.place(tuple(int(index) for index in row.worst_index.split(",") if index)), row.worst_index


def test_the_cause_is_named_rightly_in_at_least_nine_of_ten():
    named = [found(bug.name).kinds["reverse", bug.wrong[0]] for bug in BANK]
    right = [kind in bug.kinds and kind != "unknown" for kind, bug in zip(named, BANK, strict=True)]
    assert sum(right) >= 0.9 * len(BANK)


def test_torchs_gradcheck_finds_the_same_bugs_but_one_below_its_own_tolerance():
    # Its rtol is 1e-3, so a factor of 1.001 on one entry passes there.
    assert [bug.name for bug in BANK if torch_agrees(bug.subject)] == ["linear weight: factor 1.001 at (3, 0)"]


@pytest.mark.parametrize("subject", CATALOGUE, ids=lambda subject: subject.name)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_catalogue_raises_no_alarm(subject: Subject, dtype: str):
    report = check_subject(subject, Method(dtype=dtype))
    assert report.ok, report.text()


def test_verdicts_on_the_catalogue_are_torchs_gradchecks_but_at_kinks():
    for subject in CATALOGUE:
        # gradcheck lets dropout draw anew at every evaluation, and so calls it wrong.
        if subject.backward is None and subject.name != "layer Dropout":
            kink = any(row.verdict == "kink" for row in check_subject(subject, Method()).rows)
            assert torch_agrees(subject) or kink, subject.name


@pytest.mark.parametrize("block", range(10))
def test_random_nets_at_and_near_kinks_raise_no_alarm(block: int):
    for seed in range(20 * block, 20 * block + 20):
        report = check_subject(random_net(seed), Method())
        assert report.ok, report.text()


def test_the_random_nets_do_have_kinks_at_their_points():
    verdicts = [row.verdict for seed in range(0, 30, 3) for row in check_subject(random_net(seed), Method()).rows]
    assert verdicts.count("kink") > 10


@pytest.mark.parametrize("seed", range(0, 200, 10))
def test_random_nets_in_float32_raise_no_alarm(seed: int):
    report = check_subject(random_net(seed), Method(dtype="float32"))
    assert report.ok, report.text()


@pytest.mark.parametrize("layer", LAYERS)
def test_an_error_of_one_percent_that_only_float32_has_is_found(layer: str):
    forward, names, shapes = LAYERS[layer]
    function = spoiled(forward, 1, lambda g: 1.01 * g if g.dtype == torch.float32 else g)
    point = dict(zip(names, draws(*shapes), strict=True))
    subject = Subject(layer, lambda tensors: function(*(tensors[name] for name in names)), point)
    assert check_subject(subject, Method()).ok
    report = check_subject(subject, Method(dtype="float32"))
    assert [row.parameter for row in report.wrong] == [names[1]]
    assert report.wrong[0].cause == "right in float64, wrong here: factor 1.01"


def test_float32_tolerance_follows_the_condition_of_the_sum():
    # The gradient by w is the sum of x, whose terms cancel to 1e-4 of their size: rounding may move it by so much more.
    x = torch.tensor([1000.0, -1000.0, 0.1])
    plain = check(
        lambda t: (t["w"] * t["x"]).sum(), {"w": torch.ones(()), "x": x.abs()}, method=Method(dtype="float32")
    )
    cancelling = check(lambda t: (t["w"] * t["x"]).sum(), {"w": torch.ones(()), "x": x}, method=Method(dtype="float32"))
    assert plain.ok
    assert cancelling.ok
    assert cancelling.row("w").tolerance > 1000 * plain.row("w").tolerance


def test_a_module_is_checked_in_its_parameters_and_its_inputs_by_name():
    report = check_subject(
        module_subject(nn.Linear(3, 2), [torch.randn(4, 3, generator=torch.Generator().manual_seed(1))]), Method()
    )
    assert [(row.parameter, row.shape, row.entries) for row in report.rows] == [
        ("weight", "2x3", 6),
        ("bias", "2", 2),
        ("input", "4x3", 12),
    ]
    assert {row.verdict for row in report.rows} == {"ok"}


def test_a_check_leaves_module_buffers_and_the_global_generator_as_they_were():
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).double()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state = torch.random.get_rng_state()
    assert check_subject(module_subject(module, [torch.arange(12.0).view(4, 3)]), Method()).ok
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_batched_evaluation_and_the_loop_give_the_same_numbers():
    subject = module_subject(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double(), draws((3, 4)))

    def unbatchable(tensors):
        assert not any(
            bool((tensor > 1e9).any()) for tensor in tensors.values()
        )  # a value asked for in Python: vmap can't
        return subject.function(tensors)

    batched = check_subject(subject, Method())
    looped = check_subject(Subject("loop", unbatchable, subject.point), Method())
    assert (batched.evaluation, looped.evaluation) == ("vmap", "loop")
    for one, other in zip(batched.rows, looped.rows, strict=True):
        assert one.numeric == pytest.approx(other.numeric, rel=1e-8)


def test_what_vmap_would_carry_wrongly_is_evaluated_in_the_loop():
    # A draw of its own for every call: vmap refuses, or would share it.
    report = check_subject(module_subject(nn.Dropout(0.5), draws((5, 6))), Method())
    assert report.ok
    assert report.evaluation == "loop"


def test_complex_gradients_are_checked_in_both_parts():
    inputs = drawn_inputs("3x2,2", complex_values=True)
    assert check_subject(function_subject(lambda a, b: (a * b).exp() + a.conj(), inputs), Method()).ok

    class Conjugated(torch.autograd.Function):
        """The classic: the gradient of a product needs the conjugate of the other factor."""

        @staticmethod
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return a * b

        @staticmethod
        def backward(ctx, upstream):
            a, b = ctx.saved_tensors
            return upstream * b, (upstream * a.conj()).sum(0)

    report = check_subject(function_subject(Conjugated, inputs), Method())
    assert [row.parameter for row in report.wrong] == ["a"]
    assert report.wrong[0].worst_index.split()[-1] in {"real", "imag"}


def test_forward_mode_is_checked_on_its_own():
    class Halved(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            ctx.save_for_forward(x)
            return x * x

        @staticmethod
        def backward(ctx, upstream):
            (x,) = ctx.saved_tensors
            return 2 * x * upstream

        @staticmethod
        def jvp(ctx, tangent):
            (x,) = ctx.saved_tensors
            return x * tangent

    report = check_subject(function_subject(Halved, draws((3, 2))), Method(checks=("reverse", "forward")))
    assert [(row.check, row.verdict, row.cause) for row in report.rows] == [
        ("reverse", "ok", ""),
        ("forward", "wrong", "factor 1/2"),
    ]


def test_second_order_finds_a_backward_that_can_be_differentiated_but_wrongly():
    class FlatBackward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, upstream):
            (x,) = ctx.saved_tensors
            return 3 * x.detach() ** 2 * upstream

    method = Method(checks=("reverse", "second"))
    report = check_subject(function_subject(FlatBackward, draws((4,))), method)
    assert [(row.check, row.verdict) for row in report.rows] == [("reverse", "ok"), ("second", "wrong")]
    right = check_subject(function_subject(lambda x: x**3, draws((4,))), method)
    assert right.ok
    assert right.row("x", "second").verdict == "ok"


def test_a_backward_that_raises_is_wrong_and_says_so():
    class Unfinished(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, upstream):
            raise ValueError("not written yet")

    report = check_subject(function_subject(Unfinished, draws((3,))), Method())
    assert not report.ok
    assert "not written yet" in report.rows[0].cause


def test_undefined_and_batched_upstream_gradients_are_asked_as_torch_asks_them():
    class Careless(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x * 2

        @staticmethod
        def backward(ctx, upstream):
            return upstream * 2  # None * 2

    method = Method(checks=("reverse", "undefined", "batched"))
    careless = check_subject(function_subject(Careless, draws((3,))), method)
    assert [row.verdict for row in careless.rows] == ["ok", "wrong", "ok"]
    assert check_subject(function_subject(torch.tanh, draws((3,))), method).ok


def test_a_sample_takes_entries_of_every_tensor_and_directions_see_the_rest():
    method = Method(sample=5)
    module = nn.Linear(20, 20).double()
    rows = check_subject(module_subject(module, draws((3, 20))), method).rows
    assert {(row.parameter, row.entries) for row in rows if row.check == "reverse"} == {
        ("weight", 5),
        ("bias", 5),
        ("input", 5),
    }
    one_entry = spoiled(
        F.linear, 1, lambda g: g + 5.0 * torch.eye(20, dtype=g.dtype)[3].outer(torch.eye(20, dtype=g.dtype)[7])
    )
    x, weight, bias = draws((3, 20), (20, 20), (20,))
    report = check_subject(function_subject(one_entry, [x, weight, bias]), method)
    assert [(row.check, row.cause) for row in report.wrong] == [
        ("directions", "wrong in entries that were not sampled")
    ]


@pytest.mark.parametrize(("sample", "directions"), [(1, 7), (2, 4), (5, 1)])
def test_a_direction_is_the_signed_sum_of_the_entries_however_many_entries_and_directions_there_are(sample, directions):
    # The gradient by x is 1, 2, 4, ..., 32, so along signs it is an odd whole number, and each from -63 to 63 belongs to one choice
    # of signs. The function is linear: differences have no error but rounding, 1e-16 / 2e-4 of numbers up to 63.
    factors = 2.0 ** torch.arange(6, dtype=torch.float64)
    method = Method(sample=sample, directions=directions)
    sampled, along = check(lambda t: (t["x"] * factors).sum(), {"x": torch.ones(6).double()}, method=method).rows
    assert (sampled.check, sampled.entries, along.check, along.entries) == ("reverse", sample, "directions", directions)
    assert along.analytic in set(range(-63, 64, 2))
    assert along.numeric == pytest.approx(along.analytic, rel=1e-10)
    assert (along.verdict, along.worst_index) == ("ok", "")


@pytest.mark.parametrize("subject", CATALOGUE, ids=lambda subject: subject.name)
def test_a_sample_of_the_catalogue_raises_no_alarm(subject: Subject):
    # Every subject has been checked in every entry above; some have kinks in entries that the sample leaves out.
    report = check_subject(subject, Method(sample=2, checks=("reverse", "second")))
    assert report.ok, report.text()


@pytest.mark.parametrize("block", range(3))
def test_directions_through_random_nets_at_and_near_kinks_raise_no_alarm(block: int):
    verdicts = set()
    for seed in range(20 * block, 20 * block + 20):
        report = check_subject(random_net(seed), Method(sample=1))
        assert report.ok, report.text()
        verdicts |= {row.verdict for row in report.rows if row.check == "directions"}
    assert verdicts == {"ok", "kink"}


@pytest.mark.parametrize(
    ("slope", "verdict"), [(0.0, "kink"), (0.3, "kink"), (1.0, "kink"), (-0.1, "wrong"), (1.1, "wrong")]
)
def test_directions_cross_kinks_and_tell_a_subgradient_from_a_wrong_slope(slope: float, verdict: str):
    # Both entries are at the kink, where every slope from 0 to 1 is a subgradient of relu, whatever PyTorch's own choice is.
    class Relu(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.relu(x)

        @staticmethod
        def backward(ctx, upstream):
            (x,) = ctx.saved_tensors
            return upstream * torch.where(x == 0, slope, (x > 0).double())

    subject = function_subject(Relu, [torch.zeros(1, 2, dtype=torch.float64)])
    report = check_subject(subject, Method(sample=1, directions=8))
    assert {row.check: row.verdict for row in report.rows} == {"reverse": verdict, "directions": verdict}


def test_a_wrong_entry_that_the_sample_leaves_out_is_found_among_kinks():
    # x has kinks at its zeros, where PyTorch's own slope is right; one entry of 40 has twice its slope.
    x = torch.arange(40, dtype=torch.float64) % 4 - 1
    wrong = spoiled(torch.relu, 0, lambda g: g * torch.where(torch.arange(40) == 7, 2.0, 1.0))
    report = check_subject(function_subject(wrong, [x]), Method(sample=1))
    assert [(row.check, row.cause) for row in report.wrong] == [
        ("directions", "wrong in entries that were not sampled")
    ]
    assert list(report.kinds.values()) == ["unknown"]
    assert check_subject(function_subject(torch.relu, [x]), Method(sample=1)).ok


def test_a_sparse_error_among_many_outputs_is_seen():
    # One entry of a Jacobian of 90,000: torch's fast mode weights inputs and outputs at random and lets it pass.
    x = draws((300,))[0]
    wrong = spoiled(lambda t: torch.tanh(t), 0, lambda g: g * torch.where(torch.arange(300) == 137, 1.0001, 1.0))
    assert torch.autograd.gradcheck(wrong, x.clone().requires_grad_(), fast_mode=True, raise_exception=False)
    report = check_subject(function_subject(wrong, [x]), Method())
    assert report.wrong[0].worst_index == "137"


def test_inputs_stay_inside_the_domain():
    (x,) = drawn_inputs("50", domain=(0.1, 2.0))
    assert 0.1 < float(x.min()) < float(x.max()) < 2.0
    assert check_subject(function_subject(torch.log, [x]), Method()).ok


def test_a_function_that_is_not_finite_at_the_point_is_refused_with_advice():
    with pytest.raises(UsageError, match="domain LOW:HIGH"):
        check_subject(function_subject(torch.log, draws((5,))), Method())


def test_a_point_on_the_edge_of_the_domain_is_said_to_be_there():
    report = check(lambda t: torch.sqrt(t["x"]), {"x": torch.tensor([0.0, 1.0], dtype=torch.float64)})
    assert report.kinds == {("reverse", "x"): "edge"}
    assert report.wrong[0].worst_index == "0"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dtype": "float8"}, "float8"),
        ({"checks": ("revers",)}, "Did you mean 'reverse'"),
        ({"step": 0.0}, "step takes a number between 0 and 1"),
        ({"sample": 0}, "sample takes a count of 1 or more"),
    ],
)
def test_a_method_that_can_not_be_is_refused(given, words):
    with pytest.raises(UsageError, match=words):
        Method(**given)


def test_the_rows_have_the_columns_of_gradcheck_csv():
    columns = (
        "subject,check,parameter,shape,entries,max_abs_error,max_rel_error,tolerance,worst_index,analytic,numeric,"
        "verdict,cause"
    )
    assert ",".join(GradientRow.__dataclass_fields__) == columns
