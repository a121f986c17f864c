"""Runs a command that outlives its neighbours: ``python -m mil_ros.ros.linger 2.0 COMMAND...``.

``ros2 launch`` and Ctrl-C end all processes at once. The guard then ramps the arm down, which
takes Servo to hand its commands on: Servo is ended that much later.
"""

from __future__ import annotations

from collections.abc import Sequence
import ctypes
import signal
import subprocess
import sys
import threading
from types import FrameType

_PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; a second signal ends it at once.

    Returns:
        The command's exit code, or 128 and the number of the signal that it died of.
    """
    delay, *command = sys.argv[1:] if arguments is None else arguments
    process = subprocess.Popen(
        command,
        start_new_session=True,  # or Ctrl-C in the terminal would reach it too
        preexec_fn=_die_with_parent if sys.platform == 'linux' else None,
    )
    later = threading.Timer(float(delay), process.send_signal, [signal.SIGINT])
    later.daemon = True

    def end(number: int, _: FrameType | None) -> None:
        if later.is_alive():
            process.send_signal(number)
        else:
            later.start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    code = process.wait()
    return code if code >= 0 else 128 - code


def _die_with_parent() -> None:
    """Have the kernel end the command when this process is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == '__main__':
    sys.exit(main())
