"""Adapting and acting with ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import onnxruntime

from mil_ros.core.errors import BundleError, DemoError
from mil_ros.core.types import check_shots, Demo, Observation, Vector
from mil_ros.inference.bundle import ADAPT, Bundle, POLICY, Weights

Array = NDArray[np.float32]

STREAMS = ('images', 'joint_positions', 'joint_velocities')
_KEPT_SESSIONS = 4


@dataclass(frozen=True, slots=True)
class AdaptReport:
    """What the inner step did to the loss on the demonstration (normalised actions, squared)."""

    loss_before: float
    loss_after: float


class OnnxPolicy:
    """A policy that acts, and adapts unless it already has; implements `core.types.Policy`."""

    def __init__(self, bundle: Bundle, weights: Weights | None = None) -> None:
        """Open the policy graph of a bundle.

        Args:
            bundle: A checked bundle.
            weights: Adapted parameters instead of the bundle's own.
        """
        self.bundle = bundle
        self.weights = bundle.weights if weights is None else weights
        self._session = _open(bundle, POLICY)
        names = [value.name for value in self._session.get_inputs()]
        self._parameters = {n: _get(self.weights, n, bundle) for n in names[2:]}

    @property
    def modality(self) -> str:
        """What it adapts to: ``full`` (video, states and actions) or ``video``."""
        return str(self.bundle.manifest['policy']['modality'])

    @property
    def parameters(self) -> Weights:
        """The parameters that acting needs, by name."""
        return self._parameters

    def act(self, observation: Observation) -> Vector:
        """Return joint velocities, (J,) in rad/s; see `core.types.Policy`."""
        feed = {
            'image': observation.image[None],
            'joint_positions': observation.joint_positions[None].astype(np.float32),
            **self._parameters,
        }
        (velocities,) = self._session.run(None, feed)
        return np.asarray(velocities[0], dtype=np.float64)

    def adapt(self, *demos: Demo) -> OnnxPolicy:
        """Return a new policy after the inner step; see `core.types.Policy`."""
        return self.adapt_and_report(*demos)[0]

    def adapt_and_report(
        self, *demos: Demo, step_scale: float = 1.0
    ) -> tuple[OnnxPolicy, AdaptReport]:
        """Take the inner step.

        Args:
            demos: Demonstrations at the policy's image size, at least two steps long each.
            step_scale: Factor on the learned step sizes; 0 gives the policy without adaptation.

        Raises:
            BundleError: If this bundle is already adapted.
            DemoError: If the demonstrations do not fit the policy, or the step blows up.
        """
        if self.bundle.is_adapted:
            raise BundleError(
                f'Bundle {self.bundle.name!r} is already adapted; adapt its parent '
                f'{self.bundle.manifest["parent"]["name"]!r} instead.'
            )
        policy = self.bundle.manifest['policy']
        check_shots(demos, policy['shots'])
        for demo in demos:
            self._check(demo)
        spread = [demo.subsample(policy['demo_frames']) for demo in demos]
        session = _open(self.bundle, ADAPT)
        scale = np.float32(step_scale)
        feed: dict[str, NDArray[np.generic]] = {}
        for value in session.get_inputs():
            name = value.name
            if name in STREAMS:
                feed[name] = np.concatenate([getattr(demo, name) for demo in spread])
                continue
            array = _get(self.weights, name, self.bundle)
            feed[name] = array * scale if name.startswith('step_size.') else array
        names = [value.name for value in session.get_outputs()]
        outputs = dict(zip(names, session.run(None, feed), strict=True))
        report = AdaptReport(float(outputs.pop('loss_before')), float(outputs.pop('loss_after')))
        losses = np.array([report.loss_before, report.loss_after])
        if not all(np.isfinite(array).all() for array in (losses, *outputs.values())):
            raise DemoError(
                f'The inner step gave non-finite numbers (loss {report.loss_before:.3g}), '
                'expected finite ones; the demonstration is unlike the training data, record '
                'it again.'
            )
        adapted = {name.removeprefix('adapted.'): array for name, array in outputs.items()}
        kept = {name: adapted.get(name, array) for name, array in self._parameters.items()}
        return OnnxPolicy(self.bundle, kept), report

    def _check(self, demo: Demo) -> None:
        policy = self.bundle.manifest['policy']
        size = (policy['image_height'], policy['image_width'])
        if demo.images.shape[1:3] != size:
            raise DemoError(
                f'Demo images are {demo.images.shape[2]}x{demo.images.shape[1]}, the policy '
                f'{self.bundle.name!r} expects {size[1]}x{size[0]}; record with the camera of '
                f'robot {self.bundle.manifest["robot"]["name"]!r}.'
            )
        if len(demo) < 2:
            raise DemoError(
                f'Demo has {len(demo)} frames, expected at least 2; record a longer one.'
            )
        if self.modality == 'video':
            return
        if demo.is_video_only:
            raise DemoError(
                f'Demo is a video without joint states and actions, the policy '
                f'{self.bundle.name!r} adapts to all three; record it with /recorder/start or use '
                'a policy trained for video alone.'
            )
        joints = self.bundle.manifest['robot']['joint_names']
        if demo.joint_positions.shape[1] != len(joints):
            raise DemoError(
                f'Demo has {demo.joint_positions.shape[1]} joints, the policy '
                f'{self.bundle.name!r} expects {len(joints)} ({", ".join(joints)}); record with '
                f'robot {self.bundle.manifest["robot"]["name"]!r}.'
            )


_sessions: dict[str, onnxruntime.InferenceSession] = {}  # by hash of the graph, newest last


def _open(bundle: Bundle, name: str) -> onnxruntime.InferenceSession:
    """Open a graph once; all policies adapted from one bundle have the same and share it."""
    digest = bundle.manifest['files'][name]
    if digest not in _sessions:
        _sessions[digest] = _make_session(bundle.path / name)
        while len(_sessions) > _KEPT_SESSIONS:
            del _sessions[next(iter(_sessions))]
    return _sessions[digest]


def _make_session(path: Path) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise BundleError(f'Graph {path} is missing; copy the bundle again.')
    options = onnxruntime.SessionOptions()
    # One thread: on a small machine several would fight with the rest of the graph.
    options.intra_op_num_threads = int(os.environ.get('MIL_ORT_THREADS', '1'))
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    except Exception as err:  # ONNX Runtime has no public error classes
        raise BundleError(
            f'{path} is not a graph that ONNX Runtime can open ({err}); export it again.'
        ) from err


def _get(weights: Weights, name: str, bundle: Bundle) -> Array:
    if name not in weights:
        raise BundleError(
            f'Bundle {bundle.name!r} lacks the parameter {name!r} that its graph needs; '
            'export it again.'
        )
    return weights[name]
