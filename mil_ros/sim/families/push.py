"""The push family: push the shown object onto the goal, past a distractor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.types import Vector
from mil_ros.sim import expert, palette, shapes
from mil_ros.sim.families.family import Outcome, Task
from mil_ros.sim.gl import mujoco
from mil_ros.sim.wardrobe import add_texture

if TYPE_CHECKING:
    from mil_ros.sim.simulation import Simulation

OBJECTS = 2  # the target and a distractor
GOAL_M = np.array([0.60, 0.0])
TOLERANCE_M = 0.075  # of the object's centre from the goal's; the disc that is drawn
HOLD_S = 1.0  # time within tolerance, not necessarily in one piece
DEPTH_M = (0.42, 0.50)  # x range of the objects' centres
SIDE_M = (0.09, 0.20)  # range of |y|; one object on each side
_GOAL_RGB = (0.80, 0.08, 0.08)
_CLEARANCE_M = 0.0005  # objects slide on joints and must not rub on the table
_MASS_KG = (0.1, 0.4)
_DRAG_N_S_M = (8.0, 25.0)
_FRICTION = (0.2, 0.7)
_DRAG_ARM = 0.6  # lever of the drag against turning, per radius
_PRONG_M = (0.010, 0.028)  # in front of the tip, and to each side
_PRONG_RADIUS_M = 0.012
_SIZE_SEED = 20171113  # fixed for good, as those of shapes and colours

# The expert's way: fly to behind the object, come down, push.
_SPEED_M_S = 0.26
_GAIN_HZ = 4.0
_STEER_HZ = 5.0
_PUSH_HEIGHT_M = 0.03
_FLY_HEIGHT_M = 0.115
_FLY_SLOPE = 0.35
_BEHIND_M = 0.082  # from the centre of the object; clears the widest one
_DESCENT_M = (0.012, 0.034)  # distance from behind at which the tip is down, and up


@dataclass(frozen=True, eq=False, slots=True)
class PushTask(Task):
    """A task whose objects differ in how they slide as well.

    Attributes:
        masses_kg: Of the objects, (2,).
        drags_n_s_m: Resistance of the table per speed, (2,).
        frictions: Sliding friction with the tip, (2,).
    """

    masses_kg: NDArray[np.float64]
    drags_n_s_m: NDArray[np.float64]
    frictions: NDArray[np.float64]


def sample_layout(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return table positions of target and distractor on opposite sides, (2, 2) in m."""
    sides = np.array([1.0, -1.0]) * rng.choice([1.0, -1.0])
    return np.stack([rng.uniform(*DEPTH_M, OBJECTS), sides * rng.uniform(*SIDE_M, OBJECTS)], 1)


@lru_cache(maxsize=1)
def make_sizes() -> NDArray[np.float64]:
    """Return mean radius and height of each prism, (PRISMS, 2) in m."""
    rng = np.random.default_rng(_SIZE_SEED)
    return rng.uniform([0.034, 0.050], [0.040, 0.060], (shapes.PRISMS, 2))


class Push:
    """Push one of two objects onto a disc that is always in the same place.

    The objects slide on joints instead of the table: a viscous drag stands for the limit surface
    of dry friction, which makes a pushed object follow the pusher in the same way (the motion
    does not depend on the speed), stops it when the push ends, and never topples or rattles.
    """

    name = 'push'
    demo_steps = 45
    run_s = 6.0
    noise_rad_s = 0.09

    def build(self, spec: mujoco.MjSpec) -> None:
        """Add the goal and the objects."""
        spec.worldbody.add_geom(
            name='goal',
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            pos=(*GOAL_M, 0.0005),
            size=(TOLERANCE_M, 0.0005, 0.0),
            rgba=(*_GOAL_RGB, 1.0),
            contype=0,
            conaffinity=0,
        )
        _add_fork(spec)
        widest = shapes.add_prisms(spec, 'prism', make_sizes())
        for i in range(OBJECTS):
            self._add_object(spec, f'object{i}', widest)

    def _add_object(self, spec: mujoco.MjSpec, name: str, mesh: str) -> None:
        add_texture(spec, name, palette.TEXTURE_PIXELS)
        body = spec.worldbody.add_body(name=name, explicitinertial=True)
        body.mass, body.inertia = 0.2, (1e-4, 1e-4, 1e-4)  # until a task says otherwise
        slide, hinge = mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE
        body.add_joint(name=f'{name}_x', type=slide, axis=(1.0, 0.0, 0.0))
        body.add_joint(name=f'{name}_y', type=slide, axis=(0.0, 1.0, 0.0))
        body.add_joint(name=f'{name}_yaw', type=hinge, axis=(0.0, 0.0, 1.0))
        # Objects meet the tip (1) and each other (4), never the table (2).
        body.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname=mesh,
            material=name,
            contype=6,
            conaffinity=5,
            priority=1,
        )

    def sample_task(self, split: str, seed: int, index: int) -> PushTask:
        """Return task `index` of a split; the same arguments give the same task."""
        palette.check_split(split)
        rng = np.random.default_rng([seed, index, palette.SPLITS.index(split), 1])
        colours = palette.sample_colours(
            split,
            OBJECTS,
            rng,
            unlike=(np.array(_GOAL_RGB),),
            min_lightness=palette.LIGHT_ENOUGH,
        )
        outlines = palette.divide(shapes.PRISMS, split)
        looks = palette.sample_looks(split, colours, outlines, rng)
        ranges = (_MASS_KG, _DRAG_N_S_M, _FRICTION)
        return PushTask('push', split, index, looks, *(rng.uniform(*r, OBJECTS) for r in ranges))

    def reset(self, simulation: Simulation, task: Task, rng: np.random.Generator) -> None:
        """Set up a new scene of a task, with the arm near home."""
        layout, yaws = sample_layout(rng), rng.uniform(-np.pi, np.pi, OBJECTS)
        self.furnish(simulation, task)
        simulation.reset_randomly(task.split, rng)
        self.arrange(simulation, layout, yaws)

    def furnish(self, simulation: Simulation, task: Task) -> None:
        """Give the objects their looks, masses and drags; the scene must be reset afterwards."""
        assert isinstance(task, PushTask)
        model = simulation.model
        for i, look in enumerate(task.looks):
            name = f'object{i}'
            simulation.wardrobe.dress(name, look, 'prism')
            radius_m, height_m = make_sizes()[look.shape]
            mass, drag = task.masses_kg[i], task.drags_n_s_m[i]
            across = mass * (3 * radius_m**2 + height_m**2) / 12
            body = model.body(name)
            body.pos = (0.0, 0.0, height_m / 2 + _CLEARANCE_M)
            body.mass = mass
            body.inertia = (across, across, mass * radius_m**2 / 2)  # of a cylinder
            turning = drag * (_DRAG_ARM * radius_m) ** 2
            for joint, damping in (('x', drag), ('y', drag), ('yaw', turning)):
                model.joint(f'{name}_{joint}').damping = damping
            model.geom(name).friction[0] = task.frictions[i]
        mujoco.mj_setConst(model, simulation.data)

    def arrange(
        self, simulation: Simulation, layout: NDArray[np.float64], yaws: NDArray[np.float64]
    ) -> None:
        """Put the objects at (2, 2) in m, turned by (2,) in rad."""
        for i, pose in enumerate(np.column_stack([layout, yaws])):
            for joint, value in zip(('x', 'y', 'yaw'), pose):
                simulation.data.joint(f'object{i}_{joint}').qpos = value
        simulation.refresh()

    def expert(self, simulation: Simulation, target: int = 0) -> Vector:
        """Return the joint velocities of a push; a function of where tip and object are.

        Lengthwise means along the line from the object to the goal, sideways across it. The tip
        flies to a point behind the object, comes down there, and once low and in line it moves
        lengthwise while it steers back onto the line. Close to the goal all of it fades to rest.
        """
        tip = simulation.tip
        centre = simulation.position(f'object{target}')[:2]
        left = GOAL_M - centre
        distance = float(np.linalg.norm(left))
        ahead = left / max(distance, 1e-6)
        from_centre = tip[:2] - centre
        lengthwise = float(from_centre @ ahead)
        sideways = from_centre - lengthwise * ahead  # (2,)
        off_line = float(np.linalg.norm(sideways))
        is_low = expert.ramp(tip[2], 0.085, 0.055)
        awake = expert.ramp(distance, 0.012, 0.035)

        # How far the tip is from where it may be down: behind, or when down already, pushing.
        short = max(0.0, -_BEHIND_M - lengthwise)
        beyond = max(0.0, lengthwise + _BEHIND_M * (1.0 - is_low))
        away = awake * float(np.linalg.norm([off_line, short + beyond]))
        height = _PUSH_HEIGHT_M + (_FLY_HEIGHT_M - _PUSH_HEIGHT_M) * expert.ramp(away, *_DESCENT_M)
        height += _FLY_SLOPE * max(0.0, away - 0.05)

        to_behind = centre - _BEHIND_M * ahead - tip[:2]
        flying = expert.bound_speed(_GAIN_HZ * to_behind, _SPEED_M_S)
        pushing = min(_SPEED_M_S, _GAIN_HZ * distance) * ahead - _STEER_HZ * sideways
        weight = is_low * expert.ramp(off_line, 0.030, 0.012) * expert.ramp(lengthwise, 0.0, -0.02)
        across = awake * (weight * pushing + (1.0 - weight) * flying)
        linear = np.array([*across, _GAIN_HZ * (height - tip[2])])
        to_goal = GOAL_M - tip[:2]
        return expert.joint_velocities(
            simulation,
            expert.bound_speed(linear, _SPEED_M_S),
            heading_rad=float(np.arctan2(to_goal[1], to_goal[0])),
        )

    def judge(self) -> PushJudge:
        """Return a judge for one run."""
        return PushJudge()


def _add_fork(spec: mujoco.MjSpec) -> None:
    """Give the tool two prongs beside its tip, which cradle what it pushes.

    The pusher of the paper has two fingers as well. A single point of contact would make pushing
    a balancing act that fails by millimetres, and would test that instead of the choice.
    """
    link = spec.body('panda_link7')
    sphere, capsule = mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_CAPSULE
    dark = (0.1, 0.1, 0.12, 1.0)
    for side in (-1.0, 1.0):
        x, y = _PRONG_M[0], side * _PRONG_M[1]
        link.add_geom(
            name=f'bar{side:+.0f}',
            type=capsule,
            fromto=(0.0, 0.0, expert.TIP_FROM_LINK7_M - 0.03, x, y, expert.TIP_FROM_LINK7_M),
            size=(0.006, 0.0, 0.0),
            rgba=dark,
            mass=0.005,
            contype=0,
            conaffinity=0,
        )
        link.add_geom(
            name=f'prong{side:+.0f}',
            type=sphere,
            pos=(x, y, expert.TIP_FROM_LINK7_M),
            size=(_PRONG_RADIUS_M, 0.0, 0.0),
            rgba=dark,
            mass=0.005,
            contype=1,
            conaffinity=2,
        )


class PushJudge:
    """The target must lie on the goal for a while; the distractor never counts."""

    def __init__(self) -> None:
        self._held_s = 0.0
        self._time_s = 0.0

    def update(self, simulation: Simulation) -> bool:
        """Add up the time on the goal; return whether it is enough."""
        elapsed_s, self._time_s = simulation.time_s - self._time_s, simulation.time_s
        if find_distances(simulation)[0] <= TOLERANCE_M:
            self._held_s += elapsed_s
        return self._is_success

    @property
    def _is_success(self) -> bool:
        return self._held_s >= HOLD_S - 1e-6

    def finish(self, simulation: Simulation) -> Outcome:
        """Return whether the target was held on the goal, and what lies there now."""
        if self._is_success:
            return Outcome(True, 0, 'The target was pushed onto the goal.')
        distances = find_distances(simulation)
        nearest = int(np.argmin(distances))
        if distances[nearest] > TOLERANCE_M:
            return Outcome(False, None, 'No object is on the goal.')
        name = ('The target', 'The distractor')[nearest]
        return Outcome(False, nearest, f'{name} is on the goal; {self._held_s:.1f} s counted.')


def find_distances(simulation: Simulation) -> NDArray[np.float64]:
    """Return how far each object's centre is from the goal's, (2,) in m."""
    centres = np.array([simulation.position(f'object{i}')[:2] for i in range(OBJECTS)])
    return np.linalg.norm(centres - GOAL_M, axis=1)
