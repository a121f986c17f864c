"""The tool never leaves its box nor exceeds its cap, whatever is commanded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from hypothesis import given, HealthCheck, settings, strategies
import numpy as np
import pytest
from seven_joints import HOME, make_urdf, NAMES, TOOL

from mil_ros.core.robot import Tool
from mil_ros.core.tool_limits import Kinematics, ToolLimiter

PERIOD_S = 0.01
FREE = Tool(link='tip')


class Planar:
    """Two links of 0.5 m and 0.4 m in the plane z = 0."""

    lengths = (0.5, 0.4)

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, second = positions[0], positions[0] + positions[1]
        upper = self.lengths[0] * np.array([np.cos(first), np.sin(first), 0.0])
        lower = self.lengths[1] * np.array([np.cos(second), np.sin(second), 0.0])
        turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        return upper + lower, np.stack([turn @ (upper + lower), turn @ lower], axis=1)


@dataclass
class Arm:
    """An arm that follows exactly, and what stands between it and its commands."""

    limiter: ToolLimiter
    positions: np.ndarray
    speed_rad_s: np.ndarray
    velocities: np.ndarray

    @property
    def at(self) -> np.ndarray:
        return self.limiter.kinematics.locate(self.positions)[0]

    def approach(self, target: np.ndarray) -> np.ndarray:
        """Return the next command towards a target, all joints' changes scaled alike."""
        change = target - self.velocities
        over = np.max(np.abs(change) / (self.limiter.deceleration * PERIOD_S))
        return self.velocities + change / max(over, 1.0)

    def step(self, target: np.ndarray) -> float:
        """Let one period pass; return the share of the command that was allowed."""
        share_of_speed = np.max(np.abs(target) / self.speed_rad_s)
        wanted = self.approach(target / max(share_of_speed, 1.0))
        braked = self.approach(np.zeros_like(target))
        share = self.limiter.find_share(self.positions, wanted, braked)
        self.velocities = braked + share * (wanted - braked)
        self.positions = self.positions + self.velocities * PERIOD_S
        return share

    def tool_velocity(self) -> np.ndarray:
        return self.limiter.kinematics.locate(self.positions)[1] @ self.velocities


@cache
def planar() -> Kinematics:
    return Planar()


@cache
def spatial() -> Kinematics:
    pytest.importorskip('pinocchio')
    from mil_ros.ros.kinematics import ToolKinematics

    return ToolKinematics(make_urdf(), NAMES, TOOL)


def make_arm(
    kinematics: Kinematics,
    positions: np.ndarray,
    tool: Tool,
    acceleration: float = 3.0,
    speed_rad_s: float = 2.0,
) -> Arm:
    """Return an arm at rest whose joints differ in speed and acceleration."""
    spread = np.linspace(1.0, 1.5, len(positions))
    limiter = ToolLimiter(kinematics, tool, acceleration * spread, PERIOD_S)
    return Arm(limiter, positions, speed_rad_s * spread, np.zeros(len(positions)))


def box_around(point: np.ndarray, down: np.ndarray, up: np.ndarray, speed_m_s: float) -> Tool:
    return Tool(
        link='tip',
        speed_m_s=speed_m_s,
        workspace_lower_m=tuple((point - down).tolist()),
        workspace_upper_m=tuple((point + up).tolist()),
    )


KINEMATICS = pytest.mark.parametrize(
    ('make', 'joints'), [(planar, 2), (spatial, 7)], ids=['planar', 'spatial']
)


@KINEMATICS
@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=strategies.integers(0, 2**32 - 1),
    speed_m_s=strategies.sampled_from([0.0, 0.1, 0.25, 1.0]),
    acceleration=strategies.sampled_from([0.5, 3.0, 15.0]),
    room_m=strategies.sampled_from([0.01, 0.1, 0.5]),
)
def test_tool_keeps_box_and_cap_over_any_commands(
    make: Callable[[], Kinematics],
    joints: int,
    seed: int,
    speed_m_s: float,
    acceleration: float,
    room_m: float,
) -> None:
    rng, kinematics = np.random.default_rng(seed), make()
    positions = rng.uniform(-2.5, 2.5, joints)
    down, up = rng.uniform(0.2 * room_m, room_m, (2, 3))
    tool = box_around(kinematics.locate(positions)[0], down, up, speed_m_s)
    arm = make_arm(kinematics, positions, tool, acceleration)
    low, high = np.array(tool.workspace_lower_m), np.array(tool.workspace_upper_m)
    bound = arm.limiter.deceleration * PERIOD_S * (1 + 1e-9)
    for _ in range(10):
        target = rng.uniform(-3.0, 3.0, joints) * rng.choice([0.0, 0.1, 1.0, 1.0])
        for _ in range(rng.integers(1, 40)):
            before, origin = arm.velocities, arm.positions
            arm.step(target)
            assert (np.abs(arm.velocities - before) <= bound).all()
            for share in (0.5, 1.0):  # of the period
                at, jacobian = kinematics.locate(origin + share * PERIOD_S * arm.velocities)
                assert ((low <= at) & (at <= high)).all()
                if speed_m_s:
                    assert np.linalg.norm(jacobian @ arm.velocities) <= speed_m_s


@KINEMATICS
def test_tool_comes_close_to_a_wall_and_rests_there(
    make: Callable[[], Kinematics], joints: int
) -> None:
    start, _ = make().locate(HOME[:joints])
    tool = box_around(start, np.full(3, 2.0), np.array([2.0, 0.05, 2.0]), 0.0)
    arm = make_arm(make(), HOME[:joints], tool)
    for _ in range(300):
        _, jacobian = make().locate(arm.positions)
        arm.step(0.5 * np.linalg.pinv(jacobian)[:, 1])  # straight towards it at 0.5 m/s
    assert start[1] + 0.047 < arm.at[1] <= start[1] + 0.05
    assert np.linalg.norm(arm.tool_velocity()) < 0.005


@KINEMATICS
def test_tool_reaches_its_cap(make: Callable[[], Kinematics], joints: int) -> None:
    arm = make_arm(make(), HOME[:joints], Tool(link='tip', speed_m_s=0.2))
    speeds = []
    for _ in range(100):
        arm.step(np.linspace(1.0, 2.0, joints))
        speeds.append(np.linalg.norm(arm.tool_velocity()))
    assert 0.19 < max(speeds) <= 0.2
    assert min(speeds[60:]) > 0.15


@KINEMATICS
def test_command_that_keeps_the_limits_passes_untouched(
    make: Callable[[], Kinematics], joints: int
) -> None:
    start, _ = make().locate(HOME[:joints])
    tool = box_around(start, np.full(3, 0.5), np.full(3, 0.5), 2.5)
    arm = make_arm(make(), HOME[:joints], tool)
    assert [arm.step(np.full(joints, 0.1)) for _ in range(20)] == [1.0] * 20


def test_limit_scales_all_joints_alike() -> None:
    arm = make_arm(planar(), HOME[:2], Tool(link='tip', speed_m_s=0.1))
    target = np.array([1.0, -0.3])
    shares = [arm.step(target) for _ in range(50)]
    assert min(shares) < 1.0
    np.testing.assert_allclose(arm.velocities / arm.velocities[0], target / target[0])


def test_tool_stops_in_time_only_if_the_stopping_distance_is_looked_at() -> None:
    """At 1 rad/s and 1 rad/s^2 a stop takes half a radian: 0.45 m at the tip."""
    arm = make_arm(planar(), np.zeros(2), FREE, acceleration=1.0)
    start, target = arm.at, np.array([1.0, 0.0])
    tool = box_around(start, np.full(3, 2.0), np.array([2.0, 0.7, 2.0]), 0.0)
    for _ in range(60):
        arm.step(target)
    assert arm.at[1] < 0.4
    arm.limiter = ToolLimiter(arm.limiter.kinematics, tool, arm.limiter.deceleration, PERIOD_S)
    shares = [arm.step(target) for _ in range(200)]
    assert (shares[0], min(shares)) == (1.0, 0.0)
    assert 0.69 < arm.at[1] <= 0.7


def test_speed_that_would_grow_while_braking_is_seen_ahead() -> None:
    """Folding a stretched arm, the tool stands still at first and then gathers speed.

    The first joint turns one way, the second twice as fast the other way.
    """
    arm = make_arm(
        planar(), np.zeros(2), Tool(link='tip', speed_m_s=0.1), acceleration=0.5, speed_rad_s=5.0
    )
    target = np.array([2.0, -4.0])
    for _ in range(300):
        arm.step(target)
        assert np.linalg.norm(arm.tool_velocity()) <= 0.1


OUTSIDE = Tool(  # the tip of the stretched arm is 0.1 m beyond the wall at y = -0.1
    link='tip', workspace_lower_m=(-1.0, -1.0, -1.0), workspace_upper_m=(1.0, -0.1, 1.0)
)


def test_tool_outside_the_box_comes_back_in_and_stays_in() -> None:
    arm = make_arm(planar(), np.array([0.05, -0.1]), OUTSIDE)
    assert arm.at[1] > -0.1
    assert all(arm.step(np.array([-0.5, 0.0])) == 1.0 for _ in range(60))
    assert arm.at[1] < -0.1
    for _ in range(300):
        arm.step(np.array([0.5, 0.0]))
    assert -0.104 < arm.at[1] <= -0.1


def test_tool_outside_the_box_goes_no_farther_out() -> None:
    arm = make_arm(planar(), np.array([0.05, -0.1]), OUTSIDE)
    start = arm.at
    for _ in range(100):
        arm.step(np.array([0.5, 0.0]))
    assert arm.at[1] == pytest.approx(start[1], abs=1e-4)


def test_tool_can_move_along_a_wall() -> None:
    """The tip at the bottom of its circle moves along y = -0.9, the wall below it."""
    arm = make_arm(planar(), np.array([-1.6, 0.0]), FREE)
    tool = box_around(arm.at, np.array([2.0, 0.002, 2.0]), np.full(3, 2.0), 0.0)
    arm.limiter = ToolLimiter(arm.limiter.kinematics, tool, arm.limiter.deceleration, PERIOD_S)
    start = arm.at
    shares = [arm.step(np.array([0.4, 0.0])) for _ in range(100)]
    assert min(shares) == 1.0
    assert arm.at[0] - start[0] > 0.25


def test_arm_already_too_fast_brakes_as_hard_as_it_may() -> None:
    arm = make_arm(planar(), HOME[:2], Tool(link='tip', speed_m_s=0.1))
    arm.velocities = np.array([1.0, 0.5])
    braked = arm.approach(np.zeros(2))
    assert arm.step(np.array([1.0, 0.5])) == 0.0
    np.testing.assert_allclose(arm.velocities, braked)
