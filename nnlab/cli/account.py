"""What --verbose tells on stderr: what is done, how, and how many seconds each part of it took."""

from __future__ import annotations

import time

from nnlab.cli.output import note
from nnlab.settings import OutputSettings


class Account:
    """Seconds by phase; says nothing without --verbose."""

    def __init__(self, output: OutputSettings) -> None:
        self._output, self._since = output, time.monotonic()

    def tell(self, words: str) -> None:
        """Say it, if anyone wants to hear it."""
        if self._output.verbose:
            note(words, self._output)

    def spent(self, on: str) -> None:
        """Say what the time since the last phase went into."""
        now = time.monotonic()
        self.tell(f"{on}: {now - self._since:.2f} s")
        self._since = now
