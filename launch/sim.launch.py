"""The whole graph with the simulated arm: record, adapt and run without hardware."""

from launch import LaunchDescription
from mil_ros.launching import describe
from mil_ros.ros.moveit_launch import require_servo


def generate_launch_description() -> LaunchDescription:
    return describe(simulated=True, defaults={'dry_run': 'false'}, first=[require_servo()])
