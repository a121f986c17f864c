"""What can go wrong with an arm, its camera and Servo, on demand."""

from __future__ import annotations

from dataclasses import dataclass

from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.errors import ConfigError
from mil_ros.core.types import Image

FAULTS = {
    'camera_frozen': 'no image comes any more',
    'stamps_stale': 'images come, their stamps stand still',
    'camera_clock_ahead': 'the stamps of images jump ahead by an hour',
    'camera_clock_behind': 'the stamps of images jump back by an hour',
    'joint_states_lost': 'no joint state comes any more',
    'joints_clock_ahead': 'the stamps of joint states jump ahead by an hour',
    'joints_clock_behind': 'the stamps of joint states jump back by an hour',
    'servo_halt': 'Servo reports HALT_FOR_COLLISION; it is for the others to stop',
    'servo_silent': 'Servo reports nothing any more',
    'marker_red': 'a red mark is in the corner of the images',
    'marker_green': 'a green mark is in the corner of the images',
    'marker_blue': 'a blue mark is in the corner of the images',
}
HALT_FOR_COLLISION = 5  # moveit_msgs/msg/ServoStatus
MARK_PIXELS = 16  # each side: at least one pixel of what a policy sees is of pure colour
_JUMP_NS = 3600 * NS_PER_S
_MARKS = {'marker_red': 0, 'marker_green': 1, 'marker_blue': 2}


@dataclass(eq=False, slots=True)
class FaultInjector:
    """Spoils what the simulated arm publishes, one fault at a time.

    Attributes:
        fault: A name in `FAULTS`, empty for none.
    """

    fault: str = ''
    _image_stamp_ns: int = 0

    def choose(self, fault: str) -> None:
        """Have a fault from now on.

        Raises:
            ConfigError: If there is no such fault.
        """
        check_fault(fault)
        self.fault = fault

    def image_stamp_ns(self, now_ns: int) -> int | None:
        """Return the stamp of an image of now; None if it shall not be seen."""
        if self.fault == 'camera_frozen':
            return None
        if self.fault == 'stamps_stale':
            return self._image_stamp_ns
        self._image_stamp_ns = self._jump('camera', now_ns)
        return self._image_stamp_ns

    def joints_stamp_ns(self, now_ns: int) -> int | None:
        """Return the stamp of a joint state of now; None if it shall not be seen."""
        return None if self.fault == 'joint_states_lost' else self._jump('joints', now_ns)

    def status(self, code: int | None, message: str) -> tuple[int | None, str]:
        """Return what Servo reports instead; the code is None if that is nothing."""
        if self.fault == 'servo_halt':
            return HALT_FOR_COLLISION, 'a fault that was asked for'
        return (None, '') if self.fault == 'servo_silent' else (code, message)

    @property
    def mark(self) -> int | None:
        """Channel of the colour of the mark that is in the images now, None for no mark."""
        return _MARKS.get(self.fault)

    def _jump(self, stream: str, now_ns: int) -> int:
        if self.fault == f'{stream}_clock_ahead':
            return now_ns + _JUMP_NS
        return now_ns - _JUMP_NS if self.fault == f'{stream}_clock_behind' else now_ns


def paint_mark(frame: Image, channel: int) -> None:
    """Put a mark into a picture, (H, W, 3) RGB."""
    corner = frame[:MARK_PIXELS, :MARK_PIXELS]
    corner[:] = 0
    corner[..., channel] = 255


def check_fault(fault: str) -> None:
    """Raise `ConfigError` unless a fault can be had."""
    if fault and fault not in FAULTS:
        raise ConfigError(
            f'Parameter fault is {fault!r}; expected one of {", ".join(FAULTS)}, or empty for '
            'none.'
        )
