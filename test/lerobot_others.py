"""A LeRobot dataset as others record them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mil_ros.core.robot import RobotDescription
from mil_ros.data.lerobot_library import create_dataset

CAMERA = 'observation.images.front'


class Others:
    """A dataset that others recorded; what a test wants odd, it sets.

    Attributes:
        fps: Frames a second.
        state: Names of the state's values.
        action: Names of the action's values.
        cameras: Features of images.
        size: Height and width of the images.
        tasks: Of each episode.
        frames: Of each episode.
        rest: Frames before the first motion.
        to_unit: Turns rad into what the dataset holds.
    """

    def __init__(self, robot: RobotDescription) -> None:
        self.robot = robot
        self.fps = 30
        joints = robot.joint_names
        self.state: Any = ['gripper.pos', *(f'{joint}.pos' for joint in reversed(joints))]
        self.action: Any = [f'{joint}.vel' for joint in joints]
        self.cameras = [CAMERA]
        self.size = (120, 160)
        self.tasks = ['red cup', 'red cup', 'blue cup', 'blue cup']
        self.frames, self.rest = 60, 0
        self.to_unit = 1.0

    def position(self, name: str, second: float) -> float:
        """Return where a joint is, by its name in the state."""
        number = self.robot.joint_names.index(name.removesuffix('.pos'))
        joint = self.robot.joints[number]
        middle = (joint.lower_rad + joint.upper_rad) / 2.0
        return middle + 0.2 * np.sin(1.5 * second + number)

    def value(self, name: str, second: float) -> float:
        """Return a number of the state or the action."""
        if name.startswith('gripper'):
            return 40.0  # mm, in a dataset of rad
        if name.endswith('.vel'):
            number = self.robot.joint_names.index(name.removesuffix('.vel'))
            return 0.3 * np.cos(1.5 * second + number) if second * self.fps >= self.rest else 0.0
        return self.position(name, second)

    def picture(self, episode: int, index: int) -> np.ndarray:
        """Return a picture, another one for each frame: (H, W, 3)."""
        height, width = self.size
        rows, columns = np.mgrid[0:height, 0:width]
        channels = [rows + index, 2 * columns + 40 * episode, rows + columns + 3 * index]
        return np.stack(channels, axis=2).astype(np.uint8)

    def vector(self, names: Any, second: float) -> np.ndarray:
        flat = names if isinstance(names, list) else next(iter(names.values()))
        values = [self.to_unit * self.value(name, second) for name in flat]
        return np.array(values, dtype=np.float32)

    def write(self, root: Path) -> Path:
        features: dict[str, Any] = {
            name: {'dtype': 'image', 'shape': (*self.size, 3), 'names': ['height', 'width', 'c']}
            for name in self.cameras
        }
        for key, names in (('observation.state', self.state), ('action', self.action)):
            shape = (len(self.vector(names, 0.0)),)
            features[key] = {'dtype': 'float32', 'shape': shape, 'names': names}
        options: dict[str, Any] = {'repo_id': 'lab/cups', 'fps': self.fps, 'robot_type': 'arm'}
        writer = create_dataset(root, features, use_videos=False, **options)
        for episode, task in enumerate(self.tasks):
            for index in range(self.frames):
                second = index / self.fps
                frame: dict[str, Any] = {'task': task}
                frame |= {name: self.picture(episode, index) for name in self.cameras}
                frame['observation.state'] = self.vector(self.state, second)
                frame['action'] = self.vector(self.action, second)
                writer.add_frame(frame)
            writer.save_episode()
        writer.finalize()
        return root
