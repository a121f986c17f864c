"""One trial: a task is shown once, then done elsewhere."""

from __future__ import annotations

import numpy as np

from mil_ros.core.types import Demo, Policy
from mil_ros.sim import rollout
from mil_ros.sim.families import Task
from mil_ros.sim.rollout import Trial
from mil_ros.sim.simulation import Simulation


def run_trial(
    simulation: Simulation,
    policy: Policy,
    task: Task,
    rng: np.random.Generator,
    *,
    modality: str,
    shots: int = 1,
    keep_frames: bool = False,
) -> tuple[Demo, Trial]:
    """Let the expert show a task, adapt, and run in a scene that was not shown.

    Args:
        simulation: Where both happen; it is reset twice.
        policy: Not adapted yet.
        task: What to show.
        rng: Source of both scenes.
        modality: ``video`` shows the policy the frames alone.
        shots: How many times the expert shows the task, each time in another scene.
        keep_frames: Whether to keep what the camera saw in the run.

    Returns:
        The last demonstration and the run.
    """
    demos: list[Demo] = []
    while len(demos) < shots:
        demo = rollout.demonstrate(simulation, task, rng, noise_rad_s=0.0)
        if demo is not None:  # what the expert fails at is no demonstration
            demos.append(demo)
    shown = [Demo.from_video(demo.images) if modality == 'video' else demo for demo in demos]
    adapted = policy.adapt(*shown)
    simulation.family.reset(simulation, task, rng)
    return demos[-1], rollout.run_policy(simulation, adapted, keep_frames=keep_frames)
