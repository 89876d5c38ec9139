"""Names of settings in other tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from nnlab.core.errors import did_you_mean

# The setting, with its value where that says what was meant.
SYNONYMS: Final[Mapping[str, str]] = {
    "arch": "model",
    "architecture": "model",
    "batch": "batch_size",
    "bs": "batch_size",
    "clip": "clip_norm",
    "clip_grad_norm": "clip_norm",
    "criterion": "loss",
    "dataset": "data",
    "dropout": "model=mlp:dropout=0.1",
    "ema": "average=ema:decay=0.999",
    "gpu": "device=cuda",
    "grad_clip": "clip_norm",
    "gradient_clip": "clip_norm",
    "hidden": "model=mlp:hidden=100x100",
    "initializer": "init",
    "jobs": "threads",
    "label_smoothing": "loss=cross_entropy:label_smoothing=0.1",
    "learning_rate": "lr",
    "lr_scheduler": "schedule",
    "max_epochs": "epochs",
    "max_steps": "steps",
    "momentum": "optimizer=sgd:momentum=0.9",
    "n_epochs": "epochs",
    "net": "model",
    "network": "model",
    "num_epochs": "epochs",
    "num_workers": "threads",
    "output_dir": "out",
    "patience": "early_stop",
    "precision": "dtype",
    "random_seed": "seeds",
    "scheduler": "schedule",
    "test_size": "test",
    "val_size": "validation",
    "val_split": "validation",
    "validation_split": "validation",
    "warmup_steps": "warmup",
    "wd": "weight_decay",
    "workers": "threads",
}


def setting_meant(given: str, accepted: Iterable[str]) -> str:
    """` Did you mean 'lr'?` for `learning_rate` or a near name; nothing if no name is near."""
    names = list(accepted)
    meant = SYNONYMS.get(given.lower().replace("-", "_"))
    return f" Did you mean {meant!r}?" if meant and meant.partition("=")[0] in names else did_you_mean(given, names)
