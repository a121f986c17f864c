"""The kept episodes through the real nodes: what a user's own regression test looks like."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
import json
from pathlib import Path
import shutil
import subprocess
import sys
import time
from typing import Any

from lifecycle_msgs.msg import Transition
import numpy as np
import pytest
from rosgraph_msgs.msg import Clock

from mil_ros.bringup import REPLAY_PARAMETERS, replayed
from mil_ros.core.resources import share_dir
from mil_ros.core.robot import load_robot
from mil_ros.data.playback import read_playback
from mil_ros.inference.bundle import load_bundle
from mil_ros.tools.client import GraphClient
from mil_ros.tools.graph import Graph
from mil_ros.tools.replay.player import Player
from mil_ros.tools.replay.reference import compare, FILE_NAME, load_reference, MAX_ERROR

pytestmark = pytest.mark.ros

EPISODES = Path(__file__).parents[1] / 'episodes'
BUNDLE = share_dir() / 'models' / 'reach'
TIMEOUT_S = 300.0  # nothing waits that long but a machine that hangs


def replay(path: Path, out: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    """Return exit code, result and what was said."""
    file = out / 'replay.json'
    command = [sys.executable, '-m', 'mil_ros.tools.cli', 'replay', str(path)]
    command += ['--bundle', str(BUNDLE), '--json', str(file), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert 'Traceback' not in done.stderr, done.stderr
    said = ' '.join(done.stderr.split())  # a terminal breaks lines where it likes
    return done.returncode, json.loads(file.read_text()) if file.is_file() else {}, said


@pytest.fixture(scope='module')
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of replaying what is kept here."""
    code, result, said = replay(EPISODES, tmp_path_factory.mktemp('replay'))
    assert code == 0, said
    return result


def test_the_kept_episodes_give_the_commands_that_they_gave(kept: dict[str, Any]) -> None:
    assert kept['max_command_error'] <= MAX_ERROR
    assert [Path(e['episode']).name for e in kept['episodes']] == ['reach_a', 'reach_b']
    for episode in kept['episodes']:
        reference = load_reference(Path(episode['reference']))
        assert episode['ticks'] == len(reference.commands) > 20
        assert episode['max_command_error'] <= MAX_ERROR
        assert not episode['written']
        speeds = np.abs([command.velocities for command in reference.commands])
        assert speeds.max() > 0.1, 'commands that could be anything prove nothing'


def test_latencies_come_with_a_budget(kept: dict[str, Any]) -> None:
    """Whether they keep it is not asked of a machine that runs tests."""
    for episode in kept['episodes']:
        rows = {row['name']: row for row in episode['latency']}
        for name in ('image_to_command_p50_ms', 'image_to_command_p99_ms', 'adapt_ms'):
            row = rows[name]
            assert 0.0 < row['value'] < 1e3 * TIMEOUT_S
            assert row['ok'] == (row['value'] <= row['limit'])
        p50, p95, p99 = (rows[f'image_to_command_p{p}_ms']['value'] for p in (50, 95, 99))
        assert p50 <= p95 <= p99


def test_other_commands_than_those_of_the_reference_are_exit_code_1(tmp_path: Path) -> None:
    episode = Path(shutil.copytree(EPISODES / 'reach_b', tmp_path / 'reach_b'))
    document = json.loads((episode / FILE_NAME).read_text())
    document['commands'][7]['velocities'][3] += 0.25
    (episode / FILE_NAME).write_text(json.dumps(document))
    code, result, said = replay(episode, tmp_path)
    assert code == 1
    assert result['max_command_error'] == pytest.approx(0.25, abs=1e-3)
    assert not result['same']
    assert 'reach_b: Tick 7 commands ' in said
    assert ' for panda_joint4, expected ' in said
    assert 'accept it with --write-reference' in said


def test_an_accepted_reference_is_that_of_the_kept_episode(tmp_path: Path) -> None:
    episode = Path(shutil.copytree(EPISODES / 'reach_a', tmp_path / 'reach_a'))
    before = load_reference(episode / FILE_NAME)
    (episode / FILE_NAME).unlink()
    code, result, said = replay(episode, tmp_path, '--write-reference')
    assert code == 0, said
    assert result['episodes'][0]['written']
    assert result['max_command_error'] is None, 'there was nothing to compare with'
    after = load_reference(episode / FILE_NAME)
    assert [c.used for c in after.commands] == [c.used for c in before.commands]
    for new, old in zip(after.commands, before.commands, strict=True):
        assert np.allclose(new.velocities, old.velocities, rtol=0.0, atol=MAX_ERROR)


@contextmanager
def start_nodes(out: Path, robot: str = 'sim_panda') -> Iterator[GraphClient]:
    values = {'robot': robot, 'bundle': str(BUNDLE), 'policies': str(out / 'policies')}
    logs = out / 'logs'
    with Graph(values, logs, specs=replayed(), parameters=REPLAY_PARAMETERS) as graph:
        client = GraphClient(load_robot(robot), graph.check)
        try:
            for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
                client.change_state('control', transition, TIMEOUT_S)
            yield client
        finally:
            client.close()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[GraphClient]:
    """Nodes that were started by somebody else, as replay.launch.py does."""
    with start_nodes(tmp_path) as client:
        yield client


def test_time_stands_still_while_the_machine_is_busy(tmp_path: Path) -> None:
    """Regressions pinned: a run was ended by the clock on the wall, not by that of the bag."""
    file = tmp_path / 'sim_panda.yaml'
    text = (share_dir() / 'config' / 'robots' / 'sim_panda.yaml').read_text()
    file.write_text(text.replace('max_run_s: 8.0', 'max_run_s: 1.0'))
    robot, episode = load_robot(file), EPISODES / 'reach_a'
    steps = read_playback(episode, robot)
    with start_nodes(tmp_path, str(file)) as client:
        player = Player(client, robot)
        played = player.play(episode, load_bundle(BUNDLE), steps, lambda: time.sleep(0.25))
    reference = load_reference(episode / FILE_NAME)
    begun = replace(reference, commands=reference.commands[:10])
    assert compare(begun, played.commands).faults == ()


def test_nodes_that_run_can_be_replayed_to_unless_hardware_is_there(
    nodes: GraphClient, tmp_path: Path
) -> None:
    code, result, said = replay(EPISODES / 'reach_b', tmp_path, '--attach')
    assert code == 0, said
    assert result['max_command_error'] <= MAX_ERROR
    nodes.node.create_publisher(Clock, '/clock', 1)
    (tmp_path / 'replay.json').unlink()
    code, result, said = replay(EPISODES / 'reach_b', tmp_path, '--attach')
    assert (code, result) == (2, {})
    assert '/clock has 1 other publishers, expected none: a replay would mix with them' in said


def test_a_bundle_that_was_not_asked_for_is_refused(nodes: GraphClient, tmp_path: Path) -> None:
    """The nodes have models/reach."""
    other = share_dir() / 'models' / 'push'
    episode = Path(shutil.copytree(EPISODES / 'reach_a', tmp_path / 'reach_a'))
    words = ('--attach', '--bundle', str(other), '--write-reference')
    code, _, said = replay(episode, tmp_path, *words)
    assert code == 2
    assert "The adaptation node has bundle 'reach' with SHA-256 " in said
    assert "expected 'push' with " in said
    assert load_reference(episode / FILE_NAME).bundle == 'reach', 'it should be left as it was'
