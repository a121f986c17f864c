"""From a LeRobot dataset to one that ``mil train`` reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.alignment import Stream
from mil_ros.core.errors import DatasetError, DemoError, MilError
from mil_ros.core.images import resize_area
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Demo, Image
from mil_ros.data.action import find_motion
from mil_ros.data.episode import check_length
from mil_ros.data.gathering import GatherReport, save_by_label
from mil_ros.data.lerobot_library import (
    ACTION,
    LeRobotMetadata,
    LeRobotReader,
    open_dataset,
    read_frame,
    STATE,
    to_image,
)
from mil_ros.data.video_import import Crop

_TIME_TOLERANCE_S: Final = 1e-4  # LeRobot's own
_ROUNDING: Final = 1e-6  # of a frame
_BEYOND_LIMITS_RAD: Final = 0.1  # a calibration may be off by so much; degrees are off by more
_BEYOND_RATING: Final = 2.0  # times the rated speed; degrees per second are 57 times


class ActionKind(Enum):
    """What the numbers of an action mean."""

    VELOCITY = 'velocity'  # rad/s
    POSITION = 'position'  # rad, where the joints shall be


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How to import.

    Attributes:
        name: What the dataset calls its family of tasks.
        demos: Demonstrations per task, K.
        steps: Time steps of each, T.
        action_kind: What the actions are; None if their names must say it.
        camera: Feature of the images; None if there is just one.
    """

    name: str
    demos: int
    steps: int
    action_kind: ActionKind | None = None
    camera: str | None = None


@dataclass(frozen=True, slots=True)
class Columns:
    """Where in a LeRobot dataset the arm's data are.

    Attributes:
        camera: Feature of the images.
        crop: The part of them to use: the middle, in the aspect of the robot's camera.
        state: Of each joint of the robot file, its place in the state.
        action: Likewise in the action.
        action_kind: What the action means.
        unused: What the dataset has besides, by name.
    """

    camera: str
    crop: Crop
    state: list[int]
    action: list[int]
    action_kind: ActionKind
    unused: tuple[str, ...]


def import_dataset(
    root: Path,
    robot: RobotDescription,
    out: Path,
    options: ImportOptions,
    on_episode: Callable[[], None] = lambda: None,
    on_start: Callable[[int], None] = lambda count: None,
) -> tuple[GatherReport, Columns]:
    """Make a dataset of a LeRobot dataset; episodes with the same task are one task.

    Each episode is brought to the policy's rate by its timestamps, as of each moment, from its
    first commanded motion on, and spread over one number of steps. What cannot be used is passed
    over; the report says what and why.

    Args:
        root: Folder of the LeRobot dataset.
        robot: The arm that it is of.
        out: Folder of the dataset to make.
        options: How.
        on_episode: Called after each episode.
        on_start: Called with the number of episodes.

    Raises:
        ConfigError: If the library is missing.
        DatasetError: If it does not fit the robot, or no task has enough episodes.
    """
    dataset = open_dataset(root)
    columns = find_columns(dataset, robot, options)
    if dataset.meta.fps < robot.policy.rate_hz:
        raise DatasetError(
            f'{root} has {dataset.meta.fps} frames a second, the policy of {robot.name!r} acts '
            f'{robot.policy.rate_hz:g} times; expected at least as many, for frames cannot be '
            'invented.'
        )
    by_task: dict[str, list[Demo]] = {}
    skipped: dict[str, str] = {}
    on_start(dataset.meta.total_episodes)
    for number in range(dataset.meta.total_episodes):
        try:
            label = _read_label(dataset.meta, number)
            kept = by_task.setdefault(label, [])
            if len(kept) >= options.demos:
                skipped[f'episode {number}'] = (
                    f'task {label!r} has its {options.demos} demonstrations already'
                )
            else:
                demo = load_lerobot_demo(dataset, number, robot, columns)
                kept.append(demo.subsample(options.steps))
        except MilError as err:
            skipped[f'episode {number}'] = str(err)
        on_episode()
    report = save_by_label(by_task, skipped, robot, out, name=options.name, demos=options.demos)
    return report, columns


def find_columns(
    dataset: LeRobotReader, robot: RobotDescription, options: ImportOptions
) -> Columns:
    """Find the robot's joints and camera in a dataset.

    Raises:
        DatasetError: If one is missing, or it is not said what the actions are.
    """
    features = dataset.meta.features
    camera, unused = _find_camera(features, options.camera)
    state, rest = _find_joints(features, STATE, ('.pos', ''), robot)
    unused += rest
    action, rest = _find_joints(features, ACTION, ('.vel', '.pos', ''), robot)
    unused += rest
    names = [_names(features, ACTION)[i] for i in action]
    return Columns(
        camera,
        Crop.centre(to_image(read_frame(dataset, 0)[camera]), robot),
        state,
        action,
        _find_kind(names, options.action_kind),
        tuple(unused),
    )


def load_lerobot_demo(
    dataset: LeRobotReader, number: int, robot: RobotDescription, columns: Columns
) -> Demo:
    """Return the demonstration of an episode, at the policy's rate.

    Raises:
        DatasetError: If it cannot be read, or its times make no sense.
        DemoError: If it holds too little motion, or numbers that the arm cannot have done.
    """
    row, fps = dataset.meta.episodes[number], dataset.meta.fps
    begin, end = int(row['dataset_from_index']), int(row['dataset_to_index'])
    picked = pick_frames(end - begin, fps, robot.policy.rate_hz)
    frames = [read_frame(dataset, begin + index) for index in picked]
    for frame, index in zip(frames, picked):
        _check_time(frame, number, index / fps)
    positions = np.stack([frame[STATE][columns.state] for frame in frames]).astype(np.float64)
    velocities = np.stack([frame[ACTION][columns.action] for frame in frames]).astype(np.float64)
    if columns.action_kind is ActionKind.POSITION:
        # What the arm is told to do until the next moment; nobody knows it for the last one.
        velocities = np.diff(velocities, axis=0) * fps / np.diff(picked)[:, None]
    _check_units(positions, velocities, robot)
    steps = len(velocities)
    try:
        first, _ = find_motion(Stream(ACTION, np.arange(steps), math.inf), velocities)
        check_length(steps - first, robot.policy.rate_hz)
    except DemoError as err:
        raise DemoError(f'Episode {number}: {err}') from err
    return Demo(
        np.stack([_to_policy(frame, robot, columns) for frame in frames[first:steps]]),
        positions[first:steps].astype(np.float32),
        velocities[first:].astype(np.float32),
    )


def pick_frames(count: int, fps: int, rate_hz: float) -> NDArray[np.int64]:
    """Return which of `count` evenly spaced frames is the newest at each moment of the policy.

    In frames, not in ns: a stamp that is rounded up by one would hide the very frame of a moment.

    Args:
        count: Frames of the episode.
        fps: Frames a second, at least `rate_hz`.
        rate_hz: Moments a second.
    """
    ratio = fps / rate_hz
    moments = np.arange(math.floor((count - 1) / ratio + _ROUNDING) + 1)
    return np.floor(moments * ratio + _ROUNDING).astype(np.int64)


def _to_policy(frame: dict[str, Any], robot: RobotDescription, columns: Columns) -> Image:
    """Return the picture of a frame as the policy sees it."""
    crop, policy = columns.crop, robot.policy
    image = to_image(frame[columns.camera])
    part = image[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
    return resize_area(part, policy.image_height, policy.image_width)


def _read_label(meta: LeRobotMetadata, number: int) -> str:
    """Return the one task of an episode."""
    labels = list(meta.episodes[number]['tasks'])
    if len(labels) != 1 or not labels[0]:
        raise DatasetError(f'it has the tasks {labels}; expected one label for the whole episode')
    return str(labels[0])


def _check_time(frame: dict[str, Any], number: int, expected_s: float) -> None:
    """LeRobot promises evenly spaced frames; hold it to that."""
    got_s = float(frame['timestamp'])
    if int(frame['episode_index']) != number or abs(got_s - expected_s) > _TIME_TOLERANCE_S:
        raise DatasetError(
            f'its frame {int(frame["frame_index"])} is of episode {int(frame["episode_index"])} '
            f'and stamped {got_s:.4f} s, expected {expected_s:.4f} s; the dataset is inconsistent'
        )


def _find_camera(features: dict[str, dict[str, Any]], wanted: str | None) -> tuple[str, list[str]]:
    """Return the feature of the images, and the other cameras."""
    cameras = [name for name, f in features.items() if f['dtype'] in ('image', 'video')]
    if wanted is None and len(cameras) == 1:
        wanted = cameras[0]
    if wanted not in cameras:
        raise DatasetError(
            f'Got camera {wanted!r}, the dataset has {cameras}; choose one of them with --camera.'
            if cameras
            else 'The dataset has no camera; expected a feature of images or video.'
        )
    assert wanted is not None
    return wanted, [name for name in cameras if name != wanted]


def _names(features: dict[str, dict[str, Any]], key: str) -> list[str]:
    """Return the names of a vector's values; older datasets have them in a dict of one entry."""
    names = features.get(key, {}).get('names')
    if isinstance(names, dict) and len(names) == 1:
        (names,) = names.values()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DatasetError(
            f'The feature {key!r} of the dataset has the names {names!r}; expected one for each '
            'joint, in its meta/info.json, for nothing else tells which joint a number is of.'
        )
    return names


def _find_joints(
    features: dict[str, dict[str, Any]], key: str, endings: Iterable[str], robot: RobotDescription
) -> tuple[list[int], list[str]]:
    """Return the place of each joint in a feature, and what else is in it."""
    names = _names(features, key)
    for ending in endings:
        wanted = [joint + ending for joint in robot.joint_names]
        if all(name in names for name in wanted):
            rest = [f'{key}: {name}' for name in names if name not in wanted]
            return [names.index(name) for name in wanted], rest
    raise DatasetError(
        f'The feature {key!r} of the dataset has {names}, expected the joints of {robot.name!r}, '
        f'{list(robot.joint_names)}; give the robot file of that arm.'
    )


def _find_kind(names: Sequence[str], given: ActionKind | None) -> ActionKind:
    """Return what the actions are, from their names or from what the user says."""
    is_velocity = all(name.endswith('.vel') for name in names)
    if given is None and not is_velocity:
        raise DatasetError(
            f'The actions are called {list(names)}, which does not say that they are velocities; '
            'say what they are with --action-is velocity (rad/s) or --action-is position (rad, '
            'differentiated then).'
        )
    if given is ActionKind.POSITION and is_velocity:
        raise DatasetError(
            f'Got --action-is position, but the actions are called {list(names)}; expected '
            'velocity, leave the option out.'
        )
    return given or ActionKind.VELOCITY


def _check_units(
    positions: NDArray[np.float64], velocities: NDArray[np.float64], robot: RobotDescription
) -> None:
    """Refuse what the arm cannot have done, such as degrees."""
    lower = np.array([j.lower_rad for j in robot.joints]) - _BEYOND_LIMITS_RAD
    upper = np.array([j.upper_rad for j in robot.joints]) + _BEYOND_LIMITS_RAD
    rated = np.array([j.velocity_rad_s for j in robot.joints])
    for what, unit, values, wrong in (
        ('position', 'rad', positions, (positions < lower) | (positions > upper)),
        ('velocity', 'rad/s', velocities, np.abs(velocities) > _BEYOND_RATING * rated),
    ):
        if wrong.any():
            step, joint = np.argwhere(wrong)[0]
            raise DemoError(
                f'it has a {what} of {values[step, joint]:.4g} for {robot.joint_names[joint]}, '
                f'which that joint cannot do in {unit}; expected {unit}, convert the dataset'
            )
