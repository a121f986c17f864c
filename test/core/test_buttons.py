"""Buttons act when they go down."""

from __future__ import annotations

import pytest

from mil_ros.core.buttons import Buttons
from mil_ros.core.errors import ConfigError

ACTIONS = {'start': 0, 'stop': 2, 'discard': -1}


def test_an_action_happens_once_for_each_press() -> None:
    buttons = Buttons(ACTIONS)
    played = [buttons.press([down, 0, 0]) for down in (0, 1, 1, 1, 0, 1)]
    assert played == [[], ['start'], [], [], [], ['start']]


def test_a_button_that_is_held_from_the_beginning_has_not_been_pressed() -> None:
    buttons = Buttons(ACTIONS)
    assert buttons.press([1, 0, 0]) == []
    assert buttons.press([1, 0, 1]) == ['stop']


def test_buttons_without_an_action_do_nothing() -> None:
    buttons = Buttons(ACTIONS)
    assert [buttons.press([0, down, 0]) for down in (0, 1)] == [[], []]


def test_no_button_means_no_joystick_is_needed() -> None:
    assert not Buttons({'start': -1, 'stop': -1}).is_used
    assert Buttons(ACTIONS).is_used


def test_a_button_that_does_not_exist_is_named() -> None:
    with pytest.raises(
        ConfigError,
        match=r"Button 2 for 'stop' does not exist: the joystick has 2 buttons, numbered from 0",
    ):
        Buttons(ACTIONS).press([0, 0])


def test_two_actions_on_one_button_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"Two actions share a button: {'start': 1, 'stop': 1, 'dis"
    ):
        Buttons({'start': 1, 'stop': 1, 'discard': 3})
