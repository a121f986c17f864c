"""Forward kinematics of the arm's URDF, by pinocchio, which is needed only for limits at the tool.

Nothing is imported before such a limit is set: an arm without any runs without pinocchio.
"""

from __future__ import annotations

from collections.abc import Sequence
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.errors import ConfigError
from mil_ros.core.types import Vector
from mil_ros.core.urdf import name_near

Array = NDArray[np.float64]


class ToolKinematics:
    """Where the robot file's joints put one link; all other joints of the URDF rest at zero."""

    def __init__(self, urdf_text: str, joint_names: Sequence[str], link: str) -> None:
        """Build the model.

        Args:
            urdf_text: The whole URDF.
            joint_names: In robot-file order, which need not be the URDF's.
            link: Whose origin is the tool.

        Raises:
            ConfigError: If pinocchio is missing, or the URDF is unreadable or lacks a name.
        """
        self._pin = pin = _import_pinocchio()
        self._model = model = _build(pin, urdf_text, joint_names)
        body = pin.FrameType.BODY
        if not model.existFrame(link, body):
            links = [frame.name for frame in model.frames if frame.type == body]
            raise ConfigError(_explain('link', link, links))
        self._frame = model.getFrameId(link, body)
        self._data = model.createData()
        self._configuration = pin.neutral(model)
        joints = [model.joints[model.getJointId(name)] for name in joint_names]
        self._columns = np.array([joint.idx_v for joint in joints])
        self._places = np.array([joint.idx_q for joint in joints])
        # To pinocchio a continuous joint is its cosine and sine, any other one its angle
        self._turning = np.array([i for i, joint in enumerate(joints) if joint.nq == 2], int)
        self._cosines = self._places[self._turning]

    def locate(self, positions: Vector) -> tuple[Array, Array]:
        """Return the tool's position and its change with the joints.

        Args:
            positions: In robot-file order, (J,) in rad.

        Returns:
            Position in the URDF's root frame, (3,) in m, and its Jacobian, (3, J) in m/rad.
        """
        q = self._configuration
        q[self._places] = positions
        if self._turning.size:
            turned = positions[self._turning]
            q[self._cosines], q[self._cosines + 1] = np.cos(turned), np.sin(turned)
        jacobian = self._pin.computeFrameJacobian(
            self._model, self._data, q, self._frame, self._pin.LOCAL_WORLD_ALIGNED
        )
        position = self._data.oMf[self._frame].translation  # placed by the call above
        return position.copy(), jacobian[:3, self._columns]


def _import_pinocchio() -> Any:
    try:
        import pinocchio
    except ImportError:
        distro = os.environ.get('ROS_DISTRO', 'jazzy')
        raise ConfigError(
            'The robot file has limits for the tool, which need pinocchio, and it is not '
            f'installed; install ros-{distro}-pinocchio with apt or pin with pip, or take the '
            'section tool out of the robot file.'
        ) from None
    return pinocchio


def _build(pin: Any, urdf_text: str, joint_names: Sequence[str]) -> Any:
    """Return the model of these joints alone."""
    try:
        model = pin.buildModelFromXML(urdf_text)
    except (RuntimeError, ValueError) as err:
        raise ConfigError(
            f'pinocchio cannot read the URDF ({" ".join(str(err).split()).rstrip(".")}), expected '
            'a complete one; check_urdf of liburdfdom-tools says what it lacks.'
        ) from None
    known = list(model.names)[1:]  # the first one ties the root to the world
    for name in joint_names:
        if name not in known:
            raise ConfigError(_explain('movable joint', name, known))
    others = [model.getJointId(name) for name in known if name not in joint_names]
    return pin.buildReducedModel(model, others, pin.neutral(model))


def _explain(kind: str, name: str, known: list[str]) -> str:
    return (
        f'The URDF has no {kind} {name!r}, expected one that it has ({name_near(name, known)}); '
        'correct the robot file, or publish the URDF of its arm.'
    )
