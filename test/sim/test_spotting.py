"""What is seen is found again where it is, although it was turned, lit or moved."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mil_ros.core.errors import DemoError
from mil_ros.core.images import resize_area
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Image
from mil_ros.sim.families import get_family
from mil_ros.sim.families.push import GOAL_M
from mil_ros.sim.simulation import Simulation
from mil_ros.sim.spotting import find, look_at, Viewpoint

TABLE = (158, 145, 128)
GREEN, PURPLE = (30, 170, 60), (120, 40, 160)


def picture(*things: tuple[tuple[int, int], tuple[int, int, int], float]) -> Image:
    """Return a table with oblongs on it, given by column and row, colour and turn in degrees."""
    image = np.full((60, 80, 3), TABLE, np.uint8)
    for centre, colour, turn in things:
        corners = cv2.boxPoints((centre, (9.0, 7.0), turn)).round().astype(np.int32)
        cv2.fillConvexPoly(image, corners, colour)
    return image


@pytest.fixture(scope='module')
def simulation(robot: RobotDescription) -> Simulation:
    return Simulation(robot, get_family('push'))


@pytest.fixture(scope='module')
def view(simulation: Simulation) -> Viewpoint:
    return Viewpoint.of(simulation)


@pytest.mark.parametrize('height_m', [0.0, 0.03])
@pytest.mark.parametrize('point', [(0.36, -0.24), (0.45, 0.0), (0.64, 0.2)])
def test_pixel_and_plane_are_inverse(
    view: Viewpoint, point: tuple[float, float], height_m: float
) -> None:
    pixel = view.to_pixel(np.array(point), height_m)
    assert ((pixel >= 0) & (pixel < [80, 60])).all()
    np.testing.assert_allclose(view.to_plane(pixel, height_m), point, atol=1e-12)


def test_length_appears_as_long_as_its_ends_are_apart(view: Viewpoint) -> None:
    left, right = np.array([0.5, -0.03]), np.array([0.5, 0.03])
    apart = np.linalg.norm(view.to_pixel(left, 0.0) - view.to_pixel(right, 0.0))
    assert view.to_pixels(0.06, np.array([0.5, 0.0])) == pytest.approx(apart, rel=0.01)


def test_camera_of_the_plan_sees_the_goal_where_it_is(
    simulation: Simulation, view: Viewpoint
) -> None:
    simulation.wardrobe.paint('table', np.full((128, 128, 3), TABLE, np.uint8))
    image = resize_area(simulation.render(), 60, 80)
    seen = look_at(image, view.to_pixel(GOAL_M, 0.0), 12.0)
    # A disc is not seen around its centre: its near half looks larger.
    np.testing.assert_allclose(seen.pixel - view.to_pixel(GOAL_M, 0.0), [0.0, 0.37], atol=0.1)


def test_thing_is_what_stands_out_nearby() -> None:
    image = picture(((20, 30), GREEN, 0.0), ((55, 20), PURPLE, 0.0))
    sight = look_at(image, np.array([21.0, 28.0]), 9.0)
    np.testing.assert_allclose(sight.pixel, [20, 30], atol=0.6)
    assert 60 <= sight.mask.sum() <= 90


@pytest.mark.parametrize('turn', [0.0, 35.0, 90.0])
@pytest.mark.parametrize('light', [0.85, 1.0, 1.1])
def test_thing_is_found_among_others(turn: float, light: float) -> None:
    shown = picture(((20, 30), GREEN, 0.0), ((55, 20), PURPLE, 0.0))
    now = picture(((24, 28), PURPLE, 20.0), ((61, 41), GREEN, turn))
    sight = look_at(shown, np.array([20.0, 30.0]), 9.0)
    found = find(sight, np.clip(light * now, 0, 255).astype(np.uint8))
    np.testing.assert_allclose(found, [61, 41], atol=0.8)


def test_table_around_a_thing_is_no_part_of_it() -> None:
    """A sliver fills a corner of its box: the rest must not match another table."""
    shown, now = np.full((2, 60, 80, 3), TABLE, np.uint8)
    now[:] = (40, 45, 60)
    cv2.rectangle(now, (10, 5), (30, 25), TABLE, -1)
    cv2.line(shown, (40, 40), (49, 31), PURPLE, 1)
    cv2.line(now, (60, 50), (69, 41), PURPLE, 1)
    sight = look_at(shown, np.array([44.5, 35.5]), 9.0)
    np.testing.assert_allclose(find(sight, now), [64.5, 45.5], atol=0.5)


def test_neighbour_of_another_colour_is_no_part_of_a_thing() -> None:
    shown = picture(((20, 30), GREEN, 0.0))
    now = picture(((60, 40), GREEN, 0.0), ((66, 34), PURPLE, 0.0))
    now[36:44, 56:65] = GREEN
    sight = look_at(shown, np.array([20.0, 30.0]), 9.0)
    np.testing.assert_allclose(find(sight, now), [60, 39.5], atol=0.6)


def test_best_fit_counts_where_nothing_has_its_colours() -> None:
    sight = look_at(picture(((20, 30), GREEN, 0.0)), np.array([20.0, 30.0]), 9.0)
    found = find(sight, picture(((61, 41), PURPLE, 0.0)))
    assert ((found >= 0) & (found < [80, 60])).all()


def test_bare_table_is_refused_with_the_place() -> None:
    with pytest.raises(DemoError, match=r'within 9 pixels of column 40, row 10, where the demon'):
        look_at(picture(((20, 30), GREEN, 0.0)), np.array([40.0, 10.0]), 9.0)
