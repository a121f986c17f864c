"""The reach family: touch the object whose colour was shown, among distractors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.types import Vector
from mil_ros.sim import expert, palette, shapes
from mil_ros.sim.families.family import Outcome, Task
from mil_ros.sim.gl import mujoco
from mil_ros.sim.scene import sample_spaced
from mil_ros.sim.wardrobe import add_texture

if TYPE_CHECKING:
    from mil_ros.sim.simulation import Simulation

OBJECTS = 3  # the target and two distractors
OBJECT_RADIUS_M = 0.038  # the mean of inner and outer radius
OBJECT_HEIGHT_M = 0.06
WORKSPACE_M = ((0.36, 0.64), (-0.24, 0.24))  # x and y range of the objects' centres
MIN_SPACING_M = 0.14
TOUCH_DISTANCE_M = 0.003  # between the surfaces of tip and object; contacts are a little soft
_PRESS_DEPTH_M = 0.01  # aim below the surface: touching means to press on, not to hover
_GAIN_HZ = 3.0
_MAX_TIP_SPEED_M_S = 0.22


class Reach:
    """Touch one of three objects that differ in colour, pattern and shape."""

    name = 'reach'
    demo_steps = 24
    run_s = 4.0
    noise_rad_s = 0.15

    def build(self, spec: mujoco.MjSpec) -> None:
        """Add the objects, as bodies that stand where they are put."""
        sizes = np.tile([OBJECT_RADIUS_M, OBJECT_HEIGHT_M], (shapes.PRISMS, 1))
        widest = shapes.add_prisms(spec, 'prism', sizes)
        for i in range(OBJECTS):
            name = f'object{i}'
            add_texture(spec, name, palette.TEXTURE_PIXELS)
            body = spec.worldbody.add_body(name=name, mocap=True)
            body.add_geom(
                name=name,
                type=mujoco.mjtGeom.mjGEOM_MESH,
                meshname=widest,
                material=name,
                contype=2,
                conaffinity=1,
            )

    def sample_task(self, split: str, seed: int, index: int) -> Task:
        """Return task `index` of a split; the same arguments give the same task."""
        palette.check_split(split)
        rng = np.random.default_rng([seed, index, palette.SPLITS.index(split)])
        colours = palette.sample_colours(split, OBJECTS, rng)
        outlines = palette.divide(shapes.PRISMS, split)
        return Task('reach', split, index, palette.sample_looks(split, colours, outlines, rng))

    def reset(self, simulation: Simulation, task: Task, rng: np.random.Generator) -> None:
        """Set up a new scene of a task, with the arm near home."""
        simulation.reset_randomly(task.split, rng)
        layout = sample_spaced(rng, OBJECTS, WORKSPACE_M, MIN_SPACING_M)
        self.arrange(simulation, task, layout, rng.uniform(-np.pi, np.pi, OBJECTS))

    def arrange(
        self,
        simulation: Simulation,
        task: Task,
        layout: NDArray[np.float64],
        yaws: NDArray[np.float64],
    ) -> None:
        """Put the objects at (3, 2) in m, turned by (3,) in rad."""
        for i, look in enumerate(task.looks):
            simulation.wardrobe.dress(f'object{i}', look, 'prism')
            position = np.array([*layout[i], OBJECT_HEIGHT_M / 2])
            simulation.put(f'object{i}', position, yaws[i])
        simulation.refresh()

    def expert(self, simulation: Simulation, target: int = 0) -> Vector:
        """Return the joint velocities that take the tip straight to the top of an object."""
        x, y, _ = simulation.position(f'object{target}')
        goal = np.array([x, y, OBJECT_HEIGHT_M + expert.TIP_RADIUS_M - _PRESS_DEPTH_M])
        return expert.approach(simulation, goal, _GAIN_HZ, _MAX_TIP_SPEED_M_S)

    def judge(self) -> ReachJudge:
        """Return a judge for one run."""
        return ReachJudge()


class ReachJudge:
    """The first object that the tip touches is the chosen one."""

    def __init__(self) -> None:
        self._touched: int | None = None

    def update(self, simulation: Simulation) -> bool:
        """Take note of a touch; return whether there has been one."""
        if self._touched is None:
            self._touched = find_touched(simulation)
        return self._touched is not None

    def finish(self, simulation: Simulation) -> Outcome:
        """Return what was touched."""
        names = {None: 'nothing', 0: 'the target'}
        text = f'The tip touched {names.get(self._touched, "a distractor")}.'
        return Outcome(self._touched == 0, self._touched, text)


def find_touched(simulation: Simulation) -> int | None:
    """Return the number of the object that the tip touches, 0 being the target."""
    for i in range(OBJECTS):
        if simulation.touches(f'object{i}', TOUCH_DISTANCE_M):
            return i
    return None
