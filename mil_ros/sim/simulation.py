"""The simulated arm at its table: physics, camera and the truth about touching."""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.errors import ConfigError
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Image, Vector
from mil_ros.sim import reach
from mil_ros.sim.gl import select_backend

select_backend()
import mujoco  # noqa: E402  (the backend must be chosen first)

TIMESTEP_S = 0.002
JOINT_NAMES = tuple(f'panda_joint{i}' for i in range(1, 8))
_TABLE_RGBA = (0.62, 0.57, 0.50, 1.0)
_CAMERA_POS = (1.08, 0.0, 0.92)
_CAMERA_TARGET = (0.45, 0.0, 0.06)
_CAMERA_FOVY_DEG = 26.0


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


def _build_model(width: int, height: int) -> mujoco.MjModel:
    with as_file(files('mil_ros.sim') / 'assets' / 'panda.xml') as path:
        spec = mujoco.MjSpec.from_file(str(path))
    spec.option.timestep = TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.visual.global_.offwidth = max(width, 640)
    spec.visual.global_.offheight = max(height, 480)
    # The policy averages 5x5 pixels, so multisampling would cost four fifths of the frame rate
    # for nothing.
    spec.visual.quality.offsamples = 0
    spec.visual.quality.numslices = 20
    spec.visual.quality.numstacks = 10
    spec.visual.headlight.ambient = (0.45, 0.45, 0.45)
    spec.visual.headlight.diffuse = (0.25, 0.25, 0.25)
    spec.visual.headlight.specular = (0.0, 0.0, 0.0)
    world = spec.worldbody
    light = world.add_light(pos=(0.6, 0.5, 1.6), dir=(-0.1, -0.35, -1.0))
    light.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    light.diffuse, light.specular, light.castshadow = (0.45,) * 3, (0.1,) * 3, False
    box, cylinder = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER
    world.add_geom(
        name='table',
        type=box,
        pos=(0.4, 0.0, -0.02),
        size=(0.62, 0.75, 0.02),
        rgba=_TABLE_RGBA,
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
    for i in range(reach.OBJECTS):
        body = world.add_body(name=f'object{i}', mocap=True)
        body.add_geom(
            name=f'object{i}',
            type=cylinder,
            contype=2,
            conaffinity=1,
            size=(reach.OBJECT_RADIUS_M, reach.OBJECT_HEIGHT_M / 2, 0.0),
        )
    quat = _look_at(np.array(_CAMERA_POS), np.array(_CAMERA_TARGET))
    world.add_camera(name='camera', pos=_CAMERA_POS, quat=quat, fovy=_CAMERA_FOVY_DEG)
    return spec.compile()


class Simulation:
    """One arm, one table, one camera; time advances only by `step`."""

    def __init__(self, robot: RobotDescription) -> None:
        """Build the scene.

        Raises:
            ConfigError: If the robot file's joints are not those of the simulated arm.
        """
        self.robot = robot
        if set(robot.joint_names) != set(JOINT_NAMES):
            raise ConfigError(
                f'Robot {robot.name!r} has joints {list(robot.joint_names)}, the simulated arm '
                f'has {list(JOINT_NAMES)}; use robot:=sim_panda.'
            )
        self.model = _build_model(robot.camera.width, robot.camera.height)
        self.data = mujoco.MjData(self.model)
        self._renderer: mujoco.Renderer | None = None
        joints = [self.model.joint(name) for name in robot.joint_names]
        self._qpos = np.array([j.qposadr[0] for j in joints])
        self._qvel = np.array([j.dofadr[0] for j in joints])
        self._ctrl = np.array([self.model.actuator(name).id for name in robot.joint_names])
        self._objects = [self.model.geom(f'object{i}').id for i in range(reach.OBJECTS)]
        self._tip_geom = self.model.geom('tip').id
        self._tip_site = self.model.site('tip').id
        self.layout: NDArray[np.float64] = np.zeros((reach.OBJECTS, 2))

    def reset(
        self, task: reach.ReachTask, layout: NDArray[np.float64], joint_positions: Vector
    ) -> None:
        """Set the scene up afresh with the arm at rest at `joint_positions`, (J,) in rad."""
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[self._qpos] = joint_positions
        self.layout = layout.copy()
        for i, (geom, colour) in enumerate(zip(self._objects, task.colours, strict=True)):
            self.model.geom_rgba[geom, :3] = colour
            self.model.geom_rgba[geom, 3] = 1.0
            mocap = self.model.body(f'object{i}').mocapid[0]
            self.data.mocap_pos[mocap] = (*layout[i], reach.OBJECT_HEIGHT_M / 2)
        mujoco.mj_forward(self.model, self.data)

    def step(self, joint_velocities: Vector, duration_s: float) -> None:
        """Hold joint velocities, (J,) in rad/s, for a duration."""
        self.data.ctrl[self._ctrl] = joint_velocities
        mujoco.mj_step(self.model, self.data, nstep=round(duration_s / TIMESTEP_S))

    def render(self) -> Image:
        """Return what the camera sees, (H, W, 3) uint8 RGB."""
        if self._renderer is None:
            camera = self.robot.camera
            self._renderer = mujoco.Renderer(self.model, camera.height, camera.width)
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._renderer.update_scene(self.data, camera='camera')
        return self._renderer.render()

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    @property
    def joint_positions(self) -> Vector:
        """Positions in robot-file order, (J,) in rad."""
        return self.data.qpos[self._qpos].copy()

    @property
    def joint_velocities(self) -> Vector:
        """Velocities in robot-file order, (J,) in rad/s."""
        return self.data.qvel[self._qvel].copy()

    @property
    def tip(self) -> Vector:
        """Tip position in the base frame, (3,) in m."""
        return self.data.site_xpos[self._tip_site].copy()

    @property
    def tip_rotation(self) -> NDArray[np.float64]:
        """Rotation that maps tip coordinates into the base frame, (3, 3)."""
        return self.data.site_xmat[self._tip_site].reshape(3, 3).copy()

    def tip_jacobian(self) -> NDArray[np.float64]:
        """Return d(position, rotation vector)/dq of the tip, (6, J)."""
        jacobian = np.zeros((6, self.model.nv))
        mujoco.mj_jacSite(self.model, self.data, jacobian[:3], jacobian[3:], self._tip_site)
        return jacobian[:, self._qvel]

    def touched(self) -> int | None:
        """Return the number of the object that the tip touches, 0 being the target."""
        for i, geom in enumerate(self._objects):
            distance = mujoco.mj_geomDistance(
                self.model, self.data, self._tip_geom, geom, 0.05, None
            )
            if distance <= reach.TOUCH_DISTANCE_M:
                return i
        return None
