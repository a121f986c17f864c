"""The simulated arm at its table: physics, camera and the truth about what is where."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.errors import ConfigError
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Image, Vector
from mil_ros.sim.families.family import Family
from mil_ros.sim.gl import mujoco
from mil_ros.sim.renderer import Renderer
from mil_ros.sim.scene import make_room, TIMESTEP_S, vary_room
from mil_ros.sim.wardrobe import Wardrobe

JOINT_NAMES = tuple(f'panda_joint{i}' for i in range(1, 8))
START_SPREAD_RAD = 0.04  # standard deviation of the start pose around home, per joint


class Simulation:
    """One arm, one table, one camera and a family's objects; time advances only by `step`."""

    def __init__(self, robot: RobotDescription, family: Family) -> None:
        """Build the scene of a family.

        Raises:
            ConfigError: If the robot file's joints are not those of the simulated arm.
        """
        self.robot, self.family = robot, family
        if set(robot.joint_names) != set(JOINT_NAMES):
            raise ConfigError(
                f'Robot {robot.name!r} has joints {list(robot.joint_names)}, the simulated arm '
                f'has {list(JOINT_NAMES)}; use robot:=sim_panda.'
            )
        spec = make_room(robot.camera)
        family.build(spec)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.wardrobe = Wardrobe(self.model)
        self._renderer: Renderer | None = None
        joints = [self.model.joint(name) for name in robot.joint_names]
        self._qpos = np.array([j.qposadr[0] for j in joints])
        self._qvel = np.array([j.dofadr[0] for j in joints])
        self._ctrl = np.array([self.model.actuator(name).id for name in robot.joint_names])
        self._tip_site = self.model.site('tip').id

    def reset(self, joint_positions: Vector) -> None:
        """Put the arm at rest at `joint_positions`, (J,) in rad, and the clock at zero.

        The objects are put in their places afterwards, and count from `refresh` on.
        """
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[self._qpos] = joint_positions
        mujoco.mj_kinematics(self.model, self.data)

    def reset_randomly(self, split: str, rng: np.random.Generator) -> None:
        """As `reset`, near home and with another table top, light and place of the camera."""
        home = self.robot.home
        self.reset(home + rng.normal(0.0, START_SPREAD_RAD, size=home.shape))
        vary_room(self.model, self.wardrobe, split, rng)

    def put(self, body: str, position: Vector, yaw_rad: float) -> None:
        """Stand a body that nothing moves somewhere else, (3,) in m."""
        mocap = self.model.body(body).mocapid[0]
        self.data.mocap_pos[mocap] = position
        self.data.mocap_quat[mocap] = (np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2))

    def refresh(self) -> None:
        """Make everything agree with what was changed by hand."""
        mujoco.mj_forward(self.model, self.data)

    def step(self, joint_velocities: Vector, duration_s: float) -> None:
        """Hold joint velocities, (J,) in rad/s, for a duration."""
        self.data.ctrl[self._ctrl] = joint_velocities
        mujoco.mj_step(self.model, self.data, nstep=round(duration_s / TIMESTEP_S))

    def render(self) -> Image:
        """Return what the camera sees, (H, W, 3) uint8 RGB."""
        self.open_camera()
        self.capture()
        return self.draw()

    def open_camera(self) -> None:
        """Open the camera, unless it is open, in the thread that will `draw` and `close`."""
        if self._renderer is None:
            camera = self.robot.camera
            self._renderer = Renderer(self.model, camera.width, camera.height)

    def capture(self) -> None:
        """Expose a picture of now; `draw` develops it, so that time may go on meanwhile.

        The camera must be open, and not drawing.
        """
        assert self._renderer is not None
        self._renderer.capture(self.data)

    def draw(self) -> Image:
        """Return the picture that was captured, (H, W, 3) uint8 RGB."""
        assert self._renderer is not None
        for texture in self.wardrobe.take_repainted():
            self._renderer.upload_texture(texture)
        return self._renderer.draw()

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    @property
    def time_s(self) -> float:
        """Simulated time since the reset."""
        return float(self.data.time)

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

    def position(self, body: str) -> Vector:
        """Return where a body is in the base frame, (3,) in m."""
        return self.data.body(body).xpos.copy()

    def to_local(self, body: str, point: Vector) -> Vector:
        """Return a point of the base frame in the frame of a body, (3,) in m each."""
        entry = self.data.body(body)
        local: Vector = entry.xmat.reshape(3, 3).T @ (point - entry.xpos)
        return local

    def tip_jacobian(self) -> NDArray[np.float64]:
        """Return d(position, rotation vector)/dq of the tip, (6, J)."""
        jacobian = np.zeros((6, self.model.nv))
        mujoco.mj_jacSite(self.model, self.data, jacobian[:3], jacobian[3:], self._tip_site)
        return jacobian[:, self._qvel]

    def touches(self, geom: str, distance_m: float) -> bool:
        """Whether the tip's surface is within a distance of a geom's."""
        gap = mujoco.mj_geomDistance(
            self.model,
            self.data,
            self.model.geom('tip').id,
            self.model.geom(geom).id,
            0.05,
            None,
        )
        return gap <= distance_m
