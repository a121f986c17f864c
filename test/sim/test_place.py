"""Place: the object hangs on the tip until it is let go, and must lie in the shown container."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mil_ros.sim import palette, shapes
from mil_ros.sim.families import place
from mil_ros.sim.families.place import find_container, INSIDE_S, Place
from mil_ros.sim.simulation import Simulation

PLACE = Place()
LAYOUT = np.array([[0.45, 0.0], [0.5, 0.2], [0.5, -0.2]])
REST = np.zeros(7)


@pytest.fixture
def arm(make_arm: Callable[[str], Simulation]) -> Simulation:
    """The target straight ahead, a distractor to each side, the arm at home."""
    arm = make_arm('place')
    arm.reset(arm.robot.home)
    PLACE.arrange(arm, PLACE.sample_task('train', 0, 0), LAYOUT, np.array([0.3, -0.8, 2.0]))
    return arm


def let_go(arm: Simulation, position: np.ndarray) -> None:
    """Put the object somewhere with the gripper open."""
    arm.data.eq_active[arm.model.equality('grip').id] = 0
    arm.data.joint('item').qpos = (*position, 1.0, 0.0, 0.0, 0.0)
    arm.data.joint('item').qvel = 0.0
    arm.refresh()


def height_of(arm: Simulation, container: int) -> float:
    model = arm.model
    shape = int(model.geom(f'container{container}').dataid[0]) - model.mesh('bowl0').id
    return float(place.make_sizes()[shape, 1])


def test_object_hangs_on_the_tip_while_the_arm_moves(arm: Simulation) -> None:
    expected = np.array([0.0, 0.0, place.ITEM_HEIGHT_M / 2])
    rng = np.random.default_rng(3)
    for _ in range(20):
        arm.step(0.5 * rng.choice([-1.0, 1.0], 7) * arm.robot.velocity_limits, 0.1)
        hanging = arm.tip_rotation.T @ (arm.position('item') - arm.tip)
        np.testing.assert_allclose(hanging, expected, atol=2e-3)


def test_containers_never_overlap(arm: Simulation) -> None:
    widest = max(
        shapes.circumradius(r * shapes.bowl_outline(i))
        for i, (r, _) in enumerate(place.make_sizes())
    )
    assert 2 * widest < place.MIN_SPACING_M
    for seed in range(20):
        PLACE.reset(arm, PLACE.sample_task('train', 0, seed), np.random.default_rng(seed))
        centres = np.array([arm.position(f'container{i}')[:2] for i in range(3)])
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert np.linalg.norm(centres[i] - centres[j]) >= place.MIN_SPACING_M


@pytest.mark.parametrize('number', range(place.CONTAINERS))
def test_object_in_a_container_is_found_there(arm: Simulation, number: int) -> None:
    let_go(arm, np.array([*LAYOUT[number], 0.022]))
    assert find_container(arm) == number


def test_object_above_the_rim_or_beside_is_in_no_container(arm: Simulation) -> None:
    rim_m = height_of(arm, 0)
    for offset, z, expected in (
        ((0.0, 0.0), rim_m - 1e-3, 0),
        ((0.0, 0.0), rim_m + 1e-3, None),
        ((0.1, 0.0), 0.022, None),
    ):
        let_go(arm, np.array([*(LAYOUT[0] + offset), z]))
        assert find_container(arm) == expected


def test_run_is_over_once_the_object_has_been_inside_for_a_moment(arm: Simulation) -> None:
    judge, inside_s = PLACE.judge(), None
    for _ in range(400):
        arm.step(PLACE.expert(arm), 0.01)
        if inside_s is None and find_container(arm) == 0:
            inside_s = arm.time_s
        if judge.update(arm):
            break
    assert inside_s is not None
    assert arm.time_s - inside_s == pytest.approx(INSIDE_S, abs=0.011)
    before = arm.position('item')
    outcome = judge.finish(arm)
    assert (outcome.success, outcome.chosen) == (True, 0)
    assert outcome.text == 'The object lies in the target container.'
    assert arm.position('item')[2] < before[2] - 2e-3, 'it must have fallen'
    assert arm.position('item')[2] == pytest.approx(place.ITEM_HEIGHT_M / 2, abs=2e-3)


def test_a_visit_that_is_too_short_does_not_end_the_run(arm: Simulation) -> None:
    judge = PLACE.judge()
    inside, outside = np.array([*LAYOUT[0], 0.022]), np.array([0.6, 0.0, 0.022])
    for position in (inside, outside, inside):
        let_go(arm, position)
        assert not judge.update(arm)
        arm.step(REST, INSIDE_S - 0.02)
    let_go(arm, inside)
    arm.step(REST, 0.05)
    assert judge.update(arm)


def test_object_in_a_distractor_is_no_success(arm: Simulation) -> None:
    let_go(arm, np.array([*LAYOUT[1], 0.03]))
    outcome = PLACE.judge().finish(arm)
    assert (outcome.success, outcome.chosen) == (False, 1)
    assert outcome.text == 'The object lies in a distractor.'


def test_object_beside_the_target_is_no_success(arm: Simulation) -> None:
    let_go(arm, np.array([*(LAYOUT[0] + (0.11, 0.0)), 0.03]))
    outcome = PLACE.judge().finish(arm)
    assert (outcome.success, outcome.chosen) == (False, None)
    assert outcome.text == 'The object lies in no container.'


def test_object_let_go_above_the_target_falls_into_it(arm: Simulation) -> None:
    """Time may be up while the object is still in the air."""
    let_go(arm, np.array([*LAYOUT[0], 0.08]))
    assert find_container(arm) is None
    assert PLACE.judge().finish(arm).success


def test_gripper_holds_again_in_the_next_scene(arm: Simulation) -> None:
    PLACE.judge().finish(arm)
    assert arm.position('item')[2] < 0.1
    PLACE.reset(arm, PLACE.sample_task('train', 0, 1), np.random.default_rng(1))
    arm.step(REST, 0.5)
    assert arm.position('item')[2] > 0.15


@pytest.mark.parametrize('shape', range(0, shapes.BOWLS, 3))
def test_walls_that_are_felt_are_those_that_are_seen(arm: Simulation, shape: int) -> None:
    task = PLACE.sample_task('train', 0, 0)
    look = type(task.looks[0])(task.looks[0].colour, 0, shape)
    looks = (look, *task.looks[1:])
    dressed = type(task)('place', 'train', 0, looks, task.item)
    PLACE.arrange(arm, dressed, LAYOUT, np.zeros(3))
    radius_m, height_m = place.make_sizes()[shape]
    inner = radius_m * shapes.bowl_outline(shape)
    outer = shapes.widen(inner, 0.006)
    used = 0
    for k in range(shapes.MOST_WALLS):
        wall = arm.model.geom(f'container0_wall{k}')
        used += bool(wall.contype[0])
        if not wall.contype[0]:
            continue
        at = arm.to_local('container0', arm.data.geom_xpos[wall.id])
        assert shapes.contains(outer, at[:2])
        assert not shapes.contains(inner, at[:2])
        assert at[2] == pytest.approx(height_m / 2)
    assert used == len(inner)
    # Pushed against the wall from inside, the object stays inside.
    direction = (inner[0] + inner[1]) / np.linalg.norm(inner[0] + inner[1])
    let_go(arm, np.array([*LAYOUT[0], 0.022]))
    for _ in range(50):
        arm.data.joint('item').qvel[:2] = 0.2 * direction
        arm.step(REST, 0.01)
    assert find_container(arm) == 0


def test_object_and_containers_never_share_a_colour_that_could_tell() -> None:
    """What is held is unlike every container, so it tells nothing of the target."""
    for index in range(40):
        task = PLACE.sample_task('test', 0, index)
        held = palette.rgb_to_lab(task.item.colour)
        for look in task.looks:
            gap = np.linalg.norm(palette.rgb_to_lab(look.colour) - held)
            assert gap >= palette.MIN_COLOUR_DISTANCE


def test_boxes_that_stand_for_the_walls_are_not_drawn(arm: Simulation) -> None:
    before = arm.render()
    for k in range(shapes.MOST_WALLS):
        arm.model.geom(f'container0_wall{k}').rgba = (1.0, 0.0, 1.0, 1.0)
    np.testing.assert_array_equal(arm.render(), before)
    arm.model.geom('container0').pos += (0.0, 0.0, 0.05)
    arm.refresh()
    assert not np.array_equal(arm.render(), before)
