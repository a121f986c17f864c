"""The place family: carry the held object into the shown container, among distractors."""

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
from mil_ros.sim.renderer import HIDDEN_GROUP
from mil_ros.sim.scene import sample_spaced
from mil_ros.sim.wardrobe import add_texture

if TYPE_CHECKING:
    from mil_ros.sim.simulation import Simulation

CONTAINERS = 3  # the target and two distractors
WORKSPACE_M = ((0.36, 0.59), (-0.22, 0.22))  # x and y range of the containers' centres
MIN_SPACING_M = 0.175
INSIDE_S = 0.3  # how long the object must be in a container before the gripper opens
FALL_S = 0.5
ITEM_RADIUS_M = 0.021
ITEM_HEIGHT_M = 0.042
_WALL_M = 0.006  # thickness
_SIZE_SEED = 20180801

# The expert's way: fly to above the container, come down in it.
_SPEED_M_S = 0.26
_GAIN_HZ = 4.0
_LOW_M = 0.050  # height of the tip in the container
_FLY_HEIGHT_M = 0.125
_FLY_SLOPE = 0.35
_DESCENT_M = (0.012, 0.034)  # distance from the centre at which the tip is down, and up


@dataclass(frozen=True, eq=False, slots=True)
class PlaceTask(Task):
    """A task that says what is held as well; that tells nothing of the target."""

    item: palette.Look


@lru_cache(maxsize=1)
def make_sizes() -> NDArray[np.float64]:
    """Return inner radius and height of each container, (BOWLS, 2) in m."""
    rng = np.random.default_rng(_SIZE_SEED)
    return rng.uniform([0.050, 0.032], [0.056, 0.040], (shapes.BOWLS, 2))


class Place:
    """Put the held object into one of three containers of different colour and shape."""

    name = 'place'
    demo_steps = 30
    run_s = 5.0
    noise_rad_s = 0.12

    def build(self, spec: mujoco.MjSpec) -> None:
        """Add the containers, and the object that hangs on the tip."""
        for number, (radius_m, height_m) in enumerate(make_sizes()):
            inner = radius_m * shapes.bowl_outline(number)
            mesh = shapes.make_bowl(inner, _WALL_M, height_m)
            mesh.add_to(spec, f'bowl{number}', is_shell=True)
        for i in range(CONTAINERS):
            self._add_container(spec, f'container{i}')
        self._add_item(spec)

    def _add_container(self, spec: mujoco.MjSpec, name: str) -> None:
        add_texture(spec, name, palette.TEXTURE_PIXELS)
        body = spec.worldbody.add_body(name=name, mocap=True)
        mesh, box = mujoco.mjtGeom.mjGEOM_MESH, mujoco.mjtGeom.mjGEOM_BOX
        body.add_geom(
            name=name, type=mesh, meshname='bowl0', material=name, contype=0, conaffinity=0
        )
        for k in range(shapes.MOST_WALLS):  # larger than any wall; they are fitted at reset
            body.add_geom(
                name=f'{name}_wall{k}',
                type=box,
                size=(0.1, 0.1, 0.05),
                group=HIDDEN_GROUP,
                contype=2,
                conaffinity=1,
            )

    def _add_item(self, spec: mujoco.MjSpec) -> None:
        add_texture(spec, 'item', palette.TEXTURE_PIXELS)
        sizes = np.tile([ITEM_RADIUS_M, ITEM_HEIGHT_M], (shapes.PRISMS, 1))
        widest = shapes.add_prisms(spec, 'item', sizes)
        item = spec.worldbody.add_body(name='item', pos=(0.5, 0.0, 0.5))
        item.add_freejoint(name='item')
        item.add_geom(
            name='item',
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname=widest,
            material='item',
            mass=0.05,
            contype=1,
            conaffinity=2,
        )
        grip = spec.add_equality(name='grip', type=mujoco.mjtEq.mjEQ_WELD)
        grip.objtype = mujoco.mjtObj.mjOBJ_BODY
        grip.name1, grip.name2 = 'panda_link7', 'item'
        hanging = (0.0, 0.0, expert.TIP_FROM_LINK7_M + ITEM_HEIGHT_M / 2)
        grip.data[:11] = (0.0, 0.0, 0.0, *hanging, 1.0, 0.0, 0.0, 0.0, 1.0)
        grip.solref = (0.008, 1.0)

    def sample_task(self, split: str, seed: int, index: int) -> PlaceTask:
        """Return task `index` of a split; the same arguments give the same task."""
        palette.check_split(split)
        rng = np.random.default_rng([seed, index, palette.SPLITS.index(split), 2])
        colours = palette.sample_colours(
            split, CONTAINERS + 1, rng, min_lightness=palette.LIGHT_ENOUGH
        )
        bowls = palette.divide(shapes.BOWLS, split)
        looks = palette.sample_looks(split, colours[:CONTAINERS], bowls, rng)
        prisms = palette.divide(shapes.PRISMS, split)
        (item,) = palette.sample_looks(split, colours[CONTAINERS:], prisms, rng)
        return PlaceTask('place', split, index, looks, item)

    def reset(self, simulation: Simulation, task: Task, rng: np.random.Generator) -> None:
        """Set up a new scene of a task, with the arm near home."""
        simulation.reset_randomly(task.split, rng)
        yaws = rng.uniform(-np.pi, np.pi, CONTAINERS)
        layout = sample_spaced(rng, CONTAINERS, WORKSPACE_M, MIN_SPACING_M)
        self.arrange(simulation, task, layout, yaws)

    def arrange(
        self,
        simulation: Simulation,
        task: Task,
        layout: NDArray[np.float64],
        yaws: NDArray[np.float64],
    ) -> None:
        """Put the containers at (3, 2) in m, turned by (3,) in rad, and the object to the tip."""
        assert isinstance(task, PlaceTask)
        for i, look in enumerate(task.looks):
            name = f'container{i}'
            simulation.wardrobe.dress(name, look, 'bowl')
            _fit_walls(simulation.model, name, look.shape)
            simulation.put(name, np.array([*layout[i], 0.0]), yaws[i])
        simulation.wardrobe.dress('item', task.item, 'item')
        rotation = simulation.tip_rotation
        quat_wxyz = np.zeros(4)
        mujoco.mju_mat2Quat(quat_wxyz, rotation.ravel())
        hanging = simulation.tip + rotation @ (0.0, 0.0, ITEM_HEIGHT_M / 2)
        simulation.data.joint('item').qpos = (*hanging, *quat_wxyz)
        simulation.refresh()

    def expert(self, simulation: Simulation, target: int = 0) -> Vector:
        """Return the joint velocities that carry the object into a container from above."""
        tip = simulation.tip
        centre = simulation.position(f'container{target}')[:2]
        away = float(np.linalg.norm(centre - tip[:2]))
        height = _LOW_M + (_FLY_HEIGHT_M - _LOW_M) * expert.ramp(away, *_DESCENT_M)
        height += _FLY_SLOPE * max(0.0, away - 0.05)
        goal = np.array([*centre, height])
        return expert.approach(simulation, goal, _GAIN_HZ, _SPEED_M_S)

    def judge(self) -> PlaceJudge:
        """Return a judge for one run."""
        return PlaceJudge()


def _fit_walls(model: mujoco.MjModel, name: str, shape: int) -> None:
    """Put the boxes that stand for the walls of a container where its outline is."""
    radius_m, height_m = make_sizes()[shape]
    inner = radius_m * shapes.bowl_outline(shape)
    outer = shapes.widen(inner, _WALL_M)
    for k in range(shapes.MOST_WALLS):
        geom = model.geom(f'{name}_wall{k}')
        is_used = k < len(inner)
        geom.contype, geom.conaffinity = (2, 1) if is_used else (0, 0)
        if not is_used:
            continue
        start, end = outer[k], outer[(k + 1) % len(outer)]
        along = (end - start) / np.linalg.norm(end - start)
        inward = np.array([-along[1], along[0]])
        centre = (start + end) / 2 + inward * _WALL_M / 2
        angle = np.arctan2(along[1], along[0])
        size = np.array([np.linalg.norm(end - start) / 2, _WALL_M / 2, height_m / 2])
        geom.pos = (*centre, height_m / 2)
        geom.quat = (np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2))
        geom.size = size
        geom.rbound = np.linalg.norm(size)
        model.geom_aabb[geom.id] = (0.0, 0.0, 0.0, *size)


class PlaceJudge:
    """The run ends when the object is in a container for a moment; then the gripper opens."""

    def __init__(self) -> None:
        self._inside: int | None = None
        self._since_s = 0.0

    def update(self, simulation: Simulation) -> bool:
        """Return whether the object has been in one container for long enough."""
        inside = find_container(simulation)
        if inside != self._inside:
            self._inside, self._since_s = inside, simulation.time_s
        return inside is not None and simulation.time_s - self._since_s >= INSIDE_S - 1e-6

    def finish(self, simulation: Simulation) -> Outcome:
        """Open the gripper, let the object fall and return where it lies."""
        simulation.data.eq_active[simulation.model.equality('grip').id] = 0
        simulation.step(np.zeros(len(simulation.robot.joints)), FALL_S)
        inside = find_container(simulation)
        names = {None: 'in no container', 0: 'in the target container'}
        text = f'The object lies {names.get(inside, "in a distractor")}.'
        return Outcome(inside == 0, inside, text)


def find_container(simulation: Simulation) -> int | None:
    """Return the number of the container that the object's centre is in, below its rim."""
    model, centre = simulation.model, simulation.position('item')
    for i in range(CONTAINERS):
        name = f'container{i}'
        shape = int(model.geom(name).dataid[0]) - model.mesh('bowl0').id
        radius_m, height_m = make_sizes()[shape]
        x, y, z = simulation.to_local(name, centre)
        outline = radius_m * shapes.bowl_outline(shape)
        if z < height_m and shapes.contains(outline, np.array([x, y])):
            return i
    return None
