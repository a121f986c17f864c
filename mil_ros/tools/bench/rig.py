"""A recorder and its load as processes, and a client that talks to the recorder alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from mil_ros.bringup import ENVIRONMENT
from mil_ros.core.errors import MilError
from mil_ros.core.robot import RobotDescription
from mil_ros.data.metadata import FILE_NAME
from mil_ros.tools.graph import make_environment
from mil_ros.tools.load import camera_topics

CAMERAS = 2
_PATIENCE_S = 20.0
_STREAM_S = 2.0  # until all streams have come for a while


@dataclass(frozen=True, slots=True)
class Load:
    """What is published: cameras at one rate, joint states at another."""

    camera_hz: float = 30.0
    joints_hz: float = 500.0


class RecorderClient:
    """Calls the recorder's services, and nothing else that would take processor time."""

    def __init__(self) -> None:
        """Join the graph."""
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node('bench')
        self._clients = {
            verb: self._node.create_client(Trigger, f'/recorder/{verb}')
            for verb in ('start', 'stop')
        }

    def close(self) -> None:
        """Leave the graph."""
        self._node.destroy_node()
        rclpy.shutdown()

    def call(self, verb: str) -> tuple[str, float]:
        """Call a service; return its answer and how long that took, in s.

        Raises:
            MilError: If it refuses, with its sentence, or does not answer.
        """
        client = self._clients[verb]
        if not client.wait_for_service(_PATIENCE_S):
            raise MilError(f'/recorder/{verb} is not there; expected the recorder to run.')
        began_s = time.monotonic()
        future = client.call_async(Trigger.Request())
        rclpy.spin_until_future_complete(self._node, future, timeout_sec=_PATIENCE_S)
        seconds = time.monotonic() - began_s
        response = future.result()
        if response is None or not response.success:
            raise MilError(f'/recorder/{verb}: {response.message if response else "no answer"}')
        return str(response.message), seconds

    def stop(self, path: Path) -> None:
        """Stop, and wait for the rest should the disk be behind.

        Raises:
            MilError: If the episode is not whole in the end.
        """
        try:
            self.call('stop')
        except MilError:
            end_s = time.monotonic() + _PATIENCE_S
            while not (path / FILE_NAME).is_file():
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.1)

    def start_when_ready(self) -> tuple[Path, float, int]:
        """Start once the streams have come.

        Returns:
            The episode, how long the answer took in s, and when it was asked for in ns.
        """
        end_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                asked_ns = time.time_ns()
                answer, seconds = self.call('start')
                return Path(answer.removeprefix('RECORDING ')), seconds, asked_ns
            except MilError:
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.2)


@contextmanager
def run_recorder(directory: Path, robot: RobotDescription) -> Iterator[subprocess.Popen[bytes]]:
    """Run a recorder that listens to all cameras of the load."""
    topics = ', '.join(camera_topics(robot, CAMERAS)[1:])
    command = [sys.executable, '-m', 'mil_ros.ros.recorder_node', '--ros-args']
    command += ['-p', f'robot:={robot.name}', '-p', f'directory:={directory}']
    command += ['-p', f'topics:=[{topics}]']
    process = subprocess.Popen(command, env=_environment(), stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(_PATIENCE_S)


@contextmanager
def run_load(load: Load, robot: RobotDescription) -> Iterator[dict[str, float]]:
    """Publish; what is yielded is filled at the end with `sent_hz`, all messages a second."""
    command = [sys.executable, '-m', 'mil_ros.tools.load', '--robot', robot.name]
    command += ['--cameras', str(CAMERAS), '--camera-hz', str(load.camera_hz)]
    command += ['--joints-hz', str(load.joints_hz)]
    process = subprocess.Popen(command, env=_environment(), stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = {}
    try:
        time.sleep(_STREAM_S)
        yield figures
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=_PATIENCE_S)
        done = json.loads(said)
        figures['sent_hz'] = sum(done['sent']) / done['seconds']


def _environment() -> dict[str, str]:
    return {**os.environ, **ENVIRONMENT, **make_environment()}
