"""Processes that die, at the worst moment."""

from __future__ import annotations

from pathlib import Path
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from running import PATIENCE_S, RunningGraph

from mil_ros.data.episode import read_streams
from mil_ros.tools.graph import NodeDiedError
from mil_ros.tools.loop import Episode

pytestmark = pytest.mark.ros


def start_node(name: str, *parameters: str) -> subprocess.CompletedProcess[str]:
    words = [word for p in parameters for word in ('-p', p)]
    return subprocess.run(
        [sys.executable, '-m', f'mil_ros.ros.{name}_node', '--ros-args', *words],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
    )


@pytest.mark.parametrize(
    ('parameter', 'sentence'),
    [
        ('bundle:=/nowhere', 'No policy bundle at /nowhere: expected a folder with manifest.json'),
        ('robot:=r2d2', "No robot file 'r2d2'; expected a path to a .yaml file or one of "),
    ],
)
def test_a_node_that_cannot_start_says_why_in_one_sentence(parameter: str, sentence: str) -> None:
    ended = start_node('adaptation', parameter)
    assert ended.returncode == 2
    assert sentence in ended.stderr
    assert 'Traceback' not in ended.stderr


def test_killed_control_leaves_the_arm_at_rest(fresh: RunningGraph) -> None:
    client = fresh.client
    fresh.loop.attempt(Episode(0, 'any'))
    fresh.loop.new_layout()
    client.trigger('/control/start')
    fresh.wait_until_moving()
    fresh.graph.processes['control'].send_signal(signal.SIGKILL)
    fresh.wait_until_resting()
    with pytest.raises(NodeDiedError, match=r"Node 'control' was killed by signal 9.*start again"):
        fresh.graph.check()


def test_killed_guard_leaves_the_arm_at_rest(fresh: RunningGraph) -> None:
    pending = fresh.client.call_trigger('/sim/demonstrate')
    fresh.wait_until_moving()
    fresh.graph.processes['guard'].send_signal(signal.SIGKILL)
    fresh.wait_until_resting()
    assert not pending.done(), 'the teleoperator should still be commanding'


def test_a_guard_that_dies_and_comes_back_moves_nothing(fresh: RunningGraph) -> None:
    fresh.loop.attempt(Episode(0, 'any'))
    fresh.loop.new_layout()
    fresh.client.trigger('/control/start')
    fresh.wait_until_moving()
    fresh.graph.restart('guard')
    fresh.wait_until_resting()
    fresh.spin_until(
        lambda: fresh.client.values('control/state')['running'] == 'False', 'the run to end'
    )
    fresh.spin_until(
        lambda: fresh.client.values('guard/state').get('state') == 'ready', 'the new guard'
    )
    assert fresh.measure_speed(100) < 0.01


def test_a_terminated_recorder_finishes_its_episode(fresh: RunningGraph) -> None:
    path = Path(fresh.client.trigger('/recorder/start').removeprefix('RECORDING '))
    fresh.client.trigger('/sim/demonstrate')
    fresh.graph.processes['recorder'].send_signal(signal.SIGTERM)
    assert fresh.graph.processes['recorder'].wait(PATIENCE_S) == 0
    streams = read_streams(path, fresh.robot)
    assert len(streams.images) > 30
    assert np.abs(streams.velocities).max() > 0.05


def test_a_recording_goes_on_when_control_dies(fresh: RunningGraph) -> None:
    path = Path(fresh.client.trigger('/recorder/start').removeprefix('RECORDING '))
    fresh.graph.processes['control'].send_signal(signal.SIGKILL)
    pending = fresh.client.call_trigger('/sim/demonstrate')
    fresh.spin_until(pending.done, 'the demonstration')
    stopping = fresh.client.call_trigger('/recorder/stop')
    fresh.spin_until(stopping.done, 'the recorder')
    assert stopping.result().success
    streams = read_streams(path, fresh.robot)
    assert len(streams.images) > 30
    assert np.abs(streams.velocities).max() > 0.05


def test_a_terminated_guard_brings_the_arm_to_rest_before_it_ends(fresh: RunningGraph) -> None:
    fresh.client.call_trigger('/sim/demonstrate')
    fresh.wait_until_moving()
    fresh.graph.processes['guard'].send_signal(signal.SIGTERM)
    assert fresh.graph.processes['guard'].wait(PATIENCE_S) == 0
    assert fresh.measure_speed(20) < 0.01


def start_demo(out: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Start `mil demo` and wait until all of its nodes have been started."""
    command = [sys.executable, '-m', 'mil_ros.tools.cli', 'demo', '--out', str(out)]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end_s = time.monotonic() + PATIENCE_S
    while len(children := psutil.Process(demo.pid).children()) < 6 and time.monotonic() < end_s:
        time.sleep(0.1)
    assert len(children) == 6
    return demo, children


def test_interrupting_the_demo_ends_every_process(tmp_path: Path) -> None:
    demo, children = start_demo(tmp_path)
    time.sleep(4.0)  # in the middle of an episode, or of starting up: both must end well
    demo.send_signal(signal.SIGINT)
    _, errors = demo.communicate(timeout=2 * PATIENCE_S)
    assert demo.returncode == 130, errors
    assert 'stopped by Ctrl-C' in errors
    assert 'Traceback' not in errors
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert not alive


def test_a_node_that_dies_ends_the_demo_in_one_sentence(tmp_path: Path) -> None:
    demo, children = start_demo(tmp_path)
    recorder = next(c for c in children if 'mil_ros.ros.recorder_node' in c.cmdline())
    time.sleep(4.0)
    recorder.kill()
    _, errors = demo.communicate(timeout=2 * PATIENCE_S)
    assert demo.returncode == 2
    assert "Node 'recorder' was killed by signal 9" in errors
    assert 'then start again' in errors
    assert 'Traceback' not in errors
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert not alive


def test_a_vanished_demo_takes_its_nodes_along(tmp_path: Path) -> None:
    demo, children = start_demo(tmp_path)
    time.sleep(2.0)
    demo.kill()
    demo.communicate(timeout=2 * PATIENCE_S)
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert not alive


INTERRUPTED = """
import signal, sys
from rclpy.node import Node
from mil_ros.ros.node import run_node

left = 50

def interrupt(frame, event, _):
    global left
    if left > 0 and event == 'line':
        left -= 1
        signal.raise_signal(signal.SIGINT)
    return interrupt

def make():
    sys.settrace(interrupt)
    signal.raise_signal(signal.SIGTERM)
    sys.settrace(None)
    return Node('quick')

sys.exit(run_node(make))
"""


def test_a_signal_that_comes_while_one_is_handled_does_not_lock_the_node_up() -> None:
    """Regressions pinned: the handler waited for a lock that it held itself, for good."""
    ended = subprocess.run([sys.executable, '-c', INTERRUPTED], timeout=PATIENCE_S)
    assert ended.returncode == 0
