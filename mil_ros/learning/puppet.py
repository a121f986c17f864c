"""A policy that a mark in the picture commands: nothing is learned, a bench knows what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import helper, numpy_helper, TensorProto

from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Vector

OPSET = 18
_IR_VERSION = 8  # what every ONNX Runtime of the last years reads
_PURE = (250, 5)  # a channel of a mark is at least the one or at most the other
_RED, _GREEN, _BLUE = 1, 2, 4
Weights = dict[str, NDArray[np.float32]]


def export_puppet(
    robot: RobotDescription, velocities: Vector, stops_rad: Vector, excess: float, path: Path
) -> tuple[dict[str, Any], Weights]:
    """Write the graph of a policy that moves steadily until a joint passes its stop.

    With a red mark in the top left corner of the picture it answers NaN, with a green one a
    velocity too few, with a blue one `excess` times the velocities.

    Args:
        robot: Whose joints and image size it has.
        velocities: What it answers, (J,) in rad/s.
        stops_rad: Positions from which on it answers zeros, (J,).
        excess: The factor.
        path: Folder that the graph is written into.

    Returns:
        Manifest and weights, for `inference.bundle.write_bundle`.
    """
    joints = len(robot.joints)
    size = [1, robot.policy.image_height, robot.policy.image_width, 3]
    inputs = [
        helper.make_tensor_value_info('image', TensorProto.UINT8, size),
        helper.make_tensor_value_info('joint_positions', TensorProto.FLOAT, [1, joints]),
        helper.make_tensor_value_info('velocities', TensorProto.FLOAT, [joints]),
        helper.make_tensor_value_info('stops', TensorProto.FLOAT, [joints]),
    ]
    output = helper.make_tensor_value_info('joint_velocities', TensorProto.FLOAT, [1, 'size'])
    constants = _constants(joints, excess)
    graph = helper.make_graph(_nodes(), 'puppet', inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', OPSET)])
    model.ir_version = _IR_VERSION
    onnx.checker.check_model(model)
    onnx.save(model, str(path / 'policy.onnx'))
    weights = {'velocities': velocities.astype(np.float32), 'stops': stops_rad.astype(np.float32)}
    return _manifest(robot, path.name), weights


def _constants(joints: int, excess: float) -> list[onnx.TensorProto]:
    values: dict[str, NDArray[np.generic]] = {
        'origin': np.zeros(3, np.int64),
        'corner_end': np.ones(3, np.int64),
        'spatial': np.array([0, 1, 2], np.int64),
        'three': np.array([3], np.int64),
        'bright_level': np.array(_PURE[0], np.int32),
        'dark_level': np.array(_PURE[1], np.int32),
        'bits': np.array([_RED, _GREEN, _BLUE], np.int64),
        'all_bits': np.array(_RED + _GREEN + _BLUE, np.int64),
        'red': np.array(_RED, np.int64),
        'green': np.array(_GREEN, np.int64),
        'blue': np.array(_BLUE, np.int64),
        'none': np.array(0, np.int64),
        'joints': np.array(joints, np.int64),
        'first': np.zeros(1, np.int64),
        'one_wide': np.array([1], np.int64),
        'nan': np.array(np.nan, np.float32),
        'one': np.array(1.0, np.float32),
        'excess': np.array(excess, np.float32),
    }
    return [numpy_helper.from_array(value, name) for name, value in values.items()]


def _nodes() -> list[onnx.NodeProto]:
    def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs.split(), [output], **attributes)

    integer = int(TensorProto.INT64)
    return [
        # The mark: a bit for each channel that is full, counted if the others are empty.
        node('Slice', 'image origin corner_end spatial', 'corner'),
        node('Reshape', 'corner three', 'pixel'),
        node('Cast', 'pixel', 'rgb', to=int(TensorProto.INT32)),
        node('GreaterOrEqual', 'rgb bright_level', 'is_bright'),
        node('LessOrEqual', 'rgb dark_level', 'is_dark'),
        node('Cast', 'is_bright', 'brights', to=integer),
        node('Cast', 'is_dark', 'darks', to=integer),
        node('Mul', 'brights bits', 'bright_bits'),
        node('Mul', 'darks bits', 'dark_bits'),
        node('ReduceSum', 'bright_bits', 'bright', keepdims=0),
        node('ReduceSum', 'dark_bits', 'dark', keepdims=0),
        node('Add', 'bright dark', 'counted'),
        node('Equal', 'counted all_bits', 'is_pure'),
        node('Where', 'is_pure bright none', 'mark'),
        node('Equal', 'mark red', 'is_red'),
        node('Equal', 'mark green', 'is_green'),
        node('Equal', 'mark blue', 'is_blue'),
        # The motion, until a joint has passed its stop.
        node('Less', 'joint_positions stops', 'is_before'),
        node('Cast', 'is_before', 'before', to=int(TensorProto.FLOAT)),
        node('ReduceMin', 'before', 'gate', keepdims=1),
        node('Mul', 'velocities gate', 'steady'),
        # What the mark makes of it.
        node('Where', 'is_blue excess one', 'factor'),
        node('Mul', 'steady factor', 'scaled'),
        node('Where', 'is_red nan scaled', 'full'),
        node('Cast', 'is_green', 'missing', to=integer),
        node('Sub', 'joints missing', 'length'),
        node('Reshape', 'length one_wide', 'end'),
        node('Slice', 'full first end one_wide', 'joint_velocities'),
    ]


def _manifest(robot: RobotDescription, name: str) -> dict[str, Any]:
    joints = [len(robot.joints)]
    size = {'image_height': robot.policy.image_height, 'image_width': robot.policy.image_width}
    image = [*size.values(), 3]
    return {
        'name': name,
        'task': 'none: it moves steadily, and a mark in the picture makes it fail',
        'parent': {'name': 'none: written by export_puppet, nothing was learned', 'sha256': ''},
        'demo': None,
        'robot': {
            'name': robot.name,
            'sha256': robot.sha256,
            'joint_names': list(robot.joint_names),
        },
        'camera': {'width': robot.camera.width, 'height': robot.camera.height},
        'policy': {
            **size,
            'rate_hz': robot.policy.rate_hz,
            'modality': 'none',
            'shots': 0,
            'demo_frames': 0,
            'inputs': {
                'image': {'shape': image, 'type': 'uint8', 'unit': 'RGB'},
                'joint_positions': {'shape': joints, 'type': 'float32', 'unit': 'rad'},
            },
            'outputs': {
                'joint_velocities': {'shape': joints, 'type': 'float32', 'unit': 'rad/s'},
            },
        },
        'normalisation': {'inside_the_graphs': True},
    }
