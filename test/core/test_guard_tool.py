"""The guard itself, with the limits of the tool: over any commands they hold."""

from __future__ import annotations

from functools import cache

from hypothesis import given, settings, strategies
import numpy as np
import pytest
from seven_joints import make_urdf, NAMES, TOOL

from mil_ros.core.robot import load_robot, Tool
from mil_ros.core.safety import CommandGuard
from mil_ros.core.tool_limits import Kinematics, ToolLimiter

ROBOT = load_robot('sim_panda')
PERIOD_S = 1.0 / ROBOT.guard.rate_hz


@cache
def kinematics() -> Kinematics:
    pytest.importorskip('pinocchio')
    from mil_ros.ros.kinematics import ToolKinematics

    return ToolKinematics(make_urdf(), NAMES, TOOL)


@settings(deadline=None, max_examples=15)
@given(
    seed=strategies.integers(0, 2**32 - 1),
    speed_m_s=strategies.sampled_from([0.1, 0.25]),
    room_m=strategies.sampled_from([0.02, 0.1]),
)
def test_guard_keeps_the_tool_within_its_limits(
    seed: int, speed_m_s: float, room_m: float
) -> None:
    """The arm does what was sent one period before, as the guard expects."""
    rng, positions = np.random.default_rng(seed), ROBOT.home
    centre, _ = kinematics().locate(positions)
    low, high = centre - room_m, centre + room_m
    tool = Tool(
        link=TOOL,
        speed_m_s=speed_m_s,
        workspace_lower_m=tuple(low.tolist()),
        workspace_upper_m=tuple(high.tolist()),
    )
    guard = CommandGuard(ROBOT, began_s=0.0)
    guard.on_servo_switched(True)
    guard.tool = ToolLimiter(kinematics(), tool, ROBOT.acceleration_limits, PERIOD_S)
    sent, now_s, farthest = np.zeros(7), 100.0, 0.0
    for _ in range(10):
        target = rng.uniform(-1.0, 1.0, 7) * rng.choice([0.0, 0.2, 1.0])
        for _ in range(rng.integers(1, 50)):
            now_s += PERIOD_S
            guard.on_joint_state(positions, sent, now_s)
            guard.on_servo_status(0, '', now_s)
            guard.on_command('teleop', ROBOT.joint_names, target.tolist(), now_s)
            for share in (0.5, 1.0):  # of the period in which the arm does what was sent
                at, jacobian = kinematics().locate(positions + share * PERIOD_S * sent)
                assert ((low <= at) & (at <= high)).all()
                assert np.linalg.norm(jacobian @ sent) <= speed_m_s
                farthest = max(farthest, float(np.abs(at - centre).max()))
            positions = positions + PERIOD_S * sent
            sent, _ = guard.tick(now_s)
    assert guard.fault is None
    assert farthest > 0.0
