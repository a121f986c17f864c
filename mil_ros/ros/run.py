"""One run of the policy: when it acts, what is sent of it, and why it ends."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.pace import Pace
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Vector

RAMP_S = 0.3  # until a run has its full say


@dataclass(eq=False)
class Run:
    """State of a run; stamps by the node's clock.

    Attributes:
        robot: Names rates and the longest run.
        started_ns: When it was started.
        velocities: What the policy asked for last, (J,) in rad/s; None before it has.
        tick_ms: How long each tick took, from the image to its command.
    """

    robot: RobotDescription
    started_ns: int
    velocities: Vector | None = None
    tick_ms: list[float] = field(default_factory=list)
    is_thinking: bool = False
    _pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        rates = self.robot.policy.rate_hz, self.robot.camera.rate_hz
        self._pace = Pace(*rates, due_ns=self.started_ns)

    def is_due(self, stamp_ns: int) -> bool:
        """Whether the policy acts on the image of a stamp."""
        return self._pace.take(stamp_ns)

    def is_over(self, now_ns: int) -> bool:
        """Whether its time is up."""
        return now_ns - self.started_ns > self.robot.policy.max_run_s * NS_PER_S

    def command(self, now_ns: int) -> Vector:
        """Return what to send at a moment: what was asked for, ramped in from zero, (J,)."""
        if self.velocities is None:
            return np.zeros(len(self.robot.joints))
        gain = (now_ns - self.started_ns) / (RAMP_S * NS_PER_S)
        return self.velocities * min(max(gain, 0.0), 1.0)
