"""Joint states in the order of the robot file, whatever order and company they come in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mil_ros.core.types import Vector
from mil_ros.data.messages import stamp_ns


@dataclass(eq=False)
class JointReader:
    """Reads ``sensor_msgs/JointState``; remembers where the joints stand in the messages.

    Other publishers share the topic (a gripper, say): a message without all of our joints is
    not ours.

    Attributes:
        joint_names: In the order that is wanted.
    """

    joint_names: tuple[str, ...]
    _names: list[str] = field(default_factory=list)
    _index: list[int] | None = None
    _before: tuple[int, Vector] | None = None

    def positions(self, message: Any) -> Vector | None:
        """Return positions in order, (J,) in rad; None for a message that is not ours."""
        return self._pick(message, message.position)

    def velocities(self, message: Any) -> Vector | None:
        """Return velocities in order, (J,) in rad/s, after `positions` of the same message.

        A driver may leave them out; then they are what the positions have changed by since the
        message before, and None for the first one.
        """
        return self.velocities_at(message, stamp_ns(message.header))

    def velocities_at(self, message: Any, now_ns: int) -> Vector | None:
        """Return the same of a message whose stamp is known."""
        if len(message.velocity):
            return self._pick(message, message.velocity)
        positions = self.positions(message)
        if positions is None:
            return None
        before, self._before = self._before, (now_ns, positions)
        if before is None or now_ns <= before[0]:
            return None
        return np.asarray((positions - before[1]) * (1e9 / (now_ns - before[0])))

    def _pick(self, message: Any, values: Any) -> Vector | None:
        if message.name != self._names:
            self._names = list(message.name)
            place = {name: i for i, name in enumerate(self._names)}
            is_ours = all(name in place for name in self.joint_names)
            self._index = [place[n] for n in self.joint_names] if is_ours else None
        if self._index is None or len(values) < len(self._names):
            return None
        return np.array(values, dtype=np.float64)[self._index]
