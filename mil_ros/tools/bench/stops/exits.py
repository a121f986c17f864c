"""When the processes of a graph end."""

from __future__ import annotations

from collections.abc import Mapping
import subprocess
import threading
import time


class Exits:
    """Notes when each of some processes ends, from now on.

    Attributes:
        times_ns: By the system's clock, of those that have ended.
    """

    def __init__(self, processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
        """Begin to wait, in a thread for each."""
        self.times_ns: dict[str, int] = {}
        self._threads = [
            threading.Thread(target=self._wait, args=item, daemon=True)
            for item in processes.items()
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_complete(self) -> bool:
        """Whether all have ended."""
        return not any(thread.is_alive() for thread in self._threads)

    def _wait(self, name: str, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self.times_ns[name] = time.time_ns()
