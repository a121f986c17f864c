"""One episode in the making: a queue with an end, and a thread that writes it to disk.

The executor's thread only appends to the queue. The writer's thread wakes ten times a second and
writes all there is as one chunk, so that the two hardly ever wait for each other.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
import threading
import time
from typing import Final

from mil_ros.core.quality import QualityReport
from mil_ros.data.episode_log import EpisodeLog
from mil_ros.data.episode_writer import EpisodeWriter
from mil_ros.data.preroll import Arrival

OUTCOME_UNKNOWN: Final = 'unknown'
_WRITE_PERIOD_S: Final = 0.1  # what a killed process may cost
_SYNC_PERIOD_S: Final = 0.5  # what a power loss may cost


class Recording:
    """Takes messages from one thread and writes them in another, until it ends or fails.

    Attributes:
        writer: Of the episode.
        log: What was noted of it.
        faults: Sentences on what went wrong beside the streams themselves.
        dropped: Messages that came and are not in the episode, by topic.
        start_ns: When recording was asked for, by the clock of the bag.
        end_ns: When its end was.
        report: The verdict, once done.
    """

    def __init__(
        self,
        writer: EpisodeWriter,
        log: EpisodeLog,
        start_ns: int,
        capacity_bytes: int,
        judge: Callable[[Recording], QualityReport],
    ) -> None:
        """Start writing.

        Args:
            writer: Of a new episode; closed by this class.
            log: Empty.
            start_ns: Now, by the clock of the bag.
            capacity_bytes: How much may wait to be written.
            judge: Returns the verdict; called in the writer's thread once all is written.
        """
        self.writer, self.log = writer, log
        self.faults: list[str] = []
        self.dropped: Counter[str] = Counter()
        self.start_ns = self.end_ns = start_ns
        self.report: QualityReport | None = None
        self._error = ''
        self._capacity, self._judge = capacity_bytes, judge
        self._queue: deque[Arrival] = deque()
        # Each is changed by one thread alone, so their difference needs no lock.
        self._bytes_in = self._bytes_out = 0
        self._end = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name='writer')
        self._thread.start()

    @property
    def error(self) -> str:
        """Why the end of the episode is missing; empty if it is not."""
        return self._error

    @property
    def is_done(self) -> bool:
        """Whether the episode is closed, be it whole or not."""
        return self._done.is_set()

    @property
    def backlog_bytes(self) -> int:
        """How much waits to be written."""
        return self._bytes_in - self._bytes_out

    def put(self, arrival: Arrival) -> None:
        """Take a message, or count it as dropped if there is no room."""
        if self._error or self.backlog_bytes + len(arrival.data) > self._capacity:
            self.dropped[arrival.topic] += 1
            return
        self._bytes_in += len(arrival.data)
        self._queue.append(arrival)
        self.end_ns = arrival.received_ns

    def end(self, now_ns: int) -> None:
        """Have the rest written and the episode closed; `put` must not be called again."""
        self.end_ns = now_ns
        self._end.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the episode is closed; return whether it is."""
        return self._done.wait(timeout_s)

    def _run(self) -> None:
        try:
            self._write_until_end()
        except OSError as err:
            self._fail(str(err.strerror))
        except Exception as err:  # a bug of ours: seen in the log, and in the verdict
            self._fail(f'{type(err).__name__}: {err}')
            raise
        finally:
            try:
                self._close()
            finally:
                self._done.set()

    def _write_until_end(self) -> None:
        sync_due_s = time.monotonic() + _SYNC_PERIOD_S
        is_ending = False
        while not is_ending:
            is_ending = self._end.wait(_WRITE_PERIOD_S)
            for _ in range(len(self._queue)):
                arrival = self._queue.popleft()
                self.log.note(arrival)
                self.writer.write(*arrival)
                self._bytes_out += len(arrival.data)
            self.writer.flush()
            if time.monotonic() >= sync_due_s:
                self.writer.sync()
                sync_due_s = time.monotonic() + _SYNC_PERIOD_S

    def _close(self) -> None:
        """End the file, judge what is in it and write that down."""
        try:
            self.writer.finish()
        except OSError as err:
            self._fail(str(err.strerror))
        self.dropped.update(arrival.topic for arrival in self._queue)
        self.dropped.update(self.log.trim(self.writer.counts))
        self.report = self._judge(self)
        try:
            self.writer.close(
                outcome=OUTCOME_UNKNOWN,
                verdict=self.report.verdict.name.lower(),
                quality=self.report.to_json(),
            )
        except OSError as err:
            self._fail(str(err.strerror))

    def _fail(self, why: str) -> None:
        """Note the first error; what follows from it is not news."""
        if not self._error:
            self._error = (
                f'writing failed after {self.writer.size / 1e6:.1f} MB ({why}), expected a '
                'disk with free space; what was written until then is kept. Free space and '
                'record again.'
            )
            self.faults.append(f'The end is missing: {self._error}')
