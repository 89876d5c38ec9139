"""`nnlab sweep-lr`: one model at many learning rates, over several seeds, with a verdict for each rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from nnlab.commands.command import ExperimentCommand
from nnlab.experiments.judging import judge_arms
from nnlab.experiments.study import Conclusion, Evidence, Facts, Study
from nnlab.settings import ExperimentSettings, setting
from nnlab.settings.readers import RateList

if TYPE_CHECKING:
    from nnlab.analysis.verdicts import SweepVerdict
    from nnlab.experiments.experiment import Experiment

NAME: Final = "sweep-lr"


class SweepLrSettings(ExperimentSettings):
    """`nnlab sweep-lr`: the learning rate varied."""

    lr: RateList = setting(  # type: ignore[assignment]
        "1e-3:10:16", "Learning rates: 0.01,0.1 or START:STOP:COUNT.", role="arms", metavar="RATES"
    )


def plan(settings: SweepLrSettings) -> Experiment:
    """The experiment with one arm for each rate."""
    from nnlab.experiments.experiment import Arm, Experiment, run_settings
    from nnlab.ingredients.resolve import settings_and_data

    settings, dataset = settings_and_data(settings)
    arms = tuple(Arm(repr(lr), run_settings(settings, lr=lr)) for lr in settings.lr)
    return Experiment(NAME, "lr", arms, settings, dataset, varied=("lr",))


def measure_sharpness(experiment: Experiment) -> Facts:
    """For SGD, the sharpness at the start, and the largest rate at which descent on a quadratic of that sharpness is stable."""
    from nnlab.catalog.optimizers import optimizer_named, optimizer_values

    optimizer = experiment.settings.optimizer
    stability_limit = optimizer_named(optimizer).stability_limit
    if stability_limit is None:
        return {}
    from nnlab.experiments.training import starting_sharpness

    run = experiment.runs[0]
    sharpness = starting_sharpness(run, experiment.dataset)
    if sharpness is None:
        return {}
    limit = stability_limit(optimizer_values(optimizer), sharpness)
    return {"sharpness": sharpness, "sharpness_seed": run.seed, "stability_limit": limit}


def conclude(experiment: Experiment, evidence: Evidence) -> Conclusion:
    """A verdict for each rate by training loss; the best rate by validation."""
    from nnlab.analysis.verdicts import sweep_verdict

    sweep = sweep_verdict(evidence.runs)
    verdicts = {rate.arm: (rate.verdict, rate.reason) for rate in sweep.rates}
    notes = [*_advice(sweep), *_limit(evidence.facts)]
    return judge_arms(experiment, evidence, verdicts=verdicts, collapsed=sweep.collapsed, notes=notes)


def _advice(sweep: SweepVerdict) -> Sequence[str]:
    return [f"{sweep.advice[0].upper()}{sweep.advice[1:]}."] if sweep.advice else []


def _limit(facts: Facts) -> Sequence[str]:
    limit, sharpness = facts.get("stability_limit"), facts.get("sharpness")
    if not isinstance(limit, float) or not isinstance(sharpness, float):
        return []
    return [
        f"At the start (seed {facts['sharpness_seed']}) the largest curvature is {sharpness:.4g}: "
        f"full-batch descent on a quadratic would diverge above lr {limit:.4g}. A hint, not a verdict."
    ]


COMMAND: Final = ExperimentCommand(
    NAME,
    "Train one model at many learning rates at once, over several seeds, and say which of them work.",
    SweepLrSettings,
    Study(plan, conclude, measure_sharpness),
    examples=(
        "nnlab sweep-lr --data digits",
        "nnlab sweep-lr --lr 1e-4:1:9 --optimizer adam --seeds 5",
        "nnlab sweep-lr --data my.csv --target price --model mlp:hidden=32x32",
    ),
)
