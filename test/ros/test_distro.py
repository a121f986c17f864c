"""A ROS distribution whose Servo speaks another language is refused, not half obeyed."""

from __future__ import annotations

import pytest

from mil_ros.core.errors import ConfigError
from mil_ros.ros import distro
from mil_ros.ros.distro import check_distro


@pytest.fixture(autouse=True)
def _messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages of Jazzy, whether they are installed or not."""
    monkeypatch.setattr(distro, 'ServoStatus', object)


@pytest.mark.parametrize('name', ['jazzy', 'kilted', 'lyrical', 'rolling', ''])
def test_jazzy_and_newer_are_taken(name: str) -> None:
    check_distro({'ROS_DISTRO': name})
    check_distro({})


@pytest.mark.parametrize('name', ['foxy', 'galactic', 'humble'])
def test_older_ones_are_refused(name: str) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"ROS_DISTRO is '{name}', whose MoveIt Servo is not switched to joint jogging by a "
        r'service .*; expected jazzy or newer\.',
    ):
        check_distro({'ROS_DISTRO': name})


def test_the_variables_of_the_process_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ROS_DISTRO', 'humble')
    with pytest.raises(ConfigError, match="ROS_DISTRO is 'humble'"):
        check_distro()


def test_missing_messages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distro, 'ServoStatus', None)
    with pytest.raises(
        ConfigError,
        match=r"moveit_msgs has no ServoStatus \(ROS_DISTRO is 'jazzy'\); expected .* install "
        r'ros-jazzy-moveit-msgs\.',
    ):
        check_distro({'ROS_DISTRO': 'jazzy'})
