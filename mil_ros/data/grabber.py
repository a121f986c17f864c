"""A thread that reads a camera, for OpenCV blocks: newest frame, health, reconnecting."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
import threading
import time
from typing import Final

import numpy as np

from mil_ros.core.clock import SteadyClock
from mil_ros.core.types import Image
from mil_ros.data.health import Health
from mil_ros.data.source import CaptureError, EndOfVideoError, FrameSource

OPENING_S: Final = 6.0  # a device wakes up and a stream negotiates before the first frame
_BACK_OFF_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)  # between attempts to open; then always the last
_SETTLED_S: Final = 5.0  # a connection that lasted is not to blame for the next failure
_RATE_WINDOW_S: Final = 2.0
_RATE_SAMPLES: Final = 2000  # more than any camera gives in that time
_LATE_S: Final = 0.25  # a video that fell behind by more is not hurried after
_SAMPLE: Final = 4  # every which pixel is looked at: a live sensor flickers everywhere
_JOIN_S: Final = 2.0


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One frame.

    Attributes:
        image: RGB, (H, W, 3) uint8.
        stamp_ns: ROS time right after the frame was grabbed.
    """

    image: Image
    stamp_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GrabberSettings:
    """What a healthy source does.

    Attributes:
        name: Of the source, for messages.
        width: Columns that every frame must have.
        height: Rows, likewise.
        timeout_s: Longest silence between frames.
        freeze_s: How long a live picture may stay the same to the bit; 0 for ever.
    """

    name: str
    width: int
    height: int
    timeout_s: float
    freeze_s: float


class Grabber:
    """Reads a source until it is closed; opens it again, ever less often, when it fails."""

    def __init__(
        self,
        open_source: Callable[[], FrameSource],
        settings: GrabberSettings,
        clock: SteadyClock,
        on_news: Callable[[], None],
    ) -> None:
        """Prepare to read.

        Args:
            open_source: Opens the source; raises `CaptureError` if it is not there.
            settings: What to expect of it.
            clock: Gives the stamps.
            on_news: Called in the reading thread when there is a frame to take or an error.
        """
        self._open_source, self._settings = open_source, settings
        self._clock, self._on_news = clock, on_news
        self._closing = threading.Event()
        self._lock = threading.Lock()  # guards everything below
        self._frame: Frame | None = None
        self._error = ''
        self._heard_s = time.monotonic()  # since when the source is silent
        self._has_frame = False  # whether this connection has given one
        self._times_s: deque[float] = deque(maxlen=_RATE_SAMPLES)
        self._newest_s = -float('inf')
        self._frames = self._dropped = self._connects = 0
        self._thread = threading.Thread(target=self._run, name='grabber', daemon=True)

    def start(self) -> None:
        """Begin to read, in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading; a source that hangs is left behind, for OpenCV cannot be interrupted."""
        self._closing.set()
        self._thread.join(_JOIN_S)

    def take(self) -> Frame | None:
        """Return the newest frame unless it was taken before."""
        with self._lock:
            frame, self._frame = self._frame, None
            return frame

    def health(self) -> Health:
        """Return how the source is doing right now, also while it hangs."""
        now_s = time.monotonic()
        with self._lock:
            while self._times_s and self._times_s[0] < now_s - _RATE_WINDOW_S:
                self._times_s.popleft()
            return Health(
                error=self._error or self._find_silence(now_s),
                is_connecting=not self._has_frame,
                rate_hz=_rate_hz(self._times_s),
                age_s=now_s - self._newest_s,
                frames=self._frames,
                dropped=self._dropped,
                reconnects=max(0, self._connects - 1),
                clock_error_s=self._clock.error_ns / 1e9,
            )

    def _find_silence(self, now_s: float) -> str:
        limit_s = self._settings.timeout_s if self._has_frame else OPENING_S
        if now_s - self._heard_s <= limit_s:
            return ''
        what = 'hangs: no frame' if self._has_frame else 'does not start: no first frame'
        return (
            f'{self._settings.name} {what} for more than {limit_s:g} s, expected one after the '
            'other. Check cable, power and network, and whether the machine is overloaded.'
        )

    # In the thread

    def _run(self) -> None:
        attempt = 0
        while not self._closing.is_set():
            started_s = time.monotonic()
            try:
                self._connect_and_read()
            except EndOfVideoError as err:
                self._fail(f'{err} Start the node again, or with loop:=true.')
                return
            except CaptureError as err:
                self._fail(str(err))
            except Exception as err:  # OpenCV has its own; none may end the node
                self._fail(f'{self._settings.name} failed ({type(err).__name__}: {err}).')
            if time.monotonic() - started_s > _SETTLED_S:
                attempt = 0
            self._closing.wait(_BACK_OFF_S[min(attempt, len(_BACK_OFF_S) - 1)])
            attempt += 1

    def _connect_and_read(self) -> None:
        with self._lock:
            self._has_frame, self._heard_s = False, time.monotonic()
        source = self._open_source()
        try:
            with self._lock:
                self._connects += 1
            self._clock.reset()
            self._read(source)
        finally:
            source.release()

    def _read(self, source: FrameSource) -> None:
        begin_s = time.monotonic()
        freeze = _Freeze(self._settings)
        while not self._closing.is_set():
            due_s = source.grab()
            if due_s is not None:
                begin_s = self._wait_until(begin_s, due_s)
            stamp_ns, now_s = self._clock.now_ns(), time.monotonic()
            image = source.retrieve()
            self._check_size(image)
            if due_s is None:
                freeze.check(image, now_s)
            self._hand_over(Frame(image, stamp_ns), now_s)

    def _wait_until(self, begin_s: float, due_s: float) -> float:
        """Wait until a frame is due; returns when its first frame was, or should have been."""
        late_s = time.monotonic() - (begin_s + due_s)
        if late_s > _LATE_S:
            return begin_s + late_s
        with self._lock:
            self._heard_s = begin_s + due_s  # a long wait for it is no silence
        self._closing.wait(max(0.0, -late_s))
        return begin_s

    def _check_size(self, image: Image) -> None:
        expected = self._settings
        if image.shape[:2] != (expected.height, expected.width):
            raise CaptureError(
                f'{expected.name} delivers {image.shape[1]}x{image.shape[0]}, expected '
                f'{expected.width}x{expected.height}; choose another size with the parameters '
                'width and height, or in the robot file.'
            )

    def _hand_over(self, frame: Frame, now_s: float) -> None:
        with self._lock:
            self._dropped += self._frame is not None
            self._frame, self._frames = frame, self._frames + 1
            self._has_frame, self._error = True, ''
            self._heard_s = self._newest_s = now_s
            self._times_s.append(now_s)
        self._tell()

    def _fail(self, error: str) -> None:
        with self._lock:
            self._error = error
            self._times_s.clear()
        self._tell()

    def _tell(self) -> None:
        if not self._closing.is_set():  # else whoever listened may be gone
            self._on_news()


def _rate_hz(times_s: deque[float]) -> float:
    span_s = times_s[-1] - times_s[0] if times_s else 0.0
    return (len(times_s) - 1) / span_s if span_s > 0.0 else 0.0


class _Freeze:
    """Watches for a picture that no longer changes although frames keep coming."""

    def __init__(self, settings: GrabberSettings) -> None:
        self._name, self._limit_s = settings.name, settings.freeze_s
        self._pixels: Image | None = None
        self._since_s = 0.0

    def check(self, image: Image, now_s: float) -> None:
        """Raise `CaptureError` if the picture has been the same for too long."""
        pixels = image[::_SAMPLE, ::_SAMPLE]
        if self._pixels is None or not np.array_equal(pixels, self._pixels):
            self._pixels, self._since_s = pixels, now_s
        elif 0.0 < self._limit_s < now_s - self._since_s:
            raise CaptureError(
                f'{self._name} is frozen: not one pixel changed for {self._limit_s:g} s, expected '
                'the flicker of a live sensor. Check the camera; if its stream is really that '
                'still, set freeze_s:=0.0.'
            )
