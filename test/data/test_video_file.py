"""Each frame of a video comes once, in order, the right way up, at its own time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from clips import CODECS, make_frames, set_durations, turn, write_gif, write_pictures, write_video
import cv2
import numpy as np
import pytest

from mil_ros.data.source import CaptureError, EndOfVideoError
from mil_ros.data.synthetic import read_number
from mil_ros.data.video_file import open_clip, VideoFile

needs_gif_writer = pytest.mark.skipif(
    not hasattr(cv2, 'imwriteanimation'), reason='OpenCV writes GIF since 4.11'
)


def read(path: Path, rate_hz: float | None = None) -> tuple[list[float], list[np.ndarray]]:
    clip = open_clip(path, rate_hz)
    times, images = [], []
    try:
        while True:
            times.append(clip.grab())
            images.append(clip.retrieve())
    except EndOfVideoError:
        return times, images
    finally:
        clip.release()


@pytest.mark.parametrize('suffix', CODECS)
def test_every_frame_comes_in_order_at_its_time(tmp_path: Path, suffix: str) -> None:
    times, images = read(write_video(tmp_path / f'clip{suffix}', 10, rate_hz=20.0))
    assert [read_number(image) for image in images] == list(range(10))
    assert times == pytest.approx([n / 20.0 for n in range(10)], abs=1e-3)


def test_colours_are_red_green_blue(tmp_path: Path) -> None:
    _, images = read(write_video(tmp_path / 'clip.avi', 1))
    difference = np.abs(images[0].astype(int) - make_frames(1)[0])
    assert difference.mean() < 8.0
    assert np.abs(images[0][:, :, ::-1].astype(int) - make_frames(1)[0]).mean() > 40.0


def test_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    durations_ms = [30, 40, 500, 20, 100, 33]
    times, images = read(set_durations(write_video(tmp_path / 'phone.mp4', 6), durations_ms))
    expected = [ms / 1000.0 for ms in (0, 30, 70, 570, 590, 690)]
    assert times == pytest.approx(expected, abs=2e-3)
    assert [read_number(image) for image in images] == list(range(6))


def test_video_filmed_upright_is_turned(tmp_path: Path) -> None:
    _, images = read(turn(write_video(tmp_path / 'phone.mp4', 2)))
    assert images[0].shape == (64, 48, 3)
    assert read_number(np.rot90(images[1])) == 1


@needs_gif_writer
def test_durations_of_a_gif_are_its_times(tmp_path: Path) -> None:
    times, images = read(write_gif(tmp_path / 'clip.gif', [100, 200, 50, 300]))
    assert times == pytest.approx([0.0, 0.1, 0.3, 0.35])
    assert [read_number(image) for image in images] == [0, 1, 2, 3]


def test_given_rate_replaces_the_times(tmp_path: Path) -> None:
    clip = set_durations(write_video(tmp_path / 'clip.mp4', 4), [0, 0, 0, 0])
    times, images = read(clip, rate_hz=50.0)
    assert times == pytest.approx([0.0, 0.02, 0.04, 0.06])
    assert len(images) == 4


def test_pictures_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / 'frames', 12)
    (folder / 'notes.txt').write_text('not a picture')
    times, images = read(folder, rate_hz=10.0)
    assert [read_number(image) for image in images] == list(range(12))
    assert times == pytest.approx([n / 10.0 for n in range(12)])


def test_first_frame_is_at_zero_though_frames_before_it_could_not_be_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VideoFile, '_read_time', lambda self: 5.0 + self._number / 10.0)
    times, _ = read(write_video(tmp_path / 'clip.mp4', 3))
    assert times == pytest.approx([0.0, 0.1, 0.2])


def test_frames_do_not_share_memory(tmp_path: Path) -> None:
    _, images = read(write_video(tmp_path / 'clip.avi', 2))
    assert not np.shares_memory(*images)


# --- Bad input -------------------------------------------------------------------------------


def make_empty_file(folder: Path) -> Path:
    (folder / 'clip.mp4').touch()
    return folder / 'clip.mp4'


def make_text_file(folder: Path) -> Path:
    (folder / 'clip.mp4').write_text('no video at all' * 100)
    return folder / 'clip.mp4'


def make_truncated_file(folder: Path) -> Path:
    path = write_video(folder / 'clip.mp4', 20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize('make', [make_empty_file, make_text_file, make_truncated_file])
def test_file_that_is_no_video_is_refused(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    message = r'clip\.mp4 cannot be decoded: it is damaged.*`ffmpeg -i clip\.mp4 video\.mp4`'
    with pytest.raises(CaptureError, match=message):
        open_clip(make(tmp_path))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    message = r'No video at .*none\.mp4; expected a file ending in \.avi, .*\.webm\.$'
    with pytest.raises(CaptureError, match=message):
        open_clip(tmp_path / 'none.mp4')


def test_unknown_suffix_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'clip.docx').touch()
    with pytest.raises(CaptureError, match=r"clip\.docx ends in '\.docx'; expected one of \.avi"):
        open_clip(tmp_path / 'clip.docx')


def test_missing_times_are_refused_not_invented(tmp_path: Path) -> None:
    clip = open_clip(set_durations(write_video(tmp_path / 'clip.mp4', 4), [0, 0, 0, 0]))
    clip.grab()
    message = (
        r'clip\.mp4: frame 2 is stamped 0\.000 s, the one before it 0\.000 s; expected rising '
        r'times\..*--rate-hz'
    )
    with pytest.raises(CaptureError, match=message):
        clip.grab()


def test_pictures_without_a_rate_are_refused(tmp_path: Path) -> None:
    message = r'holds 3 pictures, which carry no times; give the rate.*--rate-hz 30'
    with pytest.raises(CaptureError, match=message):
        open_clip(write_pictures(tmp_path / 'frames', 3))


def test_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r'holds no pictures; expected files ending in \.bmp'):
        open_clip(tmp_path, 30.0)


def test_pictures_of_mixed_sizes_are_refused(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / 'frames', 3)
    cv2.imwrite(str(folder / 'frame1.png'), np.zeros((30, 40, 3), np.uint8))
    message = r'frame1\.png in frames is 40x30, the first picture is 64x48; expected one size'
    with pytest.raises(CaptureError, match=message):
        read(folder, 30.0)


def test_damaged_picture_is_named(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / 'frames', 3)
    (folder / 'frame2.png').write_bytes(b'damaged')
    with pytest.raises(CaptureError, match=r'frame2\.png in frames cannot be decoded; expected a'):
        read(folder, 30.0)
