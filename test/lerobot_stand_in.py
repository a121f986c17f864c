"""Stands in for ``LeRobotDataset`` of lerobot 0.4 to 0.6: its signatures, its checks, its traps.

Where the library is installed, the same tests run on it too.
"""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

COUNTED = ('timestamp', 'frame_index', 'episode_index', 'index', 'task_index')
STEP = 8  # to which a video rounds; the library's codec loses more, or less


class LeRobotDataset:
    """Keeps whole episodes in one file; pictures of dtype video lose something."""

    def __init__(
        self,
        repo_id: str,
        root: str | Path | None = None,
        episodes: list[int] | None = None,
        image_transforms: Callable[..., Any] | None = None,
        delta_timestamps: dict[str, list[float]] | None = None,
        tolerance_s: float = 1e-4,
        revision: str | None = None,
        force_cache_sync: bool = False,
        download_videos: bool = True,
        video_backend: str | None = None,
    ) -> None:
        assert root is not None
        self.repo_id, self.root = repo_id, Path(root)
        info = json.loads((self.root / 'meta/info.json').read_text())
        rows = np.load(self.root / 'data/rows.npy', allow_pickle=True)  # absent until finalize()
        self._rows = list(rows)
        self.meta = SimpleNamespace(**info)

    @classmethod
    def create(
        cls,
        repo_id: str,
        fps: int,
        features: dict[str, Any],
        root: str | Path | None = None,
        robot_type: str | None = None,
        use_videos: bool = True,
    ) -> LeRobotDataset:
        assert root is not None
        assert all('/' not in name for name in features)
        assert use_videos or all(f['dtype'] != 'video' for f in features.values())
        self = cls.__new__(cls)
        self.repo_id, self.root = repo_id, Path(root)
        self.root.mkdir(parents=True, exist_ok=False)
        (self.root / 'meta').mkdir()
        self._rows = []
        self._frames: list[dict[str, Any]] = []
        self.meta = SimpleNamespace(
            codebase_version='v3.0',
            fps=fps,
            features=features,
            robot_type=robot_type,
            total_episodes=0,
            episodes=[],
        )
        return self

    def add_frame(self, frame: dict[str, Any]) -> None:
        features = self.meta.features
        if set(frame) != {*features, 'task'}:
            raise ValueError(f'Feature mismatch in `frame` dictionary: {sorted(frame)}')
        row = {'task': frame.pop('task')}  # as the library does
        for name, value in frame.items():
            dtype, shape = features[name]['dtype'], features[name]['shape']
            is_picture = dtype in ('image', 'video')
            wanted = np.uint8 if is_picture else np.dtype(dtype)
            if value.dtype != wanted or value.shape != shape:
                raise ValueError(f'{name} is {value.dtype} {value.shape}, not {wanted} {shape}')
            row[name] = value // STEP * STEP if dtype == 'video' else value.copy()
        self._frames.append(row)

    def save_episode(self, episode_data: dict[str, Any] | None = None) -> None:
        begin, number = len(self._rows), self.meta.total_episodes
        for i, row in enumerate(self._frames):
            times = (i / self.meta.fps, i, number, begin + i, 0)
            self._rows.append(row | dict(zip(COUNTED, times)))
        tasks = list(dict.fromkeys(row['task'] for row in self._frames))
        span = {'dataset_from_index': begin, 'dataset_to_index': len(self._rows)}
        self.meta.episodes.append({'tasks': tasks, **span})
        self.meta.total_episodes += 1
        self._frames = []

    def finalize(self) -> None:
        (self.root / 'meta/info.json').write_text(json.dumps(vars(self.meta)))
        (self.root / 'data').mkdir()
        rows = np.empty(len(self._rows), dtype=object)
        rows[:] = self._rows
        np.save(self.root / 'data/rows.npy', rows, allow_pickle=True)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        return {key: self._to_tensor(key, value) for key, value in self._rows[idx].items()}

    def _to_tensor(self, key: str, value: Any) -> Any:
        if isinstance(value, str):
            return value
        tensor = torch.tensor(value)
        is_picture = self.meta.features.get(key, {}).get('dtype') in ('image', 'video')
        return tensor.permute(2, 0, 1) / 255.0 if is_picture else tensor


def install(patch: pytest.MonkeyPatch) -> type[LeRobotDataset]:
    """Let ``import lerobot`` find this class, a copy of it that a test may break."""
    copy = type('LeRobotDataset', (LeRobotDataset,), {})
    for name in ('lerobot', 'lerobot.datasets', 'lerobot.datasets.lerobot_dataset'):
        module = ModuleType(name)
        module.__dict__['LeRobotDataset'] = copy
        patch.setitem(sys.modules, name, module)
    return copy
