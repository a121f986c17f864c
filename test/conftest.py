"""What tests of several layers share; nothing heavy is imported before a test asks for it."""

from __future__ import annotations

from collections.abc import Callable
import copy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
import signal
from typing import Any, TYPE_CHECKING

import numpy as np
from policies import draw_checkpoint, export_bundle, TINY_IMAGE
import pytest
import yaml

from mil_ros.core.resources import share_dir
from mil_ros.core.robot import load_robot, RobotDescription

if TYPE_CHECKING:
    from lerobot_stand_in import LeRobotDataset
    from recordings import Film

    from mil_ros.inference.bundle import Bundle
    from mil_ros.learning.checkpoint import Checkpoint

# A shell that starts something in the background has it ignore Ctrl-C, and so would all the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)

SIM_PANDA = share_dir() / 'config' / 'robots' / 'sim_panda.yaml'


@pytest.fixture(scope='session')
def robot() -> RobotDescription:
    return load_robot('sim_panda')


@pytest.fixture
def document() -> dict[str, Any]:
    """What the shipped robot file says, to be changed by a test."""
    return copy.deepcopy(yaml.safe_load(SIM_PANDA.read_text()))


@pytest.fixture
def load(tmp_path: Path) -> Callable[[dict[str, Any]], RobotDescription]:
    """Write a document as robot file ``arm.yaml`` and load it."""

    def load(document: dict[str, Any]) -> RobotDescription:
        path = tmp_path / 'arm.yaml'
        path.write_text(yaml.safe_dump(document))
        return load_robot(path)

    return load


@pytest.fixture(scope='session')
def tiny_robot_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated arm with an image so small that everything is quick."""
    document = yaml.safe_load(SIM_PANDA.read_text())
    document['camera'] |= {'height': 24, 'width': 32}
    document['policy'] |= TINY_IMAGE
    path = tmp_path_factory.mktemp('robots') / 'tiny.yaml'
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope='session')
def tiny_robot(tiny_robot_file: Path) -> RobotDescription:
    return load_robot(tiny_robot_file)


@pytest.fixture(scope='session')
def tiny_checkpoint(tiny_robot: RobotDescription) -> Checkpoint:
    """A policy that adapts to video, states and actions."""
    return draw_checkpoint(tiny_robot)


@pytest.fixture(scope='session')
def tiny_bundle(
    tiny_checkpoint: Checkpoint,
    tiny_robot: RobotDescription,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    """That policy as a bundle; tests that damage it copy it first."""
    path = tmp_path_factory.mktemp('models') / 'tiny'
    return export_bundle(tiny_checkpoint, tiny_robot, path)


@pytest.fixture(scope='session')
def tiny_video_checkpoint(tiny_robot: RobotDescription) -> Checkpoint:
    """A policy that adapts to video alone."""
    return draw_checkpoint(tiny_robot, modality='video', image_context=True)


@pytest.fixture(scope='session')
def tiny_video_bundle(
    tiny_video_checkpoint: Checkpoint,
    tiny_robot: RobotDescription,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    """That policy as a bundle."""
    path = tmp_path_factory.mktemp('models') / 'tiny_video'
    return export_bundle(tiny_video_checkpoint, tiny_robot, path)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope='session')
def film(robot: RobotDescription) -> Film:
    """What a smaller camera of the simulated arm saw, again and again."""
    from recordings import Film

    return Film(replace(robot, camera=replace(robot.camera, width=160, height=120)))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[LeRobotDataset]:
    """What stands in for LeRobot, to be broken by a test."""
    import lerobot_stand_in

    return lerobot_stand_in.install(monkeypatch)


@pytest.fixture(params=['stand-in', 'lerobot'][: 2 if find_spec('lerobot') else 1])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What stands in for LeRobot, and the library itself where it is installed."""
    if request.param == 'stand-in':
        request.getfixturevalue('stand_in')
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    return str(request.param)
