"""The newest frame at hand, failures told at once, and the source back when it is back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, pairwise
import threading
import time
from typing import Any

from fake_source import FakeSource, noise
import numpy as np
import pytest

from mil_ros.core.clock import SteadyClock
from mil_ros.core.types import Image
from mil_ros.data import grabber
from mil_ros.data.grabber import Frame, Grabber, GrabberSettings
from mil_ros.data.health import Health
from mil_ros.data.source import CaptureError

PATIENCE_S = 10.0
SETTINGS = {'name': 'cam', 'width': 32, 'height': 24, 'timeout_s': 5.0, 'freeze_s': 0.0}


class Rig:
    """A grabber on sources that a test controls."""

    def __init__(self, **changes: Any) -> None:
        self.sources: list[FakeSource] = []
        self.refusals: list[Exception] = []  # of the next attempts to open
        self.attempts = 0
        self.times_s: list[float] | None = None
        self.wall_offset_ns = 1_700_000_000 * 10**9
        self.clock = SteadyClock(
            time.monotonic_ns, lambda: time.monotonic_ns() + self.wall_offset_ns
        )
        self.frames: list[Frame] = []
        self.is_taking = True
        settings = GrabberSettings(**{**SETTINGS, **changes})
        self.grabber = Grabber(self._open, settings, self.clock, self._on_news)

    def _open(self) -> FakeSource:
        self.attempts += 1
        if self.refusals:
            raise self.refusals.pop(0)
        self.sources.append(FakeSource(self.times_s))
        return self.sources[-1]

    def _on_news(self) -> None:
        if self.is_taking and (frame := self.grabber.take()) is not None:
            self.frames.append(frame)

    @property
    def health(self) -> Health:
        return self.grabber.health()

    def start(self) -> FakeSource:
        self.grabber.start()
        return self.source(1)

    def source(self, number: int) -> FakeSource:
        wait(lambda: len(self.sources) >= number)
        return self.sources[number - 1]


def wait(until: Callable[[], object]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < end_s, 'it never came about'
        threading.Event().wait(0.002)


@pytest.fixture
def make() -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(**changes: Any) -> Rig:
        rigs.append(Rig(**changes))
        return rigs[-1]

    yield make
    for rig in rigs:
        for source in rig.sources:
            source.fail(CaptureError('the test is over'))
        rig.grabber.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grabber, '_BACK_OFF_S', (0.01, 0.02))


def test_frames_come_one_by_one(make: Callable[..., Rig]) -> None:
    rig = make()
    rig.start().allow(3)
    wait(lambda: len(rig.frames) == 3)
    for number, frame in enumerate(rig.frames, 1):
        np.testing.assert_array_equal(frame.image, noise(number))
    health = rig.health
    assert (health.error, health.frames, health.dropped, health.reconnects) == ('', 3, 0, 0)
    assert not health.is_connecting


def test_slow_taker_gets_the_newest_and_the_rest_is_counted(make: Callable[..., Rig]) -> None:
    rig = make()
    rig.is_taking = False
    rig.start().allow(5)
    wait(lambda: rig.health.frames == 5)
    frame = rig.grabber.take()
    assert frame is not None
    np.testing.assert_array_equal(frame.image, noise(5))
    assert rig.health.dropped == 4
    assert rig.grabber.take() is None


def test_stamp_is_taken_between_grabbing_and_decoding(make: Callable[..., Rig]) -> None:
    rig = make()
    read = rig.clock.now_ns
    source = rig.start()
    rig.clock.now_ns = lambda: (source.log.append('stamp'), read())[1]  # type: ignore[method-assign]
    source.allow(2)
    wait(lambda: len(rig.frames) == 2)
    assert source.log == ['grab', 'stamp', 'retrieve'] * 2


def test_stamps_stay_even_when_the_wall_clock_is_set(make: Callable[..., Rig]) -> None:
    rig = make()
    source = rig.start()
    for number in range(1, 7):
        if number == 4:
            rig.wall_offset_ns -= 3600 * 10**9
        source.allow()
        wait(lambda number=number: len(rig.frames) == number)
    spacing_ns = [b.stamp_ns - a.stamp_ns for a, b in pairwise(rig.frames)]
    assert min(spacing_ns) > 0
    assert max(spacing_ns) < PATIENCE_S * 10**9
    assert rig.health.clock_error_s == pytest.approx(-3600.0, abs=1.0)


def test_reconnecting_takes_the_new_wall_clock(make: Callable[..., Rig]) -> None:
    rig = make()
    source = rig.start()
    source.allow()
    wait(lambda: rig.frames)
    rig.wall_offset_ns += 3600 * 10**9
    source.fail(CaptureError('gone'))
    rig.source(2).allow()
    wait(lambda: len(rig.frames) == 2)
    assert rig.frames[1].stamp_ns - rig.frames[0].stamp_ns > 3600 * 10**9
    assert rig.health.clock_error_s == pytest.approx(0.0, abs=0.01)


# --- Failures --------------------------------------------------------------------------------


def test_failure_is_told_at_once_and_over_when_a_frame_comes(make: Callable[..., Rig]) -> None:
    rig = make()
    source = rig.start()
    source.allow()
    wait(lambda: rig.frames)
    source.fail(CaptureError('cam was unplugged.'))
    wait(lambda: rig.health.error == 'cam was unplugged.')
    again = rig.source(2)
    assert source.is_released
    assert rig.health.error == 'cam was unplugged.', 'open is not yet a picture'
    again.allow()
    wait(lambda: len(rig.frames) == 2)
    health = rig.health
    assert (health.error, health.reconnects) == ('', 1)


def test_source_that_is_not_there_yet_is_waited_for(make: Callable[..., Rig]) -> None:
    rig = make()
    rig.refusals = [CaptureError('No device /dev/video0.')] * 3
    rig.grabber.start()
    wait(lambda: rig.health.error == 'No device /dev/video0.')
    rig.source(1).allow()
    wait(lambda: rig.frames)
    assert rig.attempts == 4
    assert (rig.health.error, rig.health.reconnects) == ('', 0)


@pytest.mark.parametrize(
    ('settled_s', 'expected'),
    [(60.0, [0.5, 1.0, 2.0, 2.0, 2.0]), (0.0, [0.5, 0.5, 0.5, 0.5, 0.5])],
)
def test_attempts_come_ever_less_often_unless_a_connection_lasted(
    make: Callable[..., Rig],
    monkeypatch: pytest.MonkeyPatch,
    settled_s: float,
    expected: list[float],
) -> None:
    monkeypatch.setattr(grabber, '_BACK_OFF_S', (0.5, 1.0, 2.0))
    monkeypatch.setattr(grabber, '_SETTLED_S', settled_s)
    waits: list[float] = []

    class Impatient(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return super().wait(0.0)

    rig = make()
    rig.grabber._closing = Impatient()
    rig.refusals = [CaptureError('No device.')] * 5
    rig.grabber.start()
    rig.source(1)
    assert waits == expected


@pytest.mark.parametrize('failure', [RuntimeError('cv2.error: assertion'), KeyError('x')])
def test_no_exception_ends_the_thread(make: Callable[..., Rig], failure: Exception) -> None:
    rig = make()
    rig.start().fail(failure)
    wait(lambda: rig.health.error.startswith(f'cam failed ({type(failure).__name__}: '))
    rig.source(2).allow()
    wait(lambda: rig.frames)


def test_hanging_source_is_told_while_it_hangs(make: Callable[..., Rig]) -> None:
    rig = make(timeout_s=0.05)
    source = rig.start()
    source.allow()
    wait(lambda: rig.frames)
    message = 'cam hangs: no frame for more than 0.05 s, expected one after the other. Check cable'
    wait(lambda: rig.health.error.startswith(message))
    assert rig.health.age_s > 0.05
    source.allow()
    wait(lambda: len(rig.frames) == 2)
    assert rig.attempts == 1


def test_source_that_never_starts_is_told(
    make: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grabber, 'OPENING_S', 0.05)
    rig = make()
    rig.start()
    wait(lambda: rig.health.error.startswith('cam does not start: no first frame for more than'))
    assert rig.health.is_connecting
    assert rig.health.age_s == float('inf')


def test_opening_is_no_error_yet(make: Callable[..., Rig]) -> None:
    rig = make(timeout_s=0.001)
    rig.start()
    assert (rig.health.error, rig.health.is_connecting) == ('', True)


def test_frozen_picture_is_a_failure(make: Callable[..., Rig]) -> None:
    rig = make(freeze_s=0.02)
    source = rig.start()
    source.picture = lambda _: noise(1)
    source.allow()
    wait(lambda: rig.frames)
    time.sleep(0.03)  # the very thing: time goes by and the picture stays
    source.allow()
    message = 'cam is frozen: not one pixel changed for 0.02 s, expected the flicker of a live'
    wait(lambda: rig.health.error.startswith(message))
    wait(lambda: source.is_released)
    assert len(rig.frames) == 1


def still(_: int) -> Image:
    return noise(1)


def flicker(number: int) -> Image:
    image = noise(1)
    image[8, 12] = number
    return image


@pytest.mark.parametrize(('picture', 'freeze_s'), [(still, 0.0), (still, 60.0), (flicker, 0.001)])
def test_picture_that_lives_or_may_be_still_is_fine(
    make: Callable[..., Rig], picture: Callable[[int], Image], freeze_s: float
) -> None:
    rig = make(freeze_s=freeze_s)
    source = rig.start()
    source.picture = picture
    for number in range(1, 5):
        source.allow()
        wait(lambda number=number: len(rig.frames) == number)
    assert rig.health.error == ''


def test_frame_of_another_size_is_a_failure(make: Callable[..., Rig]) -> None:
    rig = make()
    source = rig.start()
    source.picture = lambda _: np.zeros((24, 40, 3), np.uint8)
    source.allow()
    message = 'cam delivers 40x24, expected 32x24; choose another size with the parameters width'
    wait(lambda: rig.health.error.startswith(message))
    assert not rig.frames


# --- Videos ----------------------------------------------------------------------------------


def test_video_is_shown_at_its_own_pace_and_ends(make: Callable[..., Rig]) -> None:
    rig = make(freeze_s=0.001)
    rig.times_s = [0.0, 0.01, 0.3, 0.31]
    source = rig.start()
    source.picture = still  # a video may stand still
    wait(lambda: rig.health.error)
    message = 'clip is over. Start the node again, or with loop:=true.'
    assert rig.health.error == message
    assert len(rig.frames) == 4
    assert rig.frames[2].stamp_ns - rig.frames[0].stamp_ns > 0.15 * 1e9
    assert rig.attempts == 1


def test_long_still_of_a_video_is_no_silence(make: Callable[..., Rig]) -> None:
    rig = make(timeout_s=0.05)
    rig.times_s = [0.0, 1000.0]
    rig.start()
    wait(lambda: rig.frames)
    wait(lambda: rig.health.age_s > 0.2 and rig.health.error == '')


def test_video_that_fell_behind_is_not_hurried_after(
    make: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grabber, '_LATE_S', 0.05)
    numbers = count()

    def slow_once(number: int) -> Image:
        if next(numbers) == 1:
            time.sleep(0.2)  # the machine was busy
        return noise(number)

    rig = make()
    rig.times_s = [0.0, 0.01, 0.02, 0.03, 0.12]
    monkeypatch.setattr(FakeSource, 'retrieve', lambda self: slow_once(self.frames))
    rig.start()
    wait(lambda: rig.health.error)
    stamps_s = [frame.stamp_ns / 1e9 for frame in rig.frames]
    assert stamps_s[2] - stamps_s[1] > 0.19
    assert stamps_s[4] - stamps_s[2] > 0.05, 'shown as soon as it was read'


def test_rate_is_measured(make: Callable[..., Rig]) -> None:
    rig = make()
    rig.times_s = [n * 0.01 for n in range(20)]
    rig.start()
    wait(lambda: len(rig.frames) == 19)
    assert 0.0 < rig.health.rate_hz < 200.0


def test_closing_leaves_a_hanging_source_behind(
    make: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grabber, '_JOIN_S', 0.01)
    rig = make()
    source = rig.start()
    rig.grabber.close()
    assert not source.is_released
    source.allow()
    wait(lambda: source.is_released)
    assert not rig.frames, 'told someone who may be gone'
