"""`nnlab train`: how one configuration trains, over any number of seeds; the best model is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nnlab.commands.command import ExperimentCommand
from nnlab.experiments.judging import judge_arms
from nnlab.experiments.study import Study
from nnlab.settings import CountSetting, ExperimentSettings, setting
from nnlab.settings.readers import SeedList

if TYPE_CHECKING:
    from nnlab.experiments.experiment import Experiment

NAME: Final = "train"


class TrainSettings(ExperimentSettings):
    """`nnlab train`: one configuration, one seed unless more are asked for."""

    epochs: CountSetting = setting(20, "Passes over the training part.")
    seeds: SeedList = setting(
        "1", "A count (5 means 0 to 4) or a list (3,5,8; a single seed: 5,).", role="arms", metavar="SEEDS"
    )


def plan(settings: TrainSettings) -> Experiment:
    """The experiment with a single arm, named after its model."""
    from nnlab.experiments.experiment import Arm, Experiment, run_settings
    from nnlab.ingredients.resolve import settings_and_data

    settings, dataset = settings_and_data(settings)
    arm = Arm(str(settings.model), run_settings(settings))
    return Experiment(NAME, None, (arm,), settings, dataset)


COMMAND: Final = ExperimentCommand(
    NAME,
    "Train one configuration, and save the model for `nnlab predict`.",
    TrainSettings,
    Study(plan, judge_arms),
    examples=(
        "nnlab train --data digits --lr 0.5",
        "nnlab train --data my.csv --target price --model mlp:hidden=64 --name house",
        "nnlab train --model cnn_mnist1d --optimizer adam --lr 0.01 --seeds 3",
    ),
)
