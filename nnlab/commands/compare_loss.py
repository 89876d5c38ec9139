"""`nnlab compare-loss`: the loss varied, each at its own best rate, judged by a metric that belongs to no loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nnlab.commands.command import ExperimentCommand
from nnlab.experiments.study import Conclusion, Evidence, Study
from nnlab.report.results_view import comparison_grids
from nnlab.settings import CompareSettings, Task, setting
from nnlab.settings.readers import OptionalSpecList, RateList

if TYPE_CHECKING:
    from nnlab.data.dataset import Dataset
    from nnlab.experiments.experiment import Arm, Experiment
    from nnlab.report.results_view import ResultsView
    from nnlab.report.sheets import Sheet

NAME: Final = "compare-loss"

_USUAL_LOSSES: Final[Mapping[Task, tuple[str, ...]]] = {
    "regression": ("mse", "l1", "huber", "log_cosh"),
    "binary": ("bce", "cross_entropy", "hinge", "focal", "mse"),
    "multiclass": ("cross_entropy", "hinge", "focal", "mse"),
    "reconstruction": ("mse", "l1", "huber", "log_cosh"),
}


class CompareLossSettings(CompareSettings):
    """`nnlab compare-loss`: the loss varied, each at its own best rate."""

    losses: OptionalSpecList = setting(
        None,
        "Losses to compare (default: the usual ones for the task).",
        role="arms",
        panel="Arms",
        metavar="SPEC,SPEC",
    )
    metric: str = setting(
        "auto",
        "Metric that arms are judged by; auto: val_accuracy or val_rmse, by task.",
        role="analysis",
        panel="Judging",
        metavar="METRIC",
    )
    tune_lr: RateList = setting(
        "1e-3:1:7", "Learning rates that each arm is tuned over.", role="arms", panel="Judging", metavar="RATES"
    )


def plan(settings: CompareLossSettings) -> Experiment:
    """The experiment with one arm for each loss, each at its own rate."""
    from nnlab.experiments.comparing import METRIC_OF_TASK, plan_comparison
    from nnlab.experiments.factors import setting_factor
    from nnlab.ingredients.resolve import complete_settings, data_of

    dataset = data_of(complete_settings(settings))
    task = dataset.task
    if settings.metric == "auto":
        settings = settings.model_copy(update={"metric": METRIC_OF_TASK[task]})
    losses = settings.losses or _USUAL_LOSSES[task]
    return plan_comparison(NAME, [setting_factor("loss", [str(loss) for loss in losses])], settings, dataset)


def conclude(experiment: Experiment, evidence: Evidence) -> Conclusion:
    """Each loss against the task's default, with the properties of each loss."""
    from nnlab.catalog.losses import DEFAULT_LOSS
    from nnlab.experiments.comparing import compare_arms

    usual = DEFAULT_LOSS[experiment.dataset.task]
    notes = []
    if experiment.settings.label_noise:
        notes.append(
            "Training labels are noisy; the rates and the best were chosen, and all is reported, on clean ones."
        )
    conclusion = compare_arms(experiment, evidence, usual={"loss": usual}, notes=notes)
    about = {arm.name: _about(arm, experiment.dataset) for arm in experiment.arms}
    return replace(conclusion, summary=[dict(row) | about[str(row["arm"])] for row in conclusion.summary])


def _about(arm: Arm, dataset: Dataset) -> dict[str, str | None]:
    """The properties of a loss: its link, what it estimates, its class in PyTorch."""
    from nnlab.catalog.losses import loss_named

    assert arm.settings.loss is not None
    loss = loss_named(arm.settings.loss)
    return {
        "task": dataset.task,
        "output": loss.outputs[dataset.task],
        "link": loss.link_for(dataset.task),
        "estimates": loss.estimates,
        "torch_class": loss.torch_class,
    }


def every_metric(view: ResultsView) -> Sequence[Sheet]:
    """The matrix of losses and metrics, and the grids of any comparison."""
    from nnlab.report.explanations import with_meanings
    from nnlab.report.loss_matrix import metrics_table

    matrix = metrics_table(view.summary)
    return [with_meanings(matrix, "loss") if view.explain else matrix, *comparison_grids(view)]


COMMAND: Final = ExperimentCommand(
    NAME,
    "Compare losses, each at its own best learning rate, by a metric that belongs to no loss.",
    CompareLossSettings,
    Study(plan, conclude),
    further_sheets=every_metric,
    examples=(
        "nnlab compare-loss --data breast_cancer",
        "nnlab compare-loss --data diabetes --losses mse,l1,huber:delta=0.5",
        "nnlab compare-loss --data digits --label-noise 0.2 --seeds 20",
    ),
)
