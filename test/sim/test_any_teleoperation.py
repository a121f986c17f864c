"""The same motion, commanded by a teleoperator or led by hand, adapts a policy alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from teleoperated import demonstrate

from mil_ros.core.resources import share_dir
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Demo, Observation
from mil_ros.data.episode import load_demo
from mil_ros.inference.bundle import load_bundle
from mil_ros.inference.onnx_policy import OnnxPolicy
from mil_ros.sim.families import get_family
from mil_ros.sim.simulation import Simulation


@pytest.fixture(scope='module')
def recorded(robot: RobotDescription, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Demo]:
    """One demonstration of the shipped arm: with commands, without, and by positions alone."""
    simulation = Simulation(robot, get_family('reach'))
    task = simulation.family.sample_task('test', 0, 0)
    motion = demonstrate(simulation, task, np.random.default_rng(77))
    simulation.close()
    folder: Path = tmp_path_factory.mktemp('episodes')
    paths = {
        'commanded': motion.write(folder / 'commanded'),
        'led': motion.write(folder / 'led', with_commands=False),
    }
    motion.velocities = None
    paths['positions alone'] = motion.write(folder / 'positions', with_commands=False)
    return {name: load_demo(path, robot) for name, path in paths.items()}


LED = pytest.mark.parametrize('led', ['led', 'positions alone'])


def find_shared(first: Demo, second: Demo) -> tuple[list[int], list[int]]:
    """Return the moments of which both demonstrations show the very same picture."""
    index = {image.tobytes(): i for i, image in enumerate(second.images)}
    shared = [i for i, image in enumerate(first.images) if image.tobytes() in index]
    return shared, [index[first.images[i].tobytes()] for i in shared]


@LED
def test_actions_agree_but_where_the_arm_does_not_do_what_it_is_told(
    recorded: dict[str, Demo], led: str
) -> None:
    """Within 4 % of the speed limits (0.04 rad/s) while the arm moves freely.

    It cannot jump to the speed of the first command, and at the object it stands while the
    teleoperator presses on: there it is told more than it does, by up to 0.15 rad/s.
    """
    commanded, measured = recorded['commanded'], recorded[led]
    assert (commanded.action_source, measured.action_source) == ('commanded', 'measured')
    mine, theirs = find_shared(commanded, measured)
    assert mine == list(range(len(commanded))), 'the pictures of one motion'
    apart = np.abs(commanded.joint_velocities - measured.joint_velocities[theirs]).max(axis=1)
    free = slice(1, 15)
    assert np.abs(commanded.joint_velocities[free]).max(axis=1).min() > 0.1
    assert apart[free].max() < 0.04
    assert apart[1:].max() < 0.15
    np.testing.assert_array_equal(commanded.joint_positions, measured.joint_positions[theirs])


@LED
def test_the_shipped_policy_adapts_to_both_alike(recorded: dict[str, Demo], led: str) -> None:
    """Within 2 % of what it commands; without the step it is far off."""
    policy = OnnxPolicy(load_bundle(share_dir() / 'models' / 'reach'))
    shown = recorded['commanded']
    commands = {name: act_along(policy.adapt(demo), shown) for name, demo in recorded.items()}
    size = rms(commands['commanded'])
    assert size > 0.1
    assert rms(commands[led] - commands['commanded']) < 0.02 * size
    assert rms(act_along(policy, shown) - commands['commanded']) > 0.2 * size


def act_along(policy: OnnxPolicy, demo: Demo) -> np.ndarray:
    """Return what a policy commands at each moment of a demonstration, (T, J)."""
    moments = zip(demo.images, demo.joint_positions.astype(float), strict=True)
    return np.array([policy.act(Observation(*moment)) for moment in moments])


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
