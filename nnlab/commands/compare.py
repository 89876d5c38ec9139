"""Controlled comparisons: one factor varied, everything else held, seeds paired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from nnlab.catalog.losses import DEFAULT_LOSS, loss_named
from nnlab.core.errors import UsageError
from nnlab.core.spelling import mention, spell_value
from nnlab.data.dataset import Dataset
from nnlab.experiments.comparing import METRIC_OF_TASK, compared, comparison
from nnlab.experiments.experiment import Arm, Experiment
from nnlab.experiments.factors import setting_factor, varied
from nnlab.experiments.study import Conclusion, Evidence, Facts
from nnlab.ingredients.resolve import settings_and_data
from nnlab.settings import CompareAnySettings, CompareLossSettings, CompareScheduleSettings, Task

_USUAL_LOSSES: Final[Mapping[Task, tuple[str, ...]]] = {
    "regression": ("mse", "l1", "huber", "log_cosh"),
    "binary": ("bce", "cross_entropy", "hinge", "focal", "mse"),
    "multiclass": ("cross_entropy", "hinge", "focal", "mse"),
    "reconstruction": ("mse", "l1", "huber", "log_cosh"),
}


class Compare:
    """The study behind `nnlab compare`."""

    command: Final = "compare"

    def plan(self, settings: CompareAnySettings) -> Experiment:
        """One arm for each combination of levels."""
        if not settings.vary:
            raise UsageError(
                f"{mention('vary')} is missing: what is compared? Say {mention('vary', 'KEY=A,B')}, such as {mention('vary', 'optimizer=sgd,adam')}."
            )
        return comparison(self.command, [varied(text, settings) for text in settings.vary], settings)

    def probe(self, experiment: Experiment) -> Facts:  # noqa: ARG002
        """Nothing is measured beside the runs."""
        return {}

    def conclude(self, experiment: Experiment, evidence: Evidence) -> Conclusion:
        """Each arm against the baseline: the level that a setting has without --vary, else the first."""
        held = {name: getattr(experiment.settings, name, None) for name in experiment.arms[0].levels}
        usual = {name: spell_value(level) for name, level in held.items() if level is not None}
        return compared(experiment, evidence, usual=usual)


class CompareLoss:
    """The study behind `nnlab compare-loss`."""

    command: Final = "compare-loss"

    def plan(self, settings: CompareLossSettings) -> Experiment:
        """One arm a loss, each at its own rate; judged by a metric that no loss owns."""
        _, dataset = settings_and_data(settings.model_copy(update={"metric": "val_loss", "loss": None}))
        if settings.metric == "auto":
            settings = settings.model_copy(update={"metric": METRIC_OF_TASK[dataset.task]})
        losses = settings.losses or _USUAL_LOSSES[dataset.task]
        factor = setting_factor("loss", [str(loss) for loss in losses])
        return comparison(self.command, [factor], settings)

    def probe(self, experiment: Experiment) -> Facts:  # noqa: ARG002
        """Nothing is measured beside the runs."""
        return {}

    def conclude(self, experiment: Experiment, evidence: Evidence) -> Conclusion:
        """Each loss against the task's default, and what it is."""
        usual = DEFAULT_LOSS[experiment.dataset.task]
        notes = []
        if experiment.settings.label_noise:
            notes.append(
                "Training labels are noisy; the rates and the best were chosen, and all is reported, on clean ones."
            )
        conclusion = compared(experiment, evidence, usual={"loss": usual}, notes=notes)
        about = {arm.name: _about(arm, experiment.dataset) for arm in experiment.arms}
        return replace(conclusion, summary=[dict(row) | about[str(row["arm"])] for row in conclusion.summary])


def _about(arm: Arm, dataset: Dataset) -> dict[str, str | None]:
    """What a loss is for: its link, what it estimates, its class in PyTorch."""
    assert arm.settings.loss is not None
    loss = loss_named(arm.settings.loss)
    return {
        "task": dataset.task,
        "output": loss.outputs[dataset.task],
        "link": loss.link_for(dataset.task),
        "estimates": loss.estimates,
        "torch_class": loss.torch_class,
    }


class CompareSchedule:
    """The study behind `nnlab compare-schedule`."""

    command: Final = "compare-schedule"

    def plan(self, settings: CompareScheduleSettings) -> Experiment:
        """One arm a schedule, all with the same epochs, batches and rate."""
        return comparison(self.command, [setting_factor("schedule", [str(s) for s in settings.schedules])], settings)

    def probe(self, experiment: Experiment) -> Facts:  # noqa: ARG002
        """Nothing is measured beside the runs."""
        return {}

    def conclude(self, experiment: Experiment, evidence: Evidence) -> Conclusion:
        """Each schedule against none."""
        return compared(experiment, evidence, usual={"schedule": "none"})


COMPARE: Final = Compare()
COMPARE_LOSS: Final = CompareLoss()
COMPARE_SCHEDULE: Final = CompareSchedule()
