"""The graph for a real arm, whose driver and camera are started by their own launch.

With moveit:=true it starts move_group and servo_node as well: docs/arms.md says for each arm what
must run before. With robot:=sim_panda and no arm at hand, use sim.launch.py instead.
"""

from launch import LaunchDescription
from mil_ros.launching import describe
from mil_ros.ros.moveit_launch import require_servo, start_moveit


def generate_launch_description() -> LaunchDescription:
    return describe(simulated=False, first=[require_servo(), start_moveit()])
