"""Episodes in the simulator: demonstrations for training and trials for evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.images import resize_area
from mil_ros.core.types import Demo, Image, Observation, Policy
from mil_ros.sim import expert, reach
from mil_ros.sim.simulation import Simulation

DEMO_STEPS = 24
START_SPREAD_RAD = 0.04  # standard deviation of the start pose around home, per joint
NOISE_RAD_S = 0.15  # largest standard deviation of the disturbance, per joint
_NOISE_MEMORY = 0.8  # correlation of the disturbance from one step to the next


@dataclass(frozen=True, eq=False, slots=True)
class Trial:
    """How one run of a policy ended.

    Attributes:
        touched: Number of the first object touched, 0 being the target; None if none was.
        duration_s: Until the touch, or the whole run.
        frames: What the camera saw at each step, if asked for.
    """

    touched: int | None
    duration_s: float
    frames: list[Image]

    @property
    def success(self) -> bool:
        """Whether the shown object, and no other before it, was touched."""
        return self.touched == 0


def observe(simulation: Simulation) -> Observation:
    """Return what a policy sees, the image at the policy's size."""
    size = simulation.robot.policy
    image = resize_area(simulation.render(), size.image_height, size.image_width)
    return Observation(image, simulation.joint_positions)


def sample_start(simulation: Simulation, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a start pose near home, (J,) in rad."""
    home = simulation.robot.home
    return home + rng.normal(0.0, START_SPREAD_RAD, size=home.shape)


def demonstrate(
    simulation: Simulation, task: reach.ReachTask, rng: np.random.Generator, noise_rad_s: float
) -> Demo | None:
    """Let the expert do a task in a new layout; None if it did not touch the target alone.

    With noise, the motion is disturbed but the recorded actions are the expert's corrections
    (DART, Laskey et al. 2017), so that the policy learns to come back to the path.

    Args:
        simulation: Scene to act in; it is reset.
        task: Colours on the table.
        rng: Source of layout, start pose and disturbance.
        noise_rad_s: Standard deviation of the disturbance per joint.
    """
    period_s = 1.0 / simulation.robot.policy.rate_hz
    simulation.reset(task, reach.sample_layout(rng), sample_start(simulation, rng))
    goal = expert.target_point(simulation)
    images, positions, actions = [], [], []
    disturbance = np.zeros(len(simulation.robot.joints))
    touched = None
    for _ in range(DEMO_STEPS):
        observation = observe(simulation)
        action = expert.joint_velocities(simulation, goal)
        images.append(observation.image)
        positions.append(observation.joint_positions)
        actions.append(action)
        innovation = rng.normal(0.0, noise_rad_s, size=disturbance.shape)
        disturbance = _NOISE_MEMORY * disturbance + np.sqrt(1 - _NOISE_MEMORY**2) * innovation
        simulation.step(action + disturbance, period_s)
        if touched is None:
            touched = simulation.touched()
    if touched != 0:
        return None
    return Demo(
        np.stack(images),
        np.stack(positions).astype(np.float32),
        np.stack(actions).astype(np.float32),
    )


def collect_task(
    simulation: Simulation, split: str, seed: int, index: int, demos: int
) -> tuple[list[Demo], int]:
    """Return `demos` demonstrations of one task and how many failed and were dropped.

    Deterministic by its arguments, whichever process runs it. Every fourth demonstration is
    undisturbed, as a recorded one would be.
    """
    task = reach.sample_task(split, seed, index)
    rng = np.random.default_rng([seed, index, 7])
    kept: list[Demo] = []
    failed = 0
    while len(kept) < demos:
        noise = 0.0 if len(kept) % 4 == 0 else rng.uniform(0.0, NOISE_RAD_S)
        demo = demonstrate(simulation, task, rng, noise)
        if demo is None:
            failed += 1
        else:
            kept.append(demo)
    return kept, failed


def run_policy(simulation: Simulation, policy: Policy, *, keep_frames: bool = False) -> Trial:
    """Run an adapted policy in the scene as it stands until it touches something or time is up."""
    settings = simulation.robot.policy
    limits = simulation.robot.velocity_limits
    period_s = 1.0 / settings.rate_hz
    frames: list[Image] = []
    steps = round(settings.max_run_s * settings.rate_hz)
    for step in range(steps):
        if keep_frames:
            frames.append(simulation.render().copy())
        action = policy.act(observe(simulation))
        simulation.step(np.clip(action, -limits, limits), period_s)
        touched = simulation.touched()
        if touched is not None:
            return Trial(touched, (step + 1) * period_s, frames)
    return Trial(None, steps * period_s, frames)
