"""Settings that say where an answer goes and how it looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from nnlab.core.errors import UsageError
from nnlab.core.spelling import mention
from nnlab.settings.base import Settings, setting


class DisplaySettings(Settings):
    """The look of an answer: nothing here changes a number or a file."""

    format: Literal["auto", "table", "csv", "json", "jsonl", "markdown"] = setting(
        "auto", "auto: a table for a terminal, CSV for a pipe.", role="execution", panel="Output"
    )
    quiet: bool = setting(False, "No progress, no notes.", role="execution", panel="Output")
    no_color: bool = setting(False, "No colour.", role="execution", panel="Output")

    @property
    def is_for_a_person(self) -> bool:
        """True if the answer is shown as tables, not as rows."""
        return self.format in ("table", "markdown")


class OutputSettings(DisplaySettings):
    """Where an answer goes and how it looks: nothing here changes a number."""

    out: str | None = setting(None, "Directory for the results.", role="execution", panel="Output", metavar="DIR")
    name: str | None = setting(
        None, "Name of the directory under results/COMMAND/.", role="execution", panel="Output", metavar="NAME"
    )
    dry_run: bool = setting(
        False, "Show what would run and what it would cost; train nothing.", role="execution", panel="Output"
    )
    fresh: bool = setting(False, "Move old results aside and start again.", role="execution", panel="Output")
    verbose: bool = setting(False, "Report each step, and its time, on stderr.", role="execution", panel="Output")

    @classmethod
    def from_values(cls, values: Mapping[str, object]) -> Self:
        """As for other settings; also rejects `quiet` together with `verbose`."""
        output = super().from_values(values)
        if output.quiet and output.verbose:
            raise UsageError(f"{mention('quiet')} leaves out what {mention('verbose')} adds. Give one of them.")
        return output
