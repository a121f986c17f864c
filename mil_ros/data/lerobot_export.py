"""From recorded episodes to a LeRobot dataset, and proof that LeRobot reads the same back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
import json
import math
from pathlib import Path
from typing import Any, Final

import numpy as np

from mil_ros import __version__
from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.errors import ConfigError, DatasetError, EpisodeError, MilError
from mil_ros.core.images import resize_area
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Image
from mil_ros.data.episode import align_episode, AlignedEpisode, read_provenance
from mil_ros.data.gathering import find_episodes, read_label
from mil_ros.data.inspection import read_quality
from mil_ros.data.lerobot_library import (
    ACTION,
    create_dataset,
    IMAGES,
    LeRobotReader,
    open_dataset,
    read_frame,
    STATE,
    to_image,
)

AGES: Final = 'age_s'
PROVENANCE: Final = Path('meta', 'mil_ros.json')
_TIME_TOLERANCE_S: Final = 1e-4  # LeRobot's own
_MIN_PSNR_DB: Final = 20.0  # a picture of something else is below, what its codec leaves is above
_UNITS: Final = {STATE: 'rad', ACTION: 'rad/s', AGES: 's'}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How to export.

    Attributes:
        repo_id: What LeRobot calls the dataset, such as ``lab/cups``.
        is_lossless: Whether pictures are kept as they are (PNG), not as video.
        at_policy_size: Whether pictures are shrunk to what the policy sees.
        include_rejected: Whether to keep failures and what the recorder judged unfit.
    """

    repo_id: str
    is_lossless: bool = False
    at_policy_size: bool = False
    include_rejected: bool = False

    def image_size(self, robot: RobotDescription) -> tuple[int, int]:
        """Return height and width of the pictures."""
        if self.at_policy_size:
            return robot.policy.image_height, robot.policy.image_width
        return robot.camera.height, robot.camera.width


@dataclass(frozen=True, slots=True)
class Exported:
    """One episode of the dataset: where it came from and what is shown."""

    path: Path
    task: str
    steps: int


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What became of the episodes.

    Attributes:
        episodes: Those of the dataset, in its order.
        skipped: Why an episode was left out, by its path.
    """

    episodes: tuple[Exported, ...]
    skipped: dict[str, str]

    @property
    def tasks(self) -> dict[str, int]:
        """Episodes of each label."""
        return dict(Counter(episode.task for episode in self.episodes))

    @property
    def frames(self) -> int:
        """Frames of all episodes."""
        return sum(episode.steps for episode in self.episodes)


def describe_features(robot: RobotDescription, options: ExportOptions) -> dict[str, Any]:
    """Return the features of the dataset as LeRobot wants them described."""
    joints = robot.joint_names
    shape = (len(joints),)
    return {
        camera_key(robot): {
            'dtype': 'image' if options.is_lossless else 'video',
            'shape': (*options.image_size(robot), 3),
            'names': ['height', 'width', 'channels'],
        },
        STATE: {'dtype': 'float32', 'shape': shape, 'names': [f'{j}.pos' for j in joints]},
        ACTION: {'dtype': 'float32', 'shape': shape, 'names': [f'{j}.vel' for j in joints]},
        AGES: {'dtype': 'float32', 'shape': (3,), 'names': ['image', 'state', 'action']},
    }


def camera_key(robot: RobotDescription) -> str:
    """Return the feature of the images, named after the camera's namespace."""
    namespace, _, _ = robot.topics.image.strip('/').rpartition('/')
    return IMAGES + (namespace.replace('/', '_') or 'camera')


def export_episodes(
    folder: Path,
    robot: RobotDescription,
    root: Path,
    options: ExportOptions,
    on_episode: Callable[[], None] = lambda: None,
) -> ExportReport:
    """Write the episodes below a folder as a LeRobot dataset, aligned at the policy's rate.

    Episodes that cannot be used are passed over; the report says which and why.

    Args:
        folder: Where the episodes are.
        robot: The arm that they are of.
        root: Folder of the dataset, which must not exist.
        options: How.
        on_episode: Called after each episode.

    Raises:
        ConfigError: If the library is missing, or has no number for the policy's rate.
        DatasetError: If there is no episode, or none can be used.
    """
    paths = find_episodes(folder)
    writer = create_dataset(
        root,
        describe_features(robot, options),
        repo_id=options.repo_id,
        fps=_whole_rate(robot),
        robot_type=robot.name,
        use_videos=not options.is_lossless,
    )
    done: list[Exported] = []
    notes: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    for path in paths:
        try:
            provenance = read_provenance(path)
            label = _choose(provenance, options.include_rejected)
            aligned = align_episode(path, robot)
            frames = list(make_frames(aligned, options))  # all, before the first is written
        except MilError as err:
            skipped[str(path)] = str(err)
        else:
            for frame in frames:
                writer.add_frame({**frame, 'task': label})
            writer.save_episode()
            done.append(Exported(path, label, len(frames)))
            notes.append(_note(path, provenance, aligned))
        on_episode()
    writer.finalize()
    if not done:
        first = next(iter(skipped.values()))
        raise DatasetError(
            f'None of the {len(paths)} episodes below {folder} can be exported; expected at least '
            f'one. The first: {first}'
        )
    _write_provenance(root, robot, notes)
    return ExportReport(tuple(done), skipped)


def make_frames(aligned: AlignedEpisode, options: ExportOptions) -> Iterator[dict[str, Any]]:
    """Yield the frames of an episode as LeRobot takes them, without their task."""
    key = camera_key(aligned.robot)
    size = options.image_size(aligned.robot)
    for step, image in enumerate(aligned.images()):
        yield {
            key: np.ascontiguousarray(resize_area(image, *size)),
            STATE: aligned.positions[step].astype(np.float32),
            ACTION: aligned.velocities[step].astype(np.float32),
            AGES: aligned.ages_s[step].astype(np.float32),
        }


def check_export(
    root: Path,
    robot: RobotDescription,
    report: ExportReport,
    options: ExportOptions,
    on_episode: Callable[[], None] = lambda: None,
) -> float:
    """Read a dataset with LeRobot and compare every frame with its episode.

    Returns:
        The lowest peak signal-to-noise ratio of a picture, in dB; infinite if none differs.

    Raises:
        DatasetError: If anything differs but pictures by what a video loses.
    """
    dataset = open_dataset(root, options.repo_id)
    counts = (dataset.meta.total_episodes, len(dataset))
    expected_counts = (len(report.episodes), report.frames)
    if counts != expected_counts:
        raise _differs('the dataset', '(episodes, frames)', counts, expected_counts)
    lowest, first = math.inf, 0
    for number, episode in enumerate(report.episodes):
        aligned = align_episode(episode.path, robot)
        for step, expected in enumerate(make_frames(aligned, options)):
            expected |= {
                'task': episode.task,
                'episode_index': number,
                'frame_index': step,
                'timestamp': (aligned.moments_ns[step] - aligned.moments_ns[0]) / NS_PER_S,
            }
            psnr_db = _compare(dataset, first + step, expected, options.is_lossless)
            lowest = min(lowest, psnr_db)
        first += episode.steps
        on_episode()
    return lowest


def _compare(
    dataset: LeRobotReader, index: int, expected: Mapping[str, Any], is_lossless: bool
) -> float:
    """Compare one frame; returns the signal-to-noise ratio of its picture."""
    got = read_frame(dataset, index)
    psnr_db = math.inf
    for name, value in expected.items():
        if name.startswith(IMAGES):
            psnr_db = compute_psnr_db(value, to_image(got[name]))
            is_same = psnr_db == math.inf if is_lossless else psnr_db >= _MIN_PSNR_DB
        elif name == 'timestamp':
            is_same = bool(abs(got[name] - value) < _TIME_TOLERANCE_S)
        else:
            is_same = np.array_equal(got[name], value)
        if not is_same:
            if name.startswith(IMAGES):
                value, got[name] = 'that of the episode', f'at {psnr_db:.1f} dB from it'
            raise _differs(f'frame {index}', name, got[name], value)
    return psnr_db


def compute_psnr_db(image: Image, other: Image) -> float:
    """Return the peak signal-to-noise ratio between two images, infinite if they are equal."""
    error = np.mean((image.astype(np.float64) - other) ** 2)
    return 10.0 * math.log10(255.0**2 / error) if error else math.inf


def _differs(where: str, what: str, got: object, expected: object) -> DatasetError:
    return DatasetError(
        f'LeRobot reads {what} of {where} as {got}, expected {expected}; no dataset was made. Try '
        '--lossless or another version of lerobot.'
    )


def _whole_rate(robot: RobotDescription) -> int:
    rate_hz = robot.policy.rate_hz
    if rate_hz != round(rate_hz):
        raise ConfigError(
            f'Robot {robot.name!r} has policy.rate_hz {rate_hz:g}; expected a whole number, for '
            'LeRobot counts frames per second so. Change the rate in the robot file.'
        )
    return round(rate_hz)


def _choose(provenance: Mapping[str, str], include_rejected: bool) -> str:
    """Return the task of an episode that is wanted."""
    label = read_label(provenance, include_failures=include_rejected)
    if provenance.get('verdict') == 'reject' and not include_rejected:
        reasons = read_quality(dict(provenance)).get('reasons') or ['it does not say why']
        raise EpisodeError(f'the recorder judged it unfit: {reasons[0]}')
    return label


def _note(path: Path, provenance: Mapping[str, str], aligned: AlignedEpisode) -> dict[str, Any]:
    """Return what LeRobot's format has no place for."""
    kept = {key: value for key, value in provenance.items() if key != 'quality'}
    return {'episode': path.name, 'start_ns': int(aligned.moments_ns[0]), **kept}


def _write_provenance(root: Path, robot: RobotDescription, notes: list[dict[str, Any]]) -> None:
    document = {
        'software': f'mil_ros {__version__}',
        'robot': robot.name,
        'robot_sha256': robot.sha256,
        'units': _UNITS,
        'episodes': notes,
    }
    (root / PROVENANCE).write_text(json.dumps(document, indent=2) + '\n')
