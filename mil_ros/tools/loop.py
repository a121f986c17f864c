"""The one loop that matters: record, adapt, run, judge; by service calls alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
import time

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition

from mil_ros.bringup import NODES
from mil_ros.core.errors import MilError
from mil_ros.core.meter import OK, SLOW
from mil_ros.core.robot import RobotDescription
from mil_ros.core.safety import RESET_COOLDOWN_S
from mil_ros.core.types import Image
from mil_ros.tools.client import GraphClient
from mil_ros.tools.graph import Graph
from mil_ros.tools.video import write_contact_sheet, write_side_by_side

_VIDEO_RATE_HZ = 15.0
_SHEET_PAIRS = 4
_AFTER_SUCCESS_S = 0.3  # so that the video shows the end
_SETTLE_S = 0.15  # until control has seen the pose and the image after a reset
_ATTEMPTS = 2  # a demonstration with a gap in its streams is refused and shown again
_READY_TIMEOUT_S = 20.0
_STATE_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Episode:
    """One task: shown once, done once."""

    index: int
    colour: str
    family: str = 'reach'
    stage: str = 'waiting'
    success: bool | None = None
    adapt_ms: float = float('nan')
    run_s: float = float('nan')
    tick_ms: list[float] = field(default_factory=list)
    message: str = ''
    retries: int = 0
    video: str = ''


class Loop:
    """Takes episodes through a running graph with the simulated arm."""

    def __init__(
        self,
        robot: RobotDescription,
        graph: Graph,
        out: Path,
        videos: ThreadPoolExecutor | None,
        check: Callable[[], None] | None = None,
    ) -> None:
        """Join the graph.

        Args:
            robot: Whose topics and limits count.
            graph: Watched while waiting.
            out: Folder for videos.
            videos: Where to write them; None for no videos.
            check: Called while waiting instead of the graph's own.
        """
        self.show: Callable[[], None] = lambda: None
        self._robot, self._graph, self._out, self._pool = robot, graph, out, videos
        self.client = GraphClient(robot, check or graph.check)
        if videos is not None:  # so that the first frame is not missed
            self.client.start_frames()
        self._demo_frames: list[Image] = []
        self._videos: list[Future[None]] = []
        self._endings: list[tuple[Image, Image]] = []

    def close(self) -> None:
        """Leave the graph once the videos are written."""
        self.client.close()
        for video in self._videos:
            video.result()
        if self._endings:
            write_contact_sheet(self._out / 'contact_sheet.png', self._endings[:_SHEET_PAIRS])

    def bring_up(self) -> None:
        """Configure and activate what has a lifecycle; wait until guard and recorder are ready.

        Raises:
            MilError: If that does not come about; names what was waited for.
        """
        for spec in NODES:
            if spec.is_lifecycle:
                self.client.change_state(spec.name, Transition.TRANSITION_CONFIGURE)
                self.client.change_state(spec.name, Transition.TRANSITION_ACTIVATE)
        self.client.wait(
            lambda: self.client.values('guard/state').get('state') == 'ready',
            _READY_TIMEOUT_S,
            'the guard to be ready',
        )
        if 'recorder' in self._graph.names:
            self.client.wait(self._is_recordable, _READY_TIMEOUT_S, 'the recorder to hear the arm')

    def _is_recordable(self) -> bool:
        topics, heard = self._robot.topics, self.client.values('recorder/status')
        return all(heard.get(t) in (OK, SLOW) for t in (topics.image, topics.joint_states))

    def attempt(self, episode: Episode) -> None:
        """Take an episode through; show the task again if a node refuses what it was shown.

        Raises:
            NodeDiedError: If a process ended; the episode cannot go on then.
        """
        for attempt in range(_ATTEMPTS):
            try:
                self.demonstrate(episode)
                self.adapt(episode)
                self.run(episode)
                break
            except MilError as err:
                self._graph.check()
                episode.message = str(err)
                self.recover()
                if attempt + 1 == _ATTEMPTS:
                    episode.success = False
                else:
                    episode.retries += 1
        self.show()

    def _enter(self, episode: Episode, stage: str) -> None:
        episode.stage = stage
        self.show()

    def demonstrate(self, episode: Episode) -> None:
        """Reset to the task and record the teleoperator doing it."""
        client = self.client
        client.set_parameter('sim', 'task_index', episode.index)
        client.set_parameter('recorder', 'task', f'{episode.family} {episode.colour}')
        client.trigger('/sim/reset')
        self._enter(episode, 'recording the demonstration')
        self._start_frames()
        client.trigger('/recorder/start')
        client.trigger('/sim/demonstrate')
        client.trigger('/recorder/stop')
        self._demo_frames = client.take_frames()

    def new_layout(self) -> None:
        """Put the objects elsewhere and the arm home, and let every node see it."""
        self.client.trigger('/sim/reset')
        self.client.spin_for(_SETTLE_S)
        self.client.is_success = False

    def adapt(self, episode: Episode) -> None:
        """Take the inner step and wait until the control node has the policy."""
        self._enter(episode, 'adapting')
        episode.adapt_ms = float(self.client.adapt()['adapt_ms'])

    def run(self, episode: Episode) -> None:
        """Run in a new scene until the simulator sees success or the run ends."""
        client = self.client
        self.new_layout()
        self._enter(episode, 'running')
        self._start_frames()
        ended_before = self._ended_runs
        began_s = time.monotonic()
        client.trigger('/control/start')
        client.wait(
            lambda: client.is_success or self._ended_runs > ended_before,
            3.0 * self._robot.policy.max_run_s,
            'the run to end',
        )
        episode.run_s = time.monotonic() - began_s
        if self._ended_runs == ended_before:
            client.spin_for(_AFTER_SUCCESS_S)
            with suppress(MilError):  # it may have ended by itself meanwhile
                client.trigger('/control/stop')
            client.wait(
                lambda: self._ended_runs > ended_before,
                _STATE_TIMEOUT_S,
                'the control node to stop',
            )
        frames = client.take_frames()
        guard = client.states['guard/state']
        if guard.level == DiagnosticStatus.ERROR:
            raise MilError(f'The guard stopped the run: {guard.message}')
        ticks = client.values('control/state').get('tick_ms', '')
        episode.tick_ms = [float(ms) for ms in ticks.split(',') if ms]
        episode.message = client.trigger('/sim/judge')
        client.spin_for(_SETTLE_S)  # the verdict travels on a topic of its own
        episode.success = client.is_success
        if self._pool is not None and self._demo_frames and frames:
            self._save_video(self._pool, episode, frames)

    def _start_frames(self) -> None:
        if self._pool is not None:
            self.client.start_frames()

    @property
    def _ended_runs(self) -> int:
        """How many runs the control node has ended so far."""
        return int(self.client.values('control/state').get('ended_runs', '0'))

    def recover(self) -> None:
        """Bring control, recorder and guard back to where an episode can start."""
        self.client.take_frames()
        for service in ('/control/stop', '/recorder/discard', '/guard/reset'):
            if service == '/guard/reset':
                self.client.spin_for(RESET_COOLDOWN_S)
            with suppress(MilError):  # each refuses if it has nothing to do
                self.client.trigger(service)

    def _save_video(self, pool: ThreadPoolExecutor, episode: Episode, run: list[Image]) -> None:
        path = self._out / f'task_{episode.index:02d}.mp4'
        episode.video = str(path)
        verdict = 'success' if episode.success else 'failed'
        captions = (f'shown once: {episode.colour}', f'new scene: {verdict}')
        skip = max(1, round(self._robot.camera.rate_hz / _VIDEO_RATE_HZ))
        demo = self._demo_frames[::skip]
        self._endings.append((self._demo_frames[-1], run[-1]))
        self._videos.append(
            pool.submit(write_side_by_side, path, demo, run[::skip], captions, _VIDEO_RATE_HZ)
        )
