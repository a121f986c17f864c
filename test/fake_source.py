"""A camera that does as a test says."""

from __future__ import annotations

from collections.abc import Callable
import threading

import numpy as np

from mil_ros.core.types import Image
from mil_ros.data.source import EndOfVideoError


def noise(number: int) -> Image:
    return np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)


class FakeSource:
    """Gives the next frame each time a test says so, or fails as a test says."""

    def __init__(self, times_s: list[float] | None = None) -> None:
        self.times_s = times_s
        self.picture: Callable[[int], Image] = noise
        self.failure: Exception | None = None
        self.frames = 0
        self.log: list[str] = []
        self.is_released = False
        self._permits = threading.Semaphore(0)

    def allow(self, frames: int = 1) -> None:
        self._permits.release(frames)

    def fail(self, failure: Exception) -> None:
        self.failure = failure
        self.allow()

    def grab(self) -> float | None:
        if self.times_s is None:
            self._permits.acquire()
        elif self.frames == len(self.times_s):
            raise EndOfVideoError('clip is over.')
        if self.failure is not None:
            raise self.failure
        self.frames += 1
        self.log.append('grab')
        return None if self.times_s is None else self.times_s[self.frames - 1]

    def retrieve(self) -> Image:
        self.log.append('retrieve')
        return self.picture(self.frames)

    def release(self) -> None:
        self.is_released = True
