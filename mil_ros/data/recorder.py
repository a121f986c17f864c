"""What the recorder's services do: one episode at a time, from start to outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
import os
from pathlib import Path
import re
import shutil
import time
from typing import Final

from mil_ros import __version__
from mil_ros.core.errors import DemoError, MilError, OrderError
from mil_ros.core.quality import judge, QualityReport
from mil_ros.core.robot import RobotDescription
from mil_ros.core.streams import Expectation
from mil_ros.data.action import choose_source
from mil_ros.data.episode_log import EpisodeLog
from mil_ros.data.episode_streams import TELEOP_TOPIC
from mil_ros.data.episode_writer import EpisodeWriter
from mil_ros.data.metadata import update_custom_data
from mil_ros.data.preroll import Arrival, PreRoll
from mil_ros.data.recording import Recording

READY: Final = 'READY'
RECORDING: Final = 'RECORDING'
SAVING: Final = 'SAVING'
_CLOSE_S: Final = 3.0  # longer, and a caller gives up; the rest is written all the same
_MB: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to record.

    Attributes:
        directory: Where episodes go.
        preroll_s: How much of the time before the start belongs to an episode.
        queue_mb: How much may wait for the disk.
        min_free_mb: How much must be free on the disk.
        compression: Of chunks: ``lz4``, ``zstd`` or empty.
    """

    directory: Path
    preroll_s: float = 0.5
    queue_mb: int = 256
    min_free_mb: int = 500
    compression: str = ''


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic to record: its type, and what its publishers offer (YAML)."""

    kind: str
    qos: str = ''


class Recorder:
    """Takes every message, and keeps them while an episode is being recorded.

    Attributes:
        preroll: The last moments, whether something is being recorded or not.
    """

    def __init__(
        self,
        settings: Settings,
        robot: RobotDescription,
        required: Mapping[str, Expectation],
        clock_ns: Callable[[], int],
        announce: Callable[[Path], None],
        steady_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Begin ready.

        Args:
            settings: How to record.
            robot: Noted in each episode; its joints tell whether anything moved.
            required: Topics without which an episode is of no use.
            clock_ns: The clock that arrivals are dated by.
            announce: Is told the path of each episode that was stopped and can be read.
            steady_ns: A clock that nobody sets.
        """
        self._settings, self._robot, self._required = settings, robot, required
        self._clock_ns, self._steady_ns, self._announce = clock_ns, steady_ns, announce
        self.preroll = PreRoll(settings.preroll_s, settings.queue_mb * _MB)
        self._recording: Recording | None = None
        self._ended: Recording | None = None  # nobody has been told what became of it
        self._early_end = ''  # why it ended by itself
        self._last: Path | None = None

    @property
    def state(self) -> str:
        """READY, RECORDING or SAVING."""
        if self._recording is not None:
            return RECORDING
        return SAVING if self._ended is not None and not self._ended.is_done else READY

    @property
    def dropped(self) -> Mapping[str, int]:
        """Messages of the running episode that are lost, by topic."""
        return {} if self._recording is None else self._recording.dropped

    @property
    def trouble(self) -> str:
        """Why the last recording ended by itself, until somebody has asked; else empty."""
        return self._early_end

    def take(self, topic: str, data: bytes) -> None:
        """Take a message that has just come."""
        arrival = Arrival(topic, data, self._clock_ns())
        self.preroll.add(arrival, self._steady_ns())
        if self._recording is not None:
            self._recording.put(arrival)

    def check_ready(self) -> None:
        """Raise `OrderError` unless a recording can be started now."""
        if self._recording is not None:
            raise OrderError(
                f'Already recording {self._recording.writer.path.name}; call /recorder/stop or '
                '/recorder/discard first.'
            )
        if self._ended is not None and not self._ended.is_done:
            raise OrderError(
                f'Recording refused: {self._ended.writer.path.name} is still being written, '
                f'{self._ended.backlog_bytes / _MB:.0f} MB are left; wait until /recorder/status '
                'says READY.'
            )
        if fault := self._find_disk_fault():
            raise OrderError(f'Recording refused: {fault}')

    def start(
        self,
        task: str,
        operator: str,
        topics: Mapping[str, Topic],
        lost: Callable[[], Mapping[str, int]],
    ) -> str:
        """Start an episode with what came shortly before.

        Args:
            task: What is demonstrated.
            operator: Who demonstrates.
            topics: All that may come, by name.
            lost: Returns how many messages the middleware has lost so far, by topic.

        Raises:
            OrderError: If something else must be done first.
            EpisodeError: If the folder cannot be written to.
        """
        self.check_ready()
        start_ns = self._clock_ns()
        name = datetime.now().strftime('%Y%m%d_%H%M%S_%f')[:-3]
        if label := re.sub(r'[^A-Za-z0-9]+', '_', task).strip('_'):
            name += f'_{label}'
        provenance = {
            'task': task,
            'operator': operator,
            'robot': self._robot.name,
            'robot_sha256': self._robot.sha256,
            'software': f'mil_ros {__version__}',
        }
        kinds = {name: topic.kind for name, topic in topics.items()}
        writer = EpisodeWriter(
            self._settings.directory / name,
            kinds,
            provenance,
            {name: topic.qos for name, topic in topics.items()},
            self._settings.compression,
        )
        joint_topic, joint_names = self._robot.topics.joint_states, self._robot.joint_names
        log = EpisodeLog(kinds, joint_topic, joint_names, TELEOP_TOPIC, start_ns)
        before = dict(lost())

        def conclude(recording: Recording) -> QualityReport:
            losses = {topic: count - before.get(topic, 0) for topic, count in lost().items()}
            try:
                source = choose_source(self._robot.action.source, log.command_rad_s)
            except DemoError as err:
                source = 'none'
                recording.faults.append(str(err))
            writer.provenance['action_source'] = source
            return judge(
                log.streams(recording.dropped, losses),
                self._required,
                (recording.start_ns, recording.end_ns),
                log.motion_rad,
                log.speed_rad_s,
                [*recording.faults, *filter(None, [log.fault])],
            )

        recording = Recording(writer, log, start_ns, self._settings.queue_mb * _MB, conclude)
        for arrival in self.preroll.arrivals(self._steady_ns(), start_ns):
            recording.put(arrival)
        self._recording, self._ended, self._early_end = recording, None, ''
        return f'{RECORDING} {writer.path}'

    def stop(self) -> str:
        """End the episode and say what became of it.

        Raises:
            OrderError: If nothing is being recorded.
            MilError: If the episode is incomplete, or not on disk yet.
        """
        recording = self._end('stop')
        if not recording.wait(_CLOSE_S):
            raise MilError(
                f'Episode {recording.writer.path} is not on disk after {_CLOSE_S:g} s, expected '
                f'it there; the disk is slow, {recording.backlog_bytes / _MB:.0f} MB are left. It '
                'is announced on /recorder/episode once it is whole.'
            )
        return self._conclude(recording)

    def discard(self) -> str:
        """End the episode and set it aside.

        Raises:
            OrderError: If nothing is being recorded.
        """
        recording = self._end('discard')
        recording.wait()
        self._ended, self._early_end = None, ''
        path = recording.writer.path
        trash = path.with_name(f'{path.name}.discarded')
        path.rename(trash)
        return f'Discarded; the recording lies in {trash} until you delete it.'

    def mark(self, outcome: str) -> str:
        """Note how the last episode that was stopped has ended.

        Raises:
            OrderError: If there is none.
            EpisodeError: If its metadata cannot be written.
        """
        if self._recording is not None:
            raise OrderError(
                f'Still recording {self._recording.writer.path.name}; call /recorder/stop before '
                f'/recorder/mark_{outcome}.'
            )
        if self._last is None:
            raise OrderError(
                'No episode to mark: none has been stopped yet; call /recorder/start and '
                '/recorder/stop first.'
            )
        update_custom_data(self._last, {'outcome': outcome})
        return f'Marked {self._last} as {outcome}.'

    def note_fault(self, fault: str) -> None:
        """Note something that spoils the running episode, once."""
        if self._recording is not None and fault not in self._recording.faults:
            self._recording.faults.append(fault)

    def check(self) -> str:
        """End the episode if the disk is low or full; to be called a few times a second.

        Returns:
            News for the log; empty if there are none.
        """
        recording = self._recording
        if recording is not None:
            low_disk = self._find_disk_fault()
            if low_disk and not recording.error:
                recording.faults.append(f'The end is missing: {low_disk}')
            why = recording.error or low_disk
            if not why:
                return ''
            self._early_end = why
            self._end('stop')
            return f'Episode {recording.writer.path.name} was ended: {why}'
        if self._ended is not None and self._ended.is_done and not self._early_end:
            try:
                return self._conclude(self._ended)  # of a stop that nobody waited for
            except MilError as err:
                return str(err)
        return ''

    def close(self) -> str:
        """End whatever is going on; return what became of it, empty if there was nothing."""
        if self._recording is None and self._ended is None:
            return ''
        recording = self._end('stop')
        recording.wait()
        try:
            return self._conclude(recording)
        except MilError as err:
            return str(err)

    def _end(self, verb: str) -> Recording:
        """End the recording, or return one that has ended by itself."""
        if self._recording is not None:
            self._ended, self._recording = self._recording, None
            self._ended.end(self._clock_ns())
        if self._ended is None:
            raise OrderError(
                f'Not recording, so there is nothing to {verb}; call /recorder/start first.'
            )
        return self._ended

    def _conclude(self, recording: Recording) -> str:
        """Announce an episode that is closed and say what became of it."""
        early_end, self._ended, self._early_end = self._early_end, None, ''
        writer, report = recording.writer, recording.report
        self._last = writer.path
        if early_end or recording.error or report is None:
            raise MilError(f'Episode {writer.path} is incomplete: {early_end or recording.error}')
        self._announce(writer.path)
        counts = ', '.join(f'{n} {t}' for t, n in writer.counts.items() if n)
        reasons = f' because {" ".join(report.reasons)}' if report.reasons else ''
        return f'Saved {writer.path}: {counts}. Verdict {report.verdict.name.lower()}{reasons}'

    def _find_disk_fault(self) -> str:
        """Return why the disk will not take an episode; empty if it will."""
        folder = self._settings.directory
        # `Path.exists` raises for what may not be looked into.
        while not os.path.exists(folder) and folder != folder.parent:
            folder = folder.parent
        free_mb = shutil.disk_usage(folder).free / _MB
        if free_mb >= self._settings.min_free_mb:
            return ''
        return (
            f'{free_mb:.0f} MB are free in {self._settings.directory}, expected at least '
            f'{self._settings.min_free_mb}; free space or choose another parameter `directory`.'
        )
