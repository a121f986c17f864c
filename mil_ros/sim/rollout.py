"""Episodes in the simulator: demonstrations for training and trials for evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mil_ros.core.images import resize_area
from mil_ros.core.types import Demo, Image, Observation, Policy
from mil_ros.sim.families import Outcome, Task
from mil_ros.sim.simulation import Simulation

_NOISE_MEMORY = 0.8  # correlation of the disturbance from one step to the next


@dataclass(frozen=True, eq=False, slots=True)
class Trial:
    """How one run of a policy ended.

    Attributes:
        outcome: What the judge of the family said.
        duration_s: Until the run was over.
        frames: What the camera saw at each step, if asked for.
    """

    outcome: Outcome
    duration_s: float
    frames: list[Image]


def observe(simulation: Simulation) -> Observation:
    """Return what a policy sees, the image at the policy's size."""
    size = simulation.robot.policy
    image = resize_area(simulation.render(), size.image_height, size.image_width)
    return Observation(image, simulation.joint_positions)


def demonstrate(
    simulation: Simulation, task: Task, rng: np.random.Generator, noise_rad_s: float
) -> Demo | None:
    """Let the expert do a task in a new scene; None if it did not succeed.

    With noise, the motion is disturbed but the recorded actions are the expert's corrections
    (DART, Laskey et al. 2017), so that the policy learns to come back to the path.

    Args:
        simulation: Scene to act in; it is reset.
        task: What to do.
        rng: Source of scene, start pose and disturbance.
        noise_rad_s: Standard deviation of the disturbance per joint.
    """
    family = simulation.family
    period_s = 1.0 / simulation.robot.policy.rate_hz
    family.reset(simulation, task, rng)
    judge = family.judge()
    images, positions, actions = [], [], []
    disturbance = np.zeros(len(simulation.robot.joints))
    for _ in range(family.demo_steps):
        observation = observe(simulation)
        action = family.expert(simulation)
        images.append(observation.image)
        positions.append(observation.joint_positions)
        actions.append(action)
        innovation = rng.normal(0.0, noise_rad_s, size=disturbance.shape)
        disturbance = _NOISE_MEMORY * disturbance + np.sqrt(1 - _NOISE_MEMORY**2) * innovation
        simulation.step(action + disturbance, period_s)
        judge.update(simulation)
    if not judge.finish(simulation).success:
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
    family = simulation.family
    task = family.sample_task(split, seed, index)
    rng = np.random.default_rng([seed, index, 7])
    kept: list[Demo] = []
    failed = 0
    while len(kept) < demos:
        noise = 0.0 if len(kept) % 4 == 0 else rng.uniform(0.0, family.noise_rad_s)
        demo = demonstrate(simulation, task, rng, noise)
        if demo is None:
            failed += 1
        else:
            kept.append(demo)
    return kept, failed


def run_policy(simulation: Simulation, policy: Policy, *, keep_frames: bool = False) -> Trial:
    """Run an adapted policy in the scene as it stands until its judge or the time ends it."""
    family = simulation.family
    limits = simulation.robot.velocity_limits
    period_s = 1.0 / simulation.robot.policy.rate_hz
    judge = family.judge()
    frames: list[Image] = []
    began_s = simulation.time_s
    for _ in range(round(family.run_s / period_s)):
        observation = observe(simulation)
        if keep_frames:
            frames.append(simulation.render())
        simulation.step(np.clip(policy.act(observation), -limits, limits), period_s)
        if judge.update(simulation):
            break
    duration_s = simulation.time_s - began_s
    return Trial(judge.finish(simulation), duration_s, frames)
