"""Align and replay: find the shown object again, and replay the tip's path relative to it.

The classical way to imitate from one demonstration (compare Johns, Coarse-to-Fine Imitation
Learning, ICRA 2021). It learns nothing: it is told what a policy has to find out, namely where
the camera stands, how high objects are, and where to they are pushed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.types import Demo, Image, Observation, Vector
from mil_ros.sim import expert
from mil_ros.sim.families import place, push, reach
from mil_ros.sim.simulation import Simulation
from mil_ros.sim.spotting import find, look_at, Point, Viewpoint

_LOW_M = 0.02  # above the lowest point of a path; the tip is at work from there on
_HIGH_M = 0.07  # above the height of work; the tip flies straight to where it is lower
_SPACING_M = 0.01  # between the points of the way that is followed
_LOOKAHEAD_M = 0.03
_GAIN_HZ = 8.0
_SPEED_M_S = 0.26

Path = NDArray[np.float64]  # (N, 3) in m, of the tip in the base frame


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Prior:
    """What is known of a family before a demonstration.

    Attributes:
        height_m: Of the middle of its objects above the table.
        radius_m: How far they extend from there.
        lead_m: How far ahead of the tip an object is that is being pushed.
        goal: Where it is pushed to, (2,) in m; None if it stays where it is.
    """

    height_m: float
    radius_m: float
    lead_m: float = 0.0
    goal: Point | None = None


PRIORS = {
    'reach': Prior(height_m=reach.OBJECT_HEIGHT_M / 2, radius_m=0.06),
    'push': Prior(
        height_m=push.make_sizes()[:, 1].mean() / 2,
        radius_m=0.06,
        lead_m=0.058,
        goal=push.GOAL_M,
    ),
    'place': Prior(height_m=place.make_sizes()[:, 1].mean() / 2, radius_m=0.085),
}


class AlignedReplay:
    """One run: aligned by its first picture, and from there on guided by joint positions alone."""

    def __init__(self, arm: Simulation, demo: Demo) -> None:
        """Take in a demonstration with states and actions.

        Args:
            arm: Kinematics, and where the camera is meant to stand; never the scene of the run.
            demo: What to do again.

        Raises:
            DemoError: If nothing is seen where the demonstration leads.
        """
        self._arm, self._prior = arm, PRIORS[arm.family.name]
        self._view = Viewpoint.of(arm)
        self._path = trace(arm, demo)
        self._touchdown = find_touchdown(self._path)
        self._shown = self._find_shown()
        pixel = self._view.to_pixel(self._shown, self._prior.height_m)
        radius_px = self._view.to_pixels(self._prior.radius_m, self._shown)
        self._sight = look_at(demo.images[0], pixel, radius_px)
        self._way: Path | None = None
        self._passed = 0
        self._heading_rad = 0.0

    def act(self, observation: Observation) -> Vector:
        """Return the joint velocities that follow the way, (J,) in rad/s."""
        self._arm.reset(observation.joint_positions)
        self._arm.refresh()
        if self._way is None:
            self._way = self._plan(observation.image)
        ahead = np.linalg.norm(self._way[self._passed :] - self._arm.tip, axis=1) > _LOOKAHEAD_M
        self._passed += int(np.argmax(ahead)) if ahead.any() else len(ahead) - 1
        linear = _GAIN_HZ * (self._way[self._passed] - self._arm.tip)
        return expert.joint_velocities(
            self._arm, expert.bound_speed(linear, _SPEED_M_S), self._heading_rad
        )

    def _find_shown(self) -> Point:
        """Return where the object stood, (2,) in m: where the tip ends, or ahead of its push."""
        if self._prior.goal is None:
            return self._path[-1, :2]
        touch = self._path[self._touchdown, :2]
        to_goal = self._prior.goal - touch
        return touch + self._prior.lead_m * to_goal / np.linalg.norm(to_goal)

    def _plan(self, image: Image) -> Path:
        found = self._view.to_plane(find(self._sight, image), self._prior.height_m)
        goal = self._prior.goal
        if goal is None:
            moved = self._path + np.append(found - self._shown, 0.0)
        else:
            before = self._path[: self._touchdown + 1]
            moved = redirect(before, self._shown, found, goal, self._prior.lead_m)
            self._heading_rad = float(np.arctan2(*(goal - found)[::-1]))
        return join(self._arm.tip, moved, self._touchdown)


def trace(arm: Simulation, demo: Demo) -> Path:
    """Return where the tip was, and last where it was sent: what it pressed on, it shall again."""
    sent = demo.joint_positions[-1] + demo.joint_velocities[-1] / arm.robot.policy.rate_hz
    path = []
    for positions in (*demo.joint_positions, sent):
        arm.reset(positions)
        path.append(arm.tip)
    return np.array(path)


def find_touchdown(path: Path) -> int:
    """Return the first point of a path that is about as low as it gets."""
    heights = path[:, 2]
    return int(np.argmax(heights <= heights.min() + _LOW_M))


def redirect(path: Path, shown: Point, found: Point, goal: Point, lead_m: float) -> Path:
    """Return a push as it is done to an object that stands elsewhere, (N + 1, 3).

    The tip comes down behind it as it did behind the shown one, and goes straight to the goal.
    What it did on its way there were corrections of how the shown object slipped; repeated, they
    make this one slip.

    Args:
        path: As demonstrated, to where the tip has come down.
        shown: Where the object stood, (2,) in m.
        found: Where it stands now, (2,) in m.
        goal: Where it goes, (2,) in m.
        lead_m: How far ahead of the tip the object is in the end.
    """
    before_m, now_m = np.linalg.norm(goal - shown), np.linalg.norm(goal - found)
    lengthwise = (path[:, :2] - shown) @ (goal - shown) / before_m  # (N,)
    lengthwise = np.append(lengthwise, now_m - lead_m)
    across = found + lengthwise[:, None] * (goal - found) / now_m  # (N + 1, 2)
    return np.column_stack([across, np.append(path[:, 2], path[-1, 2])])


def join(start: NDArray[np.float64], path: Path, touchdown: int) -> Path:
    """Return the way to follow: straight to where the tip comes down, then the path, (N, 3).

    Args:
        start: Where the tip is, (3,) in m.
        path: Where it shall go.
        touchdown: Number of the point where it has come down.
    """
    high = np.flatnonzero(path[:touchdown, 2] > path[touchdown, 2] + _HIGH_M)
    first = high[-1] if len(high) else 0
    points = np.vstack([start, path[first:]])
    steps_m = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along_m = np.concatenate([[0.0], np.cumsum(steps_m)])
    wanted_m = np.append(np.arange(0.0, along_m[-1], _SPACING_M), along_m[-1])
    return np.stack([np.interp(wanted_m, along_m, axis) for axis in points.T], axis=1)
