"""Reach: layouts are what they claim to be, and a touch is a touch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from helpers import LAYOUT
import numpy as np
import pytest

from mil_ros.sim import palette, shapes
from mil_ros.sim.families import reach, Task
from mil_ros.sim.families.reach import find_touched, Reach
from mil_ros.sim.scene import sample_spaced
from mil_ros.sim.simulation import Simulation

REACH = Reach()
TIP_RADIUS_M = 0.014


def test_layouts_keep_their_spacing_inside_the_workspace(rng: np.random.Generator) -> None:
    low, high = np.array(reach.WORKSPACE_M).T
    layouts = [sample_spaced(rng, 3, reach.WORKSPACE_M, 0.14) for _ in range(300)]
    for layout in layouts:
        assert layout.shape == (3, 2)
        assert ((layout >= low) & (layout <= high)).all()
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert np.linalg.norm(layout[i] - layout[j]) >= 0.14
    reached = np.concatenate(layouts)
    assert (reached.min(axis=0) < low + 0.02).all()
    assert (reached.max(axis=0) > high - 0.02).all()


def test_objects_stand_where_they_are_put(simulation: Simulation) -> None:
    layout = np.array([[0.4, 0.1], [0.5, -0.1], [0.6, 0.15]])
    REACH.arrange(simulation, REACH.sample_task('train', 0, 0), layout, np.zeros(3))
    for i, place in enumerate(layout):
        np.testing.assert_allclose(simulation.position(f'object{i}')[:2], place)


def put_at_tip(simulation: Simulation, number: int, offset: np.ndarray) -> None:
    """Put an object so that its top centre is `offset` from the tip, on a floating arm."""
    base = simulation.tip + offset - (0.0, 0.0, reach.OBJECT_HEIGHT_M / 2)
    simulation.put(f'object{number}', base, 0.0)
    simulation.refresh()


@pytest.mark.parametrize('number', range(reach.OBJECTS))
def test_touched_names_the_object_at_the_tip(simulation: Simulation, number: int) -> None:
    put_at_tip(simulation, number, np.array([0.01, 0.0, -TIP_RADIUS_M]))
    assert find_touched(simulation) == number


@pytest.mark.parametrize('shape', range(0, shapes.PRISMS, 7))
@pytest.mark.parametrize(('beyond_m', 'is_touched'), [(-5e-4, True), (5e-4, False)])
def test_touch_of_the_top_is_the_same_for_every_shape(
    simulation: Simulation, shape: int, beyond_m: float, is_touched: bool
) -> None:
    simulation.wardrobe.reshape('object0', f'prism{shape}')
    gap_m = TIP_RADIUS_M + reach.TOUCH_DISTANCE_M + beyond_m
    put_at_tip(simulation, 0, np.array([0.0, 0.0, -gap_m]))
    assert (find_touched(simulation) == 0) == is_touched


@pytest.mark.parametrize(('beyond_m', 'is_touched'), [(-5e-4, True), (5e-4, False)])
@pytest.mark.parametrize('side', [(1.0, 0.0), (0.0, -1.0)])
def test_touch_of_a_side_ends_at_its_distance(
    simulation: Simulation, side: tuple[float, float], beyond_m: float, is_touched: bool
) -> None:
    square = next(i for i in range(shapes.PRISMS) if len(shapes.prism_outline(i)) == 4)
    simulation.wardrobe.reshape('object0', f'prism{square}')
    half = reach.OBJECT_RADIUS_M * shapes.prism_outline(square).max(axis=0)
    away = np.abs(side) @ half + TIP_RADIUS_M + reach.TOUCH_DISTANCE_M + beyond_m
    put_at_tip(simulation, 0, np.array([side[0] * away, side[1] * away, 0.03]))
    assert (find_touched(simulation) == 0) == is_touched


def test_nothing_is_touched_at_home(simulation: Simulation) -> None:
    assert find_touched(simulation) is None


def test_first_touch_counts(simulation: Simulation) -> None:
    judge = REACH.judge()
    assert not judge.update(simulation)
    put_at_tip(simulation, 2, np.array([0.0, 0.0, -TIP_RADIUS_M]))
    assert judge.update(simulation)
    REACH.arrange(simulation, REACH.sample_task('train', 0, 0), LAYOUT, np.zeros(3))
    put_at_tip(simulation, 0, np.array([0.0, 0.0, -TIP_RADIUS_M]))
    assert judge.update(simulation)
    outcome = judge.finish(simulation)
    assert (outcome.success, outcome.chosen) == (False, 2)
    assert outcome.text == 'The tip touched a distractor.'


@pytest.mark.parametrize(
    ('number', 'text'), [(0, 'The tip touched the target.'), (None, 'The tip touched nothing.')]
)
def test_judge_says_what_was_touched(
    simulation: Simulation, number: int | None, text: str
) -> None:
    judge = REACH.judge()
    if number is not None:
        put_at_tip(simulation, number, np.array([0.0, 0.0, -TIP_RADIUS_M]))
    judge.update(simulation)
    outcome = judge.finish(simulation)
    assert (outcome.success, outcome.chosen, outcome.text) == (number == 0, number, text)


def test_every_shape_lies_within_the_bounds_of_its_geom(
    make_arm: Callable[[str], Simulation],
) -> None:
    """Collisions are sought within the bounds that the compiler has set."""
    for family, geom, bank in (
        ('reach', 'object0', 'prism'),
        ('push', 'object0', 'prism'),
        ('place', 'item', 'item'),
    ):
        arm = make_arm(family)
        geom_id = arm.model.geom(geom).id
        for shape in range(shapes.PRISMS):
            arm.wardrobe.reshape(geom, f'{bank}{shape}')
            mesh = arm.model.mesh(f'{bank}{shape}')
            first, count = mesh.vertadr[0], mesh.vertnum[0]
            vertices = arm.model.mesh_vert[first : first + count]
            arm.refresh()
            placed = vertices @ arm.data.geom_xmat[geom_id].reshape(3, 3).T
            assert np.linalg.norm(vertices, axis=1).max() <= arm.model.geom_rbound[geom_id] + 1e-9
            axis = arm.data.body(geom).xmat.reshape(3, 3)[:, 2]
            height = np.ptp(placed @ axis)
            levels = np.unique((placed @ axis).round(5))
            assert len(levels) == 2, f'{family}: prism {shape} does not stand upright'
            assert 0.04 < height < 0.065


def test_task_dresses_the_objects(simulation: Simulation) -> None:
    task: Task = REACH.sample_task('test', 2, 1)
    REACH.arrange(simulation, task, LAYOUT, np.zeros(3))
    model = simulation.model
    for i, look in enumerate(task.looks):
        assert model.mesh(int(model.geom(f'object{i}').dataid[0])).name == f'prism{look.shape}'
        np.testing.assert_array_equal(model.texture(f'object{i}').data, palette.paint(look))


def test_a_new_look_is_seen_in_the_next_picture(simulation: Simulation) -> None:
    task = REACH.sample_task('train', 0, 0)
    pictures = []
    for colour in ([1.0, 0.0, 0.0], [0.0, 0.0, 1.0]):
        look = replace(task.looks[0], colour=np.array(colour))
        simulation.wardrobe.dress('object0', look, 'prism')
        pictures.append(simulation.render().astype(int))
    changed = pictures[0] - pictures[1]
    assert changed[:, :, 0].max() > 60
    assert changed[:, :, 2].min() < -60
    assert not changed[0].any(), 'the rest of the picture stays'
