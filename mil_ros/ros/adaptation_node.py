"""The adaptation node: one inner step on the newest demonstration, without torch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
import shutil
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import String

from mil_ros.core.errors import OrderError
from mil_ros.core.resources import share_dir
from mil_ros.core.robot import load_robot
from mil_ros.data.doubts import find_doubts
from mil_ros.data.video import load_shown
from mil_ros.inference.bundle import check_robot, load_bundle, save_adapted
from mil_ros.inference.onnx_policy import OnnxPolicy
from mil_ros.ros.node import add_trigger, add_waiting_trigger, in_thread, LATCHED, run_node, status


class AdaptationNode(Node):
    """Turns an episode into an adapted bundle and announces its path."""

    def __init__(self) -> None:
        """Load and check the bundle that will be adapted."""
        super().__init__('adaptation')
        self.robot = load_robot(self.declare_parameter('robot', 'sim_panda').value)
        chosen = self.declare_parameter('bundle', '').value
        self.bundle = load_bundle(chosen or share_dir() / 'models' / 'reach')
        check_robot(self.bundle, self.robot)
        self.policy = OnnxPolicy(self.bundle)
        self.declare_parameter('demo', '')
        home = str(Path.home() / 'mil_policies')
        self.directory = Path(self.declare_parameter('directory', home).value).expanduser()
        self._episode = ''
        self._history: list[Path] = []
        self._pool = ThreadPoolExecutor(1, 'adapt')
        self._is_busy = False
        self._policy = self.create_publisher(String, '~/policy', LATCHED)
        self._report = self.create_publisher(DiagnosticStatus, '~/report', LATCHED)
        self.create_subscription(String, '/recorder/episode', self._on_episode, LATCHED)
        add_waiting_trigger(self, '~/adapt', self._adapt)
        add_trigger(self, '~/rollback', self._rollback)

    def _on_episode(self, message: String) -> None:
        self._episode = message.data

    async def _adapt(self) -> str:
        episode = str(self.get_parameter('demo').value) or self._episode
        if not episode:
            raise OrderError(
                'No demonstration to adapt to: nothing was recorded and the parameter `demo` is '
                'empty; call /recorder/start and /recorder/stop first.'
            )
        if self._is_busy:
            raise OrderError('Already adapting; wait until ~/adapt answers.')
        self._is_busy = True
        try:
            report = await in_thread(self, self._pool, self._adapt_to, Path(episode))
        finally:
            self._is_busy = False
        self._history.append(report['path'])
        self._policy.publish(String(data=str(report['path'])))
        doubts = report.pop('doubts')
        if report['loss_after'] >= report['loss_before']:
            doubts.append('The loss did not fall; expect little of this policy.')
        text = (
            f'Adapted to {Path(episode).name} in {report["step_ms"]:.0f} ms: loss '
            f'{report["loss_before"]:.3f} -> {report["loss_after"]:.3f}.'
        )
        text = ' '.join([text, *doubts])
        level = DiagnosticStatus.WARN if doubts else DiagnosticStatus.OK
        self._report.publish(status('adaptation', level, text, **report))
        return text

    def _adapt_to(self, episode: Path) -> dict[str, Any]:
        """Read, adapt and save; runs in a thread of its own.

        An episode that the recorder rejected is adapted to all the same, for a person may know
        better, but never without a word.
        """
        started_s = time.perf_counter()
        demo = load_shown(episode, self.robot, self.policy.modality)
        read_s = time.perf_counter()
        adapted, losses = self.policy.adapt_and_report(demo)
        step_s = time.perf_counter()
        numbers: dict[str, Any] = {
            'loss_before': losses.loss_before,
            'loss_after': losses.loss_after,
            'frames': len(demo),
            'action_source': demo.action_source,
            'read_ms': 1e3 * (read_s - started_s),
            'step_ms': 1e3 * (step_s - read_s),
        }
        name = datetime.now().strftime('%Y%m%d_%H%M%S_%f')[:-3]
        path = self.directory / f'{self.bundle.name}_{name}'
        about = {'episode': str(episode), **numbers}
        save_adapted(self.bundle, adapted.parameters, about, path)
        total_ms = 1e3 * (time.perf_counter() - started_s)
        return {**numbers, 'adapt_ms': total_ms, 'path': path, 'doubts': find_doubts(episode)}

    def _rollback(self) -> str:
        if len(self._history) < 2:
            raise OrderError(
                f'Nothing to roll back to: {len(self._history)} policies were adapted, expected '
                'at least 2.'
            )
        dropped = self._history.pop()
        shutil.rmtree(dropped, ignore_errors=True)
        self._policy.publish(String(data=str(self._history[-1])))
        return f'Back to {self._history[-1].name}.'


def main() -> int:
    """Run the node."""
    return run_node(AdaptationNode)


if __name__ == '__main__':
    sys.exit(main())
