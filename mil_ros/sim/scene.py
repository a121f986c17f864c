"""The room that every family shares: arm, table, light and camera, and how they vary."""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.robot import Camera
from mil_ros.sim import palette
from mil_ros.sim.gl import mujoco
from mil_ros.sim.wardrobe import add_texture, Wardrobe

TIMESTEP_S = 0.002

_CAMERA_POS = np.array([1.08, 0.0, 0.92])
_CAMERA_TARGET = np.array([0.45, 0.0, 0.06])
_CAMERA_FOVY_DEG = 26.0
_CAMERA_SHIFT_M = 0.008  # largest along each axis
_CAMERA_TURN_RAD = np.deg2rad(0.5)  # largest about each axis
_LIGHT_DIRECTION = np.array([-0.1, -0.35, -1.0])
_LIGHT_TILT = 0.25  # largest change of each component of the direction
_LIGHT_DIFFUSE = 0.45
_HEADLIGHT_AMBIENT = 0.45
_HEADLIGHT_DIFFUSE = 0.25
_BRIGHTNESS = (0.88, 1.12)  # range of a factor on each of these three
_TABLE_TILES = 3.0  # of its texture, along each side


def make_room(camera: Camera) -> mujoco.MjSpec:
    """Return arm, table, light and camera, to which a family adds its objects."""
    with as_file(files('mil_ros.sim') / 'assets' / 'panda.xml') as path:
        spec = mujoco.MjSpec.from_file(str(path))
    spec.option.timestep = TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # A body's tree of geoms is built by the compiler and would not notice that they change.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_MIDPHASE
    spec.visual.global_.offwidth = camera.width
    spec.visual.global_.offheight = camera.height
    # The policy averages 4x4 pixels, so multisampling would cost four fifths of the frame rate
    # for nothing.
    spec.visual.quality.offsamples = 0
    spec.visual.quality.numslices = 20
    spec.visual.quality.numstacks = 10
    spec.visual.headlight.specular = (0.0, 0.0, 0.0)
    _add_surroundings(spec)
    return spec


def _add_surroundings(spec: mujoco.MjSpec) -> None:
    world = spec.worldbody
    light = world.add_light(name='light', pos=(0.6, 0.5, 1.6))
    light.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    light.specular, light.castshadow = (0.1,) * 3, False
    add_texture(spec, 'table', palette.TABLE_PIXELS, _TABLE_TILES)
    box = mujoco.mjtGeom.mjGEOM_BOX
    world.add_geom(
        name='table',
        type=box,
        pos=(0.4, 0.0, -0.02),
        size=(0.62, 0.75, 0.02),
        material='table',
        contype=2,
        conaffinity=1,
    )
    world.add_geom(
        name='floor',
        type=box,
        pos=(0.0, 0.0, -0.75),
        size=(4.0, 4.0, 0.01),
        rgba=(0.30, 0.33, 0.37, 1.0),
        contype=0,
        conaffinity=0,
    )
    world.add_camera(
        name='camera',
        fovy=_CAMERA_FOVY_DEG,
        pos=_CAMERA_POS,
        quat=_look_at(_CAMERA_POS, _CAMERA_TARGET),
    )


def vary_room(
    model: mujoco.MjModel, wardrobe: Wardrobe, split: str, rng: np.random.Generator
) -> None:
    """Choose the table top, the camera's exact place and the light afresh."""
    table = int(rng.choice(palette.table_numbers(split)))
    wardrobe.paint('table', palette.paint_table(table))
    _move_camera(model, rng)
    direction = _LIGHT_DIRECTION + rng.uniform(-_LIGHT_TILT, _LIGHT_TILT, 3)
    model.light('light').dir = direction / np.linalg.norm(direction)
    model.light('light').diffuse = _LIGHT_DIFFUSE * rng.uniform(*_BRIGHTNESS)
    headlight = model.vis.headlight
    headlight.ambient[:] = _HEADLIGHT_AMBIENT * rng.uniform(*_BRIGHTNESS)
    headlight.diffuse[:] = _HEADLIGHT_DIFFUSE * rng.uniform(*_BRIGHTNESS)


def _move_camera(model: mujoco.MjModel, rng: np.random.Generator) -> None:
    camera = model.camera('camera')
    position = _CAMERA_POS + rng.uniform(-_CAMERA_SHIFT_M, _CAMERA_SHIFT_M, 3)
    turn, turned = np.zeros(4), np.zeros(4)
    rotation = rng.uniform(-_CAMERA_TURN_RAD, _CAMERA_TURN_RAD, 3)
    angle = float(np.linalg.norm(rotation))
    mujoco.mju_axisAngle2Quat(turn, rotation / angle, angle)
    mujoco.mju_mulQuat(turned, _look_at(position, _CAMERA_TARGET), turn)
    camera.pos, camera.quat = position, turned


def _look_at(position: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the orientation of a camera that looks at a point, quaternion wxyz, (4,)."""
    backward = position - target
    backward = backward / np.linalg.norm(backward)
    right = np.cross((0.0, 0.0, 1.0), backward)
    right = right / np.linalg.norm(right)
    rotation = np.stack([right, np.cross(backward, right), backward], axis=1)  # (3, 3)
    quat_wxyz = np.zeros(4)
    mujoco.mju_mat2Quat(quat_wxyz, rotation.ravel())
    return quat_wxyz


def sample_spaced(
    rng: np.random.Generator,
    count: int,
    workspace_m: tuple[tuple[float, float], tuple[float, float]],
    spacing_m: float,
) -> NDArray[np.float64]:
    """Return table positions, none closer to another than the spacing, (count, 2) in m.

    Args:
        rng: Source of the positions.
        count: How many.
        workspace_m: Their range in x and in y.
        spacing_m: Least distance between two.
    """
    low, high = np.array(workspace_m).T
    while True:
        layout = rng.uniform(low, high, size=(count, 2))
        gaps = np.linalg.norm(layout[:, None] - layout[None], axis=-1)
        if gaps[np.triu_indices(count, 1)].min() >= spacing_m:
            return layout
