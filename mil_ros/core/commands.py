"""What is wrong with a velocity command before anything is made of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mil_ros.core.robot import RobotDescription


def find_flaw(robot: RobotDescription, names: Sequence[str], velocities: Sequence[float]) -> str:
    """Return what is wrong with a command, or nothing.

    What asks for more than the limits in use is only scaled; more than the maker of the arm
    allows at all is asked for by nobody in their right mind.
    """
    expected = robot.joint_names
    if not len(names) == len(velocities) == len(expected) or set(names) != set(expected):
        return (
            f'{len(velocities)} velocities for joints {list(names)}, expected one each for '
            f'{list(expected)}; check the robot file of the sender'
        )
    ordered = np.asarray(velocities, dtype=np.float64)
    if not np.isfinite(ordered).all():
        return (
            f'non-finite velocities {ordered.tolist()}, expected finite numbers; see the log of '
            'the sender'
        )
    rated = dict(zip(expected, robot.rated_velocities, strict=True))
    for name, velocity in zip(names, velocities, strict=True):
        if abs(velocity) > rated[name]:
            return (
                f'{velocity:.3f} rad/s for {name}, expected at most the {rated[name]:g} that its '
                'maker allows; see the log of the sender'
            )
    return ''
