"""Going home over the live graph, through the guard, and what ends it on the way."""

from __future__ import annotations

import array
from collections.abc import Iterator
import signal
import subprocess
import sys

from control_msgs.msg import JointJog
import numpy as np
import pytest
from rclpy.publisher import Publisher
from running import PATIENCE_S, RunningGraph
from sensor_msgs.msg import JointState

from mil_ros.core.homing import TOLERANCE_RAD
from mil_ros.core.safety import RESET_COOLDOWN_S
from mil_ros.core.types import Vector
from mil_ros.ros.node import COMMAND, NEWEST

pytestmark = pytest.mark.ros

AWAY_RAD = 0.6
ATTEMPTS = 10  # on a machine that has no time for us
_BUSY = ('old, expected', 'silent', 'is in state')  # what such a machine says


class Person:
    """At the joystick, and at the emergency stop."""

    def __init__(self, running: RunningGraph) -> None:
        self.running, self.client = running, running.client
        self.robot = running.robot
        self.positions = np.full(len(self.robot.joints), np.nan)
        node = self.client.node
        self._jog: Publisher = node.create_publisher(JointJog, '/teleop/joint_jog', COMMAND)
        self._joints = node.create_subscription(
            JointState, self.robot.topics.joint_states, self._on_joints, NEWEST
        )

    def close(self) -> None:
        self.client.node.destroy_publisher(self._jog)
        self.client.node.destroy_subscription(self._joints)

    def _on_joints(self, message: JointState) -> None:
        self.positions = np.array(message.position)

    @property
    def away_rad(self) -> float:
        return float(np.abs(self.positions - self.robot.home).max())

    @property
    def guard(self) -> str:
        return self.client.values('guard/state').get('state', '')

    def jog(self, velocities: Vector) -> None:
        message = JointJog(joint_names=list(self.robot.joint_names))
        message.header.stamp = self.client.node.get_clock().now().to_msg()
        message.velocities = array.array('d', velocities)
        self._jog.publish(message)

    def make_ready(self) -> None:
        """Clear the faults that a busy machine may bring about, however often."""
        self.running.wait_until_resting()
        self.client.spin_for(2 * RESET_COOLDOWN_S)
        self.running.spin_until(self._is_ready, 'the guard to be ready')

    def _is_ready(self) -> bool:
        if self.guard == 'fault':
            self.client.ask('/guard/reset', PATIENCE_S)  # refused while the arm cannot be seen
            self.client.spin_for(RESET_COOLDOWN_S)
        return self.guard == 'ready'

    def drive_away(self) -> None:
        """Drive until a joint is far from the start pose, however often the guard objects."""
        direction = np.linspace(0.5, -0.3, len(self.robot.joints))
        self.make_ready()
        while not self.away_rad > AWAY_RAD:
            if self.guard == 'fault':
                self.make_ready()
            self.jog(direction if self.guard == 'teleop' else np.zeros_like(direction))
            self.client.spin_for(0.02)
        self.jog(np.zeros_like(direction))
        self.make_ready()

    def begin(self) -> tuple[bool, str]:
        """Have the arm go home and return as soon as it moves."""
        for _ in range(ATTEMPTS):
            self.drive_away()
            self.answer = self.client.call_trigger('/planner/go_home')
            self.running.spin_until(
                lambda: self.answer.done() or self.away_rad < AWAY_RAD - 0.1, 'the arm to move'
            )
            if not self.answer.done():
                return True, ''
        return False, str(self.answer.result().message)

    def end(self) -> tuple[bool, str]:
        self.running.spin_until(self.answer.done, 'an answer')
        return bool(self.answer.result().success), str(self.answer.result().message)

    def end_because_of(self, reason: str) -> None:
        """Check that the motion ends for a reason, far from home, and that nothing resumes."""
        is_home, text = self.end()
        assert not is_home
        assert text.startswith('Motion ended after ')
        assert reason in text
        self.running.wait_until_resting()
        assert self.away_rad > 10 * TOLERANCE_RAD


@pytest.fixture
def person(running: RunningGraph) -> Iterator[Person]:
    person = Person(running)
    yield person
    person.close()


def test_an_arm_that_was_driven_away_is_brought_home(person: Person) -> None:
    for _ in range(ATTEMPTS):
        person.drive_away()
        person.answer = person.client.call_trigger('/planner/go_home')
        is_home, text = person.end()
        if is_home or not any(word in text for word in _BUSY):
            break
    assert is_home, text
    assert text.startswith('The arm is at the start pose (within 0.00')
    assert text.endswith('Nothing is known of obstacles: none was looked for on the way.')
    assert person.running.measure_speed(20) < 0.01
    assert person.away_rad < 2 * TOLERANCE_RAD


def test_an_emergency_stop_ends_it_and_nothing_resumes(person: Person) -> None:
    assert person.begin()[0], person.end()
    person.client.trigger('/guard/estop')
    person.end_because_of('the guard has a fault (Emergency stop was called on ~/estop), expected')
    assert 'the guard has a fault' in person.client.ask('/planner/go_home')
    person.make_ready()
    place = person.positions
    person.client.spin_for(1.0)
    assert person.running.measure_speed(20) < 0.01
    np.testing.assert_allclose(person.positions, place, atol=1e-3)


def test_a_person_at_the_joystick_takes_over(person: Person) -> None:
    assert person.begin()[0], person.end()
    while not person.answer.done():
        person.jog(np.zeros(len(person.robot.joints)))
        person.client.spin_for(0.02)
    person.end_because_of("the guard follows 'teleop' now; call /planner/go_home again at rest")


def test_it_can_be_stopped_and_is_one_motion_at_a_time(person: Person) -> None:
    assert 'Nothing to stop' in person.client.ask('/planner/stop')
    assert person.begin()[0], person.end()
    assert person.client.ask('/planner/go_home').startswith('Refused: the planner is at work')
    assert person.client.ask('/planner/stop') == 'Stopping.'
    person.end_because_of('/planner/stop was called.')


def test_without_moveit_nobody_can_tell_of_collisions(person: Person) -> None:
    assert person.client.ask('/planner/check').startswith(
        'Nobody can tell whether the arm is in collision: the planner runs without MoveIt, expect'
    )


@pytest.mark.parametrize(
    ('parameter', 'sentence'),
    [
        (
            'backend:=magic',
            "Parameter backend is 'magic'; expected one of auto, moveit, joint_space.",
        ),
        (
            'backend:=moveit',
            'sim_panda: backend is moveit, expected a robot file with moveit.group; add it or',
        ),
    ],
)
def test_a_backend_that_cannot_be_is_refused_in_one_sentence(
    parameter: str, sentence: str
) -> None:
    command = [sys.executable, '-m', 'mil_ros.ros.planner_node', '--ros-args', '-p', parameter]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE_S)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert 'Traceback' not in done.stderr


# The last one, for the planner is gone after it.


def test_a_terminated_planner_has_brought_the_arm_to_rest(person: Person) -> None:
    assert person.begin()[0], person.end()
    process = person.running.graph.processes['planner']
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    assert person.running.measure_speed(20) < 0.01
    assert person.away_rad > 10 * TOLERANCE_RAD
    person.client.spin_for(0.5)
    assert person.guard == 'ready', 'a planner that falls silent in motion is a fault'
