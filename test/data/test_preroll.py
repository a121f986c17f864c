"""The ring holds the last moments, whatever the clocks do."""

from __future__ import annotations

from mil_ros.data.preroll import Arrival, PreRoll

S = 1_000_000_000
T0 = 1_700_000_000 * S


def fill(ring: PreRoll, seconds: float, topic: str = '/x', size: int = 10) -> None:
    """Let ten messages a second come; the steady clock begins at zero."""
    for i in range(round(seconds * 10)):
        now_ns = i * S // 10
        ring.add(Arrival(topic, b'%0*d' % (size, i), T0 + now_ns), now_ns)


def test_an_episode_begins_with_what_came_shortly_before() -> None:
    ring = PreRoll(0.5, 1_000_000)
    fill(ring, 3.0)
    found = ring.arrivals(29 * S // 10, T0 + 29 * S // 10)
    assert [int(a.data) for a in found] == [24, 25, 26, 27, 28, 29]
    assert found[0].received_ns == T0 + 24 * S // 10


def test_what_is_too_old_by_now_is_left_out() -> None:
    ring = PreRoll(0.5, 1_000_000)
    fill(ring, 1.0)
    assert ring.arrivals(5 * S, T0 + 5 * S) == []


def test_order_of_arrival_is_kept_among_topics() -> None:
    ring = PreRoll(1.0, 1_000_000)
    for i, topic in enumerate(['/a', '/b', '/b', '/a']):
        ring.add(Arrival(topic, b'', T0 + i), i)
    assert [a.topic for a in ring.arrivals(4, T0 + 4)] == ['/a', '/b', '/b', '/a']


def test_memory_has_an_end() -> None:
    ring = PreRoll(5.0, 250)
    fill(ring, 4.0, size=100)
    assert [int(a.data) for a in ring.arrivals(4 * S, T0 + 4 * S)] == [38, 39]


def test_no_preroll_keeps_nothing_but_the_newest() -> None:
    ring = PreRoll(0.0, 1_000_000)
    fill(ring, 1.0)
    newest = ring.newest('/x')
    assert newest is not None
    assert int(newest.data) == 9
    assert ring.arrivals(2 * S, T0 + 2 * S) == []


def test_a_clock_that_is_set_neither_empties_the_ring_nor_fills_it() -> None:
    ring = PreRoll(0.5, 1_000_000)
    fill(ring, 1.0)
    for i in range(10, 30):  # set back by an hour
        ring.add(Arrival('/x', b'%d' % i, T0 - 3600 * S + i * S // 10), i * S // 10)
    assert [int(a.data) for a in ring.arrivals(29 * S // 10, T0)] == [24, 25, 26, 27, 28, 29]


def test_latched_messages_are_kept_and_dated_to_the_beginning() -> None:
    ring = PreRoll(0.5, 1_000_000)
    ring.latch('/map')
    ring.add(Arrival('/map', b'map', T0 - 3600 * S), 0)
    fill(ring, 3.0)
    found = ring.arrivals(29 * S // 10, T0 + 29 * S // 10)
    assert [a.topic for a in found] == ['/map', *['/x'] * 6]
    assert found[0].data == b'map'
    assert found[0].received_ns == T0 + 24 * S // 10


def test_latching_twice_forgets_nothing() -> None:
    ring = PreRoll(0.5, 1_000_000)
    ring.latch('/map')
    ring.add(Arrival('/map', b'map', T0), 0)
    ring.latch('/map')
    assert len(ring.arrivals(0, T0)) == 1


def test_newest_message_is_that_of_the_topic() -> None:
    ring = PreRoll(0.5, 1_000_000)
    fill(ring, 0.3, '/a')
    fill(ring, 0.2, '/b')
    newest = ring.newest('/a')
    assert newest is not None
    assert int(newest.data) == 2
    assert ring.newest('/c') is None
    assert [int(a.data) for a in ring.recent('/b')] == [1, 0]
