"""Servo is ended after the guard, whose last commands it hands on."""

from __future__ import annotations

from collections.abc import Iterator
import os
import select
import signal
import subprocess
import sys
import time

import pytest

# Says what it is ended by.
CHILD = """
import signal, sys
def end(number, _):
    print(number, flush=True)
    sys.exit(7)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, end)
print('up', flush=True)
signal.pause()
"""
DELAY_S = 1.0
PATIENCE_S = 30.0


def start(delay_s: float, child: str = CHILD) -> subprocess.Popen[str]:
    command = [sys.executable, '-m', 'mil_ros.ros.linger', str(delay_s)]
    return subprocess.Popen(
        [*command, sys.executable, '-c', child],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], PATIENCE_S)[0], 'nothing is said'
    return process.stdout.readline().strip()


@pytest.fixture
def lingering(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    with start(getattr(request, 'param', DELAY_S)) as process:
        assert read(process) == 'up'
        yield process
        process.kill()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_the_command_is_interrupted_later(
    lingering: subprocess.Popen[str], number: signal.Signals
) -> None:
    sent_s = time.monotonic()
    os.killpg(lingering.pid, number)  # as a terminal does
    assert read(lingering) == str(int(signal.SIGINT))
    assert time.monotonic() - sent_s >= DELAY_S
    assert lingering.wait() == 7


@pytest.mark.parametrize('lingering', [3600.0], indirect=True)
def test_a_second_signal_ends_it_at_once(lingering: subprocess.Popen[str]) -> None:
    lingering.send_signal(signal.SIGINT)
    time.sleep(0.2)  # two signals at once would be one
    lingering.send_signal(signal.SIGTERM)
    assert read(lingering) == str(int(signal.SIGTERM))
    assert lingering.wait() == 7


@pytest.mark.skipif(sys.platform != 'linux', reason='asks the Linux kernel')
def test_the_command_does_not_survive_a_kill(lingering: subprocess.Popen[str]) -> None:
    lingering.kill()
    assert read(lingering) == str(int(signal.SIGTERM))


@pytest.mark.parametrize(('child', 'code'), [('raise SystemExit(3)', 3), ('', 0)])
def test_a_command_that_ends_by_itself_ends_it_all(child: str, code: int) -> None:
    with start(3600.0, child) as process:
        assert process.wait() == code


def test_a_command_that_died_of_a_signal_is_told_as_shells_do() -> None:
    with start(3600.0, 'import os; os.kill(os.getpid(), 9)') as process:
        assert process.wait() == 128 + 9
