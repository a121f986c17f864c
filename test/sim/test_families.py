"""What every family promises, whatever its task is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from mil_ros.core.errors import ConfigError
from mil_ros.core.robot import RobotDescription
from mil_ros.sim import palette
from mil_ros.sim.families import FAMILIES, Family, get_family, Outcome, Task
from mil_ros.sim.simulation import Simulation
from mil_ros.tools.collect import TASKS

SCENES = 100
PERIOD_S = 0.1
MAGENTA, GREEN, BLUE = np.eye(3)[[0, 1, 2]] + [[0, 0, 1], [0, 0, 0], [0, 0, 0]]

Arms = Callable[[str], Simulation]


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    return get_family(request.param)


@pytest.fixture
def arm(family: Family, make_arm: Arms) -> Simulation:
    return make_arm(family.name)


def let_expert(
    arm: Simulation, task: Task, seed: list[int], updates: int = 1
) -> tuple[Outcome, float]:
    """Return how the expert does a task, and when its judge would have ended the run."""
    arm.family.reset(arm, task, np.random.default_rng(seed))
    judge, over_s = arm.family.judge(), np.inf
    for _ in range(arm.family.demo_steps):
        velocities = arm.family.expert(arm)
        for _ in range(updates):
            arm.step(velocities, PERIOD_S / updates)
            if judge.update(arm):
                over_s = min(over_s, arm.time_s)
    return judge.finish(arm), over_s


def looks_of(task: Task) -> list[palette.Look]:
    item = getattr(task, 'item', None)
    return [*task.looks, *([] if item is None else [item])]


def describe(task: Task) -> tuple[Any, ...]:
    return tuple((look.hex, look.texture, look.shape) for look in looks_of(task))


def state_of(arm: Simulation) -> bytes:
    room = (arm.model.cam_pos, arm.model.cam_quat, arm.model.light_dir, arm.model.light_diffuse)
    return b''.join(np.array(a).tobytes() for a in (arm.data.qpos, arm.data.mocap_pos, *room))


def test_unknown_family_is_refused_with_the_names() -> None:
    with pytest.raises(
        ConfigError, match=r"Task family is 'stack'; expected one of reach, push, place\."
    ):
        get_family('stack')


def test_families_are_found_by_the_names_that_the_command_offers() -> None:
    assert [get_family(name).name for name in TASKS] == list(FAMILIES) == list(TASKS)


def test_expert_succeeds_in_at_least_98_percent_of_scenes(family: Family, arm: Simulation) -> None:
    outcomes = [
        let_expert(arm, family.sample_task(split, 17, index), [17, index])
        for split, index in product(palette.SPLITS, range(SCENES // 2))
    ]
    lost = [outcome.text for outcome, _ in outcomes if not outcome.success]
    assert len(lost) <= 0.02 * SCENES, lost
    slowest_s = max(over_s for outcome, over_s in outcomes if outcome.success)
    assert slowest_s <= family.demo_steps * PERIOD_S <= family.run_s


def test_expert_goes_where_it_is_sent(family: Family, arm: Simulation) -> None:
    task = family.sample_task('train', 0, 1)
    last = len(task.looks) - 1
    family.reset(arm, task, np.random.default_rng(4))
    judge = family.judge()
    for _ in range(family.demo_steps):
        arm.step(family.expert(arm, last), PERIOD_S)
        judge.update(arm)
    outcome = judge.finish(arm)
    assert (outcome.success, outcome.chosen) == (False, last), outcome.text


def test_expert_stays_within_the_speed_limits(family: Family, arm: Simulation) -> None:
    fastest = 0.0
    for index in range(5):
        task = family.sample_task('train', 0, index)
        family.reset(arm, task, np.random.default_rng(index))
        for _ in range(family.demo_steps):
            velocities = family.expert(arm)
            share = float(np.max(np.abs(velocities) / arm.robot.velocity_limits))
            assert share <= 1.0 + 1e-9
            fastest = max(fastest, share)
            arm.step(velocities, PERIOD_S)
    assert fastest > 0.3


def test_expert_depends_on_where_things_are_and_not_on_when(
    family: Family, arm: Simulation
) -> None:
    """Hidden phases could not be learned: the same state must give the same action."""
    task = family.sample_task('train', 0, 2)
    family.reset(arm, task, np.random.default_rng(6))
    for _ in range(family.demo_steps // 2):
        arm.step(family.expert(arm), PERIOD_S)
    arm.refresh()
    velocities = family.expert(arm)
    arm.data.time = 0.0
    arm.data.qvel[:] = 0.0
    arm.refresh()
    np.testing.assert_allclose(family.expert(arm), velocities, atol=1e-12)
    assert np.abs(velocities).max() > 0.01


def test_expert_has_no_jumps(family: Family, arm: Simulation) -> None:
    """At 100 Hz, no action differs much from the one before."""
    task = family.sample_task('train', 0, 3)
    family.reset(arm, task, np.random.default_rng(8))
    before = family.expert(arm)
    for _ in range(10 * family.demo_steps):
        arm.step(before, 0.01)
        velocities = family.expert(arm)
        assert np.abs(velocities - before).max() < 0.15
        before = velocities


def test_judge_does_not_depend_on_how_often_it_is_asked(family: Family, arm: Simulation) -> None:
    task = family.sample_task('train', 0, 4)
    rare, rare_s = let_expert(arm, task, [9])
    often, often_s = let_expert(arm, task, [9], updates=10)
    assert rare.success
    assert rare == often
    assert abs(rare_s - often_s) < 1.5 * PERIOD_S


def test_doing_nothing_is_no_success(family: Family, arm: Simulation) -> None:
    family.reset(arm, family.sample_task('train', 0, 5), np.random.default_rng(1))
    judge = family.judge()
    for _ in range(20):
        arm.step(np.zeros(7), PERIOD_S)
        assert not judge.update(arm)
    outcome = judge.finish(arm)
    assert (outcome.success, outcome.chosen) == (False, None), outcome.text


def test_physics_stays_finite_whatever_the_policy_does(family: Family, arm: Simulation) -> None:
    rng = np.random.default_rng(11)
    family.reset(arm, family.sample_task('train', 0, 6), rng)
    for step in range(round(family.run_s / PERIOD_S)):
        if step % 5 == 0:
            velocities = rng.choice([-1.0, 1.0], 7) * arm.robot.velocity_limits
        arm.step(velocities, PERIOD_S)
    family.judge().finish(arm)
    assert np.isfinite(arm.data.qpos).all()
    assert np.isfinite(arm.data.qvel).all()
    assert sum(warning.number for warning in arm.data.warning) == 0


def test_same_arguments_give_the_same_task(family: Family) -> None:
    for split, index in product(palette.SPLITS, range(20)):
        task, again = (family.sample_task(split, 5, index) for _ in range(2))
        assert describe(task) == describe(again)
        assert (task.family, task.split, task.index) == (family.name, split, index)


def test_other_index_seed_or_split_gives_another_task(family: Family) -> None:
    base = describe(family.sample_task('train', 0, 0))
    for arguments in (('train', 0, 1), ('train', 1, 0), ('test', 0, 0)):
        assert describe(family.sample_task(*arguments)) != base


def test_splits_share_no_colour_pattern_or_shape(family: Family) -> None:
    seen = {
        split: [
            {getattr(look, key) for i in range(150) for look in looks_of(sample(family, split, i))}
            for key in ('hex', 'texture', 'shape')
        ]
        for split in palette.SPLITS
    }
    for kind, train, test in zip(('hex', 'texture', 'shape'), seen['train'], seen['test']):
        assert len(train) > 20, kind
        assert len(test) >= 8, kind
        assert not train & test, kind


def test_training_shows_many_colours_of_targets(family: Family) -> None:
    """All 1500 training tasks of the paper's reaching have targets of a hundred colours."""
    colours = {family.sample_task('train', 0, index).colour for index in range(800)}
    assert len(colours) > 250
    held_out = [describe(family.sample_task('test', 1, index)) for index in range(74)]
    assert len(set(held_out)) == 74


def sample(family: Family, split: str, index: int) -> Task:
    return family.sample_task(split, 3, index)


def test_objects_of_a_task_can_be_told_apart(family: Family) -> None:
    for split, index in product(palette.SPLITS, range(40)):
        looks = sample(family, split, index).looks
        lab = palette.rgb_to_lab(np.array([look.colour for look in looks]))
        for i, j in product(range(len(looks)), repeat=2):
            if i < j:
                assert np.linalg.norm(lab[i] - lab[j]) >= palette.MIN_COLOUR_DISTANCE
                assert looks[i].shape != looks[j].shape
                assert looks[i].texture != looks[j].texture


def test_unknown_split_is_refused(family: Family) -> None:
    with pytest.raises(
        ConfigError, match=r"Split is 'dev'; expected one of \('train', 'test'\)\."
    ):
        family.sample_task('dev', 0, 0)


def test_a_task_says_what_it_is(family: Family) -> None:
    task = family.sample_task('test', 0, 0)
    assert str(task) == f'{family.name} {task.looks[0].hex}'


def test_same_generator_gives_the_same_scene(family: Family, arm: Simulation) -> None:
    task, scenes = family.sample_task('train', 0, 7), []
    for seed in (4, 5, 4):
        family.reset(arm, task, np.random.default_rng(seed))
        scenes.append((state_of(arm), arm.render().tobytes()))
        arm.step(np.full(7, 0.2), 0.3)  # leaves nothing behind
    assert scenes[0] == scenes[2]
    assert scenes[0] != scenes[1]


def test_another_task_before_changes_nothing(family: Family, arm: Simulation) -> None:
    task, ends = family.sample_task('train', 0, 8), []
    for other in (1, 2):
        family.reset(arm, family.sample_task('test', 0, other), np.random.default_rng(other))
        arm.step(np.full(7, 0.1), 0.2)
        let_expert(arm, task, [12])
        ends.append((state_of(arm), arm.render().tobytes()))
    assert ends[0] == ends[1]


def test_scenes_of_a_task_differ_in_all_that_varies(family: Family, arm: Simulation) -> None:
    task, seen = family.sample_task('train', 0, 9), []
    for seed in range(4):
        family.reset(arm, task, np.random.default_rng(seed))
        model = arm.model
        varied = (
            arm.joint_positions,
            model.cam_pos[0],
            model.cam_quat[0],
            model.light_dir[0],
            model.light_diffuse[0],
            model.vis.headlight.ambient,
            model.texture('table').data,
        )
        seen.append([np.array(value).tobytes() for value in varied])
    for values in zip(*seen):
        assert len(set(values)) == len(values)


def test_arm_starts_at_rest_near_home(family: Family, arm: Simulation) -> None:
    for seed in range(10):
        family.reset(arm, family.sample_task('train', 0, seed), np.random.default_rng(seed))
        away = np.abs(arm.joint_positions - arm.robot.home).max()
        assert 0.0 < away < 0.2
        assert not arm.joint_velocities.any()
        assert arm.time_s == 0.0


@pytest.mark.parametrize('target', [0, 1])
def test_objects_show_their_colours_in_the_picture(
    family: Family, robot: RobotDescription, target: int
) -> None:
    """At least 5 x 5 pixels of the policy's picture; the other object is drawn in green."""
    arm = Simulation(robot, family)
    ratio = robot.camera.width // robot.policy.image_width
    try:
        for seed in range(3):
            task = family.sample_task('train', 0, seed)
            colours = [GREEN, GREEN, BLUE]
            colours[target] = MAGENTA
            looks = tuple(replace(a, colour=b) for a, b in zip(task.looks, colours))
            family.reset(arm, replace(task, looks=looks), np.random.default_rng(seed))
            image = arm.render().astype(int)
            red, green, blue = np.moveaxis(image, -1, 0)
            is_magenta = (np.minimum(red, blue) > green + 40) & (abs(red - blue) < 40)
            assert is_magenta.sum() >= (5 * ratio) ** 2
            at = np.argwhere(is_magenta).mean(axis=0)
            assert np.linalg.norm(at - project(arm, task, target)) < 2.5 * ratio
    finally:
        arm.close()


def project(arm: Simulation, task: Task, target: int) -> np.ndarray:
    """Return the row and column at which the camera sees an object."""
    name = f'{"container" if task.family == "place" else "object"}{target}'
    camera = arm.data.camera('camera')
    x, y, z = camera.xmat.reshape(3, 3).T @ (arm.position(name) - camera.xpos)
    height, width = arm.robot.camera.height, arm.robot.camera.width
    scale = height / 2 / np.tan(np.deg2rad(arm.model.cam_fovy[0]) / 2)
    return np.array([height / 2 + scale * y / z, width / 2 - scale * x / z])
