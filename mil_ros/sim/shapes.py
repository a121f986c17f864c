"""Outlines of objects and containers, and the triangle meshes made of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mil_ros.sim.gl import mujoco

Outline = NDArray[np.float64]  # (N, 2) in m, counter-clockwise around the origin

PRISMS = 40
BOWLS = 40
MOST_WALLS = 16  # of a container
_SEED = 20171018  # fixed for good: changing it would leak test shapes into training
_ROUND = 24  # corners of what looks round
_TILE_M = 0.064  # side of one tile of a texture
_FLOOR_M = 0.004  # thickness of a container's floor


@dataclass(frozen=True, eq=False, slots=True)
class Mesh:
    """Triangles with flat shading.

    Attributes:
        vertices: (N, 3) in m; corners are repeated for each face.
        normals: Of the vertices, (N, 3).
        texcoords: Of the vertices, (N, 2) in tiles.
        faces: Vertex numbers, (M, 3), counter-clockwise seen from outside.
    """

    vertices: NDArray[np.float64]
    normals: NDArray[np.float64]
    texcoords: NDArray[np.float64]
    faces: NDArray[np.int64]

    def add_to(self, spec: mujoco.MjSpec, name: str, *, is_shell: bool) -> None:
        """Make it an asset of a model; a shell encloses no volume."""
        mesh = spec.add_mesh(name=name)
        mesh.uservert = self.vertices.ravel()
        mesh.usernormal = self.normals.ravel()
        mesh.usertexcoord = self.texcoords.ravel()
        mesh.userface = self.faces.ravel()
        mesh.userfacenormal = self.faces.ravel()
        mesh.userfacetexcoord = self.faces.ravel()
        inertia = mujoco.mjtMeshInertia
        mesh.inertia = inertia.mjMESH_INERTIA_SHELL if is_shell else inertia.mjMESH_INERTIA_CONVEX


def _polar(radii: NDArray[np.float64], angles: NDArray[np.float64]) -> Outline:
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _polygon(corners: int) -> Outline:
    angles = 2 * np.pi * (np.arange(corners) + 0.5) / corners
    return _polar(np.ones(corners), angles)


def _superellipse(power: float, aspect: float) -> Outline:
    angles = 2 * np.pi * (np.arange(_ROUND) + 0.5) / _ROUND
    cosine, sine = np.cos(angles), np.sin(angles)
    radii = (np.abs(cosine) ** power + np.abs(sine) ** power) ** (-1.0 / power)
    return _polar(radii, angles) * [aspect, 1.0]


def _lobes(count: int, depth: float) -> Outline:
    angles = 2 * np.pi * np.arange(2 * _ROUND) / (2 * _ROUND)
    return _polar(1.0 + depth * np.cos(count * angles), angles)


def _cross(width: float) -> Outline:
    arm = np.array([[1.0, -width], [1.0, width], [width, width]])
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])  # by a quarter, for rows
    return np.concatenate([arm, arm @ turn, arm @ turn @ turn, arm @ turn @ turn @ turn])


def inradius(outline: Outline) -> float:
    """Return the distance from the origin to the nearest side, in m."""
    ahead = np.roll(outline, -1, axis=0) - outline
    length = np.linalg.norm(ahead, axis=1)
    return float(np.min((outline[:, 0] * ahead[:, 1] - outline[:, 1] * ahead[:, 0]) / length))


def circumradius(outline: Outline) -> float:
    """Return the distance from the origin to the farthest corner, in m."""
    return float(np.linalg.norm(outline, axis=1).max())


def _scale(outline: Outline, size_m: float) -> Outline:
    """Return the outline with the mean of its inner and outer radius at `size_m`."""
    return outline * (2 * size_m / (inradius(outline) + circumradius(outline)))


@lru_cache(maxsize=PRISMS)
def prism_outline(number: int) -> Outline:
    """Return the outline of an object of mean radius 1, (N, 2)."""
    rng = np.random.default_rng([_SEED, 1, number])
    kind = number % 5
    if kind == 0:
        outline = _polygon(int(rng.integers(3, 9))) * [rng.uniform(1.0, 1.25), 1.0]
    elif kind == 1:
        outline = _superellipse(rng.uniform(1.8, 2.4), rng.uniform(1.0, 1.45))
    elif kind == 2:
        outline = _superellipse(rng.uniform(4.0, 9.0), rng.uniform(1.0, 1.5))
    elif kind == 3:
        outline = _lobes(int(rng.integers(3, 7)), rng.uniform(0.06, 0.16))
    else:
        outline = _cross(rng.uniform(0.4, 0.65)) * [rng.uniform(1.0, 1.25), 1.0]
    return _scale(outline, 1.0)


@lru_cache(maxsize=BOWLS)
def bowl_outline(number: int) -> Outline:
    """Return the convex inner outline of a container of inner radius 1, (N, 2)."""
    rng = np.random.default_rng([_SEED, 2, number])
    corners = (MOST_WALLS, 4, 6, 5, 8)[number % 5]
    outline = _polygon(corners) * [rng.uniform(1.0, 1.2), 1.0]
    return outline / inradius(outline)


def _assemble(parts: list[tuple[NDArray, NDArray, NDArray]]) -> Mesh:
    """Join convex faces, each given as corners (N, 3), normal (3,) and texture axes (N, 2)."""
    vertices, normals, texcoords, faces = [], [], [], []
    count = 0
    for corners, normal, texture in parts:
        n = len(corners)
        vertices.append(corners)
        normals.append(np.broadcast_to(normal, (n, 3)))
        texcoords.append(texture / _TILE_M + 0.5)
        fan = [(count, count + i, count + i + 1) for i in range(1, n - 1)]
        faces.append(np.array(fan))
        count += n
    return Mesh(
        np.concatenate(vertices),
        np.concatenate(normals),
        np.concatenate(texcoords),
        np.concatenate(faces),
    )


def _at_height(outline: Outline, z: float) -> NDArray[np.float64]:
    return np.column_stack([outline, np.full(len(outline), z)])


def _wall(outline: Outline, low: float, high: float) -> list[tuple[NDArray, NDArray, NDArray]]:
    """Return the upright faces over an outline, looking away from its inside."""
    parts = []
    walked = 0.0
    for start, end in zip(outline, np.roll(outline, -1, axis=0)):
        along = end - start
        length = float(np.linalg.norm(along))
        quad = np.array([[*start, low], [*end, low], [*end, high], [*start, high]])
        texture = np.array(
            [[walked, low], [walked + length, low], [walked + length, high], [walked, high]]
        )
        parts.append((quad, np.array([along[1], -along[0], 0.0]) / length, texture))
        walked += length
    return parts


def make_prism(outline: Outline, height_m: float) -> Mesh:
    """Return an upright prism around the origin; its outline is star-shaped from there."""
    low, high = -height_m / 2, height_m / 2
    parts = _wall(outline, low, high)
    for start, end in zip(outline, np.roll(outline, -1, axis=0)):
        triangle = np.array([[0.0, 0.0], start, end])
        up = np.array([0.0, 0.0, 1.0])
        parts.append((_at_height(triangle, high), up, triangle))
        parts.append((_at_height(triangle[::-1], low), -up, triangle[::-1]))
    return _assemble(parts)


def widen(outline: Outline, thickness_m: float) -> Outline:
    """Return the outer outline of a wall of a given thickness around a convex outline."""
    ahead = np.roll(outline, -1, axis=0) - outline
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    normal = np.stack([ahead[:, 1], -ahead[:, 0]], axis=1)
    before = np.roll(normal, 1, axis=0)
    mitre = (normal + before) / (1.0 + np.sum(normal * before, axis=1, keepdims=True))
    return outline + thickness_m * mitre


def add_prisms(spec: mujoco.MjSpec, bank: str, sizes_m: NDArray[np.float64]) -> str:
    """Add the meshes ``bank0``, ``bank1``... of all prism outlines; return the widest's name.

    Args:
        spec: Model to add to.
        bank: What their names begin with.
        sizes_m: Mean radius and height of each, (PRISMS, 2).
    """
    radii = []
    for number, (radius_m, height_m) in enumerate(sizes_m):
        outline = radius_m * prism_outline(number)
        make_prism(outline, height_m).add_to(spec, f'{bank}{number}', is_shell=False)
        radii.append(circumradius(outline))
    return f'{bank}{int(np.argmax(radii))}'


def make_bowl(inner: Outline, thickness_m: float, height_m: float) -> Mesh:
    """Return an open container that stands on z = 0."""
    outer = widen(inner, thickness_m)
    up = np.array([0.0, 0.0, 1.0])
    parts = _wall(outer, 0.0, height_m)
    parts += [(q[::-1], -n, t[::-1]) for q, n, t in _wall(inner, _FLOOR_M, height_m)]
    parts.append((_at_height(inner, _FLOOR_M), up, inner))
    n = len(inner)
    for i in range(n):
        j = (i + 1) % n
        rim = np.array([inner[i], outer[i], outer[j], inner[j]])
        parts.append((_at_height(rim, height_m), up, rim))
    return _assemble(parts)


def contains(outline: Outline, point: NDArray[np.float64]) -> bool:
    """Whether a point, (2,) in m, lies within a convex outline."""
    ahead = np.roll(outline, -1, axis=0) - outline
    to_point = point - outline
    return bool(np.all(ahead[:, 0] * to_point[:, 1] - ahead[:, 1] * to_point[:, 0] >= 0.0))
