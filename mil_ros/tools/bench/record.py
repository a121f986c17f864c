"""The recorder under load: how fast it starts, what it loses, what it costs, what it survives."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
import math
import os
from pathlib import Path
import shutil
import signal
import time

import numpy as np
import psutil

from mil_ros.core.alignment import common_moments, indices_as_of, Stream
from mil_ros.core.errors import ConfigError, EpisodeError
from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.data.baseline import count_with_rosbags, write_with_rosbags
from mil_ros.data.episode import read_provenance
from mil_ros.data.inspection import IMAGE, open_file, read_quality, read_times
from mil_ros.data.preroll import Arrival
from mil_ros.data.repair import repair_episode
from mil_ros.tools.bench.rig import CAMERAS, Load, RecorderClient, run_load, run_recorder
from mil_ros.tools.bench.rows import at_least, at_most, cpu_s, plain, Row
from mil_ros.tools.graph import isolate
from mil_ros.tools.load import camera_topics, read_number
from mil_ros.tools.output import console, track

_START_LIMIT_MS = 100.0
_CORES_LIMIT = 1.0
_KILLED_LIMIT_S = 1.0
_ALIGN_LIMIT_S = 1.0
_CYCLE_S = 0.3  # of recording in a cycle of start and stop
_KILL_AFTER_S = 3.0
_STEP_S = 10.0  # of recording at each load: the queue must not hide that the disk is slower
_STEPS_HZ = (45.0, 60.0, 90.0, 120.0, 180.0, 240.0, 360.0, 480.0)
_KEPT_PACE = 0.95  # a load that falls behind by more is no measure of the recorder
_ROSBAGS_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Episode:
    """One recording under load.

    Attributes:
        path: Where it is.
        start_s: How long the service took to answer.
        preroll_s: How long before the call the first message came.
        lost: By the recorder's own count.
        gaps: By the numbers that messages carry.
        cores: Of the recorder while it recorded.
        mb_s: What went to disk.
    """

    path: Path
    start_s: float
    preroll_s: float
    lost: int
    gaps: int
    cores: float
    mb_s: float


def bench_record(args: argparse.Namespace) -> list[Row]:
    """Measure the recorder against its limits; see ``Row`` for what is returned."""
    if args.seconds < 2.0 or args.cycles < 1:
        raise ConfigError(
            f'Got --seconds {args.seconds:g} --cycles {args.cycles}; expected at least 2 seconds '
            'and 1 cycle.'
        )
    robot = load_robot('panda')
    directory = (args.out / 'record').resolve()
    shutil.rmtree(directory, ignore_errors=True)
    isolate()
    client = RecorderClient()
    try:
        with run_recorder(directory, robot) as recorder:
            process = psutil.Process(recorder.pid)
            with run_load(Load(), robot):
                console.print(f'recording for {args.seconds:g} s')
                episode = record(client, process, args.seconds)
                cycles = [
                    record(client, process, _CYCLE_S)
                    for _ in track(range(args.cycles), 'start and stop', args.cycles)
                ]
            rows = _rows_of(episode, cycles, args.cycles)
            saturation_mb_s, is_lost = find_saturation(client, process, robot)
            rows.append(plain('saturation_mb_s', saturation_mb_s, 'MB/s'))
            rows.append(plain('saturation_reached', float(is_lost), ''))
        rows.append(plain('rosbags_mb_s', measure_rosbags(directory, robot), 'MB/s'))
        rows.append(_kill(client, directory, robot))
        rows.append(
            at_most('align_s', measure_alignment(episode.path, robot), 's', _ALIGN_LIMIT_S)
        )
    finally:
        client.close()
        shutil.rmtree(directory, ignore_errors=True)
    return rows


def record(client: RecorderClient, process: psutil.Process, seconds: float) -> Episode:
    """Record an episode and count what it lacks."""
    path, start_s, asked_ns = client.start_when_ready()
    before_s, began_s = cpu_s(process), time.monotonic()
    time.sleep(seconds)
    elapsed_s = time.monotonic() - began_s
    cores = (cpu_s(process) - before_s) / elapsed_s
    client.stop(path)
    with open_file(path) as file:
        first_ns = min(entry.log_ns for entry in file.messages())
        size = file.size
    quality = read_quality(read_provenance(path))
    lost = sum(stream['dropped'] + stream['lost'] for stream in quality['streams'].values())
    preroll_s = (asked_ns - first_ns) / 1e9
    mb_s = size / 1e6 / (quality['duration_s'] + preroll_s)
    return Episode(path, start_s, preroll_s, lost, count_gaps(path), cores, mb_s)


def count_gaps(path: Path) -> int:
    """Return how many numbers are missing between the first and the last of each topic."""
    numbers: dict[str, list[int]] = {}
    with open_file(path) as file:
        for entry in file.messages():
            numbers.setdefault(entry.channel.topic, []).append(read_number(entry.data))
    return sum(found[-1] - found[0] + 1 - len(found) for found in numbers.values())


def find_saturation(
    client: RecorderClient, process: psutil.Process, robot: RobotDescription
) -> tuple[float, bool]:
    """Raise the load until something is lost.

    Returns:
        The most that was recorded without a loss in MB/s, and whether there was a loss at all:
        without one, the load could not be raised further.
    """
    best_mb_s = 0.0
    for camera_hz in _STEPS_HZ:
        load = Load(camera_hz)
        with run_load(load, robot) as figures:
            episode = record(client, process, _STEP_S)
        shutil.rmtree(episode.path)
        console.print(
            f'cameras at {camera_hz:g} Hz: {episode.mb_s:.0f} MB/s, {episode.lost} lost, '
            f'{episode.gaps} missing, {episode.cores:.2f} cores'
        )
        if episode.lost or episode.gaps:
            return best_mb_s, True
        best_mb_s = max(best_mb_s, episode.mb_s)
        if figures['sent_hz'] < _KEPT_PACE * (CAMERAS * camera_hz + load.joints_hz):
            break
    return best_mb_s, False


def measure_rosbags(directory: Path, robot: RobotDescription) -> float:
    """Return how fast ``rosbags`` alone writes the same images, in MB/s."""
    camera = robot.camera
    data = os.urandom(3 * camera.width * camera.height)
    topics = camera_topics(robot, CAMERAS)
    count = _ROSBAGS_BYTES // len(data)
    path = directory / 'rosbags'
    began_s = time.monotonic()
    write_with_rosbags(
        path,
        dict.fromkeys(topics, IMAGE),
        (Arrival(topics[i % CAMERAS], data, i) for i in range(count)),
    )
    seconds = time.monotonic() - began_s
    shutil.rmtree(path)
    return count * len(data) / 1e6 / seconds


def measure_alignment(path: Path, robot: RobotDescription) -> float:
    """Return how long it takes to align two streams of an episode at the policy's rate, in s.

    Gaps do not matter here: it is the time that is measured.
    """
    began_s = time.monotonic()
    topics = (robot.topics.image, robot.topics.joint_states)
    streams = [
        Stream(s.topic, np.sort(s.stamps_ns), math.inf)
        for s in read_times(path, topics).streams
        if s.stamps_ns is not None
    ]
    moments = common_moments(streams, robot.policy.rate_hz)
    for stream in streams:
        indices_as_of(stream, moments)
    return time.monotonic() - began_s


def _kill(client: RecorderClient, directory: Path, robot: RobotDescription) -> Row:
    """Kill a recorder in mid-episode, repair what it leaves and see what is missing."""
    with run_recorder(directory, robot) as recorder, run_load(Load(), robot):
        path, _, _ = client.start_when_ready()
        time.sleep(_KILL_AFTER_S)
        killed_ns = time.time_ns()
        recorder.send_signal(signal.SIGKILL)
        recorder.wait()
    console.print(str(repair_episode(path)))
    count_with_rosbags(path)
    lost_s = (killed_ns - read_times(path).end_ns) / 1e9
    return at_most('killed_lost_s', lost_s, 's', _KILLED_LIMIT_S)


def _rows_of(episode: Episode, cycles: list[Episode], wanted: int) -> list[Row]:
    starts_ms = [1e3 * e.start_s for e in [episode, *cycles]]
    good = sum(_is_good(cycle) for cycle in cycles)
    lost = episode.lost + episode.gaps
    return [
        at_most('start_ms', max(starts_ms), 'ms', _START_LIMIT_MS),
        plain('start_median_ms', float(np.median(starts_ms)), 'ms'),
        at_least('preroll_ms', 1e3 * min(e.preroll_s for e in [episode, *cycles]), 'ms', 0.0),
        at_least('good_bags', good, 'bags', wanted),
        at_most('lost_messages', lost, 'messages', 0),
        at_most('cores', episode.cores, 'cores', _CORES_LIMIT),
        plain('recorded_mb_s', episode.mb_s, 'MB/s'),
    ]


def _is_good(cycle: Episode) -> bool:
    """Whether a bag can be read to its end, lacks nothing and began before the call."""
    try:
        counts = count_with_rosbags(cycle.path)
    except EpisodeError:
        return False
    finally:
        shutil.rmtree(cycle.path)
    return len(counts) == CAMERAS + 1 and not cycle.lost and not cycle.gaps and cycle.preroll_s > 0
