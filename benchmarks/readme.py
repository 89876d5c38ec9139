"""README.md: what was measured, section by section, with what was written by hand of it in notes.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.tables import Table

FOLDER = Path(__file__).parent
README, NOTES = FOLDER / "README.md", FOLDER / "notes.md"
LIBRARIES = ("torch", "jax", "optax", "scikit-learn", "optuna", "ray", "keras-tuner", "numpy")

INTRODUCTION = """\
# Benchmarks

This page compares nnlab with its peers. `make bench` makes an environment of its own and writes the page;
`.venv-bench/bin/python -m benchmarks.run A B --repetitions 5` measures a part of it. Every contestant is a process of
its own; they take turns, several times, and numbers are medians. All train the same grid on the same arrays
(`workloads.py`), from weights drawn by the same law, in batches drawn anew each epoch, and evaluate the training and
the validation part before the first step and after each epoch.

Training is timed from drawing the first weights to the last number; loading, compiling and warming up are not included,
but they are in the whole process. For each peer that has a choice, the numbers of threads and of runs at once are tried
beforehand, and the fastest are taken. For nnlab, training is its engine alone, and the whole process is the real
command with its statistics, files and table. ÷ is a contestant's time divided by nnlab's. CPU is the time of a
contestant's process and of the processes that end with its training, over all cores: for joblib, GridSearchCV and Ray,
whose workers stay, it says little. If a contestant would take too long, it trains some of the runs, and its time is
scaled. After the first repetition, compiled programs may come from PyTorch's cache on the disk.

Final losses are compared run by run; the median is shown.

The sgemm limit is the time that the multiplications of steps and evaluations alone would take at this machine's best
rate for large square matrices (`multiplications.py`); it does not include elementwise work or the speed of the memory.
"""


def write(sections: Mapping[str, str]) -> None:
    """Put these sections, by heading, into the page; others that it has stay."""
    old = sections_of(README.read_text(encoding="utf-8")) if README.exists() else {}
    known = {**old, **sections}
    ordered = sorted(known, key=lambda heading: (heading.partition(":")[0] not in tuple("ABCDEF"), heading))
    body = "\n".join(f"## {heading}\n\n{known[heading].strip()}\n" for heading in ordered)
    README.write_text(f"{INTRODUCTION}\n{machine()}\n\n{body}", encoding="utf-8")


def section(table: Table, load: float) -> str:
    """A table, when it was made, and the note on it."""
    when = f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load average before it {load:.2f}."
    return "\n\n".join(filter(None, (table.markdown(), when, notes().get(table.heading.partition(":")[0], ""))))


def notes() -> dict[str, str]:
    """The sections written by hand, by the part of the heading before its colon."""
    return sections_of(NOTES.read_text(encoding="utf-8")) if NOTES.exists() else {}


def sections_of(text: str) -> dict[str, str]:
    """Text by heading of the second level."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return {heading: body.strip() for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def machine() -> str:
    """The processor, and the versions of what ran on it."""
    said = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"model name\s*: (.+)", said)
    name = found.group(1) if found else platform.processor()
    versions = ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
    return (
        f"Machine: {name}, {os.cpu_count()} cores, {platform.system()}. Python {platform.python_version()}, {versions}."
    )
