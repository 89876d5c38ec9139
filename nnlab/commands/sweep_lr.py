"""Which learning rate? One model at many rates, over several seeds, with a verdict for each rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from nnlab.catalog.optimizers import optimizer_named, optimizer_values
from nnlab.experiments.experiment import Arm, Experiment, run_settings
from nnlab.experiments.judging import judged
from nnlab.experiments.study import Conclusion, Evidence, Facts
from nnlab.ingredients.resolve import settings_and_data
from nnlab.settings import SweepLrSettings

if TYPE_CHECKING:
    from nnlab.analysis.verdicts import SweepVerdict


class SweepLr:
    """The study behind `nnlab sweep-lr`."""

    command: Final = "sweep-lr"

    def plan(self, settings: SweepLrSettings) -> Experiment:
        """One arm a rate."""
        settings, dataset = settings_and_data(settings)
        arms = tuple(Arm(repr(lr), run_settings(settings, lr=lr)) for lr in settings.lr)
        return Experiment(self.command, "lr", arms, settings, dataset, varied=("lr",))

    def probe(self, experiment: Experiment) -> Facts:
        """For SGD, the sharpness at the start and the rate that theory says it bears."""
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

    def conclude(self, experiment: Experiment, evidence: Evidence) -> Conclusion:
        """A verdict for each rate by training loss; the best rate by validation."""
        from nnlab.analysis.verdicts import sweep_verdict

        sweep = sweep_verdict(evidence.runs)
        verdicts = {rate.arm: (rate.verdict, rate.reason) for rate in sweep.rates}
        notes = [*_advice(sweep), *_limit(evidence.facts)]
        return judged(experiment, evidence, verdicts=verdicts, collapsed=sweep.collapsed, notes=notes)


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


SWEEP_LR: Final = SweepLr()
