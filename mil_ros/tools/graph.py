"""Starting the graph as processes of its own, watching it, and ending all of it."""

from __future__ import annotations

import atexit
from collections.abc import Mapping, Sequence
import ctypes
import os
from pathlib import Path
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from types import TracebackType

from mil_ros.bringup import (
    ENVIRONMENT,
    MIDDLEWARE_VARIABLES,
    NETWORK,
    nodes,
    NodeSpec,
    SHARED_MEMORY,
)
from mil_ros.core.errors import MilError
from mil_ros.core.resources import share_dir

_PR_SET_PDEATHSIG = 1
_FAST_DDS = 'rmw_fastrtps_cpp'
_LOOPBACK: dict[str, Path] = {}  # settings of the middleware, once `isolate` was called
_PATIENCE_S = (5.0, 3.0)  # after SIGINT, after SIGTERM; then SIGKILL


class NodeDiedError(MilError):
    """A process of the graph ended by itself."""


def make_environment() -> dict[str, str]:
    """Return environment variables for tools that exchange images with a graph."""
    return _choose(SHARED_MEMORY)


def _choose(middleware: str) -> dict[str, str]:
    path = _LOOPBACK.get(middleware, share_dir() / middleware)
    return dict.fromkeys(MIDDLEWARE_VARIABLES, str(path))


def isolate() -> None:
    """Put this process and its children into a ROS domain of their own on this machine.

    Never the domain that the user is in: a real arm may be listening there.
    """
    domains = {str(number) for number in range(1, 102)} - {os.environ.get('ROS_DOMAIN_ID')}
    os.environ['ROS_DOMAIN_ID'] = random.SystemRandom().choice(sorted(domains))
    ours = {str(path) for path in _LOOPBACK.values()}  # this may be called more than once
    chosen = {os.environ[name] for name in MIDDLEWARE_VARIABLES if name in os.environ}
    if chosen - ours or os.environ.get('RMW_IMPLEMENTATION', _FAST_DDS) != _FAST_DDS:
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
        return
    # LOCALHOST would have Fast DDS share memory whatever our settings say.
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'SUBNET'
    folder = Path(tempfile.mkdtemp(prefix='mil_ros_'))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for file in (SHARED_MEMORY, NETWORK):
        _LOOPBACK[file] = folder / Path(file).name
        _LOOPBACK[file].write_text(keep_to_loopback((share_dir() / file).read_text()))
    os.environ.update(make_environment())


def keep_to_loopback(profile: str) -> str:
    """Return settings of the middleware by which nothing leaves this machine."""
    udp = '<type>UDPv4</type>'
    allowed = '<interfaceWhiteList><address>127.0.0.1</address></interfaceWhiteList>'
    assert profile.count(udp) == 1
    return profile.replace(udp, udp + allowed)


class Graph:
    """The nodes of the bring-up table as child processes; a context manager."""

    def __init__(
        self,
        values: dict[str, str],
        logs: Path,
        simulated: bool = True,
        specs: Sequence[NodeSpec] | None = None,
        parameters: Mapping[str, object] | None = None,
    ) -> None:
        """Prepare to start.

        Args:
            values: Value of each bring-up argument that differs from its default.
            logs: Folder for one log file per node.
            simulated: Whether to start the simulated arm too.
            specs: The nodes to start instead of all.
            parameters: What every node is given besides, whether it has such a parameter or not.
        """
        self._values, self._logs, self._parameters = values, logs, parameters or {}
        chosen = nodes(simulated) if specs is None else specs
        self._specs = [s for s in chosen if not s.only_with or values.get(s.only_with)]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes that are started."""
        return tuple(spec.name for spec in self._specs)

    def __enter__(self) -> Graph:
        """Start every node."""
        self._logs.mkdir(parents=True, exist_ok=True)
        try:
            for spec in self._specs:
                self.processes[spec.name] = self._start(spec)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every node."""
        self.stop()

    def check(self) -> None:
        """Raise `NodeDiedError` if a node has ended; its log says why."""
        for name, process in self.processes.items():
            code = process.poll()
            if code is not None:
                how = f'was killed by signal {-code}' if code < 0 else f'ended with code {code}'
                raise NodeDiedError(
                    f'Node {name!r} {how}{self._last_words(name)}; expected it to run. The guard '
                    f'and Servo bring the arm to rest; see {self._logs / name}.log, then start '
                    'again.'
                )

    def restart(self, name: str) -> None:
        """Start a node again; what is left of it is killed."""
        process = self.processes[name]
        process.kill()
        process.wait()
        self.processes[name] = self._start(next(s for s in self._specs if s.name == name))

    def stop(self) -> None:
        """End all processes: politely, then firmly. The guard goes last but for the arm."""
        order = [n for n in self.processes if n not in ('guard', 'sim')]
        for batch in (order, ['guard'], ['sim']):
            self._stop_batch([self.processes[n] for n in batch if n in self.processes])

    def _stop_batch(self, processes: list[subprocess.Popen[bytes]]) -> None:
        for number, patience_s in zip((signal.SIGINT, signal.SIGTERM), _PATIENCE_S, strict=True):
            alive = [p for p in processes if p.poll() is None]
            for process in alive:
                process.send_signal(number)
            end_s = time.monotonic() + patience_s
            for process in alive:
                try:
                    process.wait(max(0.0, end_s - time.monotonic()))
                except subprocess.TimeoutExpired:
                    continue
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _start(self, spec: NodeSpec) -> subprocess.Popen[bytes]:
        command = [sys.executable, '-m', spec.module, '--ros-args', '--enclave', spec.enclave]
        for parameter, argument in spec.arguments.items():
            if argument in self._values:
                command += ['-p', f'{parameter}:={self._values[argument]}']
        for parameter, value in self._parameters.items():
            command += ['-p', f'{parameter}:={value}']
        ours = make_environment().items()
        is_ours = all(os.environ.get(name, value) == value for name, value in ours)
        middleware = _choose(spec.middleware) if is_ours else {}  # a user's choice stands
        with (self._logs / f'{spec.name}.log').open('wb') as log:
            return subprocess.Popen(
                command,
                env={**os.environ, **ENVIRONMENT, **middleware},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us alone; we end them in order
                preexec_fn=_die_with_parent if sys.platform == 'linux' else None,
            )

    def _last_words(self, name: str) -> str:
        lines = (self._logs / f'{name}.log').read_text(errors='replace').strip().splitlines()
        return f' ({lines[-1].strip()})' if lines else ''


def _die_with_parent() -> None:
    """Have the kernel end this process should its parent vanish without a word."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
