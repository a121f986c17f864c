"""The camera: there, in time, of the right size, and seeing something that changes."""

from __future__ import annotations

from typing import Final

import numpy as np

from mil_ros.core.quality import MIN_MOTION_RAD
from mil_ros.core.streams import Expectation
from mil_ros.tools.doctor.checks.check import check
from mil_ros.tools.doctor.checks.streams import find_rate, find_stamps, find_stream
from mil_ros.tools.doctor.findings import (
    failed,
    Finding,
    from_sentence,
    ok,
    skipped,
    warning,
)
from mil_ros.tools.doctor.snapshot import (
    camera_info_topic,
    IMAGE,
    list_names,
    Snapshot,
)

_DARK: Final = 10.0  # mean brightness of 255; a lit room has 60 and more
_GLARING: Final = 245.0
_FLAT: Final = 2.0  # standard deviation; sensor noise alone
_FRAMES: Final = 5  # as many that are all alike are no coincidence


@check('camera', 'graph')
def image_topic(snapshot: Snapshot) -> Finding:
    """One camera publishes images."""
    topic = snapshot.robot.topics.image
    starter = "the camera's driver, or bringup.launch.py with camera:=0"
    finding = find_stream(snapshot, 'image', IMAGE, starter, snapshot.images.times)
    senders = [endpoint.node for endpoint in snapshot.publishers(topic)]
    if len(senders) > 1:
        return failed(
            f'{len(senders)} publishers on {topic}: {list_names(senders)}',
            'one camera',
            'End all but one, or give each camera a namespace of its own.',
        )
    return finding


@check('camera', 'image_topic')
def image_rate(snapshot: Snapshot) -> Finding:
    """They come often enough."""
    camera = snapshot.robot.camera
    return find_rate(
        snapshot, snapshot.images.times, Expectation(camera.rate_hz, camera.max_age_s)
    )


@check('camera', 'image_topic')
def image_stamps(snapshot: Snapshot) -> Finding:
    """Their stamps are of this machine's clock, and recent."""
    return find_stamps(snapshot.images.times, snapshot.robot.camera.max_age_s)


@check('camera', 'image_topic')
def image_format(snapshot: Snapshot) -> Finding:
    """Images can be turned into RGB and have the robot file's size."""
    seen, camera = snapshot.images, snapshot.robot.camera
    if seen.fault:
        return from_sentence(seen.fault, 'Set the camera to rgb8 or bgr8.')
    if (seen.width, seen.height) != (camera.width, camera.height):
        return failed(
            f'images of {seen.width}x{seen.height}',
            f'{camera.width}x{camera.height} as in the robot file',
            'Set the camera to that size or correct the robot file.',
        )
    return ok(f'{seen.width}x{seen.height} {seen.encoding}')


@check('camera', 'image_format')
def image_light(snapshot: Snapshot) -> Finding:
    """There is something to see."""
    seen, wish = snapshot.images, f'a mean of {_DARK:g} to {_GLARING:g} of 255'
    found = f'mean {seen.brightness:.0f} of 255, spread {seen.contrast:.0f}'
    if seen.brightness < _DARK:
        return failed(f'dark: {found}', wish, 'Take off the lens cap, or give it light.')
    if seen.brightness > _GLARING:
        return failed(f'glaring: {found}', wish, 'Shorten the exposure, or dim the light.')
    if seen.contrast < _FLAT:
        return warning(
            f'all of one colour: {found}',
            'edges and colours',
            'See whether something covers the lens.',
        )
    return ok(found)


@check('camera', 'image_stamps')
def image_frozen(snapshot: Snapshot) -> Finding:
    """Images change; those of a sensor always do, by noise at least."""
    seen, robot = snapshot.images, snapshot.robot
    count, different = len(seen.digests), len(set(seen.digests))
    if count < _FRAMES:
        return skipped(f'{count} images are too few to tell; give it more --seconds')
    if different > 1:
        return ok(f'{different} different images of {count}')
    is_moving = snapshot.joints.motion_rad > MIN_MOTION_RAD
    drivers = {endpoint.node for endpoint in snapshot.publishers(robot.topics.joint_states)}
    cameras = {endpoint.node for endpoint in snapshot.publishers(robot.topics.image)}
    is_rendered = bool(drivers & cameras) or any(snapshot.sim_time.values())
    if is_rendered and not is_moving:
        return skipped(f'{count} images alike, as a simulated camera sees an arm at rest')
    return failed(
        f'{count} images alike to the last bit, though their stamps go on',
        'a little noise at least',
        f'Restart {list_names(cameras) or "the camera"} and plug the camera in again; its driver '
        'repeats an old image.',
    )


@check('camera', 'image_format')
def camera_info(snapshot: Snapshot) -> Finding:
    """The camera says how it sees."""
    topic, info, seen = (
        camera_info_topic(snapshot.robot),
        snapshot.camera_info,
        snapshot.images,
    )
    if info is None:
        return warning(
            f'nothing came on {topic}',
            'camera_info beside each image',
            'Have the driver publish it; an episode without it lacks the calibration.',
        )
    width, height, focal = info
    if (width, height) != (seen.width, seen.height):
        return warning(
            f'{topic} says {width}x{height}, the images have {seen.width}x{seen.height}',
            'one size',
            'Calibrate the camera at the size in use, or choose the right calibration file.',
        )
    is_calibrated = bool(np.isfinite(focal) and focal)
    return ok(f'{width}x{height}' + ('' if is_calibrated else ', not calibrated'))
