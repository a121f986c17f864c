"""What may fail in motion: how it is brought about, and how soon the arm must begin to slow.

The moment of a fault is taken early rather than late: before a service is called, a signal is
sent, a message is published or a publisher is made. What comes between that and the fault itself
counts as reaction. A policy fails when it looks at the picture that makes it fail: at the
``moment_ns`` of the control tick that says so, or, should there be none since the answer was
refused, at the stamp of the first picture with the mark that the policy may have looked at.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
import signal
from typing import Any, Protocol

from control_msgs.msg import JointJog

from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.errors import MilError
from mil_ros.core.robot import RobotDescription
from mil_ros.ros.node import COMMAND
from mil_ros.tools.bench.stops.exits import Exits
from mil_ros.tools.bench.stops.observer import Observer
from mil_ros.tools.bench.stops.trace import find_rest, Trace
from mil_ros.tools.client import GraphClient
from mil_ros.tools.graph import Graph

PROMPT_S = 0.03  # on top of what a stream's age may be
_PATIENCE_S = 5.0
_EXIT_TIMEOUT_S = 10.0


class Target(Protocol):
    """A running graph as faults see it."""

    robot: RobotDescription
    graph: Graph
    client: GraphClient
    observer: Observer

    def now_ns(self) -> int:
        """Return the time by the clock of the graph."""

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a node, which may end of it."""

    def revive(self, name: str) -> None:
        """Start a node again and bring it to where it was."""

    def rebuild(self) -> None:
        """End what is left of the graph and start all of it again."""

    def hold_deadman(self, is_held: bool) -> None:
        """Hold the deadman switch or let go of it, and tell so at once and from then on."""


class Fault(ABC):
    """One row.

    Attributes:
        name: Of the row.
        limit_s: Most time until the arm begins to slow; None for no limit.
        needs_deadman: Whether the robot file must ask for a deadman switch.
    """

    needs_deadman = False

    def __init__(self, name: str, limit_s: float | None) -> None:
        """Give the row a name and a limit."""
        self.name, self.limit_s = name, limit_s

    @abstractmethod
    def inject(self, target: Target, repetition: int) -> int:
        """Bring it about; return the moment that counts, in ns."""

    def find_moment(self, target: Target, called_ns: int) -> int:
        """Return the moment, now that the arm rests, given what `inject` returned."""
        return called_ns

    def find_wrongs(self, target: Target, trace: Trace, moment_ns: int) -> list[str]:
        """Return what must not have been, a sentence each, now that the arm rests."""
        return []

    def heal(self, target: Target) -> None:  # noqa: B027, nothing to heal is usual
        """Take the cause away."""


class Estop(Fault):
    """Somebody calls the emergency stop."""

    def inject(self, target: Target, repetition: int) -> int:
        """Call it."""
        moment_ns = target.now_ns()
        target.client.call_trigger('/guard/estop')
        return moment_ns


class Deadman(Fault):
    """Somebody lets go of the deadman switch."""

    needs_deadman = True

    def inject(self, target: Target, repetition: int) -> int:
        """Let go."""
        moment_ns = target.now_ns()
        target.hold_deadman(False)
        return moment_ns

    def heal(self, target: Target) -> None:
        """Hold it again."""
        target.hold_deadman(True)


class Spoilt(Fault):
    """The simulated arm, its camera or its Servo fails, in one way after the other."""

    def __init__(self, name: str, limit_s: float | None, *ways: str) -> None:
        """Take the faults of `sim.faults` that the repetitions go through."""
        super().__init__(name, limit_s)
        self._ways = ways

    def inject(self, target: Target, repetition: int) -> int:
        """Have it fail."""
        moment_ns = target.now_ns()
        target.client.set_parameter('sim', 'fault', self._ways[repetition % len(self._ways)])
        return moment_ns

    def heal(self, target: Target) -> None:
        """Have it work."""
        target.client.set_parameter('sim', 'fault', '')


class Misled(Spoilt):
    """The policy answers what it must not, for a mark in the picture."""

    def inject(self, target: Target, repetition: int) -> int:
        """Mark the pictures just after the policy has looked at one."""
        observer = target.observer
        observer.look()
        seen = len(observer.ticks)

        def has_looked() -> bool:
            observer.look()
            return len(observer.ticks) > seen

        target.client.wait(has_looked, _PATIENCE_S, 'a tick of the policy')
        return super().inject(target, repetition)

    def find_moment(self, target: Target, called_ns: int) -> int:
        """Return when the policy looked at a picture with the mark, or may first have."""
        ticks = target.observer.ticks
        for moment_ns, image_ns in ticks:
            if image_ns >= called_ns:
                return moment_ns
        robot = target.robot
        ahead_s = 1.0 / robot.policy.rate_hz - 0.5 / robot.camera.rate_hz
        due_ns = ticks[-1][1] + round(ahead_s * NS_PER_S) if ticks else 0
        looked_ns = max(called_ns, due_ns)
        return next((ns for ns in target.observer.image_stamps_ns if ns >= looked_ns), looked_ns)


class Killed(Fault):
    """A process is gone without a word."""

    def __init__(self, name: str, limit_s: float | None, node: str) -> None:
        """Name the node."""
        super().__init__(name, limit_s)
        self._node = node

    def inject(self, target: Target, repetition: int) -> int:
        """Kill it."""
        moment_ns = target.now_ns()
        target.signal(self._node, signal.SIGKILL)
        return moment_ns

    def heal(self, target: Target) -> None:
        """Start it again."""
        target.revive(self._node)


class SecondPublisher(Fault):
    """Somebody else may command Servo too; it is enough that they could."""

    _publisher: Any = None

    def inject(self, target: Target, repetition: int) -> int:
        """Make a publisher."""
        moment_ns = target.now_ns()
        topic = target.robot.topics.command
        self._publisher = target.client.node.create_publisher(JointJog, topic, COMMAND)
        return moment_ns

    def heal(self, target: Target) -> None:
        """Take it away."""
        target.client.node.destroy_publisher(self._publisher)


class Terminated(Fault):
    """Every process of the graph is asked to end; the guard is the one to wait for the arm."""

    _exits: Exits

    def inject(self, target: Target, repetition: int) -> int:
        """Ask all."""
        self._exits = Exits(target.graph.processes)
        moment_ns = target.now_ns()
        for name in target.graph.names:
            target.signal(name, signal.SIGTERM)
        return moment_ns

    def find_wrongs(self, target: Target, trace: Trace, moment_ns: int) -> list[str]:
        """Say who has not ended, and whether the guard has before the arm was at rest."""
        exits = self._exits
        with suppress(MilError):  # told of below
            target.client.wait(lambda: exits.is_complete, _EXIT_TIMEOUT_S, 'every node to end')
        wrongs = [
            f'Node {name!r} went on for {_EXIT_TIMEOUT_S:g} s after SIGTERM.'
            for name in target.graph.names
            if name not in exits.times_ns
        ]
        rest_ns = find_rest(trace, moment_ns)
        if rest_ns is None or rest_ns > exits.times_ns.get('guard', rest_ns):
            wrongs.append('The guard ended before the arm was at rest.')
        return wrongs

    def heal(self, target: Target) -> None:
        """Start all of it."""
        target.rebuild()


def make_faults(robot: RobotDescription) -> tuple[Fault, ...]:
    """Return all rows in order, with the limits that follow from the ages of a robot file."""
    image_s = robot.camera.max_age_s + PROMPT_S
    joints_s = robot.joint_states.max_age_s + PROMPT_S
    return (
        Estop('estop', PROMPT_S),
        Deadman('deadman', PROMPT_S),
        Spoilt('camera_frozen', image_s, 'camera_frozen'),
        Spoilt('joint_states_lost', joints_s, 'joint_states_lost'),
        Spoilt('stamps_stale', image_s, 'stamps_stale'),
        Misled('policy_nan', PROMPT_S, 'marker_red'),
        Misled('policy_wrong_size', PROMPT_S, 'marker_green'),
        Misled('policy_over_limit', PROMPT_S, 'marker_blue'),
        Killed('control_killed', 0.15, 'control'),
        Killed('guard_killed', 0.2, 'guard'),
        Terminated('sigterm', None),
        Spoilt(
            'clock_jump',
            0.1,
            'camera_clock_ahead',
            'joints_clock_ahead',
            'camera_clock_behind',
            'joints_clock_behind',
        ),
        SecondPublisher('second_publisher', 0.1),
        Spoilt('servo_halt', 0.1, 'servo_halt'),
        Spoilt('servo_silent', 0.25, 'servo_silent'),
    )
