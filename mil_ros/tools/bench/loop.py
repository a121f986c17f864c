"""The whole graph at work: the stream to Servo, and how soon a picture becomes a command."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
import math
import os
from pathlib import Path
import subprocess
import sys
import time

from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
import psutil

from mil_ros.bringup import ENVIRONMENT
from mil_ros.core.errors import ConfigError, MilError
from mil_ros.core.robot import load_robot
from mil_ros.tools import demo
from mil_ros.tools.bench.rows import at_most, cpu_s, plain, Row
from mil_ros.tools.loop import Episode, Loop
from mil_ros.tools.monitor import READY
from mil_ros.tools.output import track
from mil_ros.tools.passage import (
    answers_ns,
    lateness_p99_ms,
    load_passage,
    Numbers,
    Passage,
    stream_rate_hz,
)

_ROBOT = 'sim_panda'
_RATE_TOLERANCE = 0.01
_JITTER_LIMIT_MS = 3.0
_GUARD_LIMIT_CORES = 0.15
_IMAGE_LIMIT_MS = 20.0
_BETWEEN_RUNS_S = 0.5
_PATIENCE_S = 60.0


def bench_loop(args: argparse.Namespace) -> list[Row]:
    """Measure the whole graph while a policy that was adapted just now drives the arm."""
    if not (math.isfinite(args.minutes) and args.minutes > 0.0):
        raise ConfigError(f'Got --minutes {args.minutes:g}; expected a number above 0.')
    robot = load_robot(_ROBOT)
    runs = max(1, round(60.0 * args.minutes / (robot.policy.max_run_s + _BETWEEN_RUNS_S)))
    file = (args.out / 'loop' / 'passage.npz').resolve()
    words = ['--episodes', '1', '--seed', str(args.seed), '--out', str(file.parent)]
    words += ['--bundle', str(args.bundle)] if args.bundle else []
    with demo.open_session(demo.parse_options([*words, '--no-video'])) as session:
        processes = {n: psutil.Process(p.pid) for n, p in session.graph.processes.items()}
        session.loop.bring_up()
        adapt(session.loop, session.episodes[0])
        with run_monitor(file):
            before = {n: cpu_s(p) for n, p in processes.items()}
            began_s = time.monotonic()
            cut_short = sum(
                not run_once(session.loop, robot.policy.max_run_s)
                for _ in track(range(runs), 'runs', runs)
            )
            seconds = time.monotonic() - began_s
            cores = {n: (cpu_s(p) - before[n]) / seconds for n, p in processes.items()}
    rows = make_rows(load_passage(file), cores, robot.guard.rate_hz)
    return [*rows, plain('runs', runs, 'runs'), plain('runs_cut_short', cut_short, 'runs')]


def adapt(loop: Loop, episode: Episode) -> None:
    """Have the control node run a policy that was adapted to a demonstration.

    Raises:
        MilError: With the reason if it has none in the end.
    """
    loop.attempt(episode)
    if not loop.client.values('control/state').get('policy'):
        raise MilError(f'No policy could be adapted: {episode.message}')


def run_once(loop: Loop, length_s: float) -> bool:
    """Run the policy in a new scene until its time is up; whether it came that far."""
    client = loop.client
    loop.new_layout()
    ended = client.values('control/state').get('ended_runs')
    client.trigger('/control/start')
    client.wait(
        lambda: client.values('control/state').get('ended_runs') != ended,
        length_s + _PATIENCE_S,
        'the run to end',
    )
    is_whole = client.states['control/state'].message == 'time is up'
    if client.states['guard/state'].level == DiagnosticStatus.ERROR:
        loop.recover()
    return is_whole


@contextmanager
def run_monitor(file: Path) -> Iterator[None]:
    """Watch what passes, in a process of its own, and write it at the end.

    Raises:
        MilError: If the process does not begin, or does not end well.
    """
    command = [sys.executable, '-m', 'mil_ros.tools.monitor', _ROBOT, str(file)]
    environment = {**os.environ, **ENVIRONMENT}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != READY:
            raise MilError('The monitor of the bench did not start; expected it to; see above.')
        yield
        process.terminate()
        if process.wait(_PATIENCE_S) != 0:
            raise MilError('The monitor of the bench failed; expected its file; see above.')
    finally:
        process.kill()
        process.wait()


def make_rows(passage: Passage, cores: dict[str, float], rate_hz: float) -> list[Row]:
    """Return the figures against their limits, then what tells where the time goes."""
    jogs, ticks = passage.jogs, passage.ticks
    hz = stream_rate_hz(jogs.sent_ns, rate_hz)
    numbers, arrivals = answers_ns(passage)
    if not len(numbers):
        raise MilError('Servo was sent no answer to any tick of the policy; expected motion.')
    image_ms = (arrivals - ticks.image_ns[numbers]) / 1e6
    rows = [
        Row('stream_hz', round(hz, 3), 'Hz', rate_hz, abs(hz / rate_hz - 1.0) <= _RATE_TOLERANCE),
        at_most(
            'stream_jitter_p99_ms', lateness_p99_ms(jogs.sent_ns, rate_hz), 'ms', _JITTER_LIMIT_MS
        ),
        at_most('guard_cores', cores['guard'], 'cores', _GUARD_LIMIT_CORES),
        at_most('image_to_servo_p99_ms', _p(image_ms, 99), 'ms', _IMAGE_LIMIT_MS),
        plain('image_to_servo_p50_ms', _p(image_ms, 50), 'ms'),
    ]
    finite_ms = ticks.tick_ms[np.isfinite(ticks.tick_ms)]
    for name, values_ms in (
        ('image_to_sent', passage.drawn_ms),
        ('image_to_tick', (ticks.moment_ns - ticks.image_ns) / 1e6),
        ('tick', finite_ms),
        ('command_to_servo', (arrivals - ticks.command_ns[numbers]) / 1e6),
    ):
        rows += [plain(f'{name}_p{q}_ms', _p(values_ms, q), 'ms') for q in (50, 99)]
    rows.append(plain('answered_ticks', len(numbers) / len(ticks.command_ns), ''))
    return rows + [plain(f'cores_{name}', value, 'cores') for name, value in cores.items()]


def _p(values: Numbers, percentage: float) -> float:
    return float(np.percentile(values, percentage))
