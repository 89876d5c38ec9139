"""JAX: an epoch of many runs as one compiled program, jit(scan(vmap(grad))), with optax; the strongest peer.

Shapes: R runs trained at once, T steps of an epoch, B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.chunks import SIZES, chunks, one_of_each_shape
from benchmarks.contestant import Task, Trained, answer, answer_fastest, spent_on, task_of_command_line
from benchmarks.peers.jax_networks import NETWORKS
from benchmarks.peers.rate_factors import rate_factors
from benchmarks.workloads import PARTS, BenchRun

# The updates of rate 1: all of these are proportional to the rate, which is another for each run and step.
OPTIMIZERS = {"sgd": optax.sgd(1.0), "adam": optax.adam(1.0), "adamw": optax.adamw(1.0, weight_decay=0.01)}


@cache
def programs_of(model: str, optimizer: str) -> tuple[Callable, Callable, Callable]:
    """Compiled functions of all runs' parameters: the start of the optimizer, an epoch of steps, and (loss, accuracy)."""
    scores, updates = NETWORKS[model].scores, OPTIMIZERS[optimizer]

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(scores(params, x), y).mean()

    def step(params: Any, state: Any, lr: jax.Array, x: jax.Array, y: jax.Array) -> tuple[Any, Any]:
        moved, state = updates.update(jax.grad(loss)(params, x, y), state, params)
        return optax.apply_updates(params, jax.tree.map(lambda u: lr * u, moved)), state

    steps = jax.vmap(step, in_axes=(0, 0, 0, None, None))

    def epoch(params: Any, state: Any, lr_TR: jax.Array, rows_TB: jax.Array, x: jax.Array, y: jax.Array) -> Any:
        def body(carry: Any, each: Any) -> Any:
            lr_R, rows = each
            return steps(*carry, lr_R, x[rows], y[rows]), None

        return jax.lax.scan(body, (params, state), (lr_TR, rows_TB))[0]

    def measure(params: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        return loss(params, x, y), (scores(params, x).argmax(1) == y).mean()

    measured = jax.vmap(measure, in_axes=(0, None, None))
    return jax.jit(jax.vmap(updates.init)), jax.jit(epoch, donate_argnums=(0, 1)), jax.jit(measured)


@cache
def draw_of(model: str, init: str) -> Callable[[jax.Array], Any]:
    """Compiled: the starting parameters that a key gives."""
    return jax.jit(lambda key: NETWORKS[model].draw(key, init))


def train(task: Task, runs: Sequence[BenchRun], epochs: int) -> list[Trained]:
    """Runs of one model and seed, together."""
    workload, seed = task.workload, runs[0].seed
    parts = {name: tuple(map(jnp.asarray, task.part(name, seed))) for name in PARTS}
    x, y = parts["train"]
    start, epoch_of_steps, measure = programs_of(runs[0].model, workload.optimizer)
    drawn = {run.init: draw_of(run.model, run.init)(jax.random.key(seed)) for run in runs}
    params = jax.tree.map(lambda *each: jnp.stack(each), *(drawn[run.init] for run in runs))
    state = start(params)
    factors = rate_factors(workload, len(x))
    lr_TR = factors[:, None] * np.array([run.lr for run in runs], np.float32)
    order = np.random.default_rng(seed)
    num_full, rest = divmod(len(x), workload.batch_size)
    steps = num_full + (rest > 0)
    for epoch in range(epochs + 1):
        if epoch:
            rows, lr = order.permutation(len(x)), lr_TR[(epoch - 1) * steps : epoch * steps]
            full = rows[: len(x) - rest].reshape(num_full, -1)
            params, state = epoch_of_steps(params, state, lr[:num_full], full, x, y)
            if rest:
                params, state = epoch_of_steps(params, state, lr[num_full:], rows[None, len(x) - rest :], x, y)
        losses, _ = jax.device_get(measure(params, x, y))
        jax.device_get(measure(params, *parts["val"]))
    accuracies = jax.device_get(measure(params, *parts["test"])[1])
    return [Trained(*each) for each in zip(runs, losses.tolist(), accuracies.tolist(), strict=True)]


def main() -> None:
    """Train the runs, this many at once; or find the best number."""
    task = task_of_command_line()
    if not task.way:
        ways = [(size,) for size in SIZES[task.workload.key]]
        answer_fastest(ways, lambda way: len(train(task, chunks(task.runs, *way)[0], 1)))
        return
    together = chunks(task.runs, *task.way)
    warm_up = spent_on(lambda: [train(task, runs, 1) for runs in one_of_each_shape(together)])
    trained: list[Trained] = []
    took = spent_on(lambda: trained.extend(run for runs in together for run in train(task, runs, task.workload.epochs)))
    answer(took, trained, prepare_s=warm_up.wall_s, note=f"{task.way[0]} runs at once")


if __name__ == "__main__":
    main()
