"""At which images a policy acts: those that come when its turn has come."""

from __future__ import annotations

from dataclasses import dataclass

from mil_ros.core.alignment import NS_PER_S


@dataclass(slots=True)
class Pace:
    """Picks images at the policy's rate; one rule for live control and for replay.

    A policy that waited for its own clock would act on an image that is up to one period of the
    camera old. It acts at once on the image whose stamp is nearest to its turn instead.

    Attributes:
        rate_hz: Of the policy.
        camera_rate_hz: Of the images.
        due_ns: When the next turn comes, by image stamps.
    """

    rate_hz: float
    camera_rate_hz: float
    due_ns: int = 0

    def take(self, stamp_ns: int) -> bool:
        """Return whether to act on an image, and go on to the next turn if so.

        The mean rate is kept; turns that were missed are not made up for.
        """
        early_ns = round(NS_PER_S / self.camera_rate_hz / 2.0)
        if stamp_ns < self.due_ns - early_ns:
            return False
        period_ns = round(NS_PER_S / self.rate_hz)
        late_ns = max(0, stamp_ns - self.due_ns)
        self.due_ns += period_ns if late_ns < period_ns else late_ns + period_ns
        return True
