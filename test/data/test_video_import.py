"""A clip becomes an episode whose images are what a player would show at each moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import re
from typing import Any

from clips import make_frames, set_durations, turn, write_gif, write_pictures, write_video
import cv2
import numpy as np
import pytest
import yaml

from mil_ros.core.errors import DemoError, EpisodeError, MilError
from mil_ros.core.images import resize_area
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Demo
from mil_ros.data.episode import EpisodeWriter, read_provenance
from mil_ros.data.source import CaptureError, EndOfVideoError
from mil_ros.data.synthetic import read_number
from mil_ros.data.video import load_video
from mil_ros.data.video_file import open_clip
from mil_ros.data.video_import import Crop, import_video, ImportOptions, ImportReport

START_NS = 1_700_000_000 * 10**9
PROVENANCE = {'task': 'reach', 'robot': 'tiny'}
OPTIONS = ImportOptions(crop=None, start_ns=START_NS, provenance=PROVENANCE)


class Clip:
    """Frames at times that a test chooses; each shows its number."""

    name = 'clip'
    announced = frame_count = 0

    def __init__(self, times_ms: list[float], width: int = 32, height: int = 24) -> None:
        self.times_ms = times_ms
        self.images = make_frames(len(times_ms), width, height)
        self.number = -1

    def grab(self) -> float:
        self.number += 1
        if self.number == len(self.times_ms):
            raise EndOfVideoError
        return self.times_ms[self.number] / 1000.0

    def retrieve(self) -> np.ndarray:
        return self.images[self.number]


@pytest.fixture
def imports(
    tiny_robot: RobotDescription, tmp_path: Path
) -> Callable[..., tuple[ImportReport, np.ndarray]]:
    """Import a clip for the tiny robot (camera 32x24, policy 16x12 at 10 Hz); read it back."""

    def imports(clip: Any, crop: Crop | None = None) -> tuple[ImportReport, np.ndarray]:
        if isinstance(clip, Path):
            clip = open_clip(clip)
        options = replace(OPTIONS, crop=crop)
        report = import_video(clip, tiny_robot, tmp_path / 'cup', options)
        return report, load_video(tmp_path / 'cup', tiny_robot)

    return imports


def numbers(images: np.ndarray) -> list[int]:
    return [read_number(image) for image in images]


# --- Times -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('times_ms', 'shown'),
    [
        ([0, 100, 200, 300], [0, 1, 2, 3]),
        ([0, 33, 67, 100, 133, 167, 200], [0, 3, 6]),
        ([0, 99.5, 201.5, 300], [0, 1, 1, 3]),
        ([0, 101, 199, 301], [0, 1, 2, 3]),
        ([0, 30, 250, 260, 400], [0, 1, 1, 3, 4]),
        ([0, 350], [0, 0, 0, 0]),
        ([0, 150], [0, 0]),
    ],
)
def test_each_moment_shows_the_newest_frame_as_of_then(
    imports: Callable[..., Any], times_ms: list[float], shown: list[int]
) -> None:
    report, images = imports(Clip(times_ms))
    assert numbers(images) == shown
    assert report.frames == len(times_ms)
    assert report.steps == len(shown)
    assert report.repeated == len(shown) - len(set(shown))
    assert report.duration_s == pytest.approx(times_ms[-1] / 1000.0)
    gaps = np.diff(times_ms)
    assert report.longest_still_s == pytest.approx(gaps.max() / 1000.0, abs=1e-6)


@pytest.mark.parametrize('rate_hz', [7.0, 30.0])
def test_what_was_imported_is_what_is_read_at_any_rate(
    document: dict[str, Any], load: Callable[..., RobotDescription], tmp_path: Path, rate_hz: float
) -> None:
    """A period that is no whole number of ns must not shift a moment to the frame before."""
    document['camera'] |= {'width': 32, 'height': 24}
    document['policy'] |= {'image_width': 16, 'image_height': 12, 'rate_hz': rate_hz}
    robot = load(document)
    clip: Any = Clip([round(n * 1000.0 / rate_hz) for n in range(40)])  # as WebM counts
    import_video(clip, robot, tmp_path / 'cup', OPTIONS)
    assert numbers(load_video(tmp_path / 'cup', robot)) == list(range(40))


def test_phone_video_keeps_its_true_times_and_stands_upright(
    imports: Callable[..., Any], tmp_path: Path
) -> None:
    clip = write_video(tmp_path / 'phone.mp4', 6, width=48, height=64)
    set_durations(turn(clip), [30, 40, 150, 20, 100, 33])
    report, images = imports(clip, Crop(0, 0, 64, 48))
    upright = [np.rot90(frame, -1) for frame in make_frames(6, 48, 64)]
    expected = [upright[k] for k in (0, 2, 2, 4)]
    for image, frame in zip(images, expected, strict=True):
        small = cv2.resize(frame, (16, 12), interpolation=cv2.INTER_AREA)
        assert np.abs(image.astype(int) - small).mean() < 8.0
    assert report.repeated == 1


@pytest.mark.skipif(not hasattr(cv2, 'imwriteanimation'), reason='OpenCV writes GIF since 4.11')
def test_gif_is_shown_as_long_as_it_says(imports: Callable[..., Any], tmp_path: Path) -> None:
    _, images = imports(write_gif(tmp_path / 'clip.gif', [100, 200, 100, 100]))
    assert numbers(images) == [0, 1, 1, 2, 3]


@pytest.mark.parametrize('suffix', ['.mp4', '.webm'])
def test_containers_are_imported_alike(
    imports: Callable[..., Any], tmp_path: Path, suffix: str
) -> None:
    clip = write_video(tmp_path / f'clip{suffix}', 9, rate_hz=20.0)
    report, images = imports(clip)
    assert numbers(images) == [0, 2, 4, 6, 8]
    assert report.frames == 9


def test_folder_of_pictures_has_the_rate_that_is_given(
    imports: Callable[..., Any], tmp_path: Path
) -> None:
    _, images = imports(open_clip(write_pictures(tmp_path / 'frames', 7), 20.0))
    assert numbers(images) == [0, 2, 4, 6]


# --- Pictures --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('size', 'part'),
    [((32, 24), '0,0,32,24'), ((100, 24), '34,0,32,24'), ((32, 100), '0,38,32,24')],
)
def test_middle_is_used_in_the_aspect_of_the_camera(
    imports: Callable[..., Any], size: tuple[int, int], part: str
) -> None:
    report, _ = imports(Clip([0, 100], *size))
    assert str(report.crop) == part


@pytest.mark.parametrize('size', [(1080, 1920), (1920, 1080), (641, 479), (33, 24), (853, 480)])
def test_middle_of_any_picture_fits(robot: RobotDescription, size: tuple[int, int]) -> None:
    image = np.zeros((size[1], size[0], 3), np.uint8)
    crop = Crop.centre(image, robot)
    if min(size) >= 80:
        crop.check(image, robot)
    assert crop.width * 240 == pytest.approx(crop.height * 320, abs=320)


def test_crop_takes_that_part(imports: Callable[..., Any]) -> None:
    clip = Clip([0, 100, 200], 64, 48)
    for number, image in enumerate(clip.images):
        image[:] = 0
        image[10:34, 20:52] = make_frames(3, 32, 24)[number]
    report, images = imports(clip, Crop(20, 10, 32, 24))
    assert report.crop == Crop(20, 10, 32, 24)
    for image, frame in zip(images, make_frames(3, 32, 24), strict=True):
        np.testing.assert_array_equal(image, resize_area(frame, 12, 16))


def test_large_video_is_shrunk_by_averaging(imports: Callable[..., Any]) -> None:
    clip = Clip([0, 100], 64, 48)
    for image in clip.images:
        image[:] = 255 * (np.arange(64) % 2)[None, :, None]  # stripes of one column
    _, images = imports(clip)
    np.testing.assert_allclose(images, 127.5, atol=1.0)


def test_small_video_is_enlarged_to_the_camera(imports: Callable[..., Any]) -> None:
    clip = Clip([0, 100], 24, 18)
    for image in clip.images:
        image[:] = np.linspace(0, 240, 24).astype(np.uint8)[None, :, None]  # left to right
    _, images = imports(clip)
    assert images.shape == (2, 12, 16, 3)
    expected = np.linspace(0, 240, 16)[None, None, :, None]
    np.testing.assert_allclose(images, np.broadcast_to(expected, images.shape), atol=8)


# --- The episode -----------------------------------------------------------------------------


def test_episode_says_that_it_is_a_video(imports: Callable[..., Any], tmp_path: Path) -> None:
    imports(Clip([0, 100, 200]))
    assert read_provenance(tmp_path / 'cup') == {'modality': 'video', **PROVENANCE}


def test_episode_is_a_bag_with_the_images_of_the_camera(
    imports: Callable[..., Any], tmp_path: Path
) -> None:
    from rosbags.highlevel import AnyReader

    imports(Clip([0, 100, 200]))
    with AnyReader([tmp_path / 'cup']) as reader:
        messages = [
            (connection.topic, stamp, reader.deserialize(raw, connection.msgtype))
            for connection, stamp, raw in reader.messages()
        ]
    assert [stamp - START_NS for _, stamp, _ in messages] == [0, 100_000_000, 200_000_000]
    for topic, stamp, image in messages:
        assert topic == '/camera/image_raw'
        assert image.header.stamp.sec * 10**9 + image.header.stamp.nanosec == stamp
        assert (image.width, image.height, image.encoding) == (32, 24, 'rgb8')
        assert image.header.frame_id == 'camera_optical_frame'
    version = yaml.safe_load((tmp_path / 'cup' / 'metadata.yaml').read_text())
    assert version['rosbag2_bagfile_information']['version'] == 8


def test_frames_are_a_demonstration_without_actions(imports: Callable[..., Any]) -> None:
    _, images = imports(Clip([0, 100, 200]))
    assert images.dtype == np.uint8
    assert Demo.from_video(images).is_video_only


def test_every_frame_is_reported_as_progress(tiny_robot: RobotDescription, tmp_path: Path) -> None:
    ticks: list[None] = []
    clip: Any = Clip([0, 20, 40, 100])
    import_video(clip, tiny_robot, tmp_path / 'cup', OPTIONS, lambda: ticks.append(None))
    assert len(ticks) == 4


# --- Bad input -------------------------------------------------------------------------------


def refused(imports: Callable[..., Any], match: str, *args: Any) -> None:
    with pytest.raises(MilError, match=match):
        imports(*args)


@pytest.mark.parametrize(
    ('times_ms', 'got'),
    [([], '0 frames in 0.00 s'), ([0], '1 frames in 0.00 s'), ([0, 50], '2 frames in 0.05 s')],
)
def test_clip_that_is_too_short_is_refused(
    imports: Callable[..., Any], tmp_path: Path, times_ms: list[float], got: str
) -> None:
    message = rf'clip has {re.escape(got)}; expected at least 2 frames and 0\.1 s, film the whole'
    refused(imports, message, Clip(times_ms))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('part', [(-1, 0, 32, 24), (33, 0, 32, 24), (0, 25, 32, 24)])
def test_crop_outside_the_picture_is_refused(
    imports: Callable[..., Any], part: tuple[int, int, int, int]
) -> None:
    message = rf'Crop {",".join(map(str, part))} reaches outside the video, which is 64x48; exp'
    refused(imports, message, Clip([0, 100], 64, 48), Crop(*part))


@pytest.mark.parametrize('part', [(0, 0, 12, 9), (0, 0, 0, 0), (5, 5, -2, -2)])
def test_crop_smaller_than_what_the_policy_sees_is_refused(
    imports: Callable[..., Any], part: tuple[int, int, int, int]
) -> None:
    message = r'is smaller than what the policy sees, 16x12; expected at least that, film closer'
    refused(imports, message, Clip([0, 100], 64, 48), Crop(*part))


def test_crop_that_would_squeeze_the_picture_is_refused(imports: Callable[..., Any]) -> None:
    message = r'Crop 0,0,48,48 would be squeezed into 32x24; expected its aspect, a height of 36 '
    refused(imports, message, Clip([0, 100], 64, 48), Crop(0, 0, 48, 48))


def test_existing_folder_is_never_written_to(imports: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / 'cup').mkdir()
    refused(imports, r'cup exists already; expected a new folder, choose another --out', Clip([0]))
    assert list((tmp_path / 'cup').iterdir()) == []


def test_folder_that_cannot_be_made_is_refused(
    tiny_robot: RobotDescription, tmp_path: Path
) -> None:
    (tmp_path / 'file').write_text('in the way')
    clip: Any = Clip([0, 100])
    with pytest.raises(EpisodeError, match=r'Cannot write .*cup \(.*\); expected a writable fold'):
        import_video(clip, tiny_robot, tmp_path / 'file' / 'cup', OPTIONS)


def test_clip_that_breaks_off_leaves_nothing_behind(
    imports: Callable[..., Any], tmp_path: Path
) -> None:
    clip = Clip([0, 100, 200, 300])
    clip.images[3] = None  # type: ignore[call-overload]
    clip.retrieve = lambda: _whole(clip)  # type: ignore[method-assign]
    refused(imports, r'frame 3 is damaged', clip)
    assert list(tmp_path.iterdir()) == []


def _whole(clip: Clip) -> np.ndarray:
    if clip.images[clip.number] is None:
        raise CaptureError('frame 3 is damaged.')
    return clip.images[clip.number]


# --- Reading episodes ------------------------------------------------------------------------


def test_missing_episode_is_refused(tiny_robot: RobotDescription, tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match=r'No episode at .*none'):
        load_video(tmp_path / 'none', tiny_robot)


def test_episode_without_images_is_refused(tiny_robot: RobotDescription, tmp_path: Path) -> None:
    EpisodeWriter(tmp_path / 'cup', {'/camera/image_raw': 'sensor_msgs/msg/Image'}, {}).close()
    message = r'Episode cup: /camera/image_raw has no samples; expected at least one'
    with pytest.raises(EpisodeError, match=message):
        load_video(tmp_path / 'cup', tiny_robot)


def test_truncated_episode_is_refused(
    imports: Callable[..., Any], tiny_robot: RobotDescription, tmp_path: Path
) -> None:
    imports(Clip([0, 100, 200]))
    (file,) = (tmp_path / 'cup').glob('*.mcap')
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    message = r'Episode cup (cannot be read|is truncated or damaged) \('
    with pytest.raises(EpisodeError, match=message):
        load_video(tmp_path / 'cup', tiny_robot)


def test_episode_of_another_camera_is_refused(
    imports: Callable[..., Any], robot: RobotDescription, tmp_path: Path
) -> None:
    imports(Clip([0, 100]))
    message = r"Episode cup has images of 32x24, robot 'sim_panda' expects 320x240; record with"
    with pytest.raises(DemoError, match=message):
        load_video(tmp_path / 'cup', robot)


def test_episode_of_one_image_is_refused(
    imports: Callable[..., Any],
    document: dict[str, Any],
    load: Callable[..., RobotDescription],
    tmp_path: Path,
) -> None:
    imports(Clip([0, 100]))
    document['policy']['rate_hz'] = 5.0
    message = r'Episode cup holds 2 images within one period of the policy; expected at least two'
    with pytest.raises(EpisodeError, match=message):
        load_video(tmp_path / 'cup', load(document))


def test_gap_is_refused(
    imports: Callable[..., Any],
    document: dict[str, Any],
    load: Callable[..., RobotDescription],
    tmp_path: Path,
) -> None:
    imports(Clip([0, 100, 200]))
    document['policy']['rate_hz'] = 30.0
    document['camera']['max_age_s'] = 0.05
    with pytest.raises(EpisodeError, match=r'Episode cup: /camera/image_raw has a gap: 0\.10 s'):
        load_video(tmp_path / 'cup', load(document))
