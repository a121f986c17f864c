"""A demonstration as it is recorded: teleoperator, guard, Servo and arm one behind the other."""

from __future__ import annotations

from motion import Motion
import numpy as np

from mil_ros.core.safety import CommandGuard
from mil_ros.sim.families import Task
from mil_ros.sim.servo import JOINT_JOG, NO_WARNING, ServoEmulator
from mil_ros.sim.simulation import Simulation

PERIOD_S = 0.01  # of joint states, guard and Servo
REST_S = 0.5  # before the teleoperator begins and after it has let go
_TELEOP_EVERY = 2


def demonstrate(simulation: Simulation, task: Task, rng: np.random.Generator) -> Motion:
    """Let the expert do a task in a new scene and keep every message that would be recorded."""
    robot, family = simulation.robot, simulation.family
    names = list(robot.joint_names)
    family.reset(simulation, task, rng)
    guard, servo = CommandGuard(robot, began_s=-60.0), ServoEmulator(robot)
    servo.switch_command_type(JOINT_JOG)
    guard.on_servo_switched(True)
    begin, end = round(REST_S / PERIOD_S), round((REST_S + family.demo_steps / 10.0) / PERIOD_S)
    image_s, images, joints, command_s, commands = [], [], [], [], []
    for tick in range(end + begin):
        now_s = tick * PERIOD_S
        joints.append((simulation.joint_positions, simulation.joint_velocities))
        if now_s >= len(images) / robot.camera.rate_hz:
            image_s.append(now_s)
            images.append(simulation.render())
        if begin <= tick <= end and tick % _TELEOP_EVERY == 0:
            command = family.expert(simulation) if tick < end else np.zeros(len(names))
            command_s.append(now_s)
            commands.append(command)
            guard.on_command('teleop', names, list(command), now_s)
        guard.on_joint_state(*joints[-1], now_s)
        guard.on_servo_status(NO_WARNING, '', now_s)
        servo.on_joint_jog(round(now_s * 1e9), names, guard.tick(now_s)[0])
        output = servo.step(round(now_s * 1e9), simulation.joint_positions, PERIOD_S)
        simulation.step(output.velocities, PERIOD_S)
    positions, velocities = map(np.array, zip(*joints, strict=True))
    joint_s = PERIOD_S * np.arange(len(joints))
    return Motion(
        robot,
        np.array(image_s),
        images,
        joint_s,
        positions,
        velocities,
        np.array(command_s),
        np.array(commands),
    )
