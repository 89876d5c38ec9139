"""torch.func: vmap(grad) of functional_call over stacked parameters, as PyTorch's tutorial on ensembling has it.

Shapes: R runs trained at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from benchmarks.chunks import SIZES, chunks, one_of_each_shape
from benchmarks.contestant import Task, Trained, answer, answer_fastest, spent_on, task_of_command_line
from benchmarks.peers.rate_factors import rate_factors
from benchmarks.peers.torch_networks import NETWORKS, network
from benchmarks.peers.updates import UPDATES, State, Tree, first_state
from benchmarks.workloads import PARTS, BenchRun, Workload

loss_function = nn.functional.cross_entropy


@dataclass(frozen=True)
class Programs:
    """The work done for all runs at once.

    Attributes:
        step: `step(params, state, lr_R, number, x, y)` moves parameters and state, in place.
        measure: `measure(params, x, y)` gives each run's mean loss and accuracy.
    """

    step: Callable[[Tree, State, Tensor, Tensor, Tensor, Tensor], None]
    measure: Callable[[Tree, Tensor, Tensor], tuple[Tensor, Tensor]]


@cache
def programs_of(model: str, optimizer: str) -> Programs:
    """Of a network that is there in shape alone, its parameters being given."""
    with torch.device("meta"):
        skeleton = NETWORKS[model]()

    def loss(params: Tree, x: Tensor, y: Tensor) -> Tensor:
        return loss_function(functional_call(skeleton, params, (x,)), y)

    def measure(params: Tree, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        scores = functional_call(skeleton, params, (x,))
        return loss_function(scores, y), (scores.argmax(1) == y).float().mean()

    gradient = vmap(grad(loss), in_dims=(0, None, None))

    def step(params: Tree, state: State, lr_R: Tensor, number: Tensor, x: Tensor, y: Tensor) -> None:
        UPDATES[optimizer](params, gradient(params, x, y), state, lr_R, number)

    return Programs(step, vmap(measure, in_dims=(0, None, None)))


def train(task: Task, runs: Sequence[BenchRun], epochs: int, programs: Programs) -> list[Trained]:
    """Runs of one model and seed, together."""
    workload, seed = task.workload, runs[0].seed
    parts = {name: tuple(map(torch.from_numpy, task.part(name, seed))) for name in PARTS}
    x, y = parts["train"]
    stacked, _ = stack_module_state([network(run.model, run.init, run.seed) for run in runs])
    params = {name: p.detach() for name, p in stacked.items()}
    state = {} if workload.optimizer == "sgd" else first_state(params)
    lr_R = torch.tensor([run.lr for run in runs])
    factors = torch.from_numpy(rate_factors(workload, len(x)))
    number = torch.zeros(())
    for epoch in range(epochs + 1):
        for rows in torch.randperm(len(x)).split(workload.batch_size) if epoch else ():
            rates = lr_R * factors[int(number)]
            programs.step(params, state, rates, number.add_(1), x[rows], y[rows])
        losses, _ = programs.measure(params, x, y)
        programs.measure(params, *parts["val"])
    _, accuracies = programs.measure(params, *parts["test"])
    return [Trained(*each) for each in zip(runs, losses.tolist(), accuracies.tolist(), strict=True)]


def compete(task: Task, programs_of: Callable[[str, str], Programs], sizes: Sequence[int]) -> None:
    """Train the runs on this many threads, this many at once; or find the best numbers of both."""
    workload: Workload = task.workload

    def trained_together(runs: Sequence[BenchRun], epochs: int) -> list[Trained]:
        return train(task, runs, epochs, programs_of(runs[0].model, workload.optimizer))

    def an_epoch(way: tuple[int, ...]) -> int:
        torch.set_num_threads(way[0])
        return len(trained_together(chunks(task.runs, way[1])[0], 1))

    if not task.way:
        answer_fastest(list(product((1, torch.get_num_threads()), sizes)), an_epoch)
        return
    threads, size = task.way
    torch.set_num_threads(threads)
    together = chunks(task.runs, size)
    warm_up = spent_on(lambda: [trained_together(runs, 1) for runs in one_of_each_shape(together)])
    trained: list[Trained] = []
    took = spent_on(lambda: trained.extend(run for runs in together for run in trained_together(runs, workload.epochs)))
    note = f"{size} runs at once, {threads} thread" + "s" * (threads > 1)
    answer(took, trained, prepare_s=warm_up.wall_s, note=note)


if __name__ == "__main__":
    given = task_of_command_line()
    compete(given, programs_of, SIZES[given.workload.key])
