"""The three Kafka requests that a benchmark needs, in Kafka's own protocol: end offsets of a topic, create it, delete it. Kafka's tools
would start a Java VM for each, which on a small machine is felt by what is being measured."""
import socket
import struct
from typing import Dict, List, Optional, Tuple

LIST_OFFSETS, CREATE_TOPICS, DELETE_TOPICS = 2, 19, 20
UNKNOWN_TOPIC, NOT_LEADER, ALREADY_EXISTS = 3, 6, 36
_LATEST = -1


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def _array(items: List[bytes]) -> bytes:
    return struct.pack(">i", len(items)) + b"".join(items)


class _Answer:
    """Reads an answer field by field."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, fields: str) -> tuple:
        """Numbers, by struct's letters."""
        values = struct.unpack_from(">" + fields, self.data, self.at)
        self.at += struct.calcsize(">" + fields)
        return values

    def string(self) -> Optional[str]:
        """A string, or none."""
        length, = self.take("h")
        if length < 0:
            return None
        text = self.data[self.at:self.at + length].decode()
        self.at += length
        return text


class KafkaError(Exception):
    """Kafka refuses; `code` is its error code."""

    def __init__(self, what: str, code: int, message: str = "") -> None:
        self.code = code
        super().__init__(f"{what}: Kafka's error code {code} {message}".rstrip())


class Client:
    """A connection to the only broker of a cluster."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket: Optional[socket.socket] = None
        self.correlation = 0

    def close(self) -> None:
        """The next call connects anew."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = self.socket.recv(length - len(data))
            if not part:
                raise OSError("Kafka has closed the connection")
            data += part
        return data

    def _call(self, key: int, version: int, body: bytes) -> _Answer:
        self.correlation += 1
        request = struct.pack(">hhi", key, version, self.correlation) + _string("bench") + body
        try:
            if self.socket is None:
                self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=30)
            self.socket.sendall(struct.pack(">i", len(request)) + request)
            length, = struct.unpack(">i", self._read(4))
            return _Answer(self._read(length)[4:])
        except OSError:
            self.close()
            raise

    def end_offsets(self, topic: str, partitions: int) -> Dict[int, int]:
        """{partition: end offset}; empty while the topic does not exist, or has no leader yet."""
        wanted = _array([struct.pack(">iq", p, _LATEST) for p in range(partitions)])
        answer = self._call(LIST_OFFSETS, 1, struct.pack(">i", -1) + _array([_string(topic) + wanted]))
        answer.take("i")
        answer.string()
        found, (count,) = {}, answer.take("i")
        for _ in range(count):
            partition, code, _, offset = answer.take("ihqq")
            if code in (UNKNOWN_TOPIC, NOT_LEADER, 5):
                return {}
            if code:
                raise KafkaError(f"end offset of {topic}-{partition}", code)
            found[partition] = offset
        return found

    def records(self, topic: str, partitions: int) -> int:
        """Records that were ever written to a topic from which nothing was deleted."""
        return sum(self.end_offsets(topic, partitions).values())

    def create(self, topic: str, partitions: int, config: Tuple[Tuple[str, str], ...] = ()) -> None:
        """Creates a topic, unless it is there."""
        settings = _array([_string(name) + _string(value) for name, value in config])
        one = _string(topic) + struct.pack(">ih", partitions, 1) + _array([]) + settings
        answer = self._call(CREATE_TOPICS, 2, _array([one]) + struct.pack(">i?", 30_000, False))
        answer.take("ii")
        answer.string()
        (code,), message = answer.take("h"), answer.string()
        if code not in (0, ALREADY_EXISTS):
            raise KafkaError(f"create {topic}", code, message or "")

    def delete(self, *topics: str) -> None:
        """Deletes topics, if they are there: what one measurement wrote is not written back during the next."""
        answer = self._call(DELETE_TOPICS, 1, _array([_string(t) for t in topics]) + struct.pack(">i", 30_000))
        _, count = answer.take("ii")
        for _ in range(count):
            name, (code,) = answer.string(), answer.take("h")
            if code not in (0, UNKNOWN_TOPIC):
                raise KafkaError(f"delete {name}", code)
