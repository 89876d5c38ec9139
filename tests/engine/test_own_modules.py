"""Any nn.Module: batched by vmap or trained run by run, with the same numbers, from the weights that its constructor makes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import own_modules
import pytest
import torch
from problems import CPU, SOURCES, numbers, run_settings, runs_of, trained
from test_engines_agree import differences
from torch import Tensor, nn

from nnlab.core.errors import UsageError
from nnlab.core.rng import stream_seed
from nnlab.core.spec import Spec
from nnlab.engine.choice import Choice, choice_of
from nnlab.engine.executors import Machine
from nnlab.engine.hooks import Hooks
from nnlab.engine.modules import OwnDraws
from nnlab.engine.outcomes import Fitted
from nnlab.engine.program import program_of
from nnlab.engine.starting import starting_weights
from nnlab.experiments.training import Training
from nnlab.ingredients.resolve import complete_settings
from nnlab.networks.encoder import Attention, Block, Encoder
from nnlab.networks.layers import parameters
from nnlab.networks.module_layer import trained_parameters
from nnlab.settings import ExperimentSettings
from nnlab.settings.run_records import Run

FILE: Final = Path(own_modules.__file__)
# 42 training rows make two batches of 16 and a short one of 10.
MOONS: Final = "moons:samples=70"
SERIES: Final = "linear_regression:samples=70:features=8"
ROUNDING: Final = 1e-10  # definitions.md: whole trajectories of problems that are not chaotic


def own(name: str) -> str:
    return f"{FILE}:{name}"


def settings_of(model: str, data: str = MOONS, **others: object) -> dict[str, object]:
    return {"data": data, "model": model, "dtype": "float64", "batch_size": 16, "epochs": 4, "lr": 0.05, **others}


def start_of(run: Run) -> dict[str, Tensor]:
    program = program_of(run, SOURCES.shape(run))
    return starting_weights(program, run, torch.from_numpy(SOURCES.parts(run.settings, run.seed).train.x))


def choice_for(settings: Mapping[str, object]) -> Choice:
    one, other = runs_of(settings, seeds=[0, 1])
    x = torch.from_numpy(SOURCES.parts(one.settings, 0).train.x)
    return choice_of(program_of(one, SOURCES.shape(one)), [start_of(one), start_of(other)], x)


def worst(found: Mapping[str, Fitted], wanted: Mapping[str, Fitted]) -> float:
    assert all(found[name].weights.keys() >= wanted[name].weights.keys() for name in wanted)  # type: ignore[union-attr]
    return max(max(differences(wanted[name], found[name]).values()) for name in wanted)


PLAIN: Final = own("Plain:norm=true:dropout=0.3")
AGREEING: Final = {
    "layers": settings_of(own("Plain"), activation="tanh"),
    "batch norm and dropout": settings_of(PLAIN, activation="softplus"),
    "weight decay and a schedule": settings_of(
        PLAIN, optimizer="sgd:momentum=0.9", weight_decay=0.02, schedule="cosine"
    ),
    "adam, clipped": settings_of(PLAIN, optimizer="adam:eps=1e-4", clip_norm=0.3, lr=3e-3),
    "averaged and stopped early": settings_of(PLAIN, average="ema:decay=0.7", early_stop=1, epochs=8),
    "one number a row": settings_of(own("OneNumber"), clip_norm=0.2),
    "one number a row, plain sgd": settings_of(own("OneNumber"), SERIES),
    "channels dropped": settings_of(
        own("Channels:kernels=3x1"), "digits:image=true", batch_size=400, epochs=2, label_noise=0.1
    ),
    "buffers": settings_of(own("Remembers"), SERIES, lr=0.01),
    "tied weights": settings_of(own("Tied"), SERIES, optimizer="sgd:momentum=0.5", weight_decay=0.1),
    "a module as it stands": settings_of(own("ready"), optimizer="rmsprop:eps=1e-4", lr=1e-3),
    "transformer": settings_of(
        "transformer:width=8:heads=2:depth=2:feedforward=6:dropout=0.1", SERIES, optimizer="adam:eps=1e-4", lr=1e-3
    ),
}


@pytest.mark.parametrize("settings", AGREEING.values(), ids=AGREEING.keys())
def test_runs_batched_by_vmap_are_those_of_the_plain_loop(settings):
    assert choice_for(settings).engine == "vmap"
    runs = runs_of(settings, seeds=[0, 1, 2], lrs=[settings["lr"], settings["lr"] / 3])
    batched, loop = trained(runs, engine="vmap"), trained(runs, engine="loop")
    assert worst(loop, batched) < ROUNDING
    assert {each.record.engine for each in batched.values()} == {"vmap"}


@pytest.mark.parametrize(
    "model",
    [
        "linear",
        "mlp:hidden=7x5",
        "mlp:hidden=7x5:norm=batch:dropout=0.3:bias=false",
        "mlp:width=6:depth=3:residual=true:norm=layer:dropout=0.2",
        "conv1d:channels=3x2",
    ],
)
def test_models_of_the_catalogue_come_out_the_same_of_all_three_engines(model):
    settings = settings_of(model, SERIES, activation="tanh", weight_decay=0.03, schedule="step:step_size=2")
    runs = runs_of(settings, seeds=[0, 1], lrs=[0.01, 0.03])
    batched, native, loop = (trained(runs, engine=engine) for engine in ("vmap", "native", "loop"))
    assert worst(batched, native) < ROUNDING
    assert worst(loop, batched) < ROUNDING


AWKWARD: Final = {
    "Recurrent": "no rule for aten::lstm",
    "Branches": "control flow depends on the data",
    "InPlace": "writes what differs between runs into a tensor that they share",
    "OwnGradient": "no rule for vmap",
    "Rolls": "draws from PyTorch's global generator",
}


@pytest.mark.parametrize(("name", "reason"), AWKWARD.items())
def test_a_module_that_torch_func_can_not_batch_is_trained_run_by_run(name, reason):
    settings = run_settings({"data": MOONS, "model": own(name), "epochs": 12, "lr": 0.1, "batch_size": 16})
    asked = ExperimentSettings.from_values({"data": MOONS})
    training = Training([Run("a", "", 3, settings)], asked, SOURCES.dataset(settings))
    training.machine = Machine(CPU, 1)
    training.rehearse()
    (choice,) = training.choices
    assert choice.engine == "loop"
    assert reason in choice.reason
    finished: list[Fitted] = []
    training.carry_out(Hooks(finished.extend))
    (record,) = [each.record for each in finished]
    assert (record.status, record.engine) == ("done", "loop")
    assert record.curves["train_loss"][-1] < record.curves["train_loss"][0]


def test_vmap_that_is_asked_for_and_can_not_be_is_refused_with_the_reason():
    with pytest.raises(UsageError, match=r"engine vmap can't batch .*: torch.func has no rule for aten::lstm"):
        choice_for({"data": MOONS, "model": own("Recurrent"), "engine": "vmap"})


def test_the_native_engine_has_no_rules_for_a_module():
    with pytest.raises(UsageError, match="engine native has no rules"):
        run_settings({"data": MOONS, "model": own("Plain"), "engine": "native"})


def test_models_of_the_catalogue_are_not_tried():
    assert run_settings({"data": MOONS}).engine == "native"
    assert run_settings({"data": MOONS, "model": "transformer"}).engine == "auto"


@pytest.mark.parametrize("engine", ["vmap", "loop"])
def test_a_run_does_not_hang_on_its_company(engine):
    """vmap's products may sum in another order for one run than for several: equal to rounding, not to the bit."""
    runs = runs_of(settings_of(PLAIN), seeds=[0, 1], lrs=[0.02, 0.1, 1e30])
    together = trained(runs, engine=engine, threads=2)
    for run in runs:
        (alone,) = trained([run], engine=engine).values()
        found = together[run.run_id]
        assert found.record.status == alone.record.status
        if found.record.status == "done":
            assert max(differences(found, alone).values()) < 1e-12


def test_what_a_module_draws_from_the_global_generator_hangs_on_the_runs_seed_alone():
    runs = runs_of(settings_of(own("Rolls")), seeds=[0, 1, 2], lrs=[0.02, 0.1])
    before = torch.get_rng_state()
    torch.rand(7)
    one_by_one = [numbers(trained([run], engine="loop")[run.run_id]) for run in runs]
    together = trained(runs, engine="loop", threads=3)
    assert [numbers(together[run.run_id]) for run in runs] == one_by_one
    torch.set_rng_state(before)


def test_own_draws_go_on_where_they_were_and_leave_the_global_generator_alone():
    wanted = torch.rand(6, generator=torch.Generator().manual_seed(5))
    own_draws, before, found = OwnDraws(5, CPU), torch.get_rng_state(), []
    for _ in range(2):
        with own_draws():
            found.append(torch.rand(3))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(torch.cat(found), wanted)


def test_a_module_starts_as_its_constructor_makes_it_under_the_seed():
    (run,) = runs_of(settings_of(own("Plain:width=5")), seeds=[4])
    assert run.settings.init == Spec("as_built")
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(4, "init"))
        wanted = own_modules.Plain(2, 1, nn.ReLU(), width=5)
    found = start_of(run)
    assert found.keys() == dict(wanted.named_parameters()).keys()
    assert all(torch.equal(found[name].float(), value) for name, value in wanted.named_parameters())


def test_models_of_the_catalogue_can_start_as_pytorch_builds_them():
    (run,) = runs_of({"data": MOONS, "model": "mlp:hidden=5:norm=batch", "init": "as_built"}, seeds=[4])
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(4, "init"))
        wanted = nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 1))
    found = start_of(run)
    assert found.keys() == dict(wanted.named_parameters()).keys()
    assert all(torch.equal(found[name].float(), value) for name, value in wanted.named_parameters())


def test_an_init_replaces_weights_and_biases_of_layers_and_leaves_the_rest_as_built():
    class Everything(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.conv = nn.Embedding(5, 3), nn.Conv1d(2, 4, 3)
            self.gru, self.attention = nn.GRU(3, 4), nn.MultiheadAttention(4, 2)
            self.norm, self.theta = nn.LayerNorm(4), nn.Parameter(torch.full((2, 2), 7.0))

    laws = {parameter.name: parameter for parameter in trained_parameters(Everything())}
    by_law = {law: {name for name, each in laws.items() if each.law == law} for law in ("weight", "bias", "built")}
    assert by_law["built"] == {"theta", "norm.weight", "norm.bias"}
    assert by_law["bias"] == {name for name in laws if "bias" in name and "norm" not in name}
    assert laws["gru.bias_ih_l0"].weight_shape == (12, 3)
    assert laws["gru.weight_hh_l0"].torch_bound == pytest.approx(0.5)  # 1 / sqrt(hidden), as nn.GRU starts
    assert laws["attention.in_proj_bias"].weight_shape == (12, 4)

    (run,) = runs_of(settings_of(PLAIN, init="constant:val=0.25"))
    start = start_of(run)
    assert all((start[name] == 0.25).all() for name in ("body.0.weight", "body.4.weight"))
    assert (start["body.1.weight"] == 1).all()
    assert (start["body.4.bias"] == 0).all()


def test_gain_auto_follows_the_activation_that_the_module_is_handed():
    def spread(activation: str) -> float:
        init = "kaiming_normal:gain=auto"
        (run,) = runs_of(settings_of(own("Plain:width=400"), init=init, activation=activation))
        return start_of(run)["body.0.weight"].std().item()

    # The same draws, scaled by the gain: 5/3 of tanh against sqrt 2 of ReLU.
    assert spread("tanh") / spread("relu") == pytest.approx(5 / 3 / math.sqrt(2), rel=1e-6)


def test_what_a_module_does_not_train_stays_and_what_it_remembers_is_each_runs_own():
    settings = settings_of(own("Remembers"), SERIES, weight_decay=0.5, lr=0.01)
    runs = runs_of(settings, seeds=[0, 1])
    found = trained(runs, engine="vmap")
    for run in runs:
        start, weights = start_of(run), found[run.run_id].weights
        assert weights is not None
        assert torch.equal(weights["still"], start["still"])  # decay, too, passes it by
        assert torch.equal(weights["mix"], start["mix"])
        assert weights["calls"].item() == 12
        assert weights["mean"].abs().sum() > 0
    one, other = (found[run.run_id].weights["mix"] for run in runs)  # type: ignore[index]
    assert not torch.equal(one, other)


def test_a_diverged_run_leaves_and_the_buffers_of_the_others_stay_theirs():
    runs = runs_of(settings_of(PLAIN, epochs=6), seeds=[0], lrs=[0.02, 1e30, 0.1])
    found, loop = trained(runs, engine="vmap"), trained(runs, engine="loop")
    assert [found[run.run_id].record.status for run in runs] == ["done", "diverged", "done"]
    living = [runs[0].run_id, runs[2].run_id]
    assert worst({name: loop[name] for name in living}, {name: found[name] for name in living}) < ROUNDING


def test_a_function_that_makes_a_module_is_a_model():
    (run,) = runs_of(settings_of(own("made_here:depth=3"), SERIES))
    layers = program_of(run, SOURCES.shape(run)).layers
    assert [parameter.shape for parameter in parameters(layers)] == [(8, 8), (8,)] * 3 + [(1, 8), (1,)]


def test_attention_is_that_of_pytorch():
    ours, theirs = Attention(6, 2, 0.0).double(), nn.MultiheadAttention(6, 2, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.query_key_value.weight)
        theirs.in_proj_bias.copy_(ours.query_key_value.bias)
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    x = torch.randn(3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0], rtol=1e-12, atol=1e-12)


def test_a_block_is_pytorchs_encoder_layer_with_its_norms_first():
    ours = Block(6, 2, 7, 0.0, Spec("gelu")).double()
    theirs = nn.TransformerEncoderLayer(6, 2, 7, 0.0, "gelu", batch_first=True, norm_first=True).double()
    attention = ours.attend[1]
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(attention.query_key_value.weight)
        theirs.self_attn.in_proj_bias.copy_(attention.query_key_value.bias)
        theirs.self_attn.out_proj.load_state_dict(attention.out.state_dict())
        theirs.linear1.load_state_dict(ours.feed[1].state_dict())
        theirs.linear2.load_state_dict(ours.feed[4].state_dict())
    x = torch.randn(3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)


def test_an_encoder_reads_plain_rows_as_one_channel_and_channels_each_with_all_its_steps():
    keys = {"width": 6, "heads": 2, "depth": 1, "feedforward": 4, "dropout": 0.0}
    plain, channels, both = (Encoder(row, 3, Spec("relu"), **keys) for row in ((5,), (1, 5), (2, 5)))
    channels.load_state_dict(plain.state_dict())
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    assert torch.equal(plain(x), channels(x[:, None]))
    both.load_state_dict({**plain.state_dict(), "embed.weight": plain.embed.weight.expand(-1, 2) / 2})
    # The mean of two channels that are alike is either of them.
    torch.testing.assert_close(both(torch.stack([x, x], 1)), plain(x))


def test_the_transformer_learns():
    settings = {
        "data": "iris",
        "model": "transformer:width=8:depth=1",
        "optimizer": "adam",
        "lr": 0.03,
        "batch_size": 20,
    }
    (fitted,) = trained(runs_of({**settings, "epochs": 12}), engine="vmap").values()
    assert fitted.record.scores["val_accuracy"] > 0.7  # a third by chance


def test_a_persons_own_optimizer_takes_its_steps_in_the_loop():
    base = {"data": MOONS, "model": "mlp:hidden=5", "dtype": "float64", "lr": 0.03, "epochs": 3, "batch_size": 16}
    theirs = runs_of({**base, "optimizer": own("nesterov:momentum=0.7"), "schedule": "cosine"})
    ours = runs_of({**base, "optimizer": "sgd:momentum=0.7:nesterov=true", "schedule": "cosine"})
    assert theirs[0].settings.engine == "auto"
    found, wanted = trained(theirs, engine="loop"), trained(ours, engine="loop")
    assert max(differences(found[theirs[0].run_id], wanted[ours[0].run_id]).values()) == 0.0


def test_one_step_of_an_own_rule_is_what_it_says():
    settings = {"data": MOONS, "model": "linear", "dtype": "float64", "lr": 0.03, "steps": 1, "batch_size": "full"}
    (run,) = runs_of({**settings, "optimizer": own("SignDescent:shrink=0.5")})
    (fitted,) = trained([run], engine="loop").values()
    for name, before in start_of(run).items():
        moved = (fitted.weights[name] - before * (1 - 0.03 * 0.5)).abs()  # type: ignore[index]
        assert torch.allclose(moved, torch.full_like(moved, 0.03), rtol=1e-12)


def test_an_own_optimizer_is_refused_by_engines_that_move_many_runs_at_once():
    settings = {"data": MOONS, "optimizer": own("nesterov"), "engine": "native"}
    with pytest.raises(UsageError, match="updates many runs at once"):
        run_settings(settings)


def test_the_init_of_a_module_can_be_named_and_auto_goes_by_the_model():
    def init_of(**settings: object) -> str:
        return str(complete_settings(ExperimentSettings.from_values({"data": MOONS, **settings})).init)

    assert init_of() == "torch_default"
    assert init_of(model=own("Plain")) == init_of(model="transformer") == "as_built"
    assert init_of(model=own("Plain"), init="orthogonal") == "orthogonal"
