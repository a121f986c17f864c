"""What a camera, a video and a test picture have in common."""

from __future__ import annotations

from typing import Protocol

from mil_ros.core.errors import MilError
from mil_ros.core.types import Image


class CaptureError(MilError):
    """A camera or video cannot be opened, or gives no more frames."""


class EndOfVideoError(CaptureError):
    """A video is over; to open it again would be to start it again."""


class FrameSource(Protocol):
    """Frames one after the other; used by one thread at a time."""

    def grab(self) -> float | None:
        """Go to the next frame, waiting for it if need be.

        Returns:
            The frame's time since the first one in s; None for a live source, whose frames are
            from now.

        Raises:
            CaptureError: If no frame comes.
        """
        ...

    def retrieve(self) -> Image:
        """Return the grabbed frame as RGB, (H, W, 3) uint8, in memory of its own."""
        ...

    def release(self) -> None:
        """Let go of the device or file."""
        ...
