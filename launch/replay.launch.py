"""An episode through the same nodes again, in dry run, compared with stored commands.

Choose a ROS_DOMAIN_ID in which no arm is: it publishes images, joint states and the time.
"""

from launch import LaunchDescription
from mil_ros.launching import describe_replay


def generate_launch_description() -> LaunchDescription:
    return describe_replay()
