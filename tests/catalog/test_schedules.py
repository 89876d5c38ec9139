"""Every schedule against its closed form, written here, and against PyTorch's class in a plain loop."""

from __future__ import annotations

import inspect
import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnlab.catalog.entry import keys
from nnlab.catalog.rate_tables import lr_table, momentum_table, plateau, scheduler_on, warmup_factors
from nnlab.catalog.schedule_traps import traps
from nnlab.catalog.schedules import SCHEDULES, Budget, schedule_values
from nnlab.core.errors import UsageError
from nnlab.core.spec import parse_spec

LR, EPOCHS, STEPS_PER_EPOCH = 0.05, 90, 3
STEPS = EPOCHS * STEPS_PER_EPOCH


def spec_of(text):
    return parse_spec(text, what="--schedule")


def table(text, *, lr=LR, epochs=EPOCHS, steps=STEPS, steps_per_epoch=STEPS_PER_EPOCH, warmup=0):
    return lr_table(
        spec_of(text), lr=lr, epochs=epochs, steps=steps, steps_per_epoch=steps_per_epoch, warmup=warmup
    ).tolist()


def cosine(t, period, low, high):
    return low + (high - low) * (1 + math.cos(math.pi * t / period)) / 2


def restarts(epoch, first, factor, low):
    length = first
    while epoch >= length:
        epoch, length = epoch - length, length * factor
    return cosine(epoch, length, low, LR)


def triangle(step, up, down):
    """0 at the ends of a cycle, 1 at its peak."""
    step %= up + down
    return step / up if step <= up else (up + down - step) / down


def cyclic(step, mode, low=0.01, up=20, down=40, gamma=0.99):
    scale = {"triangular": 1.0, "triangular2": 0.5 ** (step // (up + down)), "exp_range": gamma**step}[mode]
    return low + (LR - low) * triangle(step, up, down) * scale


def one_cycle(step, total=STEPS, rise=0.3, first=LR / 25, last=LR / 25 / 1e4):
    top = rise * total - 1
    if step <= top:
        return cosine(step, top, LR, first)
    return cosine(step - top, total - 1 - top, last, LR)


def one_cycle_linear(step, total=STEPS, rise=0.2, first=LR / 10, last=LR / 10 / 100):
    """Three phases: up, down for as long, and out."""
    top, down = rise * total - 1, 2 * rise * total - 2
    if step <= top:
        return first + (LR - first) * step / top
    if step <= down:
        return LR + (first - LR) * (step - top) / (down - top)
    return first + (last - first) * (step - down) / (total - 1 - down)


PER_EPOCH = {
    "none": lambda _: LR,
    "lambda:lr_lambda=0.95**epoch": lambda e: LR * 0.95**e,
    "lambda:lr_lambda=max(0.1,1-epoch/50)": lambda e: LR * max(0.1, 1 - e / 50),
    "multiplicative:lr_lambda=0.97": lambda e: LR * 0.97**e,
    "multiplicative:lr_lambda=epoch/(epoch+1)": lambda e: LR / (e + 1),
    "step:step_size=30:gamma=0.1": lambda e: LR * 0.1 ** (e // 30),
    "step": lambda e: LR * 0.1 ** (e // 30),
    "multi_step:milestones=10x50x80:gamma=0.3": lambda e: LR * 0.3 ** sum(e >= m for m in (10, 50, 80)),
    "multi_step": lambda e: LR * 0.1 ** sum(e >= m for m in (45, 68)),
    "constant": lambda e: LR / 3 if e < 5 else LR,
    "constant:factor=0.2:total_iters=7": lambda e: LR * 0.2 if e < 7 else LR,
    "linear": lambda e: LR * (1 / 3 + 2 / 3 * min(e, 5) / 5),
    "linear:start_factor=1:end_factor=0.1:total_iters=80": lambda e: LR * (1 - 0.9 * min(e, 80) / 80),
    "exponential:gamma=0.9": lambda e: LR * 0.9**e,
    "exponential": lambda e: LR * 0.01 ** (e / EPOCHS),
    "polynomial": lambda e: LR * (1 - e / EPOCHS),
    "polynomial:total_iters=40:power=2": lambda e: LR * (1 - min(e, 40) / 40) ** 2,
    "cosine": lambda e: cosine(e, EPOCHS, 0.0, LR),
    "cosine:T_max=20:eta_min=0.001": lambda e: cosine(e, 20, 0.001, LR),
    "cosine_warm_restarts": lambda e: restarts(e, 45, 1, 0.0),
    "cosine_warm_restarts:T_0=10:T_mult=2:eta_min=0.001": lambda e: restarts(e, 10, 2, 0.001),
}
PER_STEP = {
    "one_cycle": one_cycle,
    "one_cycle:pct_start=0.2:anneal_strategy=linear:div_factor=10:final_div_factor=100:three_phase=true": (
        one_cycle_linear
    ),
    "cyclic": lambda s: LR / 4 + 0.75 * LR * triangle(s, STEPS // 4, STEPS // 4),
    **{
        f"cyclic:base_lr=0.01:step_size_up=20:step_size_down=40:gamma=0.99:mode={mode}": (
            lambda s, mode=mode: cyclic(s, mode)
        )
        for mode in ("triangular", "triangular2", "exp_range")
    },
}


@pytest.mark.parametrize("text", [*PER_EPOCH, *PER_STEP])
def test_every_rate_is_the_closed_form_at_every_step(text):
    if text in PER_EPOCH:
        expected = [PER_EPOCH[text](step // STEPS_PER_EPOCH) for step in range(STEPS)]
    else:
        expected = [PER_STEP[text](step) for step in range(STEPS)]
    # PyTorch computes each rate from the previous one: 90 roundings and, at the end of a cosine, cancellation.
    assert table(text) == pytest.approx(expected, rel=1e-11, abs=1e-15)


@pytest.mark.parametrize("text", [*PER_EPOCH, *PER_STEP])
def test_a_plain_loop_with_pytorchs_scheduler_uses_the_same_rates(text):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=LR)
    scheduler = scheduler_on(optimizer, spec_of(text), Budget(EPOCHS, STEPS_PER_EPOCH, LR))
    row = SCHEDULES[spec_of(text).name]
    assert type(scheduler).__name__ == row.torch_class
    rates = []
    for _ in range(EPOCHS):
        for _ in range(STEPS_PER_EPOCH):
            rates.append(optimizer.param_groups[0]["lr"])
            parameter.grad = torch.ones(1)
            optimizer.step()
            if row.per == "step":
                scheduler.step()
        if row.per == "epoch":
            scheduler.step()
    assert table(text) == rates


def test_every_schedule_has_its_closed_form_here_but_the_one_that_listens():
    named = {spec_of(text).name for text in [*PER_EPOCH, *PER_STEP]}
    assert named == {name for name, row in SCHEDULES.items() if not row.listens}


def test_the_textbooks_step_schedule_gives_its_three_rates():
    rates = table("step:step_size=30:gamma=0.1")[::STEPS_PER_EPOCH]
    assert rates[0] == rates[29] == 0.05
    assert rates[30] == pytest.approx(0.005, rel=1e-15)
    assert rates[60] == rates[89] == pytest.approx(0.0005, rel=1e-15)


def test_a_cosine_past_its_end_rises_again_to_where_it_began():
    rates = table("cosine:T_max=20")[::STEPS_PER_EPOCH]
    assert rates[20] == 0.0
    assert rates[21] > 0.0
    assert rates[40] == pytest.approx(LR, rel=1e-12)


def test_one_cycle_ends_at_its_least_rate_on_the_very_last_step():
    rates = table("one_cycle")
    assert rates[0] == pytest.approx(LR / 25, rel=1e-15)
    assert max(rates) == rates[80] == LR
    assert rates[-1] == min(rates) == pytest.approx(LR / 25 / 1e4, rel=1e-12)


def test_one_cycle_fits_a_run_cut_short_by_its_steps():
    rates = table("one_cycle", epochs=3, steps=200, steps_per_epoch=80)
    assert len(rates) == 200
    assert rates[-1] == pytest.approx(LR / 25 / 1e4, rel=1e-12)


def test_a_last_epoch_cut_short_keeps_its_rate():
    assert table("step:step_size=1", epochs=3, steps=5, steps_per_epoch=2) == pytest.approx(
        [0.05, 0.05, 0.005, 0.005, 0.0005], rel=1e-15
    )


def test_warm_up_rises_in_a_straight_line_to_the_rate():
    assert table("none", lr=1.0, warmup=4)[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0], rel=1e-15)
    assert warmup_factors(3, 9).tolist() == pytest.approx([0.1, 0.2, 0.3], rel=1e-15)
    assert table("none", lr=1.0, warmup=0) == [1.0] * STEPS


@pytest.mark.parametrize("text", ["step:step_size=1:gamma=0.5", "one_cycle", "cosine"])
def test_warm_up_multiplies_the_schedule_and_moves_none_of_its_epochs(text):
    with_it, without = table(text, warmup=7), table(text)
    assert with_it[7:] == without[7:]
    expected = [rate * (t + 1) / 8 for t, rate in enumerate(without[:7])]
    assert with_it[:7] == pytest.approx(expected, rel=1e-15)


def momenta(text):
    found = momentum_table(spec_of(text), lr=LR, epochs=EPOCHS, steps=STEPS, steps_per_epoch=STEPS_PER_EPOCH)
    return None if found is None else found.tolist()


def test_momentum_is_cycled_against_the_rate_only_when_asked():
    assert momenta("one_cycle") is None
    assert momenta("cyclic") is None
    assert momenta("cosine") is None
    one = momenta("one_cycle:cycle_momentum=true")
    assert (one[0], one[80], one[-1]) == pytest.approx((0.95, 0.85, 0.95), rel=1e-15)
    triangles = momenta("cyclic:cycle_momentum=true:step_size_up=30")
    assert (triangles[0], triangles[30], triangles[60]) == pytest.approx((0.9, 0.8, 0.9), rel=1e-15)


def falls(losses, text="reduce_on_plateau:patience=3"):
    """The epochs (from 1) at whose end the rate falls."""
    listener, found = plateau(spec_of(text), lr=LR), []
    for epoch, loss in enumerate(losses, start=1):
        before = listener.lr
        listener.step(loss)
        if listener.lr < before:
            found.append(epoch)
    return found


@pytest.mark.parametrize("patience", [0, 1, 3, 10])
def test_a_plateau_lowers_the_rate_at_stalled_epoch_patience_plus_one_and_never_before(patience):
    stalled = [1.0, 0.9, 0.8] + [0.8] * 30
    first = 3 + patience + 1
    assert falls(stalled, f"reduce_on_plateau:patience={patience}")[0] == first
    assert falls(stalled[: first - 1], f"reduce_on_plateau:patience={patience}") == []


def test_a_plateau_never_lowers_the_rate_while_the_loss_falls():
    assert falls([0.99**epoch for epoch in range(100)]) == []


def test_a_plateau_multiplies_the_rate_by_its_factor_and_stops_at_its_least():
    listener = plateau(spec_of("reduce_on_plateau:patience=0:factor=0.5:min_lr=0.02"), lr=LR)
    rates = []
    for _ in range(4):
        listener.step(1.0)
        rates.append(listener.lr)
    assert rates == pytest.approx([0.05, 0.025, 0.02, 0.02], rel=1e-15)


def test_a_schedule_that_listens_has_no_table():
    with pytest.raises(UsageError, match="listens to the validation loss"):
        table("reduce_on_plateau")


@given(
    text=st.sampled_from([*PER_EPOCH, *PER_STEP, "multi_step", "step", "exponential"]),
    lr=st.floats(1e-6, 1e3),
    epochs=st.integers(1, 12),
    steps_per_epoch=st.integers(1, 5),
    short=st.integers(0, 4),
    warmup=st.integers(0, 8),
)
def test_any_budget_gives_finite_rates_or_says_what_is_wrong(text, lr, epochs, steps_per_epoch, short, warmup):
    steps = max(1, epochs * steps_per_epoch - min(short, steps_per_epoch - 1))
    budget = {"epochs": epochs, "steps": steps, "steps_per_epoch": steps_per_epoch, "warmup": warmup}
    # Two errors are possible here: a base_lr above the peak, and a pct_start that leaves a rise of one step.
    if ("base_lr=0.01" in text and lr < 0.01) or (text in PER_STEP and "pct_start=0.2" in text and 0.2 * steps == 1):
        with pytest.raises(UsageError, match=r"above the peak|a rise of one step"):
            table(text, lr=lr, **budget)
        return
    rates = table(text, lr=lr, **budget)
    assert len(rates) == steps
    assert all(0 <= rate <= lr * (1 + 1e-9) for rate in rates)


@pytest.mark.parametrize("name", SCHEDULES)
def test_keys_are_spelt_as_pytorch_spells_them(name):
    row = SCHEDULES[name]
    theirs = inspect.signature(getattr(torch.optim.lr_scheduler, row.torch_class)).parameters
    ours = keys(row.function)
    assert ours.keys() <= theirs.keys()
    from_budget = {"step_size_up", "total_iters", "cycle_momentum"}
    for key in ours.values():
        if key.default is not None and key.name not in from_budget and not key.required:
            assert key.default == theirs[key.name].default


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cosin", "Did you mean 'cosine'"),
        ("step:stepsize=3", "Did you mean 'step_size'"),
        ("step:step_size=0", "a whole number of 1 or more"),
        ("lambda", "needs lr_lambda="),
        ("lambda:lr_lambda=import os", "can't be read as arithmetic"),
        ("cyclic:mode=triangel", "schedule cyclic:mode=triangel is not known. Did you mean 'triangular'"),
        ("one_cycle:anneal_strategy=sine", "Accepted: cos, linear"),
        ("reduce_on_plateau:threshold_mode=r", "Accepted: abs, rel"),
    ],
)
def test_a_schedule_that_cannot_be_meant_is_refused_without_building_it(text, said):
    with pytest.raises(UsageError, match=said):
        schedule_values(spec_of(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("one_cycle:total_steps=100", "OneCycleLR reports: Tried to step 101 times"),
        ("one_cycle:total_steps=300:pct_start=0", ""),
        ("linear:start_factor=0", "LinearLR reports: Starting multiplicative factor"),
        ("cyclic:base_lr=0.1", "above the peak, lr 0.05"),
        ("lambda:lr_lambda=1-epoch/10", "makes the rate -0.00"),
        ("lambda:lr_lambda=1/epoch", "has no finite value at epoch 0"),
        ("multiplicative:lr_lambda=1e300", "makes the rate inf at epoch"),
        ("one_cycle:total_steps=10:pct_start=0.1", "a rise of one step"),
    ],
)
def test_what_pytorch_or_the_numbers_refuse_is_said_in_the_options_spelling(text, said):
    if not said:
        assert table(text)
        return
    with pytest.raises(UsageError, match=said):
        table(text)


def test_a_persons_own_function_of_the_epoch_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def decay(epoch):\n    return 0.5**epoch\n\nnumber = 3\n", encoding="utf-8")
    assert table("lambda:lr_lambda=mine.py:decay") == table("lambda:lr_lambda=0.5**epoch")
    with pytest.raises(UsageError, match="is of type int, not a function of the epoch"):
        table("lambda:lr_lambda=mine.py:number")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("step:step_size=30", "step_size=30 counts epochs, and the run has 10"),
        ("multi_step:milestones=5x30", r"milestones \[30\] are never reached"),
        ("cosine:T_max=5", "past epoch T_max=5 the rate rises again, up to its first value at epoch 10"),
        ("cosine:T_max=800", "never comes down to eta_min: T_max=800"),
        ("cosine_warm_restarts:T_0=3", "a restart falls on the last epoch, 9"),
        ("cosine_warm_restarts:T_0=3:T_mult=2", "a restart falls on the last epoch, 9"),
        ("cosine_warm_restarts:T_0=30", "the first cosine never ends"),
        ("polynomial:total_iters=5", "the last 5 epochs train nothing"),
        ("linear:total_iters=30", "not finished at the end of the run"),
        ("cyclic:step_size_up=2000", "one cycle takes 4000 steps, and the run has only 400"),
        ("cyclic:step_size_up=5", "step_size_up=5 counts steps, not epochs, and an epoch has 40 steps"),
        ("one_cycle:total_steps=500", "never comes down to its final value"),
        ("one_cycle:total_steps=399", "the last one is past the end of PyTorch's curve"),
        ("one_cycle:total_steps=100", "PyTorch stops with an error after total_steps"),
        ("one_cycle:total_steps=10", "total_steps=10 counts steps, not epochs"),
        ("reduce_on_plateau", "with patience=10 the rate can fall after 12 epochs at the earliest; the run has 10"),
    ],
)
def test_known_traps_are_named(text, said):
    found = traps(spec_of(text), Budget(epochs=10, steps_per_epoch=40, lr=LR))
    assert found
    assert all(trap.startswith(f"⟨schedule={text}⟩: ") for trap in found)
    assert any(re.search(said, trap) for trap in found)


@pytest.mark.parametrize("name", [n for n in SCHEDULES if n not in ("lambda", "multiplicative", "reduce_on_plateau")])
def test_defaults_from_the_budget_trap_nobody(name):
    assert traps(spec_of(name), Budget(epochs=10, steps_per_epoch=40, lr=LR)) == []
