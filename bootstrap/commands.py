"""Running commands into a log, and telling the user about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import os
from pathlib import Path
import subprocess
import time


class SetupError(Exception):
    """What went wrong and how to fix it, for the user."""


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without a sourced ROS workspace, which would shadow .venv."""
    unwanted = {'AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH', 'COLCON_PREFIX_PATH', 'PYTHONPATH'}
    if 'AMENT_PREFIX_PATH' in environment:
        unwanted.add('LD_LIBRARY_PATH')
    return {key: value for key, value in environment.items() if key not in unwanted}


def run(
    command: Sequence[str], log: Path, hint: str, ros_prefix: Path | None = None, mode: str = 'w'
) -> None:
    """Run a command into a log.

    Args:
        command: What to run.
        log: Receives its output.
        hint: How to fix a failure.
        ros_prefix: What the command sees as its ROS installation.
        mode: 'w' starts the log anew, 'a' goes on with it.

    Raises:
        SetupError: If the exit code is not 0.
    """
    environment = clean_environment(os.environ)
    if ros_prefix:
        environment['AMENT_PREFIX_PATH'] = str(ros_prefix)
        environment['PATH'] = f'{ros_prefix}/bin{os.pathsep}{environment["PATH"]}'
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open(mode) as output:
        print('$', *command, file=output, flush=True)
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    if done.returncode:
        raise SetupError(
            f'`{" ".join(command[:4])} ...` ended with exit code {done.returncode}, expected 0: '
            f'{find_complaint(log.read_text(errors="replace"))}\n{hint} Then repeat. Log: {log}'
        )


def find_complaint(output: str) -> str:
    """Return the line that most likely says what went wrong, cut to a readable length."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    # make repeats "Error 2" after the line that matters.
    errors = [x for x in lines if 'error' in x.lower() and not x.startswith(('make', 'gmake'))]
    return (errors or lines)[-1][:200]


def replace_text(path: Path, text: str) -> None:
    """Write a file so that an interruption leaves the old one or the new one."""
    draft = path.with_name(f'{path.name}.part')
    draft.write_text(text)
    draft.replace(path)


@contextmanager
def report(what: str) -> Iterator[None]:
    """Print one line: what is being done, and how long it took."""
    print(f'setup: {what:<52}', end=' ', flush=True)
    start = time.monotonic()
    try:
        yield
    except BaseException:
        print('failed', flush=True)
        raise
    print(f'{time.monotonic() - start:5.1f} s', flush=True)
