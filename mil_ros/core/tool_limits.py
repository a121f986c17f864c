"""How fast the tool may go, and where: limits in m and m/s on what joints are commanded.

A command u (rad/s) is let through if, braked as hard as allowed from the next period on, it would
keep the tool x(q) inside its limits until the arm is at rest. Braking all joints alike, within the
deceleration a_i (rad/s^2) of each, takes T = max |u_i| / a_i (s) and keeps the arm on the straight
line q + u t in joint space, where t runs over the period h, in which u itself acts, and T/2 more:

    0 <= t <= h + T/2,   speed factor f(t) = 1 for t <= h, then sqrt(1 - 2 (t - h) / T)

Along that line, with x' = J(q + u t) u (m/s), must hold |x'| f <= the speed cap, and x within the
box. What remains of the line a period later is a line of the same kind and a little shorter, so
after a command that was let through braking is always an answer: no limit is ever met at a speed
that cannot be lost in time.

The line is cut into spans of at most `_SPAN_RAD`, summed over the joints, and x between their ends
is the cubic through both positions and both velocities. For revolute joints its velocity is off by
at most _SPAN_RAD^3 / 125 of the arm's reach times the joints' speeds, its position by far less
than that; the reserves below are kept for it.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.robot import Tool
from mil_ros.core.types import Vector

Array = NDArray[np.float64]

_SPAN_RAD = 0.25
_RESERVE_M = 0.001  # kept from the walls, and as a share of the speed cap:
_RESERVE = 0.01
_TRIES = 3  # to find the largest share that is safe,
_CLOSE_M = 1e-4  # or until no more room than this is left
_COUNT = 9
_FRACTIONS = np.linspace(0.0, 1.0, _COUNT)  # of a span, where the limits are checked
_START, _END = 1.0 - _FRACTIONS, _FRACTIONS
# Cubic Hermite basis at these: from x and x' dt at the start, then at the end, to x
_POSITION = [(1 + 2 * _END) * _START**2, _END * _START**2, _END**2 * (1 + 2 * _START)]
_POSITION += [-(_END**2) * _START]
# and to x' dt
_MOTION = [-6 * _END * _START, _START * (1 - 3 * _END), 6 * _END * _START, _END * (1 - 3 * _START)]
_BASIS = np.concatenate([np.stack(_POSITION, axis=1), np.stack(_MOTION, axis=1)])  # (18, 4)


class Kinematics(Protocol):
    """Where the joints put the tool."""

    def locate(self, positions: Vector) -> tuple[Array, Array]:
        """Return the tool's position and its change with the joints.

        Args:
            positions: In robot-file order, (J,) in rad.

        Returns:
            Position in the URDF's root frame, (3,) in m, and its Jacobian, (3, J) in m/rad.
        """


@dataclass(frozen=True, eq=False, slots=True)
class ToolLimiter:
    """Holds commands back so that the tool keeps its speed cap and its box.

    Attributes:
        kinematics: Of the robot file's joints and the tool's link.
        tool: What limits there are.
        deceleration: With which every joint is sure to brake, (J,) in rad/s^2.
        period_s: Between two commands.
    """

    kinematics: Kinematics
    tool: Tool
    deceleration: Vector
    period_s: float

    def find_share(self, positions: Vector, wanted: Vector, braked: Vector) -> float:
        """Return how much of a command the tool's limits allow.

        Send ``braked + share * (wanted - braked)``. Where both keep to a speed, acceleration or
        jerk limit, so does this; from rest, or if what is wanted has the direction of the motion,
        it is a scale on all joints alike, and the direction stays. Outside the box, whatever
        brings the tool no farther out is allowed.

        Args:
            positions: Where the joints will be when the command takes effect (those measured and
                what was sent since), (J,) in rad.
            wanted: Command within all other limits, (J,) in rad/s.
            braked: Command that brakes as hard as allowed, (J,) in rad/s.

        Returns:
            Share in [0, 1]; 0 also where even braking comes too late.
        """
        line = _Line(self, positions)
        room = line.find_room(wanted)
        if room >= 0.0:
            return 1.0
        safe, safe_room, unsafe = 0.0, line.find_room(braked), 1.0
        for _ in range(_TRIES if safe_room >= 0.0 else 0):
            # Where a straight line between both rooms meets zero, but never quite at an end
            part = min(max(safe_room / (safe_room - room), 0.1), 0.9)
            share = safe + part * (unsafe - safe)
            found = line.find_room(braked + share * (wanted - braked))
            if found < 0.0:
                unsafe, room = share, found
            else:
                safe, safe_room = share, found
                if found < _CLOSE_M:
                    break
        return safe


class _Line:
    """Where the tool goes from a position on if the arm brakes after one period of a command."""

    def __init__(self, limiter: ToolLimiter, positions: Vector) -> None:
        self.limiter, self.positions = limiter, positions
        self.start, self.jacobian = limiter.kinematics.locate(positions)
        tool = limiter.tool
        self.has_box = bool(tool.workspace_lower_m)
        if self.has_box:  # widened to where the tool already is
            self.low = np.minimum(np.array(tool.workspace_lower_m) + _RESERVE_M, self.start)
            self.high = np.maximum(np.array(tool.workspace_upper_m) - _RESERVE_M, self.start)

    def find_room(self, velocities: Vector) -> float:
        """Return the least distance from a limit in m, below zero beyond it.

        A speed counts as the distance that the tool would go with it over the whole line.
        """
        speeds = np.abs(velocities)
        braking_s = float((speeds / self.limiter.deceleration).max())
        line_s = self.limiter.period_s + braking_s / 2
        spans = max(1, math.ceil(float(speeds.sum()) * line_s / _SPAN_RAD))
        span_s = line_s / spans
        traced = _BASIS @ self._find_ends(velocities, span_s, spans)  # (spans, 18, 3)
        room = math.inf
        if self.has_box:
            positions = traced[:, :_COUNT]
            room = min(float((positions - self.low).min()), float((self.high - positions).min()))
        cap_m_s = self.limiter.tool.speed_m_s * (1.0 - _RESERVE)
        if cap_m_s:
            motions = traced[:, _COUNT:]
            squares = np.einsum('ijk,ijk->ij', motions, motions)  # (spans, 9)
            times_s = np.add.outer(np.arange(spans), _FRACTIONS) * span_s
            left = 1.0 - (times_s - self.limiter.period_s) * (2.0 / max(braking_s, 1e-9))
            fastest = float((squares * np.minimum(np.maximum(left, 0.0), 1.0)).max())
            room = min(room, (cap_m_s - math.sqrt(fastest) / span_s) * line_s)
        return room

    def _find_ends(self, velocities: Vector, span_s: float, spans: int) -> Array:
        """Return x and x' dt at the start, then at the end of every span, (spans, 4, 3) in m."""
        ends = np.empty((spans, 4, 3))
        step = velocities * span_s
        ends[0, 0], ends[0, 1] = self.start, self.jacobian @ step
        for i in range(spans):
            at = self.positions + (i + 1) * step
            position, jacobian = self.limiter.kinematics.locate(at)
            ends[i, 2], ends[i, 3] = position, jacobian @ step
        ends[1:, :2] = ends[:-1, 2:]
        return ends
