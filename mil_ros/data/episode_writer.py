"""Writing an episode: a rosbag2 folder with one MCAP file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import shutil
from typing import Final

from mil_ros.core.errors import EpisodeError
from mil_ros.data.definitions import describe_type
from mil_ros.data.mcap_format import Channel, Message
from mil_ros.data.mcap_writer import McapWriter
from mil_ros.data.metadata import describe_bag, reserve_metadata, sync_folder, write_metadata

_CHUNK_BYTES: Final = 4 << 20


class EpisodeWriter:
    """Writes serialised messages as they came; not thread-safe.

    They gather in memory until they fill a chunk or `flush` is called.
    """

    def __init__(
        self,
        path: Path,
        topics: Mapping[str, str],
        provenance: Mapping[str, str],
        qos: Mapping[str, str] | None = None,
        compression: str = '',
    ) -> None:
        """Open a new episode.

        Args:
            path: Folder to make.
            topics: Type of each topic, such as ``sensor_msgs/msg/Image``.
            provenance: Goes into the bag's ``custom_data``.
            qos: What the publishers of topics offer, as rosbag2 notes it (YAML).
            compression: Of chunks: ``lz4``, ``zstd`` or empty.

        Raises:
            EpisodeError: If the folder exists or cannot be made, or a type is not known.
        """
        self.path = path
        self.provenance = dict(provenance)
        self._indices: dict[str, int] = {}
        self._gathered: list[Message] = []
        self._gathered_bytes = 0
        self._is_finished = self._is_whole = self._is_listed = False
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            raise EpisodeError(
                f'{path} exists already; expected a new folder, choose another.'
            ) from None
        except OSError as err:
            raise _cannot_write(path, err) from err
        try:
            reserve_metadata(path)
            self._file = McapWriter(path / self._file_name, self.provenance, compression)
            for topic, kind in topics.items():
                known = describe_type(kind)
                offered = (qos or {}).get(topic, '')
                channel = Channel(topic, kind, known.definition, known.digest, offered)
                self._indices[topic] = self._file.add_channel(channel)
        except OSError as err:
            shutil.rmtree(path, ignore_errors=True)
            raise _cannot_write(path, err) from err
        except EpisodeError:
            shutil.rmtree(path, ignore_errors=True)
            raise

    @property
    def _file_name(self) -> str:
        return f'{self.path.name}_0.mcap'

    @property
    def counts(self) -> dict[str, int]:
        """Messages on disk, by topic."""
        return {topic: self._file.counts[index] for topic, index in self._indices.items()}

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._file.size

    def write(self, topic: str, data: bytes | memoryview, received_ns: int) -> None:
        """Append one serialised message.

        Raises:
            OSError: If a chunk was full and could not be written; its messages are lost then.
        """
        self._gathered.append(Message(self._indices[topic], received_ns, received_ns, data))
        self._gathered_bytes += len(data)
        if self._gathered_bytes >= _CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand what has gathered to the system, where it outlives this process.

        Raises:
            OSError: If that fails; these messages are lost then.
        """
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        self._file.write_chunk(gathered)

    def sync(self) -> None:
        """Return once everything flushed is on the disk itself, where it outlives a power loss."""
        if not self._is_listed:  # not when it is made: a busy disk takes its time for that
            sync_folder(self.path)
            sync_folder(self.path.parent)
            self._is_listed = True
        self._file.sync()

    def finish(self) -> None:
        """Write what has gathered and end the file; `counts` are final then.

        On a full disk the last chunks make room for its end, so that the rest can be read.

        Raises:
            OSError: If not even that is possible.
        """
        if self._is_finished:
            return
        self._is_finished = True
        try:
            self.flush()
        finally:
            self._file.close()
            self._is_whole = True

    def close(self, **conclusions: str) -> None:
        """Finish the episode; only then does it have its metadata.

        Args:
            **conclusions: Provenance that was not known at the beginning.

        Raises:
            OSError: If the disk refuses; `mil inspect --repair` helps then.
        """
        self.provenance |= conclusions
        try:
            self.finish()
        finally:
            if self._is_whole:
                file, times_ns = self._file, (self._file.start_ns, self._file.end_ns)
                metadata = describe_bag(
                    self._file_name, file.channels, file.counts, times_ns, self.provenance
                )
                write_metadata(self.path, metadata)


def _cannot_write(path: Path, err: OSError) -> EpisodeError:
    return EpisodeError(
        f'Cannot write to {path} ({err.strerror}); choose a writable folder with the parameter '
        '`directory`.'
    )
