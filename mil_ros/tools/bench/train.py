"""Meta-training: tasks per second on one core, beside other libraries, and the memory it takes.

Our trainer and each peer are a process of their own, with one thread, and take turns step by
step, so that whatever else the machine does meets all alike. All train the same network from the
same parameters on the same batches of random frames. What counts is processor time, forward,
backward, second order and the outer step. Ours draws its frames from files that are in memory;
the peers get theirs ready-made. Ours is compiled and convolves in the precision that is fastest
on the machine, as ``make train`` has it, the peers in float32, as one would write it:
``ratio_bfloat16`` and ``ratio_float32`` tell what either precision gives, ``ratio_eager`` what is
left without compiling. Compiling does not count; it takes half a minute.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
import statistics
import tempfile
import time
from typing import TYPE_CHECKING

import numpy as np

from mil_ros.core.errors import ConfigError, MilError
from mil_ros.core.types import Demo
from mil_ros.data.dataset import Dataset, DatasetInfo, save_info, save_task
from mil_ros.tools.bench.rows import at_least, at_most, plain, Row
from mil_ros.tools.output import track

if TYPE_CHECKING:
    from mil_ros.learning.config import MilConfig

OURS = 'mil'
OTHERS_OF_OURS = ('mil_bfloat16', 'mil_float32', 'mil_eager')
_RATIO_LIMIT = 3.0
_PEAK_LIMIT_GIB = 4.0
_WARM_UP_STEPS = 2


@dataclass(frozen=True, slots=True)
class Contender:
    """What was measured of one trainer.

    Attributes:
        seconds: Processor time of each step.
        peak_gib: Most memory that was resident.
    """

    seconds: list[float]
    peak_gib: float


def bench_train(args: argparse.Namespace) -> list[Row]:
    """Measure how fast and in how much memory the shipped configuration trains.

    Raises:
        ConfigError: If there are too few steps to measure.
        MilError: If a peer is not installed.
    """
    from mil_ros.learning.config import MilConfig
    from mil_ros.learning.precision import fastest_precision

    config = MilConfig(compiled=True, precision=fastest_precision('cpu'))
    return rows_of(measure(config, args.steps), config.meta_batch)


def rows_of(measured: dict[str, Contender], meta_batch: int) -> list[Row]:
    """Return the figures of `measure`, in tasks a second of processor time."""
    speeds = {n: meta_batch / statistics.median(c.seconds) for n, c in measured.items()}
    fastest = max(speed for name, speed in speeds.items() if not name.startswith(OURS))
    rows = [plain(f'{name}_tasks_per_s', speed, 'tasks/s') for name, speed in speeds.items()]
    rows.append(at_least('ratio', speeds[OURS] / fastest, '', _RATIO_LIMIT))
    for name in OTHERS_OF_OURS:
        rows.append(plain(name.replace(OURS, 'ratio'), speeds[name] / fastest, ''))
    rows += [plain(f'{n}_spread_percent', _spread(c.seconds), '%') for n, c in measured.items()]
    rows.append(at_most('peak_gib', measured[OURS].peak_gib, 'GiB', _PEAK_LIMIT_GIB))
    return rows


def measure(config: MilConfig, steps: int) -> dict[str, Contender]:
    """Train with every contender in turns, after some steps that do not count.

    Args:
        config: Network and training.
        steps: Meta-training steps that each takes.

    Raises:
        ConfigError: If `steps` is below 2, which have no spread.
        MilError: If a contender stops, with its reason on standard error.
    """
    from mil_ros.learning.peers import check_installed, PEERS

    for name in PEERS:
        check_installed(name)
    if steps < 2:
        raise ConfigError(f'Got --steps {steps}; expected at least 2.')
    config = replace(config, steps=steps + _WARM_UP_STEPS)
    precisions = [replace(config, precision=name) for name in ('bfloat16', 'float32')]
    others = (*precisions, replace(config, compiled=False))
    configs = {OURS: config} | dict(zip(OTHERS_OF_OURS, others, strict=True))
    configs |= dict.fromkeys(PEERS, replace(config, precision='float32', compiled=False))
    with tempfile.TemporaryDirectory() as folder, _start(Path(folder), configs) as contenders:
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in track(range(config.steps), 'meta-training steps', config.steps):
            for name, connection in contenders.items():
                seconds[name].append(_ask(name, connection))
        peaks = {name: _ask(name, connection) for name, connection in contenders.items()}
    return {n: Contender(seconds[n][_WARM_UP_STEPS:], peaks[n]) for n in contenders}


def write_random_dataset(directory: Path, config: MilConfig) -> None:
    """Write just enough tasks of random frames for meta-batches of `config`."""
    joints = tuple(f'joint{i + 1}' for i in range(config.joints))
    info = DatasetInfo(
        task='random',
        split='train',
        seed=config.seed,
        tasks=config.meta_batch,
        demos=config.shots + 1,
        robot='none',
        robot_sha256='0' * 64,
        joint_names=joints,
        rate_hz=10.0,
        image_height=config.image_height,
        image_width=config.image_width,
    )
    save_info(directory, info)
    rng = np.random.default_rng(config.seed)
    frames = (max(config.frames, config.trial_frames), config.image_height, config.image_width, 3)
    motion = (frames[0], config.joints)
    for index in range(info.tasks):
        demos = [
            Demo(
                rng.integers(0, 256, frames, dtype=np.uint8),
                rng.normal(size=motion).astype(np.float32),
                rng.normal(size=motion).astype(np.float32),
            )
            for _ in range(info.demos)
        ]
        save_task(directory, index, demos)


@contextmanager
def _start(folder: Path, configs: dict[str, MilConfig]) -> Iterator[dict[str, Connection]]:
    """Run a process per contender, which takes a step whenever it is asked."""
    write_random_dataset(folder, configs[OURS])
    context = multiprocessing.get_context('spawn')
    connections, processes = {}, []
    try:
        for name, config in configs.items():
            connections[name], theirs = context.Pipe()
            process = context.Process(target=_contend, args=(name, folder, config, theirs))
            process.start()
            processes.append(process)
            theirs.close()
        yield connections
    finally:
        for connection in connections.values():
            connection.close()
        for process in processes:
            process.join()


def _ask(name: str, connection: Connection) -> float:
    try:
        connection.send(None)
        return float(connection.recv())
    except (EOFError, OSError):
        raise MilError(f'{name} stopped; its reason is above.') from None


def _contend(name: str, folder: Path, config: MilConfig, connection: Connection) -> None:
    """Be one contender: answer with the processor time of each step, at last with the peak."""
    import torch

    torch.set_num_threads(1)

    def answer(seconds: float) -> None:
        connection.send(seconds)
        connection.recv()

    train = _train_ours if name.startswith(OURS) else _train_peer
    try:
        connection.recv()
        train(name, Dataset(folder), config, answer)
        connection.send(_read_peak_gib())
    except (EOFError, OSError):  # nobody asks any more
        pass


def _train_ours(
    name: str, dataset: Dataset, config: MilConfig, answer: Callable[[float], None]
) -> None:
    from mil_ros.learning.trainer import StepReport, Trainer

    trainer = Trainer(dataset, config)
    began_s = time.process_time()

    def report(_: StepReport) -> None:
        nonlocal began_s
        answer(time.process_time() - began_s)
        began_s = time.process_time()

    trainer.run(dataset.directory / f'{name}.safetensors', report)


def _train_peer(
    name: str, dataset: Dataset, config: MilConfig, answer: Callable[[float], None]
) -> None:
    from mil_ros.learning.batches import Normaliser, sample_meta_batch
    from mil_ros.learning.inner_step import init_step_sizes
    from mil_ros.learning.network import init_params
    from mil_ros.learning.peers import PEERS, split_tasks

    params = init_params(config)
    peer = PEERS[name](params, init_step_sizes(params, config), config)
    normaliser = Normaliser.from_dataset(dataset)
    for step in range(config.steps):
        demos, trials = map(split_tasks, sample_meta_batch(dataset, normaliser, config, step))
        began_s = time.process_time()
        peer.train_step(demos, trials)
        answer(time.process_time() - began_s)


def _spread(seconds: list[float]) -> float:
    """Return the range of the middle half of the steps, in percent of the median."""
    low, middle, high = statistics.quantiles(seconds, n=4)
    return 100.0 * (high - low) / middle


def _read_peak_gib() -> float:
    """Return the most memory that this process has had resident.

    ``getrusage`` would count what the parent had when it started this one.
    """
    lines = Path('/proc/self/status').read_text().splitlines()
    (peak,) = (line for line in lines if line.startswith('VmHWM'))
    return int(peak.split()[1]) / 2**20  # kB
