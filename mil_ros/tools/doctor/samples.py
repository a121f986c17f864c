"""What is kept of the messages of a stream: their times, and figures instead of pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
import zlib

import numpy as np

from mil_ros.core.errors import DemoError
from mil_ros.core.robot import RobotDescription
from mil_ros.core.streams import StreamTimes
from mil_ros.core.types import Image
from mil_ros.data.messages import image_to_rgb, stamp_ns
from mil_ros.tools.doctor.snapshot import ImageStream, JointStream, no_times, Switch


@dataclass(eq=False)
class TimeLog:
    """When messages came, by the wall clock and by the simulated one."""

    topic: str
    _times: list[tuple[int, int, int]] = field(default_factory=list)

    def add(self, message: Any, received_ns: int, clock_ns: int | None) -> None:
        """Note a message with a header."""
        clock_ns = received_ns if clock_ns is None else clock_ns
        self._times.append((stamp_ns(message.header), received_ns, clock_ns))

    def times(self, is_simulated: bool) -> StreamTimes:
        """Return the times by the clock that the nodes go by."""
        if not self._times:
            return no_times(self.topic)
        stamps, received, clock = np.array(self._times, dtype=np.int64).T
        return StreamTimes(self.topic, clock if is_simulated else received, stamps)


class JointLog:
    """Joint states, apart by the joints that they name."""

    def __init__(self, robot: RobotDescription) -> None:
        self._topic = robot.topics.joint_states
        self._times: dict[tuple[str, ...], TimeLog] = {}
        self._newest: dict[tuple[str, ...], Any] = {}
        self._ranges: dict[tuple[str, ...], tuple[Any, Any]] = {}
        self._non_finite: dict[tuple[str, ...], int] = {}

    def add(self, message: Any, received_ns: int, clock_ns: int | None) -> None:
        """Note a message."""
        names = tuple(message.name)
        self._times.setdefault(names, TimeLog(self._topic)).add(message, received_ns, clock_ns)
        self._newest[names] = message
        positions = np.array(message.position)
        low, high = self._ranges.get(names, (positions, positions))
        if low.shape == positions.shape:
            self._ranges[names] = (np.fmin(low, positions), np.fmax(high, positions))
        is_finite = np.isfinite(positions).all() and np.isfinite(message.velocity).all()
        self._non_finite[names] = self._non_finite.get(names, 0) + (not is_finite)

    def streams(self, is_simulated: bool) -> tuple[JointStream, ...]:
        """Return what came."""
        return tuple(
            JointStream(
                names,
                log.times(is_simulated),
                tuple(self._newest[names].position),
                tuple(self._newest[names].velocity),
                float(np.max(np.subtract(*self._ranges[names][::-1]), initial=0.0)),
                self._non_finite[names],
            )
            for names, log in self._times.items()
        )


class ImageLog:
    """Images; of all but the newest only a digest is kept."""

    def __init__(self, topic: str) -> None:
        self._times = TimeLog(topic)
        self._digests: list[int] = []
        self._newest: Any = None

    def add(self, message: Any, received_ns: int, clock_ns: int | None) -> None:
        """Note a message."""
        self._times.add(message, received_ns, clock_ns)
        self._digests.append(zlib.crc32(message.data))
        self._newest = message

    def stream(self, is_simulated: bool) -> ImageStream:
        """Return what came."""
        times, newest = self._times.times(is_simulated), self._newest
        if newest is None:
            return ImageStream(times=times)
        fault = ''
        pixels: Image = np.zeros((1, 1, 3), dtype=np.uint8)
        try:
            pixels = image_to_rgb(newest)
        except DemoError as err:
            fault = str(err)
        return ImageStream(
            times=times,
            digests=tuple(self._digests),
            encoding=str(newest.encoding),
            width=int(newest.width),
            height=int(newest.height),
            brightness=float(pixels.mean()),
            contrast=float(pixels.std()),
            fault=fault,
        )


def to_switch(messages: list[tuple[float, bool]]) -> Switch | None:
    """Return the state and rate of a switch from its arrivals in s and values."""
    if not messages:
        return None
    elapsed_s = messages[-1][0] - messages[0][0]
    rate_hz = (len(messages) - 1) / elapsed_s if elapsed_s > 0 else 0.0
    return Switch(messages[-1][1], rate_hz)
