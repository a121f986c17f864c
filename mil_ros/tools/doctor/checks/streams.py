"""What is asked of every stream: is it there, often enough, and stamped with our time?"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.alignment import check_age, NS_PER_S
from mil_ros.core.errors import StaleDataError
from mil_ros.core.quality import LOW_RATE, USELESS_RATE
from mil_ros.core.streams import (
    check_stamps,
    CLOCKS_APART_S,
    Expectation,
    measure,
    StreamTimes,
)
from mil_ros.tools.doctor.findings import failed, Finding, from_sentence, ok, warning
from mil_ros.tools.doctor.snapshot import list_names, Snapshot

_STEADY_S: Final = 0.1  # an offset that varies by less is a clock's, not a queue's
_CLOCK_REMEDY: Final = (
    'Synchronise the clocks of the two machines (chrony, PTP), and have the driver stamp with '
    'the time of the measurement.'
)


def find_topic(snapshot: Snapshot, key: str, topic: str, kind: str, starter: str) -> Finding:
    """Judge whether somebody publishes a topic with the right type.

    Args:
        snapshot: Of the graph.
        key: Of the robot file's topics.
        topic: Its name.
        kind: Its type.
        starter: What publishes it, for the remedy.
    """
    publishers = snapshot.publishers(topic)
    foreign = {endpoint.kind for endpoint in publishers} - {kind}
    if foreign:
        senders = list_names(e.node for e in publishers if e.kind in foreign)
        return failed(
            f'{senders} publishes {topic} as {list_names(foreign)}',
            kind,
            f'Correct topics.{key} of the robot file, or remap the topic of {senders}.',
        )
    if publishers:
        return ok(f'{topic} from {list_names(e.node for e in publishers)}')
    others = _find_like(snapshot, topic, kind)
    if others:
        return failed(
            f'nobody publishes {topic}, but {" and ".join(others)} has its type',
            f'{kind} on {topic}',
            f'Set topics.{key} to {others[0]} in the robot file, or remap that to {topic}.',
        )
    return failed(f'nobody publishes {topic}', kind, f'Start {starter}.')


def find_stream(
    snapshot: Snapshot, key: str, kind: str, starter: str, times: StreamTimes
) -> Finding:
    """Judge as `find_topic` does, and whether anything comes."""
    topic = times.topic
    finding = find_topic(snapshot, key, topic, kind, starter)
    if finding.remedy or len(times.received_ns):
        return finding
    senders = list_names(e.node for e in snapshot.publishers(topic))
    return failed(
        f'nothing came on {topic} within {snapshot.seconds:.1f} s, though {senders} offers it',
        f'a running stream of {kind}',
        f'Check that {senders} runs, that the QoS fits and that no firewall is in the way.',
    )


def _find_like(snapshot: Snapshot, topic: str, kind: str) -> list[str]:
    """Return topics that are published with a type, the most alike first."""
    others = [
        name
        for name, seen in snapshot.topics.items()
        if name != topic and any(endpoint.kind == kind for endpoint in seen.publishers)
    ]

    def likeness(name: str) -> tuple[bool, float]:
        is_namespaced = name.endswith(topic) or topic.endswith(name)
        return is_namespaced, SequenceMatcher(None, name, topic).ratio()

    return sorted(others, key=likeness, reverse=True)[:2]


def find_rate(snapshot: Snapshot, times: StreamTimes, expected: Expectation) -> Finding:
    """Judge how often messages come and how long they stay away.

    Only what came after the first message counts: finding its publisher takes a while.
    """
    report = measure(times, (int(times.received_ns[0]), snapshot.end_ns))
    rate_hz = report.rate_hz or 0.0
    found = f'{times.topic} comes at {rate_hz:.1f} Hz'
    if rate_hz < LOW_RATE * expected.rate_hz:
        judge = failed if rate_hz < USELESS_RATE * expected.rate_hz else warning
        return judge(
            found,
            f'{expected.rate_hz:g} Hz',
            'Check the load of the machine and the network, or correct the rate in the robot '
            'file.',
        )
    if report.max_gap_s is not None and report.max_gap_s > expected.max_age_s:
        return warning(
            f'{found}, and once not for {report.max_gap_s:.3f} s',
            f'at most {expected.max_age_s:g} s between two',
            'Check the load of the machine and the network; a run would end at such a gap.',
        )
    return ok(f'{rate_hz:.1f} Hz')


def find_stamps(times: StreamTimes, max_age_s: float) -> Finding:
    """Judge whether the stamps are moments of this machine's clock, and recent."""
    stamps, received = times.stamps_ns, times.received_ns
    assert stamps is not None, 'every stream that is judged has headers'
    if fault := check_stamps(times.topic, stamps):
        return from_sentence(fault, 'Have the driver stamp each message.')
    if len(stamps) > 2 and not np.ptp(stamps):
        return failed(
            f'all {len(stamps)} messages of {times.topic} bear the same stamp',
            'the moment of each measurement',
            'Restart its driver: it repeats what it once measured.',
        )
    offsets_s = (received - stamps) / NS_PER_S
    usual_s = float(np.median(offsets_s))
    try:
        check_age(times.topic, 0, round(usual_s * NS_PER_S), max_age_s)
    except StaleDataError:
        return _find_clock(times.topic, usual_s, offsets_s, max_age_s)
    return ok(f'{1e3 * usual_s:.1f} ms old when they come')


def _find_clock(
    topic: str, usual_s: float, offsets_s: NDArray[np.float64], max_age_s: float
) -> Finding:
    """Say whether stamps that cannot be acted on are late, early, or of another clock."""
    wish = f'stamps 0 to {max_age_s:g} s old'
    when = f'{abs(usual_s):.3f} s ' + ('in the future' if usual_s < 0 else 'before they come')
    low_s, high_s = np.percentile(offsets_s, (5, 95))
    if abs(usual_s) > CLOCKS_APART_S and high_s - low_s < _STEADY_S:
        return failed(
            f'messages of {topic} are stamped {when}, always: it is the clock of another machine '
            'or a simulated one',
            wish,
            _CLOCK_REMEDY,
        )
    if usual_s < 0:
        return failed(f'messages of {topic} are stamped {when}', wish, _CLOCK_REMEDY)
    return failed(
        f'messages of {topic} are stamped {when}',
        wish,
        'Check the load of the machine and the network, and shorten the queues of the driver.',
    )
