"""The LeRobot library, as far as it is used here; imported only when asked for.

Its dataset format v3 came with lerobot 0.4. What is called here has had the same names and
arguments from 0.4.0 to 0.6.1.
"""

from __future__ import annotations

from collections.abc import Mapping
import json
import os
from pathlib import Path
from typing import Any, Final, Protocol
import warnings

import numpy as np

from mil_ros.core.errors import ConfigError, DatasetError
from mil_ros.core.types import Image

FORMAT: Final = 'v3.'
STATE: Final = 'observation.state'
ACTION: Final = 'action'
IMAGES: Final = 'observation.images.'
_INFO: Final = Path('meta', 'info.json')

# PyAV comes with the library and brings FFmpeg along. The library's own choice, torchcodec, wants
# the system's FFmpeg, and without it fails only when the first picture is read.
_DECODER: Final = 'pyav'
_QUIET: Final = {'SVT_LOG': '1', 'HF_DATASETS_DISABLE_PROGRESS_BARS': '1'}  # errors alone


class LeRobotMetadata(Protocol):
    """What a dataset says about itself."""

    fps: int
    features: dict[str, dict[str, Any]]
    total_episodes: int
    episodes: Any  # of each: dataset_from_index, dataset_to_index, tasks


class LeRobotReader(Protocol):
    """A dataset to read: a frame is a dict of tensors, and `task`."""

    meta: LeRobotMetadata

    def __len__(self) -> int: ...

    def __getitem__(self, idx: int) -> dict[str, Any]: ...


class LeRobotWriter(Protocol):
    """A dataset to write, frame by frame and episode by episode."""

    def add_frame(self, frame: dict[str, Any]) -> None:
        """Append a frame to the episode that is being written; takes `task` out of it."""

    def save_episode(self) -> None:
        """End the episode."""

    def finalize(self) -> None:
        """End the files; without it they cannot be read."""


def load_library() -> Any:
    """Return the class ``LeRobotDataset``.

    Raises:
        ConfigError: If the library is missing or too old.
    """
    os.environ.update(_QUIET | os.environ)
    warnings.filterwarnings('ignore', 'Cannot enable progress bars')
    try:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset
    except ImportError as err:
        raise ConfigError(
            f'The LeRobot library cannot be imported ({err}); expected lerobot 0.4 or newer. '
            "Install it with `pip install 'mil_ros[lerobot]'`, in an environment of its own, for "
            'it wants another torch.'
        ) from err
    if not hasattr(LeRobotDataset, 'finalize'):
        raise ConfigError(
            'The LeRobot library is too old for its dataset format v3; expected lerobot 0.4 or '
            "newer, install it with `pip install --upgrade 'mil_ros[lerobot]'`."
        )
    return LeRobotDataset


def create_dataset(
    root: Path,
    features: Mapping[str, Mapping[str, Any]],
    *,
    repo_id: str,
    fps: int,
    robot_type: str,
    use_videos: bool,
) -> LeRobotWriter:
    """Begin a dataset in a folder that does not exist yet.

    Raises:
        ConfigError: If the library is missing or too old.
    """
    writer: LeRobotWriter = load_library().create(
        repo_id=repo_id,
        fps=fps,
        features={name: dict(feature) for name, feature in features.items()},
        root=root,
        robot_type=robot_type,
        use_videos=use_videos,
    )
    return writer


def open_dataset(root: Path, repo_id: str = 'local/dataset') -> LeRobotReader:
    """Open a dataset on this disk; the library would look for a missing one on the Hub.

    Raises:
        ConfigError: If the library is missing or too old.
        DatasetError: If there is no dataset, or it is of another version or damaged.
    """
    _check_version(root)
    library = load_library()
    try:
        reader: LeRobotReader = library(repo_id, root=root, video_backend=_DECODER)
    except Exception as err:  # the library raises what its many dependencies do
        raise DatasetError(
            f'LeRobot cannot read {root} ({type(err).__name__}: {" ".join(str(err).split())}); '
            'expected a whole dataset of format v3, download or export it again.'
        ) from err
    return reader


def read_frame(dataset: LeRobotReader, index: int) -> dict[str, Any]:
    """Return one frame, its tensors as arrays.

    Raises:
        DatasetError: If it cannot be read.
    """
    try:
        frame = dataset[index]
    except Exception as err:  # as above
        raise DatasetError(
            f'LeRobot cannot read frame {index} ({type(err).__name__}: '
            f'{" ".join(str(err).split())}); the dataset is damaged, download or export it again.'
        ) from err
    return {k: v if isinstance(v, str) else np.asarray(v) for k, v in frame.items()}


def to_image(picture: np.ndarray) -> Image:
    """Return a picture as the library gives it, (3, H, W) in [0, 1], as RGB, (H, W, 3) uint8."""
    return np.ascontiguousarray((picture * 255.0).round().astype(np.uint8).transpose(1, 2, 0))


def _check_version(root: Path) -> None:
    try:
        version = str(json.loads((root / _INFO).read_text())['codebase_version'])
    except FileNotFoundError:
        raise DatasetError(
            f'No LeRobot dataset in {root}: expected {_INFO}; give the folder that holds data/, '
            'meta/ and videos/.'
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise DatasetError(
            f'{root / _INFO} cannot be read ({type(err).__name__}: {err}); expected what LeRobot '
            'writes there, download or export the dataset again.'
        ) from err
    if not version.startswith(FORMAT):
        raise DatasetError(
            f'{root} is a LeRobot dataset of format {version}, expected v3; convert it with the '
            'script of LeRobot, convert_dataset_v21_to_v30.'
        )
