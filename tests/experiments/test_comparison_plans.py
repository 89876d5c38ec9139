"""The plan of a comparison, before anything runs: its arms, what they share, what is refused."""

from __future__ import annotations

import pytest
import torch

from nnlab.commands import COMMANDS
from nnlab.core.errors import UsageError
from nnlab.engine import plan
from nnlab.engine.program import program_of
from nnlab.engine.sources import Sources
from nnlab.engine.starting import starting_weights
from nnlab.experiments.experiment import Experiment

MOONS = {"data": "moons:samples=60", "seeds": "2"}


def planned(name: str, **given: object) -> Experiment:
    command = COMMANDS[name]
    return command.check(command.settings.from_values(MOONS | given))


def varied(*factors: str, **given: object) -> Experiment:
    return planned("compare", vary=list(factors), **given)


def names(experiment: Experiment) -> list[str]:
    return [arm.name for arm in experiment.arms]


def test_an_arm_is_named_by_the_canonical_spelling_of_its_level():
    assert names(varied("lr=1e-2,.5")) == ["0.01", "0.5"]
    assert names(varied("optimizer=sgd:momentum=0.9,adam")) == ["sgd:momentum=0.9", "adam"]
    assert names(varied("momentum=0,.9")) == ["0.0", "0.9"]
    assert names(varied("width=8,16", "activation=relu,tanh")) == [
        "width=8 activation=relu",
        "width=8 activation=tanh",
        "width=16 activation=relu",
        "width=16 activation=tanh",
    ]


def test_layers_of_one_width_have_a_width_and_a_depth_to_vary():
    models = [str(arm.settings.model) for arm in varied("width=8,16", model="mlp:hidden=5x5x5:bias=false").arms]
    assert models == ["mlp:width=8:depth=3:bias=false", "mlp:width=16:depth=3:bias=false"]


def test_init_is_crossed_with_widths_and_depths():
    experiment = planned("compare-init", inits="zeros,orthogonal", widths="4,8", depths="1,2")
    assert len(experiment.arms) == 8
    assert names(experiment)[1] == "init=zeros width=4 depth=2"
    assert str(experiment.arms[1].settings.model) == "mlp:width=4:depth=2"
    assert experiment.factor == "arm"


def test_losses_default_to_those_that_fit_the_task_and_each_is_tuned():
    experiment = planned("compare-loss")
    assert names(experiment) == ["bce", "cross_entropy", "hinge", "focal", "mse"]
    assert experiment.settings.metric == "val_accuracy"
    assert experiment.tuning is not None
    assert len(experiment.tuning.rates) == 7
    regression = planned("compare-loss", data="sine:samples=60")
    assert names(regression) == ["mse", "l1", "huber", "log_cosh"]
    assert regression.settings.metric == "val_rmse"


def test_schedules_share_everything_but_the_schedule():
    experiment = planned("compare-schedule")
    held = [arm.settings.model_copy(update={"schedule": None}) for arm in experiment.arms]
    assert all(settings == held[0] for settings in held)


def test_runs_of_one_seed_share_parts_batches_and_starting_weights_across_arms():
    experiment = varied("optimizer=sgd,adam", "lr=0.1,1")
    sources = Sources()
    runs = [run for run in experiment.runs if run.seed == 1]
    assert len({run.run_id for run in runs}) == 4
    parts = [sources.parts(run.settings, run.seed) for run in runs]
    starts = []
    for run, part in zip(runs, parts, strict=True):
        assert (part.train.x == parts[0].train.x).all()
        assert (part.test.y == parts[0].test.y).all()
        program = program_of(run, sources.shape(run))
        starts.append(starting_weights(program, run, torch.from_numpy(part.train.x)))
    # Batches and dropout masks come from streams of the seed alone (tests/engine holds the engine to that).
    for start in starts:
        assert all(torch.equal(start[name], starts[0][name]) for name in start)


def test_an_arm_is_planned_once_for_all_its_seeds(monkeypatch):
    experiment, sources = varied("optimizer=sgd,adam", "lr=0.1,1", seeds="5"), Sources()
    assert len({id(run.settings) for run in experiment.runs}) == 4
    asked = []
    monkeypatch.setattr(plan, "program_of", lambda run, shape: asked.append(run) or program_of(run, shape))
    tiles = plan.tiles_of(experiment.runs, sources.shape)
    assert len(asked) == 4
    assert sorted(run.run_id for tile in tiles for run in tile.runs) == sorted(run.run_id for run in experiment.runs)
    assert {tile.program.optimizer.name for tile in tiles} == {"sgd", "adam"}


def test_more_levels_and_seeds_belong_to_the_same_experiment_and_keep_their_runs():
    few, many = varied("optimizer=sgd,adam"), varied("optimizer=sgd,adam,rmsprop:alpha=0.9", seeds="3")
    assert few.identity == many.identity
    assert {run.run_id for run in few.runs} < {run.run_id for run in many.runs}
    reordered = varied("optimizer=rmsprop:alpha=0.9,adam,sgd")
    assert reordered.identity == few.identity
    assert varied("weight_decay=0,0.1").identity == varied("weight_decay=0.1,0").identity
    assert varied("optimizer=sgd,adam", epochs=3).identity != few.identity


def test_tuning_seeds_are_never_reported():
    experiment = planned("compare-loss", seeds="10")
    assert experiment.tuning is not None
    assert not set(experiment.tuning.seeds) & set(experiment.seeds)


@pytest.mark.parametrize(
    ("factors", "given", "said"),
    [
        (["lr=0.1"], {}, "compares two or more arms; 1 given"),
        (["lr=0.1,0.10"], {}, "'0.1' and '0.1' are the same arm"),
        (["activation=relu,relu"], {}, "names 'relu' twice"),
        (["init=normal,normal:std=1"], {}, "'normal' and 'normal:std=1' are the same arm in two spellings"),
        (["data=moons,circles"], {}, "an experiment has one data set"),
        (["wdith=8,16"], {}, "neither a setting nor a key of model mlp or optimizer sgd. Did you mean 'width'"),
        (["width=8,x"], {}, "vary width takes a whole number"),
        (["width=8,16"], {"model": "mlp:hidden=8x4"}, "hidden layers of several widths"),
        (["optimizer"], {}, "is not KEY=A,B,C"),
        ([], {}, "Nothing is varied"),
        (["lr=0.1,1", "lr=2,3"], {}, "names 'lr' twice"),
        (["lr=0.1,1"], {"tune_lr": "0.1,1"}, "tune_lr chooses the rate that vary lr varies"),
        (["optimizer=sgd,adam"], {"tune_lr": "0.1,1", "validation": 0}, "validation 0 leaves no validation part"),
        (["loss=bce,mse"], {}, "metric val_loss has a unit of its own in each arm"),
        (["loss=bce,l1,quantile"], {"metric": "val_accuracy"}, "serves regression tasks, not binary"),
        (["optimizer=sgd,adam"], {"baseline": "adamw"}, "is not an arm. Did you mean 'adam'"),
    ],
)
def test_what_compares_nothing_is_refused_with_what_would(factors, given, said):
    with pytest.raises(UsageError, match=said):
        varied(*factors, **given)


def test_a_loss_that_does_not_fit_is_refused_naming_those_that_do():
    with pytest.raises(UsageError, match=r"bce serves binary tasks, not regression\. Losses that do: mse, l1, huber"):
        planned("compare-loss", data="sine:samples=60", losses="mse,bce")


def test_losses_are_not_judged_by_a_loss():
    with pytest.raises(UsageError, match="Say metric val_accuracy"):
        planned("compare-loss", metric="val_loss")


def test_sizes_of_a_model_without_layers_are_refused_naming_the_model_that_has_them():
    with pytest.raises(UsageError, match=r"model linear has no width to vary\. These have: mlp"):
        planned("compare-init", model="linear", widths="4,8")
