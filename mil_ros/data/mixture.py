"""Several datasets trained on as one, such as simulated demonstrations and those of an arm."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import accumulate
from pathlib import Path

from mil_ros.core.errors import DatasetError
from mil_ros.data.dataset import Dataset, DatasetInfo, TaskData

_MUST_AGREE = ('joint_names', 'rate_hz', 'image_height', 'image_width')


class Mixture(Dataset):
    """The tasks of all parts, one after the other; each keeps its own length and number."""

    def __init__(self, parts: list[Dataset]) -> None:
        """Join datasets of the same joints, rate and image size.

        Raises:
            DatasetError: If they differ in these.
        """
        for part in parts[1:]:
            _check_agreement(parts[0], part)
        self._parts = parts
        self._ends = list(accumulate(len(part) for part in parts))
        self.directory = parts[0].directory
        self.info = _describe([part.info for part in parts])

    @property
    def steps(self) -> int:
        """Time steps of the shortest demonstrations, T."""
        return min(part.steps for part in self._parts)

    def shape(self, index: int) -> tuple[int, int]:
        """Return how many demonstrations task `index` has and their time steps, (K, T)."""
        part, inner = self._find(index)
        return part.shape(inner)

    def load(self, index: int) -> TaskData:
        """Return one task; see `Dataset.load`."""
        part, inner = self._find(index)
        return part.load(inner)

    def _find(self, index: int) -> tuple[Dataset, int]:
        begin = 0
        for part, end in zip(self._parts, self._ends, strict=True):
            if index < end:
                return part, index - begin
            begin = end
        raise IndexError(index)


def open_datasets(directories: list[Path]) -> Dataset:
    """Open one dataset, or several as one.

    Raises:
        DatasetError: If one is missing or damaged, or they do not go together.
    """
    parts = [Dataset(directory) for directory in directories]
    return parts[0] if len(parts) == 1 else Mixture(parts)


def _describe(infos: list[DatasetInfo]) -> DatasetInfo:
    return replace(
        infos[0],
        task='+'.join(dict.fromkeys(info.task for info in infos)),
        tasks=sum(info.tasks for info in infos),
        demos=min(info.demos for info in infos),
        action_sources=tuple(sorted({s for info in infos for s in info.action_sources})),
    )


def _check_agreement(first: Dataset, other: Dataset) -> None:
    mine, theirs = asdict(first.info), asdict(other.info)
    different = [
        f'{name} {theirs[name]!r} instead of {mine[name]!r}'
        for name in _MUST_AGREE
        if mine[name] != theirs[name]
    ]
    if different:
        raise DatasetError(
            f'{other.directory} does not go with {first.directory}: it has '
            f'{", ".join(different)}; expected the same joints, rate and image size, train on '
            'them apart or collect one anew.'
        )
