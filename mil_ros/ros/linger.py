"""Runs a command that outlives its neighbours: ``python -m mil_ros.ros.linger 2.0 COMMAND...``.

``ros2 launch`` and Ctrl-C end all processes at once. The guard then ramps the arm down, which
takes Servo to hand its commands on: Servo is ended that much later.
"""

from __future__ import annotations

from collections.abc import Sequence
import ctypes
import math
import signal
import subprocess
import sys
import time

_PR_SET_PDEATHSIG = 1
_LOOK_S = 0.02


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
    # A handler may interrupt anything, itself too; so it only takes a note.
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda signum, _: asked.append(signum))
    due_s: float | None = None
    while (code := process.poll()) is None:
        time.sleep(_LOOK_S)
        if due_s is None:
            if asked:
                del asked[0]
                due_s = time.monotonic() + float(delay)
        elif asked or time.monotonic() >= due_s:
            process.send_signal(asked.pop() if asked else signal.SIGINT)
            due_s = math.inf
    return code if code >= 0 else 128 - code


def _die_with_parent() -> None:
    """Have the kernel end the command when this process is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == '__main__':
    sys.exit(main())
