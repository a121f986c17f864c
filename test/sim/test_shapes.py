"""Meshes are closed where they should be and lie where their outlines say."""

from __future__ import annotations

import numpy as np
import pytest

from mil_ros.sim import palette, shapes

SQUARE = np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]])


def area(outline: np.ndarray) -> float:
    ahead = np.roll(outline, -1, axis=0)
    return 0.5 * float(np.sum(outline[:, 0] * ahead[:, 1] - outline[:, 1] * ahead[:, 0]))


def volume(mesh: shapes.Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float(np.sum(a * np.cross(b, c)) / 6)


def test_radii_of_a_square() -> None:
    assert shapes.inradius(SQUARE) == pytest.approx(1.0)
    assert shapes.circumradius(SQUARE) == pytest.approx(np.sqrt(2))


@pytest.mark.parametrize('number', range(shapes.PRISMS))
def test_prism_outlines_have_one_size_and_go_round_once(number: int) -> None:
    outline = shapes.prism_outline(number)
    assert shapes.inradius(outline) > 0.5, 'the centre sees every side'
    assert shapes.inradius(outline) + shapes.circumradius(outline) == pytest.approx(2.0)
    angles = np.arctan2(outline[:, 1], outline[:, 0])
    turned = np.diff(np.unwrap(np.append(angles, angles[0])))
    assert (turned > 0).all()


def test_outlines_of_the_splits_are_other_outlines() -> None:
    for count, outline in (
        (shapes.PRISMS, shapes.prism_outline),
        (shapes.BOWLS, shapes.bowl_outline),
    ):
        train, test = (
            {outline(n).round(6).tobytes() for n in palette.divide(count, split)}
            for split in palette.SPLITS
        )
        assert len(train) + len(test) == count
        assert not train & test


@pytest.mark.parametrize('number', range(0, shapes.PRISMS, 3))
def test_prisms_enclose_their_volume(number: int) -> None:
    outline = 0.04 * shapes.prism_outline(number)
    mesh = shapes.make_prism(outline, 0.06)
    assert volume(mesh) == pytest.approx(0.06 * area(outline))
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    facing = np.cross(b - a, c - a)
    facing /= np.linalg.norm(facing, axis=1, keepdims=True)
    np.testing.assert_allclose(mesh.normals[mesh.faces[:, 0]], facing, atol=1e-9)


def test_widening_moves_every_side_outwards() -> None:
    np.testing.assert_allclose(shapes.widen(SQUARE, 0.5), 1.5 * SQUARE)
    for number in range(shapes.BOWLS):
        inner = shapes.bowl_outline(number)
        outer = shapes.widen(inner, 0.1)
        assert shapes.inradius(outer) == pytest.approx(shapes.inradius(inner) + 0.1)
        assert not any(shapes.contains(inner, corner) for corner in outer)


@pytest.mark.parametrize('number', range(shapes.BOWLS))
def test_bowls_are_open_and_faces_look_out_of_the_wall(number: int) -> None:
    inner = 0.05 * shapes.bowl_outline(number)
    assert len(inner) <= shapes.MOST_WALLS
    assert shapes.inradius(inner) == pytest.approx(0.05)
    mesh = shapes.make_bowl(inner, 0.006, 0.035)
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    normals = mesh.normals[mesh.faces[:, 0]]
    assert (np.sum(np.cross(b - a, c - a) * normals, axis=1) > 0).all()
    centres = (a + b + c) / 3
    over_floor = [shapes.contains(inner, p[:2]) for p in centres]
    assert centres[over_floor, 2].max() < 0.035 - 1e-9, 'nothing lies over the opening'


@pytest.mark.parametrize(
    ('point', 'is_inside'),
    [((0.0, 0.0), True), ((0.99, -0.99), True), ((1.01, 0.0), False), ((0.0, -3.0), False)],
)
def test_points_within_an_outline(point: tuple[float, float], is_inside: bool) -> None:
    assert shapes.contains(SQUARE, np.array(point)) == is_inside
