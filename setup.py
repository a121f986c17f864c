"""Installs mil_ros where colcon, ros2 run and ros2 launch expect it."""

from collections import defaultdict
from pathlib import Path
import sys

from setuptools import find_packages, setup

NAME = 'mil_ros'
NODES = ('adaptation', 'camera', 'control', 'guard', 'planner', 'recorder', 'sim')

# An editable install would copy the data files once, and they would go stale: it reads the
# checkout instead.
IS_EDITABLE = 'editable_wheel' in sys.argv


def list_share(*patterns: str) -> list[tuple[str, list[str]]]:
    """Pair each folder below share/ with its files; a pattern that matches nothing is fine."""
    folders = defaultdict(list)
    for pattern in patterns:
        for path in sorted(Path().glob(pattern)):
            if path.is_file():
                folders[f'share/{NAME}/{path.parent.as_posix()}'].append(path.as_posix())
    return list(folders.items())


def list_data_files() -> list[tuple[str, list[str]]]:
    """Return what goes outside the Python package."""
    return [
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        *list_share('launch/*.launch.py', 'config/**/*', 'models/**/*'),
    ]


setup(
    name=NAME,
    version='0.1.0',
    description='Show a robot arm a task once, on video: it adapts, and does the task.',
    maintainer='mil_ros maintainers',
    maintainer_email='maintainers@mil-ros.org',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={NAME: ['py.typed', 'sim/assets/*.xml']},
    data_files=[] if IS_EDITABLE else list_data_files(),
    zip_safe=True,
    # The rest comes from package.xml: rosdep installs it as system packages, which carry no
    # metadata that pip could check.
    install_requires=['setuptools'],
    extras_require={
        # For an environment of its own, as LeRobot wants another torch: with what reads episodes.
        'lerobot': [
            'lerobot[dataset]>=0.4',
            "backports-zstd; python_version < '3.14'",
            'lz4',
            'PyYAML',
            'rich',
            'rosbags',
            'rosbags-image',
        ],
        'sim': ['mujoco'],
        'test': ['hypothesis', 'mcap', 'mcap-ros2-support', 'pytest'],
        'train': ['matplotlib', 'onnx', 'onnxscript', 'tensorboard', 'torch'],
    },
    entry_points={
        'console_scripts': [
            f'mil = {NAME}.tools.cli:main',
            *(f'{node} = {NAME}.ros.{node}_node:main' for node in NODES),
        ],
    },
)
