"""From a clip to an episode that holds nothing but images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import cv2
import numpy as np

from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.errors import DemoError, EpisodeError
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Image
from mil_ros.data.episode import EpisodeWriter
from mil_ros.data.messages import typestore
from mil_ros.data.source import EndOfVideoError
from mil_ros.data.video_file import FrameFolder, VideoFile

MODALITY: Final = 'video'
_IMAGE: Final = 'sensor_msgs/msg/Image'
_ASPECT_TOLERANCE: Final = 0.02
_ROUNDING_NS: Final = 1_000_000  # WebM counts in ms: 66.667 ms is 67, and not late for it


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a picture, in pixels from its upper left corner."""

    x: int
    y: int
    width: int
    height: int

    def __str__(self) -> str:
        return f'{self.x},{self.y},{self.width},{self.height}'

    @classmethod
    def centre(cls, image: Image, robot: RobotDescription) -> Crop:
        """Return the largest part in the middle that has the aspect of the robot's camera."""
        rows, columns = image.shape[:2]
        width = min(columns, round(rows * robot.camera.width / robot.camera.height))
        height = min(rows, round(columns * robot.camera.height / robot.camera.width))
        return cls((columns - width) // 2, (rows - height) // 2, width, height)

    def check(self, image: Image, robot: RobotDescription) -> None:
        """Raise `DemoError` unless this part can stand for a picture of the robot's camera."""
        rows, columns = image.shape[:2]
        camera, policy = robot.camera, robot.policy
        if min(self.x, self.y) < 0 or self.x + self.width > columns or self.y + self.height > rows:
            raise DemoError(
                f'Crop {self} reaches outside the video, which is {columns}x{rows}; expected '
                'x,y,width,height within it.'
            )
        if self.width < policy.image_width or self.height < policy.image_height:
            raise DemoError(
                f'Crop {self} is smaller than what the policy sees, {policy.image_width}x'
                f'{policy.image_height}; expected at least that, film closer or crop less.'
            )
        height = self.width * camera.height / camera.width
        if abs(self.height - height) > max(1.0, _ASPECT_TOLERANCE * height):
            raise DemoError(
                f'Crop {self} would be squeezed into {camera.width}x{camera.height}; expected its '
                f'aspect, a height of {height:.0f} for this width.'
            )

    def cut(self, image: Image, width: int, height: int) -> Image:
        """Return this part at another size, (height, width, 3)."""
        part = image[self.y : self.y + self.height, self.x : self.x + self.width]
        shrinks = self.width >= width and self.height >= height
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(part, (width, height), interpolation=how), dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How to import a clip.

    Attributes:
        crop: The part to use; None for the middle, in the camera's aspect.
        start_ns: Stamp of the first frame.
        provenance: Goes into the episode.
    """

    crop: Crop | None
    start_ns: int
    provenance: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What became of a clip.

    Attributes:
        frames: Frames of the clip.
        announced: Frames that the file claims to hold; 0 if it does not count them.
        duration_s: From its first frame to its last.
        steps: Images of the episode.
        repeated: Steps for which the clip had no new frame.
        longest_still_s: Longest time without a new frame.
        crop: The part that was used.
    """

    frames: int
    announced: int
    duration_s: float
    steps: int
    repeated: int
    longest_still_s: float
    crop: Crop


class _Resampler:
    """Shows a clip at an even rate: at each moment the frame that a player would show then."""

    def __init__(self, clip: VideoFile | FrameFolder, rate_hz: float) -> None:
        self._clip = clip
        self._period_ns = round(NS_PER_S / rate_hz)  # as `common_moments` rounds it
        self.frames = self.steps = self.repeated = 0
        self.last_ns = self.longest_ns = 0

    def run(self, on_frame: Callable[[], None]) -> Iterator[tuple[int, Image]]:
        """Yield each moment in ns since the first frame, and what is seen then."""
        shown: Image | None = None
        try:
            while True:
                now_ns = round(self._clip.grab() * NS_PER_S)
                if shown is not None:
                    yield from self._show(shown, now_ns - _ROUNDING_NS - 1)
                    self.longest_ns = max(self.longest_ns, now_ns - self.last_ns)
                shown, self.last_ns = self._clip.retrieve(), now_ns
                self.frames += 1
                on_frame()
        except EndOfVideoError:
            if shown is not None:
                yield from self._show(shown, self.last_ns + _ROUNDING_NS)

    def _show(self, image: Image, until_ns: int) -> Iterator[tuple[int, Image]]:
        first = self.steps
        while (moment_ns := self.steps * self._period_ns) <= until_ns:
            self.repeated += self.steps > first
            self.steps += 1
            yield moment_ns, image


def import_video(
    clip: VideoFile | FrameFolder,
    robot: RobotDescription,
    out: Path,
    options: ImportOptions,
    on_frame: Callable[[], None] = lambda: None,
) -> ImportReport:
    """Write a clip as an episode that holds the images of the robot's camera and nothing else.

    Either the whole episode appears or nothing.

    Args:
        clip: Read to its end.
        robot: Whose camera and policy the images are made for.
        out: Folder to make.
        options: What part of the picture, and what to note.
        on_frame: Called for each frame read.

    Raises:
        CaptureError: If a frame cannot be read.
        DemoError: If the crop does not fit or the clip is too short.
        EpisodeError: If the folder exists or cannot be written.
    """
    if out.exists():
        raise EpisodeError(f'{out} exists already; expected a new folder, choose another --out.')
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent, prefix='.import-') as folder:
            draft = Path(folder) / out.name
            provenance = {'modality': MODALITY, **options.provenance}
            writer = EpisodeWriter(draft, {robot.topics.image: _IMAGE}, provenance)
            resampler = _Resampler(clip, robot.policy.rate_hz)
            try:
                crop = _write(writer, resampler.run(on_frame), robot, options)
                _check_length(clip, resampler, robot)
                assert crop is not None  # a clip that is long enough has been cut
            finally:
                writer.close()
            draft.rename(out)
    except OSError as err:
        raise EpisodeError(
            f'Cannot write {out} ({err.strerror}); expected a writable folder with free space, '
            'choose another --out.'
        ) from err
    return ImportReport(
        frames=resampler.frames,
        announced=clip.announced,
        duration_s=resampler.last_ns / NS_PER_S,
        steps=resampler.steps,
        repeated=resampler.repeated,
        longest_still_s=resampler.longest_ns / NS_PER_S,
        crop=crop,
    )


def _write(
    writer: EpisodeWriter,
    moments: Iterator[tuple[int, Image]],
    robot: RobotDescription,
    options: ImportOptions,
) -> Crop | None:
    """Write the image of each moment; returns the part that was used, None without images."""
    crop = options.crop
    for moment_ns, image in moments:
        if crop is None:
            crop = Crop.centre(image, robot)
        crop.check(image, robot)
        small = crop.cut(image, robot.camera.width, robot.camera.height)
        stamp = options.start_ns + moment_ns
        writer.write(robot.topics.image, _to_cdr(small, stamp, robot.camera.frame_id), stamp)
    return crop


def _check_length(
    clip: VideoFile | FrameFolder, resampler: _Resampler, robot: RobotDescription
) -> None:
    if resampler.steps < 2:
        raise DemoError(
            f'{clip.name} has {resampler.frames} frames in {resampler.last_ns / NS_PER_S:.2f} s; '
            f'expected at least 2 frames and {1.0 / robot.policy.rate_hz:g} s, film the whole '
            'task.'
        )


def _to_cdr(image: Image, stamp: int, frame_id: str) -> bytes:
    types = typestore().types
    seconds, rest_ns = divmod(stamp, NS_PER_S)
    time = types['builtin_interfaces/msg/Time'](seconds, rest_ns)
    header = types['std_msgs/msg/Header'](time, frame_id)
    height, width, _ = image.shape
    message = types[_IMAGE](header, height, width, 'rgb8', 0, 3 * width, image.reshape(-1))
    return bytes(typestore().serialize_cdr(message, _IMAGE))
