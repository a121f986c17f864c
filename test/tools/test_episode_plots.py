"""Pictures show what is there: gaps in red, a line for each joint, a tile for each frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mil_ros.core.errors import ConfigError
from mil_ros.core.streams import StreamTimes
from mil_ros.core.types import Image
from mil_ros.data.inspection import EpisodeTimes, JointMotion
from mil_ros.tools.episode_plots import (
    find_spans,
    write_contact_sheet,
    write_joints,
    write_timeline,
)

MS = 1_000_000
START = 1_700_000_000_000 * MS
RED = (214, 39, 40)


def stream(topic: str, ms: list[int]) -> StreamTimes:
    return StreamTimes(topic, START + np.array(ms, dtype=np.int64) * MS, None)


def read(path: Path) -> Image:
    return np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))


def count(image: Image, colour: tuple[int, ...]) -> int:
    return int((image == np.array(colour)).all(axis=2).sum())


GAPPY = [ms for ms in range(0, 2001, 20) if not 500 < ms < 900]


def test_spans_are_messages_and_gaps_in_turn() -> None:
    spans = find_spans(stream('/x', GAPPY), START, START + 2000 * MS)
    assert [is_gap for _, _, is_gap in spans] == [False, True, False]
    assert spans[1][:2] == pytest.approx((0.5, 0.9))
    assert spans[0][0] == 0.0
    assert spans[2][1] == pytest.approx(2.0)


def test_a_stream_that_begins_late_or_ends_early_has_gaps_there() -> None:
    spans = find_spans(stream('/x', list(range(500, 1000, 20))), START, START + 2000 * MS)
    assert [is_gap for _, _, is_gap in spans] == [True, False, True]


def test_a_stream_of_one_message_has_one_span() -> None:
    spans = find_spans(stream('/x', [700]), START, START + 2000 * MS)
    assert len(spans) == 1


def test_timeline_shows_gaps_in_red(tmp_path: Path) -> None:
    def draw(ms: list[int]) -> Image:
        times = EpisodeTimes({}, [stream('/x', ms)], START, START + 2000 * MS)
        write_timeline(tmp_path / 'new' / 'timeline.png', times)
        return read(tmp_path / 'new' / 'timeline.png')

    assert count(draw(list(range(0, 2001, 20))), RED) == 0
    gap = count(draw(GAPPY), RED)
    assert gap == pytest.approx(17 * 850 * 0.4 / 2.0, rel=0.1)


def test_contact_sheet_shows_every_frame(tmp_path: Path) -> None:
    colours = [(200, 30, 40 + 10 * i) for i in range(6)]
    frames = [(0.5 * i, np.full((48, 64, 3), c, np.uint8)) for i, c in enumerate(colours)]
    write_contact_sheet(tmp_path / 'sheet.png', [('/camera', frames), ('/wrist', frames[:1])])
    sheet = read(tmp_path / 'sheet.png')
    assert sheet.shape[1] == 1200
    for i, colour in enumerate(colours):
        assert count(sheet, colour) > 30_000 * (2 if i == 0 else 1)


@pytest.mark.parametrize('joints', [1, 7, 12])
def test_joints_have_a_line_each(tmp_path: Path, joints: int) -> None:
    times_s = np.linspace(0.0, 3.0, 200)
    positions = np.sin(times_s[:, None] + np.arange(joints))
    names = tuple(f'joint{i}' for i in range(joints))
    motion = JointMotion(names, times_s, positions, np.gradient(positions, times_s, axis=0), True)
    write_joints(tmp_path / 'joints.png', motion, '/joint_states')
    picture = read(tmp_path / 'joints.png')
    colours = {tuple(c) for c in picture.reshape(-1, 3).tolist()}
    for colour in ((0, 114, 178), (230, 159, 0), (0, 158, 115))[:joints]:
        assert colour in colours


def test_values_that_are_not_finite_do_no_harm(tmp_path: Path) -> None:
    nothing = np.full((5, 2), np.nan)
    motion = JointMotion(('a', 'b'), np.arange(5.0), nothing, nothing, False)
    write_joints(tmp_path / 'joints.png', motion, '/joint_states')
    assert read(tmp_path / 'joints.png').size


def test_a_picture_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('in the way')
    times = EpisodeTimes({}, [stream('/x', GAPPY)], START, START + 2000 * MS)
    with pytest.raises(
        ConfigError, match=r'Cannot write the picture .*a\.png \(.*\); choose .* --no-pictures\.'
    ):
        write_timeline(tmp_path / 'file' / 'a.png', times)
