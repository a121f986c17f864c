"""The demonstrated action of an episode: what was commanded, or what the arm was seen to do.

Only a teleoperation of velocities leaves commands. Whoever leads the arm by hand, with a leader
arm, a twist or the vendor's pendant leaves joint states, and these tell the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.alignment import NS_PER_S, Stream
from mil_ros.core.errors import DemoError
from mil_ros.core.quality import MIN_SPEED_RAD_S
from mil_ros.core.robot import RobotDescription
from mil_ros.core.smoothing import derive_velocities, smooth_velocities
from mil_ros.core.types import COMMANDED, MEASURED
from mil_ros.data.episode_streams import EpisodeStreams, TELEOP_TOPIC
from mil_ros.data.messages import joints_in_order

_COMMAND_MAX_AGE_S: Final = 0.25
_REST_NS: Final = NS_PER_S  # how long an arm that has come to rest still shows the task


@dataclass(frozen=True, eq=False, slots=True)
class Action:
    """The demonstrated action over time.

    Attributes:
        source: ``commanded`` or ``measured``.
        stream: When its samples are of.
        velocities: (N, J) in rad/s.
        begin_ns: First motion.
        end_ns: Last sample that belongs to the demonstration.
    """

    source: str
    stream: Stream
    velocities: NDArray[np.float64]
    begin_ns: int
    end_ns: int


def choose_source(wanted: str, command_rad_s: float | None) -> str:
    """Return whether the action is what was commanded or what was measured.

    With ``auto``, commands count if one of them moves a joint: a joystick that lies idle while
    the arm is led by hand says nothing.

    Args:
        wanted: ``action.source`` of the robot file.
        command_rad_s: The fastest command of a joint; None if there was no command.

    Raises:
        DemoError: If commands are wanted and there are none, or none of motion.
    """
    if wanted == MEASURED:
        return MEASURED
    if command_rad_s is not None and command_rad_s > MIN_SPEED_RAD_S:
        return COMMANDED
    if wanted != COMMANDED:
        return MEASURED
    fault = (
        f'nothing was commanded on {TELEOP_TOPIC}'
        if command_rad_s is None
        else f'no command on {TELEOP_TOPIC} exceeds {MIN_SPEED_RAD_S} rad/s'
    )
    raise DemoError(
        f'The robot file wants the commanded action, but {fault}; check the teleoperation and '
        'record the task being done, or set action.source to auto or measured.'
    )


def find_action(streams: EpisodeStreams, robot: RobotDescription) -> Action:
    """Return the demonstrated action of an episode as the robot file wants it.

    Commands end when the operator lets go. Joint states go on until somebody stops the recorder,
    so of the rest at their end only a second counts.

    Raises:
        DemoError: If there is none, no motion is in it, or joint states have unfit velocities.
        StaleDataError: If joint states have a gap.
    """
    speeds = np.abs(streams.velocities)
    source = choose_source(robot.action.source, float(speeds.max()) if speeds.size else None)
    if source == COMMANDED:
        stream = Stream(TELEOP_TOPIC, streams.action_stamps_ns, _COMMAND_MAX_AGE_S)
        begin_ns, _ = find_motion(stream, streams.velocities)
        return Action(source, stream, streams.velocities, begin_ns, int(stream.stamps_ns[-1]))
    topic, max_age_s = robot.topics.joint_states, robot.joint_states.max_age_s
    stream = Stream(topic, streams.joint_stamps_ns, max_age_s)
    measured = read_velocities(streams.joints, robot.joint_names, topic)
    if measured is None:
        velocities = derive_velocities(stream, streams.positions, robot.action.cutoff_hz)
    else:
        velocities = smooth_velocities(stream, measured, robot.action.cutoff_hz)
    begin_ns, end_ns = find_motion(stream, velocities)
    return Action(source, stream, velocities, begin_ns, end_ns + _REST_NS)


def read_velocities(
    joints: Sequence[Any], names: tuple[str, ...], topic: str
) -> NDArray[np.float64] | None:
    """Return the velocities that the driver fills in, (N, J) in rad/s; None if it does not.

    Drivers that do not measure velocities send none, NaN (ros2_control) or zeros.

    Raises:
        DemoError: If the number of velocities is not that of the names.
    """
    for message in joints:
        if len(message.velocity) not in (0, len(message.name)):
            raise DemoError(
                f'{topic} has {len(message.velocity)} velocities for {len(message.name)} joints; '
                'expected one for each or none, check the driver and record it again.'
            )
    if not all(len(message.velocity) for message in joints):
        return None
    found = np.stack([joints_in_order(m.name, m.velocity, names, topic) for m in joints])
    return None if np.isnan(found).all() or not found.any() else found


def find_motion(stream: Stream, velocities: NDArray[np.float64]) -> tuple[int, int]:
    """Return the stamps of the first and of the last sample in motion.

    Raises:
        DemoError: If there is none.
    """
    moving = np.flatnonzero(np.abs(velocities).max(axis=1) > MIN_SPEED_RAD_S)
    if not len(moving):
        raise DemoError(
            f'It holds no motion: no joint of {stream.name} exceeds {MIN_SPEED_RAD_S} rad/s; '
            'record the task being done.'
        )
    return int(stream.stamps_ns[moving[0]]), int(stream.stamps_ns[moving[-1]])
