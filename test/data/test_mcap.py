"""What our writer writes, others read alike; what is damaged is told from what is whole."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

from helpers import largest_file
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
import numpy as np
import pytest
from rosbags.rosbag2 import Reader
from serialised import make_image, make_joints, MS, START_NS

from mil_ros.core.errors import EpisodeError
from mil_ros.data.definitions import describe_type
from mil_ros.data.episode_writer import EpisodeWriter
from mil_ros.data.mcap_format import Channel, MAGIC, Message
from mil_ros.data.mcap_reader import McapFile
from mil_ros.data.mcap_writer import McapWriter
from mil_ros.data.messages import typestore

KINDS = {'/camera': 'sensor_msgs/msg/Image', '/joints': 'sensor_msgs/msg/JointState'}
NAMES = ('a', 'b', 'c')


def channel(topic: str, qos: str = '') -> Channel:
    known = describe_type(KINDS[topic])
    return Channel(topic, KINDS[topic], known.definition, known.digest, qos)


def sample(count: int = 40) -> list[Message]:
    """Return images and joint states in turn, some larger than what is copied."""
    found = []
    for i in range(count):
        ns = START_NS + i * 10 * MS
        data = make_image(ns, 80, 100) if i % 4 == 0 else make_joints(ns, NAMES, i)
        found.append(Message(0 if i % 4 == 0 else 1, ns, ns, data))
    return found


def write(path: Path, chunks: list[list[Message]], compression: str = '') -> Path:
    writer = McapWriter(path, {'task': 'reach'}, compression)
    for topic in KINDS:
        writer.add_channel(channel(topic, qos='- history: 1'))
    for chunk in chunks:
        writer.write_chunk(chunk)
    writer.close()
    return path


def read(path: Path, **options: Any) -> list[tuple[str, int, bytes]]:
    with McapFile(path, **options) as file:
        return [(e.channel.topic, e.log_ns, bytes(e.data)) for e in file.messages()]


@pytest.fixture
def content() -> list[Message]:
    return sample()


@pytest.fixture
def file(tmp_path: Path, content: list[Message]) -> Path:
    return write(tmp_path / 'a.mcap', [content[:13], content[13:27], content[27:]])


# --- Round trip ------------------------------------------------------------------------------


@pytest.mark.parametrize('compression', ['', 'lz4', 'zstd'])
def test_what_was_written_is_read(
    tmp_path: Path, content: list[Message], compression: str
) -> None:
    path = write(tmp_path / 'a.mcap', [content[:25], content[25:]], compression)
    topics = list(KINDS)
    expected = [(topics[m.channel], m.log_ns, bytes(m.data)) for m in content]
    assert read(path, verify=True) == expected


def test_reader_tells_of_channels_and_metadata(file: Path) -> None:
    with McapFile(file) as reader:
        assert list(reader.messages(topics=('/none',))) == []
        assert [c.topic for c in reader.channels.values()] == ['/camera', '/joints']
        assert reader.channels[1] == channel('/camera', qos='- history: 1')
        assert reader.metadata == {'mil_ros': {'task': 'reach'}}
        assert reader.is_whole
        assert reader.has_end
        assert reader.damage == []
        assert reader.unusable_bytes == 0


def test_topics_can_be_chosen(file: Path, content: list[Message]) -> None:
    with McapFile(file) as reader:
        found = [e.log_ns for e in reader.messages(topics=('/joints',))]
    assert found == [m.log_ns for m in content if m.channel == 1]


def test_writer_counts_what_it_writes(tmp_path: Path, content: list[Message]) -> None:
    writer = McapWriter(tmp_path / 'a.mcap', {})
    for topic in KINDS:
        writer.add_channel(channel(topic))
    assert (writer.start_ns, writer.end_ns) == (0, 0)
    writer.write_chunk(content[20:])
    writer.write_chunk(content[:20])
    writer.write_chunk([])
    assert writer.counts == [10, 30]
    assert (writer.start_ns, writer.end_ns) == (content[0].log_ns, content[-1].log_ns)
    assert writer.close() == 0
    assert (tmp_path / 'a.mcap').stat().st_size == writer.size


def test_a_file_without_messages_is_whole(tmp_path: Path) -> None:
    path = write(tmp_path / 'a.mcap', [])
    assert read(path) == []
    with path.open('rb') as stream:
        assert list(make_reader(stream).iter_messages()) == []


def test_a_chunk_of_more_vectors_than_one_call_takes_is_whole(
    tmp_path: Path,
) -> None:
    content = [
        Message(i % 2, START_NS + i, START_NS + i, make_image(START_NS + i, 80, 100))
        for i in range(1100)
    ]
    path = write(tmp_path / 'a.mcap', [content])
    assert len(read(path, verify=True)) == 1100


# --- Independent readers ---------------------------------------------------------------------


@pytest.fixture
def episode(tmp_path: Path, content: list[Message]) -> Path:
    writer = EpisodeWriter(tmp_path / 'cup', KINDS, {'task': 'reach'})
    for i, message in enumerate(content):
        writer.write(list(KINDS)[message.channel], message.data, message.log_ns)
        if i in (10, 27):
            writer.flush()
    writer.close()
    return tmp_path / 'cup'


def test_independent_readers_agree_message_for_message(
    episode: Path, content: list[Message]
) -> None:
    with Reader(episode) as reader:
        by_rosbags = [(c.topic, ns, bytes(data)) for c, ns, data in reader.messages()]
        hashes = {c.topic: c.digest for c in reader.connections}
    with next(episode.glob('*.mcap')).open('rb') as stream:
        by_mcap = [
            (c.topic, m.log_time, m.data)
            for _, c, m in make_reader(stream, validate_crcs=True).iter_messages()
        ]
    topics = list(KINDS)
    assert by_rosbags == [(topics[m.channel], m.log_ns, m.data) for m in content]
    assert by_mcap == by_rosbags
    assert hashes == {topic: describe_type(kind).digest for topic, kind in KINDS.items()}


def test_independent_decoders_agree_on_what_messages_say(episode: Path) -> None:
    (path,) = episode.glob('*.mcap')
    with Reader(episode) as reader, path.open('rb') as stream:
        mcap = make_reader(stream, decoder_factories=[DecoderFactory()])
        compared = 0
        for (c, _, raw), decoded in zip(
            reader.messages(), mcap.iter_decoded_messages(), strict=True
        ):
            ours: Any = typestore().deserialize_cdr(raw, c.msgtype)
            theirs = decoded.decoded_message
            assert theirs.header.stamp.nanosec == ours.header.stamp.nanosec
            if c.topic == '/joints':
                assert list(theirs.name) == list(ours.name)
                np.testing.assert_array_equal(theirs.position, ours.position)
            else:
                assert bytes(theirs.data) == bytes(ours.data)
                assert (theirs.height, theirs.encoding) == (ours.height, ours.encoding)
            compared += 1
    assert compared == 40


def test_time_ordered_reading_merges_chunks(tmp_path: Path, content: list[Message]) -> None:
    path = write(tmp_path / 'a.mcap', [content[20:], content[:20]])
    with path.open('rb') as stream:
        found = [m.log_time for _, _, m in make_reader(stream).iter_messages()]
    assert found == sorted(m.log_ns for m in content)


def test_summary_counts_for_those_who_read_nothing_else(file: Path) -> None:
    with file.open('rb') as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    assert summary.statistics is not None
    assert summary.statistics.message_count == 40
    assert summary.statistics.channel_message_counts == {1: 10, 2: 30}
    assert summary.statistics.chunk_count == len(summary.chunk_indexes) == 3
    assert [c.metadata['topic_type_hash'] for c in summary.channels.values()] == [
        describe_type(kind).digest for kind in KINDS.values()
    ]


# --- Damage ----------------------------------------------------------------------------------


def test_a_file_cut_anywhere_keeps_what_is_whole(
    file: Path, content: list[Message], rng: np.random.Generator
) -> None:
    whole = file.read_bytes()
    expected = read(file)
    lengths = set()
    for length in sorted(rng.integers(len(MAGIC), len(whole), 80).tolist()):
        file.write_bytes(whole[:length])
        with McapFile(file, verify=True) as reader:
            found = [(e.channel.topic, e.log_ns, bytes(e.data)) for e in reader.messages()]
            assert found == expected[: len(found)]
            assert not reader.is_whole
            assert reader.damage or reader.unusable_bytes == 0
            assert reader.unusable_bytes < length
        lengths.add(len(found))
    assert lengths >= {13, 27, 40}


def test_flipped_bytes_never_change_a_message(file: Path, rng: np.random.Generator) -> None:
    whole = file.read_bytes()
    expected = read(file)
    damaged = 0
    for place in rng.integers(len(MAGIC), len(whole), 150).tolist():
        content = bytearray(whole)
        content[place] ^= 0xFF
        file.write_bytes(content)
        try:
            found = read(file, verify=True)
        except EpisodeError:
            continue
        damaged += len(found) < len(expected)
        data_of = {(topic, data) for topic, _, data in expected}
        assert {(topic, data) for topic, _, data in found} <= data_of | {
            (topic, data) for topic, _, data in found if topic not in KINDS
        }
    assert damaged > 20


def test_a_chunk_with_a_wrong_checksum_is_left_out_and_named(
    file: Path, content: list[Message]
) -> None:
    whole = bytearray(file.read_bytes())
    place = whole.index(content[0].data) + 100
    whole[place] ^= 1
    file.write_bytes(whole)
    with McapFile(file, verify=True) as reader:
        assert len(list(reader.messages())) == 27
        assert len(reader.damage) == 1
        assert reader.damage[0].endswith('has a wrong checksum')
        assert reader.is_whole
        assert reader.unusable_bytes > len(content[0].data)


def test_a_tail_of_zeros_is_no_data(file: Path) -> None:
    """As some file systems leave it after a power loss."""
    whole = file.read_bytes()
    with McapFile(file) as reader:
        expected = len(list(reader.messages()))
    data_end = whole.rindex(b'\x0f\x04\x00\x00\x00\x00\x00\x00\x00')
    file.write_bytes(whole[:data_end] + bytes(4096))
    with McapFile(file) as reader:
        assert len(list(reader.messages())) == expected
        assert reader.damage == [f'byte {data_end} begins no record']
        assert reader.unusable_bytes == 4096
        assert not reader.has_end


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', r'Cannot read .*a\.mcap \(cannot mmap an empty file\); expected an MCAP'),
        (
            b'SQLite format 3',
            r"a\.mcap begins with b'SQLite f', expected b'\\x89MCAP0\\r\\n'; it is",
        ),
    ],
)
def test_what_is_no_mcap_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / 'a.mcap').write_bytes(content)
    with pytest.raises(EpisodeError, match=message):
        McapFile(tmp_path / 'a.mcap')


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match=r'Cannot read .*none\.mcap \(.*No such file'):
        McapFile(tmp_path / 'none.mcap')


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match=r"Got compression 'gzip'; expected one of \['', 'lz4'"):
        McapWriter(tmp_path / 'a.mcap', {}, 'gzip')
    assert not (tmp_path / 'a.mcap').exists()


# --- A full disk -----------------------------------------------------------------------------


def test_a_chunk_that_does_not_fit_leaves_the_file_as_it_was(
    tmp_path: Path, content: list[Message]
) -> None:
    path = tmp_path / 'a.mcap'
    writer = McapWriter(path, {})
    for topic in KINDS:
        writer.add_channel(channel(topic))
    writer.write_chunk(content[:10])
    before = path.read_bytes()
    too_full = pytest.raises(OSError, match=os.strerror(errno.EFBIG))
    with largest_file(writer.size + 30_000), too_full:
        writer.write_chunk(content[10:])
    assert path.read_bytes() == before
    assert writer.size == len(before)
    assert sum(writer.counts) == 10
    assert writer.close() == 0
    assert len(read(path, verify=True)) == 10


def test_the_last_chunks_make_room_for_the_end(tmp_path: Path, content: list[Message]) -> None:
    path = tmp_path / 'a.mcap'
    writer = McapWriter(path, {})
    for topic in KINDS:
        writer.add_channel(channel(topic))
    for begin in range(0, 40, 4):
        writer.write_chunk(content[begin : begin + 4])
    with largest_file(writer.size + 10):
        lost = writer.close()
    assert 0 < lost < 40
    assert lost % 4 == 0
    assert sum(writer.counts) == 40 - lost
    with McapFile(path, verify=True) as reader:
        assert len(list(reader.messages())) == 40 - lost
        assert reader.is_whole
    with path.open('rb') as stream:
        assert len(list(make_reader(stream).iter_messages())) == 40 - lost


def test_a_disk_too_full_for_any_end_is_an_error(tmp_path: Path, content: list[Message]) -> None:
    writer = McapWriter(tmp_path / 'a.mcap', {})
    for topic in KINDS:
        writer.add_channel(channel(topic))
    too_full = pytest.raises(OSError, match=os.strerror(errno.EFBIG))
    with largest_file(writer.size + 10), too_full:
        writer.close()


def test_a_file_in_the_making_is_locked(tmp_path: Path) -> None:
    writer = McapWriter(tmp_path / 'a.mcap', {})
    descriptor = os.open(tmp_path / 'a.mcap', os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        writer.close()
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)
