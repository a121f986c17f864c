"""References are kept, compared and refused; no node is started here."""

from __future__ import annotations

from dataclasses import replace
import json
import math
from pathlib import Path
import shutil
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')  # the player talks to a graph

from mil_ros.core.alignment import AsOf
from mil_ros.core.errors import ReplayError
from mil_ros.core.images import resize_area
from mil_ros.core.resources import share_dir
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Observation
from mil_ros.data.episode_log import JOINT_STATE
from mil_ros.data.inspection import find_episodes, IMAGE
from mil_ros.data.messages import deserialize, image_to_rgb, joints_in_order
from mil_ros.data.playback import read_playback
from mil_ros.data.video import load_shown
from mil_ros.inference.bundle import Bundle, load_bundle
from mil_ros.inference.onnx_policy import OnnxPolicy
from mil_ros.ros.run import Run
from mil_ros.tools.cli import main
from mil_ros.tools.replay.player import check_alone, Player
from mil_ros.tools.replay.reference import (
    check_reference,
    Command,
    compare,
    FILE_NAME,
    load_reference,
    make_reference,
    MAX_ERROR,
    Reference,
    save_reference,
)

EPISODES = Path(__file__).parents[1] / 'episodes'
EPISODE = EPISODES / 'reach_a'


@pytest.fixture(scope='module')
def bundle() -> Bundle:
    return load_bundle(share_dir() / 'models' / 'reach')


@pytest.fixture
def reference(robot: RobotDescription, bundle: Bundle, rng: np.random.Generator) -> Reference:
    """Commands of random velocities."""
    commands = [
        Command(AsOf(100 * k, {'/image': 100 * k - 7, '/joints': 100 * k - 1}), tuple(values))
        for k, values in enumerate(rng.normal(size=(6, 7)).tolist())
    ]
    return make_reference(EPISODE, bundle, robot, commands)


def change(reference: Reference, tick: int, joint: int, by: float) -> list[Command]:
    """Return the commands of a reference with one velocity changed."""
    commands = list(reference.commands)
    values = list(commands[tick].velocities)
    values[joint] += by
    commands[tick] = replace(commands[tick], velocities=tuple(values))
    return commands


# --- References ------------------------------------------------------------------------------


def test_a_reference_is_read_as_it_was_written(reference: Reference, tmp_path: Path) -> None:
    save_reference(tmp_path / FILE_NAME, reference)
    assert load_reference(tmp_path / FILE_NAME) == reference


def test_a_reference_has_a_line_for_each_command(reference: Reference, tmp_path: Path) -> None:
    save_reference(tmp_path / FILE_NAME, reference)
    lines = (tmp_path / FILE_NAME).read_text().splitlines()
    assert sum('velocities' in line for line in lines) == len(reference.commands)


def test_the_same_commands_are_the_same(reference: Reference) -> None:
    comparison = compare(reference, reference.commands)
    assert comparison.max_command_error == 0.0
    assert comparison.faults == ()


@pytest.mark.parametrize('sign', [-1, 1])
def test_a_command_may_differ_by_so_much_and_no_more(reference: Reference, sign: int) -> None:
    comparison = compare(reference, change(reference, 4, 2, 0.9 * sign * MAX_ERROR))
    assert comparison.max_command_error == pytest.approx(0.9 * MAX_ERROR)
    assert comparison.faults == ()
    comparison = compare(reference, change(reference, 4, 2, 1.1 * sign * MAX_ERROR))
    assert comparison.max_command_error == pytest.approx(1.1 * MAX_ERROR)
    (fault,) = comparison.faults
    assert fault.startswith('Tick 4 commands ')
    assert ' rad/s for panda_joint3, expected ' in fault


def test_no_number_is_a_difference(reference: Reference) -> None:
    comparison = compare(reference, change(reference, 1, 0, math.nan))
    assert math.isnan(comparison.max_command_error)
    assert comparison.faults[0].startswith('Tick 1 commands nan rad/s for panda_joint1')


def test_other_data_is_a_difference_even_if_the_command_is_the_same(
    reference: Reference,
) -> None:
    commands = list(reference.commands)
    used = AsOf(300, {'/image': 260, '/joints': 299})
    commands[3] = replace(commands[3], used=used)
    comparison = compare(reference, commands)
    assert comparison.max_command_error == 0.0
    (fault,) = comparison.faults
    assert fault.startswith('Tick 3 used other data: At 0.000000300: /image of 0.000000260, ')


@pytest.mark.parametrize('count', [0, 5])
def test_missing_commands_are_a_difference(reference: Reference, count: int) -> None:
    comparison = compare(reference, reference.commands[:count])
    assert f'There are {count} commands, expected 6.' in comparison.faults
    assert math.isnan(comparison.max_command_error) == (count == 0)


def test_a_reference_of_another_bundle_is_refused(reference: Reference, bundle: Bundle) -> None:
    check_reference(Path('r'), reference, EPISODE, bundle)
    other = load_bundle(share_dir() / 'models' / 'push')
    got, expected = bundle.sha256[:12], other.sha256[:12]
    sentence = (
        rf'another bundle: got SHA-256 {got}\.\.\., expected {expected}\.\.\.; if the new bundle '
        'is meant, write the reference again with --write-reference'
    )
    with pytest.raises(ReplayError, match=sentence):
        check_reference(Path('r'), reference, EPISODE, other)


def test_a_reference_of_another_recording_is_refused(reference: Reference, bundle: Bundle) -> None:
    with pytest.raises(ReplayError, match='Reference r was written for another recording: got'):
        check_reference(Path('r'), reference, EPISODES / 'reach_b', bundle)


@pytest.mark.parametrize(
    ('key', 'value', 'sentence'),
    [
        ('format', 9, r'reference\.json has format 9, this version reads 1; write it again'),
        ('commands', None, r'is no reference \(TypeError: .* expected a file that --write-ref'),
        ('joints', ['a'], r'is no reference \(ValueError: a command has not 1 velocities\)'),
    ],
)
def test_a_damaged_reference_is_refused(
    key: str, value: Any, sentence: str, reference: Reference, tmp_path: Path
) -> None:
    file = tmp_path / FILE_NAME
    save_reference(file, reference)
    document = json.loads(file.read_text()) | {key: value}
    file.write_text(json.dumps(document))
    with pytest.raises(ReplayError, match=sentence):
        load_reference(file)


@pytest.mark.parametrize('path', find_episodes(EPISODES), ids=lambda path: path.name)
def test_a_kept_reference_is_what_the_policy_does_without_ros(
    path: Path, robot: RobotDescription, bundle: Bundle
) -> None:
    """Tells whether nodes or policy are to blame should a replay differ."""
    policy = OnnxPolicy(bundle).adapt(load_shown(path, robot, 'full'))
    topics, size, newest, commands = robot.topics, robot.policy, {}, []
    steps = read_playback(path, robot)
    run = Run(robot, steps[0].moment_ns)
    for step in steps:
        newest |= {sample.topic: sample.data for sample in step.samples}
        if step.image is not None:
            newest[topics.image] = step.image.data
        rgb = image_to_rgb(deserialize(newest[topics.image], IMAGE))
        state = deserialize(newest[topics.joint_states], JOINT_STATE)
        joints = joints_in_order(state.name, state.position, robot.joint_names, 'joints')
        image = resize_area(rgb, size.image_height, size.image_width)
        run.velocities = policy.act(Observation(image, joints))
        commands.append(Command(step.used, tuple(run.command(step.moment_ns))))
    comparison = compare(load_reference(path / FILE_NAME), commands[1:])
    assert comparison.faults == ()


# --- Mistakes --------------------------------------------------------------------------------


class Graph:
    """What a player asks of a client before it publishes anything."""

    def __init__(self, dry_run: str = 'True', publishers: dict[str, int] | None = None) -> None:
        self.node, self._publishers = self, publishers or {}
        self._state = {'active': 'True', 'dry_run': dry_run}

    def meet(self, *_: str) -> None:
        pass

    def count_publishers(self, topic: str) -> int:
        return self._publishers[topic]

    def values(self, _: str) -> dict[str, str]:
        return self._state

    def wait(self, until: Any, *_: object) -> None:
        assert until()


def test_a_control_node_that_could_move_an_arm_is_not_played_to(robot: RobotDescription) -> None:
    with pytest.raises(ReplayError, match='dry_run:=false, expected true: a replay must never'):
        Player(Graph(dry_run='False'), robot)


def test_a_replay_does_not_mix_with_hardware() -> None:
    check_alone(Graph(publishers={'/clock': 1, '/image': 1}), ['/clock', '/image'])
    sentence = '/image has 2 other publishers, expected none: .* with ROS_DOMAIN_ID set to anot'
    with pytest.raises(ReplayError, match=sentence):
        check_alone(Graph(publishers={'/clock': 1, '/image': 3}), ['/clock', '/image'])


MISTAKES = {
    'no episode': (['TMP/none'], 'No episode at TMP/none; expected a rosbag2 folder'),
    'no bundle': (['EPISODE', '--bundle', 'TMP/none'], 'No policy bundle at TMP/none: expected'),
    'another robot': (
        ['EPISODE', '--robot', 'toaster'],
        "No robot file 'toaster'; expected a path to a .yaml file or one of ",
    ),
    'empty folder': (['TMP/empty'], 'No episode in TMP/empty; expected rosbag2 folders'),
    'no reference': (
        ['EPISODE', '--reference', 'TMP/none.json'],
        'No reference TMP/none.json; expected the commands of a replay that was found good.',
    ),
    'a reference for several': (
        ['EPISODES', '--reference', 'TMP/none.json'],
        'Got --reference with 2 episodes; expected one episode, choose one or leave it out.',
    ),
    'reference of another bundle': (
        ['EPISODE', '--bundle', 'models/push'],
        'was written for another bundle: got SHA-256 ',
    ),
    'cut off': (['TMP/cut'], 'Episode cut cannot be read ('),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2_before_any_node_is_started(
    mistake: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError('started a process')

    monkeypatch.setattr('mil_ros.tools.graph.subprocess.Popen', fail)
    (tmp_path / 'empty').mkdir()
    shutil.copytree(EPISODE, tmp_path / 'cut')
    (bag,) = (tmp_path / 'cut').glob('*.mcap')
    bag.write_bytes(bag.read_bytes()[:100_000])
    words, sentence = MISTAKES[mistake]
    places = {'TMP': tmp_path, 'EPISODES': EPISODES, 'EPISODE': EPISODE}
    for name, path in places.items():
        words = [word.replace(name, str(path)) for word in words]
        sentence = sentence.replace(name, str(path))
    words = [str(share_dir() / w) if w.startswith('models/') else w for w in words]
    assert main(['replay', *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ''
    assert shown.err.count('\n') == 1
    assert shown.err.startswith('mil replay: ')
    assert sentence in shown.err
