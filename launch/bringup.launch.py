"""The graph for a real arm, whose driver, camera and servo_node are started by their own launch.

With robot:=sim_panda and no arm at hand, use sim.launch.py instead.
"""

from launch import LaunchDescription
from mil_ros.launching import describe


def generate_launch_description() -> LaunchDescription:
    return describe(simulated=False)
