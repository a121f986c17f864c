"""A graph whose arm is brought to a steady motion, spoilt, watched and brought home again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
import time

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
import numpy as np
from std_msgs.msg import Bool, String

from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.errors import MilError
from mil_ros.core.robot import RobotDescription
from mil_ros.core.watches import REST_RAD_S
from mil_ros.inference.bundle import write_bundle
from mil_ros.learning.puppet import export_puppet
from mil_ros.ros.node import LATCHED, NEWEST, now_ns
from mil_ros.tools.bench.stops.faults import Fault
from mil_ros.tools.bench.stops.observer import Observer
from mil_ros.tools.bench.stops.trace import (
    find_pause_s,
    find_rest,
    find_slowing,
    find_steady_speed,
    Trace,
)
from mil_ros.tools.client import GraphClient
from mil_ros.tools.graph import Graph
from mil_ros.tools.loop import Loop

PATIENCE_S = 3.0  # for the arm to rest
_STEADY_TIMEOUT_S = 4.0  # less than until the policy stops by itself
_READY_TIMEOUT_S = 30.0
_RESET_TIMEOUT_S = 5.0
_WATCH_S = 1.0  # at rest, with the cause gone: nothing may move
_SETTLE_S = 0.15  # until every node has seen the arm at home
_PAUSE_S = 0.1  # without a step of the simulation, in which case the figures mean little
_ATTEMPTS = 3
_DEADMAN_PERIOD_S = 0.02
_MOVED_JOINT = 0  # the base: it turns the arm over the table and hits nothing
_STOP_RAD = 2.2  # the policy rests there by itself; well before the joint's limit
_EXCESS = 10.0  # over the maker's rating
_LEAST_SHARE = 0.97  # of the limit in use: that much is full speed


@dataclass(frozen=True, slots=True)
class Repetition:
    """What came of one fault.

    Attributes:
        reaction_s: From the fault until the arm began to slow.
        rest_s: From the fault until every joint was at rest.
        complaints: What must not have been, a sentence each.
    """

    reaction_s: float
    rest_s: float
    complaints: tuple[str, ...]


@contextmanager
def open_rig(robot: RobotDescription, robot_file: str, out: Path) -> Iterator[Rig]:
    """Start a graph in which a policy that obeys marks drives the arm.

    Args:
        robot: What the robot file says.
        robot_file: Name or path of it.
        out: Folder for everything.
    """
    policy = make_policy(robot, out / 'puppet')
    values = {
        'robot': robot_file,
        'episodes': str((out / 'episodes').resolve()),
        'policies': str((out / 'policies').resolve()),
        'dry_run': 'false',
    }
    with Graph(values, out / 'logs', parameters={'trace': True}) as graph:
        rig = Rig(robot, graph, policy, out)
        try:
            rig.bring_up()
            yield rig
        finally:
            rig.close()


def make_policy(robot: RobotDescription, path: Path) -> Path:
    """Write the policy of the bench: one joint at the limit in use."""
    path.mkdir(parents=True, exist_ok=True)
    velocities = np.zeros(len(robot.joints))
    velocities[_MOVED_JOINT] = robot.velocity_limits[_MOVED_JOINT]
    stops_rad = robot.upper_limits.copy()
    stops_rad[_MOVED_JOINT] = _STOP_RAD
    rated = robot.joints[_MOVED_JOINT].velocity_rad_s
    excess = _EXCESS * rated / float(velocities[_MOVED_JOINT])
    write_bundle(path, *export_puppet(robot, velocities, stops_rad, excess, path))
    return path


class Rig:
    """Takes a graph through faults; each leaves it as it was."""

    def __init__(self, robot: RobotDescription, graph: Graph, policy: Path, out: Path) -> None:
        """Join the graph, with a client that does not mind nodes that are meant to die."""
        self.robot, self.graph = robot, graph
        self.is_deadman_silent = False
        self._is_deadman_held = True
        self._policy = policy
        self._dying: set[str] = set()
        self._loop = Loop(robot, graph, out, None, self._check)
        self.client: GraphClient = self._loop.client
        node = self.client.node
        self.observer = Observer(robot)
        self._announcement = node.create_publisher(String, '/adaptation/policy', LATCHED)
        self._deadman = node.create_publisher(Bool, '/teleop/deadman', NEWEST)
        node.create_timer(_DEADMAN_PERIOD_S, self._tell_deadman)

    def close(self) -> None:
        """Leave the graph."""
        self.observer.close()
        self._loop.close()

    def bring_up(self) -> None:
        """Bring a fresh graph to where a run can be started."""
        self._loop.bring_up()
        self._announce()

    # What faults do

    def now_ns(self) -> int:
        """Return the time by the clock of the graph."""
        return now_ns(self.client.node)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a node, which may end of it."""
        self._dying.add(name)
        self.graph.processes[name].send_signal(number)

    def revive(self, name: str) -> None:
        """Start a node again and bring it to where it was."""
        self.graph.restart(name)
        self._dying.discard(name)
        if name == 'control':
            self.client.states.pop('control/state', None)
            self.client.change_state(name, Transition.TRANSITION_CONFIGURE)
            self.client.change_state(name, Transition.TRANSITION_ACTIVATE)
            self._announce()
        elif name == 'guard':
            self.client.states.pop('guard/state', None)
            self._wait_until_ready()

    def rebuild(self) -> None:
        """End what is left of the graph and start all of it again."""
        self.graph.stop()
        self._dying.clear()
        self._is_deadman_held = True
        self.client.states.clear()
        self.graph.__enter__()
        self.bring_up()

    def hold_deadman(self, is_held: bool) -> None:
        """Hold the deadman switch or let go of it.

        It is told at once, as drivers of joysticks do, and then again and again.
        """
        self._is_deadman_held = is_held
        self._tell_deadman()

    # One repetition

    def measure(self, fault: Fault, repetition: int) -> Repetition:
        """Bring the arm to full speed, have it fail and see how it stops.

        Raises:
            MilError: If the graph is not what it should be; `rebuild` helps.
        """
        steady_rad_s = self.prepare()
        called_ns = fault.inject(self, repetition)
        complaints = self._wait_until_resting(called_ns)
        moment_ns = fault.find_moment(self, called_ns)
        rested = self.observer.look()
        complaints += fault.find_wrongs(self, rested, moment_ns)
        fault.heal(self)
        complaints += self._watch()
        complaints += [f'Servo was sent {bad}.' for bad in set(self.observer.bad_commands)]
        self._recover()
        return _judge(rested, moment_ns, steady_rad_s, complaints)

    def prepare(self) -> float:
        """Bring the arm home and to full speed; return its speed in rad/s.

        Raises:
            MilError: If it does not keep full speed, after some attempts.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return self._start()
            except MilError:
                self._check()
                if attempt + 1 == _ATTEMPTS:
                    raise
                self._recover()
        raise AssertionError('the last attempt returns or raises')

    def _start(self) -> float:
        self.client.trigger('/sim/reset')
        self.client.spin_for(_SETTLE_S)
        self._wait_until_ready()
        self.observer.clear()
        self.client.trigger('/control/start')
        full_rad_s = float(self.robot.velocity_limits[_MOVED_JOINT])
        steady: list[float] = []

        def is_steady() -> bool:
            speed = find_steady_speed(self.observer.look(), _LEAST_SHARE * full_rad_s)
            steady.extend([] if speed is None else [speed])
            return bool(steady)

        self.client.wait(is_steady, _STEADY_TIMEOUT_S, 'the arm to keep full speed')
        return steady[0]

    def _wait_until_resting(self, moment_ns: int) -> list[str]:
        """Wait until the arm rests; a complaint if it does not."""

        def rests() -> bool:
            return find_rest(self.observer.look(), moment_ns) is not None

        try:
            self.client.wait(rests, PATIENCE_S, 'the arm to rest')
        except MilError as err:
            self._check()
            return [str(err)]
        return []

    def _watch(self) -> list[str]:
        """See whether anything moves by itself, now that the cause is gone."""
        began_ns = self.now_ns()
        end_ns = began_ns + round(_WATCH_S * NS_PER_S)

        def is_seen() -> bool:
            return bool((self.observer.look().times_ns > end_ns).any())

        self.client.wait(is_seen, _WATCH_S + PATIENCE_S, 'the arm to be seen at rest')
        speeds = self.observer.look().since(began_ns).speeds_rad_s
        if speeds.max() >= REST_RAD_S:
            return [f'The arm moved at {speeds.max():.3f} rad/s by itself, it should rest.']
        return []

    def _recover(self) -> None:
        """Bring control and guard to where a run can be started."""
        with suppress(MilError):  # it refuses if no run is going on
            self.client.trigger('/control/stop')
        self._wait_for_reset()

    def _wait_for_reset(self) -> None:
        """Reset the guard until it has no fault; it refuses for half a second and in motion."""
        end_s = time.monotonic() + _RESET_TIMEOUT_S
        self.client.spin_for(_SETTLE_S)
        while self.client.states['guard/state'].level == DiagnosticStatus.ERROR:
            try:
                self.client.trigger('/guard/reset')
            except MilError:
                if time.monotonic() > end_s:
                    raise
            self.client.spin_for(_SETTLE_S)

    def _wait_until_ready(self) -> None:
        self.client.wait(
            lambda: self.client.values('guard/state').get('state') == 'ready',
            _READY_TIMEOUT_S,
            'the guard to be ready',
        )

    def _check(self) -> None:
        if not self._dying:
            self.graph.check()

    def _announce(self) -> None:
        """Announce the policy until control has it."""
        self._announcement.publish(String(data=str(self._policy.resolve())))
        self.client.wait(
            lambda: self.client.values('control/state').get('policy') == self._policy.name,
            _READY_TIMEOUT_S,
            'the control node to take over the policy of the bench',
        )

    def _tell_deadman(self) -> None:
        if not self.is_deadman_silent:
            self._deadman.publish(Bool(data=self._is_deadman_held))


def _judge(trace: Trace, moment_ns: int, steady: float, complaints: list[str]) -> Repetition:
    """Return the figures; what never happened is put at the end of the patience.

    While the simulated arm is held up, so is Servo: nobody can tell how a real arm would move.
    """
    pause_s = find_pause_s(trace, moment_ns)
    if pause_s > _PAUSE_S:
        complaints = [*complaints, f'The simulated arm itself was held up for {pause_s:.3f} s.']

    def since(found_ns: int | None) -> float:
        return PATIENCE_S if found_ns is None else max(0.0, (found_ns - moment_ns) / 1e9)

    slowing_ns, rest_ns = find_slowing(trace, moment_ns, steady), find_rest(trace, moment_ns)
    return Repetition(since(slowing_ns), since(rest_ns), tuple(complaints))
