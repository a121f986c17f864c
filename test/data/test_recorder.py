"""What the recorder's services do, without ROS: order, pre-roll, disks, outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
import os
from pathlib import Path
import re
import shutil
import threading
from typing import Any, NamedTuple

from helpers import forbidden_folder
import pytest
from serialised import (
    IMAGE,
    JOINT_JOG,
    JOINT_STATE,
    make_image,
    make_jog,
    make_joints,
    MS,
    START_NS,
)

from mil_ros.core.errors import EpisodeError, MilError, OrderError
from mil_ros.core.robot import ActionSettings, RobotDescription
from mil_ros.core.streams import Expectation
from mil_ros.data.baseline import count_with_rosbags
from mil_ros.data.episode import read_provenance
from mil_ros.data.inspection import read_quality, read_times
from mil_ros.data.recorder import READY, Recorder, RECORDING, SAVING, Settings, Topic

REQUIRED = {'/camera': Expectation(50.0, 0.1), '/joint_states': Expectation(100.0, 0.1)}
TOPICS = {
    '/camera': Topic(IMAGE),
    '/joint_states': Topic(JOINT_STATE),
    '/teleop/joint_jog': Topic(JOINT_JOG),
}


class Rig:
    """A recorder and a clock that the test turns; messages come as the clock goes."""

    def __init__(
        self, tmp_path: Path, robot: RobotDescription, action: str = 'auto', **settings: Any
    ) -> None:
        self.ms = 0
        self.announced: list[Path] = []
        self.lost = {'/camera': 0, '/joint_states': 0}
        self.speed_rad_s = 0.2
        self.directory = tmp_path / 'episodes'
        chosen = Settings(**{'directory': self.directory, 'min_free_mb': 0, **settings})
        self.robot = replace(robot, action=ActionSettings(source=action))
        self.recorder = Recorder(
            chosen,
            self.robot,
            REQUIRED,
            lambda: START_NS + self.ms * MS,
            self.announced.append,
            lambda: self.ms * MS,
        )

    def play(
        self, duration_ms: int, moving: bool = True, command_rad_s: float | None = None
    ) -> None:
        for _ in range(duration_ms // 10):
            self.ms += 10
            stamp_ns = START_NS + self.ms * MS
            position = self.speed_rad_s * self.ms / 1000.0 if moving else 0.0
            names = self.robot.joint_names
            self.recorder.take('/joint_states', make_joints(stamp_ns, names, position))
            if self.ms % 20 == 0:
                self.recorder.take('/camera', make_image(stamp_ns))
            if command_rad_s is not None:
                jog = make_jog(stamp_ns, names, command_rad_s)
                self.recorder.take('/teleop/joint_jog', jog)

    def start(self, task: str = '', operator: str = '') -> Path:
        answer = self.recorder.start(task, operator, TOPICS, lambda: dict(self.lost))
        assert answer.startswith('RECORDING ')
        return Path(answer.removeprefix('RECORDING '))


@pytest.fixture
def make_rig(tmp_path: Path, tiny_robot: RobotDescription) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(**settings: Any) -> Rig:
        made.append(Rig(tmp_path, tiny_robot, **settings))
        return made[-1]

    yield make
    for rig in made:
        rig.recorder.close()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    rig = make_rig()
    rig.play(1000)
    return rig


# --- The good case ---------------------------------------------------------------------------


def test_an_episode_is_recorded_and_accepted(rig: Rig) -> None:
    path = rig.start('reach #ff0000!', 'Ada')
    assert rig.recorder.state == RECORDING
    rig.play(2000)
    answer = rig.recorder.stop()
    assert answer == (
        f'Saved {path}: {count_with_rosbags(path)["/camera"]} /camera, '
        f'{count_with_rosbags(path)["/joint_states"]} /joint_states. Verdict accept'
    )
    assert rig.recorder.state == READY
    assert rig.announced == [path]
    found = read_provenance(path)
    assert path.name.endswith('_reach_ff0000')
    assert {k: found[k] for k in ('task', 'operator', 'outcome', 'verdict', 'robot')} == {
        'task': 'reach #ff0000!',
        'operator': 'Ada',
        'outcome': 'unknown',
        'verdict': 'accept',
        'robot': 'tiny',
    }
    assert found['robot_sha256'] == rig.robot.sha256
    assert read_quality(found)['motion_rad'] == pytest.approx(0.4, abs=0.03)


def test_an_episode_begins_before_it_was_asked_for(rig: Rig) -> None:
    asked_ns = START_NS + rig.ms * MS
    path = rig.start()
    rig.play(1500)
    rig.recorder.stop()
    for stream in read_times(path).streams:
        assert stream.received_ns[0] <= asked_ns - 480 * MS
        assert stream.received_ns[0] >= asked_ns - 500 * MS


def test_the_next_episode_has_its_preroll_too(rig: Rig) -> None:
    for _ in range(3):
        path = rig.start()
        asked_ns = START_NS + rig.ms * MS
        rig.play(100)
        rig.recorder.stop()
        assert read_times(path).start_ns < asked_ns


def test_many_short_episodes_are_all_good(rig: Rig) -> None:
    paths = set()
    for _ in range(20):
        path = rig.start()
        rig.play(60)
        rig.recorder.stop()
        assert set(count_with_rosbags(path)) == set(REQUIRED)
        paths.add(path)
        rig.ms += 1
    assert len(paths) == 20


def test_chunks_can_be_compressed(make_rig: Callable[..., Rig]) -> None:
    sizes = {}
    for compression in ('', 'lz4', 'zstd'):
        rig = make_rig(compression=compression)
        rig.play(500)
        path = rig.start()
        rig.play(1000)
        rig.recorder.stop()
        assert sum(count_with_rosbags(path).values()) == 225
        sizes[compression] = sum(file.stat().st_size for file in path.iterdir())
    assert sizes['zstd'] < 0.5 * sizes['']
    assert sizes['lz4'] < 0.5 * sizes['']


def test_losses_on_the_way_count_from_the_start(rig: Rig) -> None:
    rig.lost['/camera'] = 5
    path = rig.start()
    rig.play(1500)
    rig.lost['/camera'] = 8
    answer = rig.recorder.stop()
    assert '/camera: 3 messages were lost on their way here' in answer
    assert 'Verdict warn because' in answer
    assert read_quality(read_provenance(path))['streams']['/camera']['lost'] == 3


def test_a_rejected_episode_says_why_and_is_announced(rig: Rig) -> None:
    rig.play(10, moving=False)
    path = rig.start()
    rig.play(1500, moving=False)
    answer = rig.recorder.stop()
    assert 'Verdict reject because' in answer
    assert 'No joint moved by more than' in answer
    assert rig.announced == [path]


# --- Where the action comes from -------------------------------------------------------------


@pytest.mark.parametrize(
    ('wanted', 'command_rad_s', 'noted'),
    [
        ('auto', None, 'measured'),
        ('auto', 0.0, 'measured'),
        ('auto', 0.3, 'commanded'),
        ('measured', 0.3, 'measured'),
        ('commanded', 0.3, 'commanded'),
    ],
)
def test_source_of_the_action_is_noted(
    make_rig: Callable[..., Rig], wanted: str, command_rad_s: float | None, noted: str
) -> None:
    rig = make_rig(action=wanted)
    rig.play(500)
    path = rig.start()
    rig.play(500)
    rig.play(1500, command_rad_s=command_rad_s)
    assert rig.recorder.stop().endswith('Verdict accept')
    assert read_provenance(path)['action_source'] == noted


@pytest.mark.parametrize(
    ('command_rad_s', 'fault'),
    [
        (None, 'nothing was commanded on /teleop/joint_jog'),
        (0.01, 'no command on /teleop/joint_jog exceeds 0.02 rad/s'),
    ],
)
def test_commands_that_the_robot_file_wants_are_missed_at_once(
    make_rig: Callable[..., Rig], command_rad_s: float | None, fault: str
) -> None:
    rig = make_rig(action='commanded')
    rig.play(500)
    path = rig.start()
    rig.play(1500, command_rad_s=command_rad_s)
    answer = rig.recorder.stop()
    assert (
        f'Verdict reject because The robot file wants the commanded action, but {fault}; check '
        'the teleoperation'
    ) in answer
    assert read_provenance(path)['action_source'] == 'none'


def test_an_arm_that_creeps_is_rejected_without_commands_too(rig: Rig) -> None:
    rig.speed_rad_s = 0.015
    rig.play(1000)
    path = rig.start()
    rig.play(2000)
    answer = rig.recorder.stop()
    assert 'Verdict reject because No joint moved faster than 0.0150 rad/s, expected at' in answer
    quality = read_quality(read_provenance(path))
    assert quality['speed_rad_s'] == pytest.approx(0.015)
    assert quality['motion_rad'] > 0.025


# --- Order -----------------------------------------------------------------------------------


def test_a_second_start_is_refused(rig: Rig) -> None:
    path = rig.start()
    with pytest.raises(
        OrderError, match=rf'Already recording {path.name}; call /recorder/stop or /recorder/disc'
    ):
        rig.start()
    rig.play(100)
    assert rig.recorder.stop().startswith(f'Saved {path}')


@pytest.mark.parametrize('verb', ['stop', 'discard'])
def test_an_end_before_a_start_is_refused(rig: Rig, verb: str) -> None:
    with pytest.raises(
        OrderError, match=rf'Not recording, so there is nothing to {verb}; call /recorder/start'
    ):
        getattr(rig.recorder, verb)()


def test_a_discarded_episode_is_set_aside(rig: Rig) -> None:
    path = rig.start()
    rig.play(100)
    answer = rig.recorder.discard()
    kept = path.with_name(f'{path.name}.discarded')
    assert not path.exists()
    assert str(kept) in answer
    assert count_with_rosbags(kept)
    assert rig.announced == []
    assert rig.recorder.state == READY


# --- Outcomes --------------------------------------------------------------------------------


@pytest.mark.parametrize('outcome', ['success', 'failure'])
def test_outcome_is_noted_afterwards(rig: Rig, outcome: str) -> None:
    path = rig.start()
    rig.play(100)
    rig.recorder.stop()
    assert rig.recorder.mark(outcome) == f'Marked {path} as {outcome}.'
    assert read_provenance(path)['outcome'] == outcome


def test_outcome_can_be_corrected(rig: Rig) -> None:
    path = rig.start()
    rig.play(100)
    rig.recorder.stop()
    rig.recorder.mark('failure')
    rig.recorder.mark('success')
    assert read_provenance(path)['outcome'] == 'success'


def test_outcome_before_the_end_is_refused(rig: Rig) -> None:
    path = rig.start()
    with pytest.raises(
        OrderError,
        match=rf'Still recording {path.name}; call /recorder/stop before /recor',
    ):
        rig.recorder.mark('success')


def test_outcome_of_nothing_is_refused(rig: Rig) -> None:
    with pytest.raises(OrderError, match=r'No episode to mark: none has been stopped yet; call'):
        rig.recorder.mark('success')


def test_outcome_of_an_episode_that_is_gone_is_refused(rig: Rig) -> None:
    path = rig.start()
    rig.play(100)
    rig.recorder.stop()
    shutil.rmtree(path)
    with pytest.raises(EpisodeError, match=r'metadata\.yaml cannot be read'):
        rig.recorder.mark('success')


# --- Disks -----------------------------------------------------------------------------------


class Usage(NamedTuple):
    free: int


@pytest.fixture
def set_free_mb(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def set_free_mb(free_mb: int) -> None:
        usage = Usage(free_mb * 1_000_000)
        monkeypatch.setattr('mil_ros.data.recorder.shutil.disk_usage', lambda _: usage)

    return set_free_mb


def test_a_disk_that_is_low_refuses_to_start(
    make_rig: Callable[..., Rig], set_free_mb: Callable[[int], None]
) -> None:
    rig = make_rig(min_free_mb=500)
    set_free_mb(499)
    with pytest.raises(
        OrderError,
        match=r'Recording refused: 499 MB are free in .*episodes, expected at least 500; free sp',
    ):
        rig.start()
    assert not rig.directory.exists()


def test_a_disk_that_runs_low_ends_the_episode_cleanly(
    make_rig: Callable[..., Rig], set_free_mb: Callable[[int], None]
) -> None:
    rig = make_rig(min_free_mb=500)
    set_free_mb(600)
    rig.play(500)
    path = rig.start()
    rig.play(1500)
    assert rig.recorder.check() == ''
    set_free_mb(400)
    news = rig.recorder.check()
    assert news.startswith(f'Episode {path.name} was ended: 400 MB are free')
    assert '400 MB are free' in rig.recorder.trouble
    rig.play(100)
    with pytest.raises(MilError, match=rf'Episode {path} is incomplete: 400 MB are free'):
        rig.recorder.stop()
    assert count_with_rosbags(path)['/joint_states'] == 200
    assert read_provenance(path)['verdict'] == 'reject'
    assert rig.announced == []
    assert rig.recorder.trouble == ''
    set_free_mb(600)
    assert rig.start() != path


def test_an_episode_that_ended_by_itself_can_be_discarded(
    make_rig: Callable[..., Rig], set_free_mb: Callable[[int], None]
) -> None:
    rig = make_rig(min_free_mb=500)
    set_free_mb(600)
    path = rig.start()
    set_free_mb(1)
    rig.recorder.check()
    rig.recorder.discard()
    assert not path.exists()
    assert rig.recorder.trouble == ''


def test_a_folder_that_cannot_be_made_is_named(
    tmp_path: Path, make_rig: Callable[..., Rig]
) -> None:
    (tmp_path / 'episodes').write_text('in the way')
    rig = make_rig()
    with pytest.raises(
        EpisodeError,
        match=r'Cannot write to .*episodes/.* \(Not a directory\); choose a writable folder with',
    ):
        rig.start()
    assert rig.recorder.state == READY


@pytest.mark.parametrize('mode', [0o555, 0o000], ids=['not to write', 'not to look into'])
def test_a_folder_without_permission_is_named(make_rig: Callable[..., Rig], mode: int) -> None:
    """Regressions pinned: a folder that may not be looked into ended the node."""
    with forbidden_folder(mode) as folder:
        rig = make_rig(directory=folder / 'mine' / 'episodes', min_free_mb=1)
        rig.play(500)
        with pytest.raises(EpisodeError) as caught:
            rig.start()
    assert re.fullmatch(
        rf'Cannot write to {folder}/mine/episodes/\S+ \(Permission denied\); choose a writable '
        r'folder with the parameter `directory`\.',
        str(caught.value),
    )
    assert rig.recorder.state == READY


def test_a_type_that_is_not_known_leaves_nothing_behind(rig: Rig) -> None:
    with pytest.raises(EpisodeError, match=r"No definition of message type 'x_msgs/msg/X'"):
        rig.recorder.start('', '', {'/x': Topic('x_msgs/msg/X')}, dict)
    assert list(rig.directory.iterdir()) == []
    assert rig.recorder.state == READY


# --- A slow disk -----------------------------------------------------------------------------


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Keep the disk from taking anything until the event is set."""
    free = threading.Event()
    writev = os.writev

    def wait(descriptor: int, parts: Any) -> int:
        assert free.wait(20.0)
        return writev(descriptor, parts)

    free.set()
    monkeypatch.setattr('mil_ros.data.mcap_writer.os.writev', wait)
    monkeypatch.setattr('mil_ros.data.recorder._CLOSE_S', 0.05)
    yield free
    free.set()


def wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(2000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError('waited for 20 s')


def test_a_stop_that_the_disk_delays_is_finished_later(rig: Rig, hold: threading.Event) -> None:
    path = rig.start()
    hold.clear()
    rig.play(1500)
    with pytest.raises(
        MilError,
        match=rf'Episode {path} is not on disk after 0\.05 s, .* announced on /recorder/episode',
    ):
        rig.recorder.stop()
    assert rig.recorder.state == SAVING
    with pytest.raises(OrderError, match=rf'{path.name} is still being written, \d+ MB are left'):
        rig.start()
    assert rig.recorder.check() == ''
    hold.set()
    wait_until(lambda: rig.recorder.state == READY)
    assert rig.recorder.check().startswith(f'Saved {path}')
    assert rig.announced == [path]
    assert rig.recorder.check() == ''


def test_messages_that_a_slow_disk_has_no_room_for_are_counted(
    make_rig: Callable[..., Rig], hold: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('mil_ros.data.recorder._MB', 10_000)
    rig = make_rig(queue_mb=16)
    rig.play(100)
    path = rig.start()
    hold.clear()
    rig.play(3000)
    dropped = dict(rig.recorder.dropped)
    assert dropped['/camera'] > 10
    hold.set()
    monkeypatch.setattr('mil_ros.data.recorder._CLOSE_S', 20.0)
    answer = rig.recorder.stop()
    assert f'/camera: {dropped["/camera"]} messages came and were not written' in answer
    assert count_with_rosbags(path)['/camera'] == 155 - dropped['/camera']


def test_closing_ends_what_is_going_on(rig: Rig) -> None:
    assert rig.recorder.close() == ''
    path = rig.start()
    rig.play(1500)
    assert rig.recorder.close().startswith(f'Saved {path}')
    assert count_with_rosbags(path)


def test_a_fault_is_noted_once(rig: Rig) -> None:
    rig.recorder.note_fault('nobody is recording')
    rig.start()
    rig.play(1500)
    for _ in range(3):
        rig.recorder.note_fault('The QoS of /camera changed.')
    answer = rig.recorder.stop()
    assert answer.count('The QoS of /camera changed.') == 1
    assert 'nobody' not in answer
