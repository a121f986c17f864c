"""Buttons of a joystick: an action happens when one goes down, not while it is held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mil_ros.core.errors import ConfigError


class Buttons:
    """Remembers which buttons are down.

    A button that is down when the first message comes has not been pressed yet.
    """

    def __init__(self, actions: Mapping[str, int]) -> None:
        """Name the actions.

        Args:
            actions: Number of the button for each; below 0 for none.

        Raises:
            ConfigError: If two actions share a button.
        """
        self._actions = {action: number for action, number in actions.items() if number >= 0}
        if len(set(self._actions.values())) < len(self._actions):
            raise ConfigError(
                f'Two actions share a button: {self._actions}; give each one of its own, or -1.'
            )
        self._down: dict[str, bool] | None = None

    @property
    def is_used(self) -> bool:
        """Whether any action has a button."""
        return bool(self._actions)

    def press(self, buttons: Sequence[int]) -> list[str]:
        """Return the actions whose buttons went down since the message before.

        Args:
            buttons: Of ``sensor_msgs/Joy``: 1 is down.

        Raises:
            ConfigError: If the joystick has fewer buttons than an action needs.
        """
        for action, number in self._actions.items():
            if number >= len(buttons):
                raise ConfigError(
                    f'Button {number} for {action!r} does not exist: the joystick has '
                    f'{len(buttons)} buttons, numbered from 0; choose another.'
                )
        down = {action: bool(buttons[number]) for action, number in self._actions.items()}
        before, self._down = self._down, down
        return [a for a in down if before is not None and down[a] and not before[a]]
