"""Episodes that were cut off come back with all that is whole, or are left as they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
import signal
import subprocess
import sys

import numpy as np
import pytest
from serialised import IMAGE, JOINT_STATE, make_image, make_joints, MS, START_NS

from mil_ros.core.errors import EpisodeError
from mil_ros.data.baseline import count_with_rosbags, write_with_rosbags
from mil_ros.data.episode import read_provenance
from mil_ros.data.episode_writer import EpisodeWriter
from mil_ros.data.mcap_writer import McapWriter
from mil_ros.data.metadata import FILE_NAME
from mil_ros.data.preroll import Arrival
from mil_ros.data.repair import repair_episode

KINDS = {'/camera': IMAGE, '/joints': JOINT_STATE, '/never': IMAGE}
PROVENANCE = {'task': 'reach', 'operator': 'Ada', 'outcome': 'success', 'verdict': 'accept'}


def arrivals() -> list[Arrival]:
    found = []
    for ms in range(0, 1000, 5):
        ns = START_NS + ms * MS
        topic = '/camera' if ms % 20 == 0 else '/joints'
        data = make_image(ns) if ms % 20 == 0 else make_joints(ns, ('a', 'b'), ms)
        found.append(Arrival(topic, data, ns))
    return found


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    writer = EpisodeWriter(tmp_path / 'cup', KINDS, PROVENANCE)
    for i, arrival in enumerate(arrivals()):
        writer.write(*arrival)
        if i % 20 == 19:
            writer.flush()
    writer.close()
    return tmp_path / 'cup'


def bag(episode: Path) -> Path:
    (file,) = episode.glob('*.mcap')
    return file


def cut(episode: Path, share: float) -> None:
    content = bag(episode).read_bytes()
    bag(episode).write_bytes(content[: int(share * len(content))])


def files(episode: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in episode.iterdir()}


def test_a_file_that_was_cut_off_is_restored(whole: Path) -> None:
    cut(whole, 0.6)
    (whole / FILE_NAME).unlink()
    (whole / f'{FILE_NAME}.tmp').write_bytes(bytes(1000))
    report = repair_episode(whole)
    assert not report.was_whole
    assert 60 < sum(report.counts.values()) < 200
    assert sum(report.counts.values()) % 20 == 0
    assert count_with_rosbags(whole) == report.counts
    assert report.duration_s == pytest.approx((sum(report.counts.values()) - 1) * 0.005)
    assert report.left_out_bytes > 0
    assert sorted(p.name for p in whole.iterdir()) == ['cup_0.mcap', FILE_NAME]


def test_provenance_outlives_a_crash(whole: Path) -> None:
    cut(whole, 0.6)
    (whole / FILE_NAME).unlink()
    repair_episode(whole)
    found = read_provenance(whole)
    assert {k: found[k] for k in ('task', 'operator')} == {'task': 'reach', 'operator': 'Ada'}
    assert found['verdict'] == 'reject'
    assert found['repaired'].startswith('cut off in the record at byte')
    assert found['repaired'].endswith('metadata.yaml is missing or damaged')


def test_report_is_a_sentence(whole: Path) -> None:
    cut(whole, 0.6)
    report = repair_episode(whole)
    total = sum(report.counts.values())
    assert str(report).startswith(f'Restored {total} messages of {report.duration_s:.2f} s in ')
    assert f'{report.left_out_bytes} bytes could not be used (cut off in' in str(report)


def test_metadata_alone_are_made_anew(whole: Path) -> None:
    (whole / FILE_NAME).unlink()
    report = repair_episode(whole)
    assert report.damage == ('metadata.yaml is missing or damaged',)
    assert report.left_out_bytes == 0
    assert count_with_rosbags(whole) == Counter(a.topic for a in arrivals())
    assert read_provenance(whole)['outcome'] == 'success'


def test_what_metadata_say_is_kept_if_only_the_file_was_cut(whole: Path) -> None:
    cut(whole, 0.8)
    repair_episode(whole)
    found = read_provenance(whole)
    assert found['outcome'] == 'success'
    assert found['verdict'] == 'reject'


def test_a_whole_episode_is_left_alone(whole: Path) -> None:
    before = files(whole)
    report = repair_episode(whole)
    assert report.was_whole
    assert files(whole) == before
    assert str(report) == 'Episode cup is whole, 200 messages of 0.99 s; nothing was changed.'


def test_repairing_twice_changes_nothing_more(whole: Path) -> None:
    cut(whole, 0.5)
    first = repair_episode(whole)
    before = files(whole)
    second = repair_episode(whole)
    assert second.was_whole
    assert second.counts == first.counts
    assert files(whole) == before


def test_a_damaged_chunk_costs_its_own_messages_only(whole: Path) -> None:
    content = bytearray(bag(whole).read_bytes())
    content[content.index(arrivals()[44].data) + 200] ^= 1
    bag(whole).write_bytes(content)
    report = repair_episode(whole)
    assert sum(report.counts.values()) == 180
    assert len(report.damage) == 1
    assert report.damage[0].endswith('has a wrong checksum')
    assert sum(count_with_rosbags(whole).values()) == 180


def test_bags_of_others_are_repaired_too(tmp_path: Path) -> None:
    path = tmp_path / 'foreign'
    many = [a._replace(received_ns=a.received_ns + k) for k in range(5) for a in arrivals() * 3]
    write_with_rosbags(path, KINDS, sorted(many, key=lambda a: a.received_ns))
    cut(path, 0.7)
    (path / FILE_NAME).unlink()
    report = repair_episode(path)
    assert sum(report.counts.values()) > 500
    assert count_with_rosbags(path) == report.counts


@pytest.mark.parametrize('share', [0.0, 0.02, 0.05])
def test_a_file_without_a_whole_message_is_left_as_it_is(whole: Path, share: float) -> None:
    cut(whole, share)
    before = files(whole)
    message = r'(holds no whole message|Cannot read) .*; expected .*'
    with pytest.raises(EpisodeError, match=message):
        repair_episode(whole)
    assert files(whole) == before


def test_an_episode_in_the_making_is_refused(tmp_path: Path) -> None:
    writer = EpisodeWriter(tmp_path / 'cup', KINDS, {})
    writer.write(*arrivals()[0])
    writer.flush()
    before = files(tmp_path / 'cup')
    with pytest.raises(
        EpisodeError, match=r'cup_0\.mcap is being recorded; .* Call /recorder/stop first\.'
    ):
        repair_episode(tmp_path / 'cup')
    assert files(tmp_path / 'cup') == before
    writer.close()
    assert repair_episode(tmp_path / 'cup').was_whole


def test_original_stays_until_the_copy_is_verified(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(whole, 0.6)
    before = files(whole)
    real = McapWriter.write_chunk

    def lose_one(self: McapWriter, messages: object) -> None:
        real(self, list(messages)[:-1])  # type: ignore[call-overload]

    monkeypatch.setattr(McapWriter, 'write_chunk', lose_one)
    with pytest.raises(
        EpisodeError, match=r'The copy of .*cup_0\.mcap differs from it; expected the same mess'
    ):
        repair_episode(whole)
    assert files(whole) == before


def test_a_full_disk_leaves_everything_as_it_is(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(whole, 0.6)
    before = files(whole)

    def fail(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(McapWriter, 'write_chunk', fail)
    with pytest.raises(
        EpisodeError,
        match=r'Cannot repair .*cup \(No space left on device\); expected room for another 0\.\d',
    ):
        repair_episode(whole)
    assert files(whole) == before


def test_a_repair_that_was_cut_off_itself_can_be_repeated(whole: Path) -> None:
    cut(whole, 0.6)
    file = bag(whole)
    file.with_name(f'{file.name}.repaired').write_bytes(file.read_bytes()[:500])
    file.rename(file.with_name(f'{file.name}.damaged'))
    report = repair_episode(whole)
    assert sum(report.counts.values()) > 60
    assert sorted(p.name for p in whole.iterdir()) == ['cup_0.mcap', FILE_NAME]


@pytest.mark.parametrize('count', [0, 2])
def test_one_file_is_expected(tmp_path: Path, count: int) -> None:
    for i in range(count):
        (tmp_path / f'{i}.mcap').touch()
    with pytest.raises(
        EpisodeError, match=rf'holds {count} MCAP files, expected one; a bag that is split'
    ):
        repair_episode(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match=r'No episode at .*none; expected a rosbag2 folder\.'):
        repair_episode(tmp_path / 'none')


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from serialised import IMAGE, make_image
from mil_ros.core.quality import QualityReport, Verdict
from mil_ros.data.episode_log import EpisodeLog
from mil_ros.data.episode_writer import EpisodeWriter
from mil_ros.data.preroll import Arrival
from mil_ros.data.recording import Recording

kinds = {{'/camera': IMAGE}}
writer = EpisodeWriter(Path({path!r}), kinds, {{'task': 'reach'}})
judge = lambda recording: QualityReport(Verdict.ACCEPT, (), 0.0, None, None, None, {{}})
recording = Recording(writer, EpisodeLog(kinds, '/joints', (), '/jog'), 0, 10**9, judge)
count = 0
while True:
    now = time.time_ns()
    recording.put(Arrival('/camera', make_image(now), now))
    count += 1
    print(now, flush=True)
    time.sleep(0.01)
"""


def test_a_killed_recorder_loses_less_than_the_last_second(tmp_path: Path) -> None:
    code = KILLED.format(tests=str(Path(__file__).parents[1]), path=str(tmp_path / 'cup'))
    process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    put = [int(process.stdout.readline()) for _ in range(250)]
    process.send_signal(signal.SIGKILL)
    put += [int(line) for line in process.stdout.read().splitlines()]
    process.wait()
    report = repair_episode(tmp_path / 'cup')
    kept = report.counts['/camera']
    lost_s = (put[-1] - put[kept - 1]) / 1e9 if kept < len(put) else 0.0
    assert lost_s < 1.0
    assert count_with_rosbags(tmp_path / 'cup') == {'/camera': kept}
    assert np.diff(put[:kept]).min() > 0
    assert read_provenance(tmp_path / 'cup')['task'] == 'reach'
