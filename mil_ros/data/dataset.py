"""Datasets for meta-training: many tasks, each with several aligned demonstrations.

On disk a dataset is ``dataset.json`` and one ``.npy`` file per task under ``tasks/``, an array
(K, T) of records: ``images`` (H, W, 3) uint8, ``joint_positions`` and ``joint_velocities`` (J,)
float32. The files are mapped, not read: a training step touches only the frames that it draws.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from io import BytesIO
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.errors import DatasetError
from mil_ros.core.types import COMMANDED, Demo

_MAPPED_TASKS = 800  # each keeps a file open, of which a process may usually have 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """What a dataset holds and how to make it again.

    Where demonstrations differ in the source of their actions, all sources are named.
    """

    task: str
    split: str
    seed: int
    tasks: int
    demos: int
    robot: str
    robot_sha256: str
    joint_names: tuple[str, ...]
    rate_hz: float
    image_height: int
    image_width: int
    action_sources: tuple[str, ...] = (COMMANDED,)


def task_path(directory: Path, index: int) -> Path:
    """Return where task `index` is stored."""
    return directory / 'tasks' / f'{index:06d}.npy'


def save_info(directory: Path, info: DatasetInfo) -> None:
    """Write ``dataset.json``; a folder that already holds another dataset is refused.

    Raises:
        DatasetError: If `directory` holds a dataset collected with other settings, or cannot be
            written to.
    """
    file = directory / 'dataset.json'
    if file.exists():
        old = load_info(directory)
        changed = [k for k, v in asdict(info).items() if asdict(old)[k] != v and k != 'tasks']
        if changed:
            raise DatasetError(
                f'{directory} holds a dataset with other {", ".join(changed)}; '
                'choose another --out or delete the folder.'
            )
    try:
        (directory / 'tasks').mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(asdict(info), indent=2).encode())
    except OSError as err:
        raise DatasetError(
            f'Cannot write a dataset to {directory} ({err.strerror}); expected a folder on a disk '
            'with free space, choose another --out.'
        ) from err


def load_info(directory: Path) -> DatasetInfo:
    """Read ``dataset.json``.

    Raises:
        DatasetError: If it is missing or not such a file.
    """
    file = directory / 'dataset.json'
    try:
        document: dict[str, Any] = json.loads(file.read_text())
        document['joint_names'] = tuple(document['joint_names'])
        if 'action_sources' in document:  # those of old collect commands alone
            document['action_sources'] = tuple(document['action_sources'])
        return DatasetInfo(**document)
    except FileNotFoundError:
        raise DatasetError(
            f'No dataset in {directory}: expected dataset.json; collect one with `mil collect`.'
        ) from None
    except (ValueError, TypeError, KeyError) as err:
        raise DatasetError(f'{file} is not a dataset description: {err}') from err


def save_task(directory: Path, index: int, demos: list[Demo]) -> None:
    """Write one task; either the whole file appears or none.

    Raises:
        DatasetError: If it cannot be written, such as on a full disk.
    """
    path = task_path(directory, index)
    first = demos[0]
    fields = [
        ('images', np.uint8, first.images.shape[1:]),
        ('joint_positions', np.float32, first.joint_positions.shape[1:]),
        ('joint_velocities', np.float32, first.joint_velocities.shape[1:]),
    ]
    records = np.empty((len(demos), len(first)), dtype=fields)
    for name, *_ in fields:
        records[name] = np.stack([getattr(demo, name) for demo in demos])
    content = BytesIO()  # into a file, numpy writes by itself and does not say what went wrong
    np.save(content, records)
    try:
        write_atomically(path, content.getbuffer())
    except OSError as err:
        raise DatasetError(
            f'Cannot write {path} ({err.strerror}); the tasks before it are whole. Free some '
            'space and run the same command again, it goes on from there.'
        ) from err


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Replace a file so that a reader sees the old or the new content, never a part.

    Raises:
        OSError: If that fails; the old file stands and nothing else is left.
    """
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


@dataclass(frozen=True, eq=False, slots=True)
class TaskData:
    """The demonstrations of one task.

    Attributes:
        images: RGB frames, mapped from disk, (K, T, H, W, 3) uint8.
        joint_positions: (K, T, J) in rad.
        joint_velocities: Demonstrated actions, (K, T, J) in rad/s.
    """

    images: NDArray[np.uint8]
    joint_positions: NDArray[np.float32]
    joint_velocities: NDArray[np.float32]


class Dataset:
    """Read access to a dataset; a task is mapped and checked when asked for, the latest stay."""

    def __init__(self, directory: Path) -> None:
        """Open a dataset.

        Raises:
            DatasetError: If it is missing, or tasks are missing or too few demos are in one.
        """
        self.directory = directory
        self.info = load_info(directory)
        self._tasks: dict[int, TaskData] = {}
        missing = [i for i in range(self.info.tasks) if not task_path(directory, i).exists()]
        if missing:
            raise DatasetError(
                f'{directory} lacks {len(missing)} of {self.info.tasks} tasks (first: '
                f'{missing[0]}); run the same `mil collect` again, it resumes.'
            )
        if self.info.demos < 2:
            raise DatasetError(
                f'{directory} has {self.info.demos} demos per task; meta-training needs at least '
                '2, one to adapt to and one to judge by.'
            )

    def __len__(self) -> int:
        return self.info.tasks

    @cached_property
    def steps(self) -> int:
        """Time steps of every demonstration, T."""
        return int(self._read(0).images.shape[1])

    def shape(self, index: int) -> tuple[int, int]:
        """Return how many demonstrations task `index` has and their time steps, (K, T)."""
        return self.info.demos, self.steps

    def load(self, index: int) -> TaskData:
        """Return one task.

        Raises:
            DatasetError: If its file is damaged or of the wrong shape.
        """
        if index in self._tasks:
            return self._tasks[index]
        data = self._read(index)
        if data.images.shape[1] != self.steps:
            raise DatasetError(
                f'{task_path(self.directory, index)} has demonstrations of '
                f'{data.images.shape[1]} steps, the first task has {self.steps}; expected one '
                'length, delete it and run `mil collect` again.'
            )
        self._tasks[index] = data
        while len(self._tasks) > _MAPPED_TASKS:
            del self._tasks[next(iter(self._tasks))]
        return data

    def _read(self, index: int) -> TaskData:
        path = task_path(self.directory, index)
        try:
            records = np.load(path, mmap_mode='r', allow_pickle=False)
            data = TaskData(
                np.asarray(records['images']),  # still mapped, but quicker to index
                np.array(records['joint_positions']),
                np.array(records['joint_velocities']),
            )
        except (OSError, ValueError, IndexError, EOFError) as err:
            raise DatasetError(
                f'{path} is damaged ({err}); delete it and run `mil collect` again.'
            ) from err
        expected = (self.info.demos, self.info.image_height, self.info.image_width)
        got = (data.images.shape[0], *data.images.shape[2:4])
        if got != expected:
            raise DatasetError(
                f'{path} has (demos, height, width) {got}, expected {expected}; '
                'delete it and run `mil collect` again.'
            )
        actions = data.joint_velocities
        joints = (*data.images.shape[:2], len(self.info.joint_names))
        if not data.joint_positions.shape == actions.shape == joints:
            raise DatasetError(
                f'{path} has joint positions {data.joint_positions.shape} and velocities '
                f'{actions.shape}, expected (demos, steps, joints) {joints} for '
                f'{list(self.info.joint_names)}; delete it and run `mil collect` again.'
            )
        if not (np.isfinite(actions).all() and np.isfinite(data.joint_positions).all()):
            raise DatasetError(
                f'{path} holds non-finite numbers; delete it and run `mil collect` again.'
            )
        return data
