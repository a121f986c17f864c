"""Scripted baselines do what their names say, from observations alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from helpers import make_demo
import numpy as np
import pytest

from mil_ros.core.errors import ConfigError, DemoError, OrderError
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Demo, Observation, Policy
from mil_ros.sim import rollout
from mil_ros.sim.aligned_replay import find_touchdown, join, PRIORS, redirect, trace
from mil_ros.sim.families import FAMILIES, get_family, Task
from mil_ros.sim.families.reach import find_touched
from mil_ros.sim.scripted import make_scripted
from mil_ros.sim.simulation import Simulation

NAMES = ('random', 'replay', 'align-and-replay')
SEED = 23


def make_policy(name: str, robot: RobotDescription, family: str = 'reach') -> Policy:
    """Return a baseline that could not read the truth of a scene: it is given none."""
    no_scene: Any = SimpleNamespace(robot=robot, family=get_family(family))
    return make_scripted(name, no_scene)


@pytest.fixture
def observation(robot: RobotDescription) -> Observation:
    return Observation(np.zeros((60, 80, 3), np.uint8), robot.home)


def run(policy: Policy, observation: Observation, steps: int) -> np.ndarray:
    return np.array([policy.act(observation) for _ in range(steps)])


# --- What all have in common -----------------------------------------------------------------


def test_unknown_baseline_is_refused_with_the_known_ones(robot: RobotDescription) -> None:
    with pytest.raises(
        ConfigError, match=r"is 'magic'; expected expert, random, replay or align-"
    ):
        make_policy('magic', robot)


@pytest.mark.parametrize('name', NAMES)
def test_video_alone_is_refused(
    name: str, robot: RobotDescription, rng: np.random.Generator
) -> None:
    with pytest.raises(DemoError, match=rf"a video alone; '{name}' expects joint positions and"):
        make_policy(name, robot).adapt(Demo.from_video(make_demo(rng).images))


def test_other_number_of_demonstrations_is_refused(
    robot: RobotDescription, rng: np.random.Generator
) -> None:
    with pytest.raises(DemoError, match=r'Got 2 demonstrations, the policy adapts to 1'):
        make_policy('replay', robot).adapt(make_demo(rng), make_demo(rng))


def test_acting_before_a_demonstration_is_refused(
    robot: RobotDescription, observation: Observation
) -> None:
    with pytest.raises(OrderError, match=r"'replay' was given no demonstration; call adapt fir"):
        make_policy('replay', robot).act(observation)


# --- Random and replay -----------------------------------------------------------------------


def test_replay_plays_what_was_shown_and_then_holds_still(
    robot: RobotDescription, observation: Observation, rng: np.random.Generator
) -> None:
    demo = make_demo(rng, steps=5)
    actions = run(make_policy('replay', robot).adapt(demo), observation, 8)
    np.testing.assert_array_equal(actions[:5], demo.joint_velocities)
    np.testing.assert_array_equal(actions[5:], np.zeros((3, 7)))


def test_each_adaptation_begins_anew(
    robot: RobotDescription, observation: Observation, rng: np.random.Generator
) -> None:
    demo, other = make_demo(rng), make_demo(rng)
    policy = make_policy('replay', robot)
    first = policy.adapt(demo)
    run(first, observation, 3)
    np.testing.assert_array_equal(policy.adapt(other).act(observation), other.joint_velocities[0])
    np.testing.assert_array_equal(first.act(observation), demo.joint_velocities[3])


def test_random_spreads_as_the_demonstration_does(
    robot: RobotDescription, observation: Observation, rng: np.random.Generator
) -> None:
    demo = make_demo(rng, steps=200)
    demo.joint_velocities[:] *= np.arange(1, 8)
    actions = run(make_policy('random', robot).adapt(demo), observation, 4000)
    np.testing.assert_allclose(actions.mean(axis=0), 0.0, atol=0.05 * 7)
    np.testing.assert_allclose(actions.std(axis=0), demo.joint_velocities.std(axis=0), rtol=0.05)


def test_random_is_the_same_for_the_same_demonstration_alone(
    robot: RobotDescription, observation: Observation, rng: np.random.Generator
) -> None:
    demo = make_demo(rng)
    other = Demo(demo.images, demo.joint_positions, demo.joint_velocities[::-1].copy())
    policy = make_policy('random', robot)
    first, again, another = (
        run(policy.adapt(shown), observation, 4) for shown in (demo, demo, other)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.isclose(first, another).any()


# --- Align and replay ------------------------------------------------------------------------


def test_something_is_known_of_every_family() -> None:
    assert set(PRIORS) == set(FAMILIES)


Scene = tuple[Simulation, Policy]


@pytest.fixture(scope='module')
def make_scene(robot: RobotDescription) -> Iterator[Callable[[str], Scene]]:
    """Return a family as a camera of full size sees it, and the policy to try."""
    scenes: dict[str, Scene] = {}

    def make_scene(name: str) -> Scene:
        if name not in scenes:
            simulation = Simulation(robot, get_family(name))
            scenes[name] = simulation, make_policy('align-and-replay', robot, name)
        return scenes[name]

    yield make_scene
    for simulation, _ in scenes.values():
        simulation.close()


def show(simulation: Simulation, index: int) -> tuple[Task, Demo, np.random.Generator]:
    """Return a held-out task, a demonstration of it, and what draws the next scene."""
    task = simulation.family.sample_task('test', SEED, index)
    rng = np.random.default_rng([SEED, index])
    demo = None
    while demo is None:
        demo = rollout.demonstrate(simulation, task, rng, 0.0)
    return task, demo, rng


@pytest.mark.parametrize('family', FAMILIES)
def test_align_and_replay_does_elsewhere_what_was_shown(
    family: str, make_scene: Callable[[str], Scene]
) -> None:
    simulation, policy = make_scene(family)
    outcomes = []
    for index in range(4):
        task, demo, rng = show(simulation, index)
        simulation.family.reset(simulation, task, rng)
        outcomes.append(rollout.run_policy(simulation, policy.adapt(demo)).outcome.success)
    assert outcomes == [True] * 4


@pytest.mark.parametrize('family', FAMILIES)
def test_expert_does_what_its_family_asks(
    family: str, make_scene: Callable[[str], Scene], rng: np.random.Generator
) -> None:
    simulation, _ = make_scene(family)
    policy = make_scripted('expert', simulation).adapt(make_demo(rng))
    outcomes = []
    for index in range(4):
        task = simulation.family.sample_task('test', SEED, index)
        simulation.family.reset(simulation, task, np.random.default_rng([SEED, index]))
        outcomes.append(rollout.run_policy(simulation, policy).outcome.success)
    assert outcomes == [True] * 4


def test_align_and_replay_goes_by_the_first_picture_and_not_by_the_truth(
    make_scene: Callable[[str], Scene],
) -> None:
    simulation, policy = make_scene('reach')
    task, demo, rng = show(simulation, 7)
    adapted = policy.adapt(demo)
    simulation.family.reset(simulation, task, rng)
    picture = rollout.observe(simulation).image
    seen, other = simulation.position('object0'), simulation.position('object1')
    simulation.put('object0', other, 0.0)
    simulation.put('object1', seen, 0.0)
    for _ in range(30):
        velocities = adapted.act(Observation(picture, simulation.joint_positions))
        simulation.step(velocities, 0.1)
        picture = np.zeros_like(picture)
    assert np.linalg.norm(simulation.tip[:2] - seen[:2]) < 0.025
    assert find_touched(simulation) == 1


def test_demonstration_that_leads_to_nothing_is_refused(
    make_scene: Callable[[str], Scene], rng: np.random.Generator
) -> None:
    _, policy = make_scene('reach')
    empty = make_demo(rng, height=60, width=80)
    empty.images[:] = (150, 140, 120)
    with pytest.raises(DemoError, match=r'Nothing stands out from the table within \d+ pixels of'):
        policy.adapt(empty)


def test_path_is_that_of_the_tip_and_ends_where_it_was_sent(simulation: Simulation) -> None:
    home = simulation.robot.home
    positions = np.stack([home, home + 0.1]).astype(np.float32)
    velocities = np.full((2, 7), 0.5, np.float32)
    path = trace(simulation, Demo(np.zeros((2, 60, 80, 3), np.uint8), positions, velocities))
    for point, pose in zip(path, (home, home + 0.1, home + 0.15), strict=True):
        simulation.reset(pose)
        np.testing.assert_allclose(point, simulation.tip, atol=1e-6)


PATH = np.array(
    [[0.4, 0.0, 0.3], [0.4, 0.1, 0.12], [0.4, 0.12, 0.06], [0.41, 0.12, 0.035], [0.5, 0.1, 0.03]]
)


def test_touchdown_is_the_first_low_point() -> None:
    assert find_touchdown(PATH) == 3


def test_push_is_turned_to_its_goal_and_as_long_as_its_way() -> None:
    goal, lead_m = np.array([0.6, 0.0]), 0.05
    shown, found = np.array([0.45, 0.0]), np.array([0.6, 0.3])
    path = np.array([[0.3, 0.02, 0.3], [0.37, 0.01, 0.1], [0.39, -0.01, 0.04]])
    pushed = redirect(path, shown, found, goal, lead_m)
    # 0.15, 0.08 and 0.06 m behind the object and none beside it, then to the goal but for the lead
    wanted = [[0.6, 0.45, 0.3], [0.6, 0.38, 0.1], [0.6, 0.36, 0.04], [0.6, 0.05, 0.04]]
    np.testing.assert_allclose(pushed, wanted, atol=1e-12)


def test_way_flies_straight_to_above_the_work_and_keeps_close_to_the_path() -> None:
    start = np.array([0.5, -0.1, 0.3])
    way = join(start, PATH, 3)
    np.testing.assert_allclose(way[[0, -1]], [start, PATH[-1]])
    steps = np.linalg.norm(np.diff(way, axis=0), axis=1)
    assert steps.max() <= 0.01 + 1e-9
    for point in PATH[1:]:  # the first is not on the way any more
        assert np.linalg.norm(way - point, axis=1).min() < 0.006
    assert np.linalg.norm(way - PATH[0], axis=1).min() > 0.05
