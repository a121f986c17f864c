"""All checks; importing a module adds its own to the table."""

from mil_ros.tools.doctor.checks import camera, command, joints, policy, servo, setup
from mil_ros.tools.doctor.checks.check import Check, CHECKS, examine, Row

__all__ = [
    'CHECKS',
    'Check',
    'Row',
    'camera',
    'command',
    'examine',
    'joints',
    'policy',
    'servo',
    'setup',
]
