"""The control node's way to the arm: the guard, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable
import time

from control_msgs.msg import JointJog
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node

from mil_ros.core.errors import ConfigError, OrderError
from mil_ros.core.safety import GuardState
from mil_ros.ros.node import COMMAND, LATCHED, name_rivals, NAMELESS

_PATIENCE_S = 5.0  # until the guard is found, should both have just been started
_NAME_PATIENCE_S = 1.0
_POLL_S = 0.05
_CLOSED = (GuardState.FAULT, GuardState.WAITING, GuardState.DISABLED)


class GuardLink:
    """Publishes commands to the guard, and tells when it lets none through."""

    def __init__(self, node: Node, on_closed: Callable[[str], None]) -> None:
        """Make publisher and subscription.

        Args:
            node: Publishes on ``~/joint_jog``.
            on_closed: Called with the reason when the guard stops or waits.
        """
        self._node, self._tell = node, on_closed
        self._jog = node.create_publisher(JointJog, '~/joint_jog', COMMAND)
        self._state: GuardState | None = None
        self._why = ''
        self._subscription = node.create_subscription(
            DiagnosticStatus, '/guard/state', self._on_state, LATCHED
        )

    def destroy(self) -> None:
        """Let go of both."""
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_publisher(self._jog)

    def publish(self, message: JointJog) -> None:
        """Send a command."""
        self._jog.publish(message)

    def check_alone(self) -> None:
        """Raise `ConfigError` if somebody else commands in the policy's name.

        Waits a little for that node's own name, as a transition may.
        """
        end_s = time.monotonic() + _NAME_PATIENCE_S
        while rivals := name_rivals(self._node, self._jog.topic_name):
            if NAMELESS not in rivals or time.monotonic() > end_s:
                raise ConfigError(
                    f'{" and ".join(rivals)} may publish on {self._jog.topic_name} too, expected '
                    'this node alone; end it (one that was killed is forgotten after some '
                    'seconds).'
                )
            time.sleep(_POLL_S)

    def await_guard(self) -> None:
        """Wait a little until the guard listens.

        Blocks, which a transition may; the middleware finds nodes in threads of its own.

        Raises:
            ConfigError: If it does not.
        """
        end_s = time.monotonic() + _PATIENCE_S
        while self._jog.get_subscription_count() == 0:
            if time.monotonic() > end_s:
                raise ConfigError(
                    f'Nobody listens on {self._jog.topic_name}, expected the guard; start it '
                    '(ros2 run mil_ros guard) and configure this node again.'
                )
            time.sleep(_POLL_S)

    def check_ready(self) -> None:
        """Raise `OrderError` unless the guard would let commands through now."""
        if self._state is None:
            raise OrderError(
                'Run refused: nothing has come on /guard/state yet, expected a running guard; '
                'start it.'
            )
        if self._state in _CLOSED:
            remedy = 'call /guard/reset' if self._state is GuardState.FAULT else 'see to it'
            raise OrderError(
                f'Run refused: the guard is in state {self._state.value!r} ({self._why}), '
                f'expected it ready; {remedy} and call /control/start again.'
            )

    def _on_state(self, message: DiagnosticStatus) -> None:
        values = {v.key: v.value for v in message.values}
        self._state, self._why = GuardState(values['state']), message.message
        if self._state in _CLOSED:
            self._tell(f'the guard is in state {self._state.value!r}: {self._why}')
