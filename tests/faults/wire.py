"""What clients and servers say to each other, cut into messages, and the messages that a fault loses on purpose."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

FETCH, OFFSET_COMMIT, HEARTBEAT = 1, 8, 12
"""Kinds of Kafka requests (api_key), for `Losses.answers`."""

AT_COMMIT, AFTER_COMMIT = "cut at commit", "cut after commit"

# The lengths of PostgreSQL's messages count themselves, and not the letter before them; Kafka's count neither.
_LENGTH = 4
_TYPE = 1
_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104
_COMMIT = re.compile(rb"\s*(?:COMMIT|END)(?:\s+(?:WORK|TRANSACTION))?\s*;?\s*", re.IGNORECASE)
_COMMITTED = b"C\0\0\0\x0bCOMMIT\0"
_READY = b"Z"
_LOOPBACK = b"127.0.0.1"


class ConnectionLost(Exception):
    """The connection is to be reset now, on both sides, and what was held back is never delivered."""


@dataclass
class Losses:
    """What is to be lost of what goes through one proxy, and how often it was."""

    commits: dict[str, int] = field(default_factory=dict)
    """AT_COMMIT or AFTER_COMMIT, and the how many-th COMMIT from now on it is to be."""
    answers: set[int] = field(default_factory=set)
    """The kinds of Kafka requests that are not answered."""
    fired: Counter[str] = field(default_factory=Counter)


class Conversation(Protocol):
    """What is said over one connection: each half takes the bytes that came and returns those to pass on."""

    def from_client(self, data: bytes) -> bytes: ...  # noqa: D102
    def from_server(self, data: bytes) -> bytes: ...  # noqa: D102


class PostgreSQL:
    """PostgreSQL's protocol version 3, without TLS, as far as one must read it to know what becomes of a COMMIT."""

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._sent, self._answered = bytearray(), bytearray()
        self._started = False
        self._refusals = 0  # single bytes with which the server is still to refuse encryption
        self._commits: set[bytes] = set()  # the names of prepared statements
        self._held: bytearray | None = None  # the answer to the COMMIT that is to be lost

    def from_client(self, data: bytes) -> bytes:
        """Let everything pass, unless it is a COMMIT that must not arrive."""
        self._sent += data
        passed = bytearray()
        for message in self._messages():
            if self._is_commit(message):
                self._commit_comes()
            passed += message
        return bytes(passed)

    def from_server(self, data: bytes) -> bytes:
        """Let everything pass, unless it says that a COMMIT succeeded of which the client must not hear."""
        refused = data[: self._refusals]
        self._refusals -= len(refused)
        self._answered += data[len(refused) :]
        passed = bytearray(refused)
        for message in _frames(self._answered, _TYPE):
            if self._held is None:
                passed += message
                continue
            self._held += message
            if message == _COMMITTED:
                self._losses.fired[AFTER_COMMIT] += 1
                raise ConnectionLost
            if message.startswith(_READY):  # it was rolled back: no commit, so the next one is meant
                self._losses.commits[AFTER_COMMIT] = 1
                passed += self._held
                self._held = None
        return bytes(passed)

    def _messages(self) -> Iterator[bytes]:
        while not self._started and (message := _frame(self._sent, 0)):
            if int.from_bytes(message[_LENGTH : 2 * _LENGTH]) in {_SSL_REQUEST, _GSS_REQUEST}:
                self._refusals += 1
            else:
                self._started = True
            yield message
        if self._started:
            yield from _frames(self._sent, _TYPE)

    def _is_commit(self, message: bytes) -> bool:
        """Say whether it commits: a query, or the binding of a prepared statement (to a portal that is then run)."""
        if not self._started:
            return False
        letter, words = message[:_TYPE], message[_TYPE + _LENGTH :].split(b"\0", 2)
        if letter == b"P":
            self._commits.discard(words[0])
            if _COMMIT.fullmatch(words[1]):
                self._commits.add(words[0])
        return (letter == b"Q" and bool(_COMMIT.fullmatch(words[0]))) or (letter == b"B" and words[1] in self._commits)

    def _commit_comes(self) -> None:
        due = [fault for fault in self._losses.commits if self._is_due(fault)]
        if AT_COMMIT in due:
            self._losses.fired[AT_COMMIT] += 1
            raise ConnectionLost
        if AFTER_COMMIT in due:
            self._held = bytearray()

    def _is_due(self, fault: str) -> bool:
        self._losses.commits[fault] -= 1
        return self._losses.commits[fault] == 0


class Kafka:
    """Kafka's protocol, as far as one must read it to tell what an answer answers and where it sends the client.

    TCP loses no message from the middle of a stream, and a client breaks off when one seems to be (aiokafka at once).
    So a connection of which an answer was lost delivers nothing any more, as when the network was cut at that moment.
    """

    def __init__(self, losses: Losses, ports: dict[int, int]) -> None:
        self._losses = losses
        self._ports = ports
        self._sent, self._answered = bytearray(), bytearray()
        self._asked: dict[bytes, int] = {}  # correlation id -> api_key
        self._is_mute = False

    def from_client(self, data: bytes) -> bytes:
        """Let everything pass, and note what was asked."""
        self._sent += data
        passed = bytearray()
        for request in _frames(self._sent, 0, _LENGTH):
            self._asked[request[8:12]] = int.from_bytes(request[4:6])
            passed += request
        return bytes(passed)

    def from_server(self, data: bytes) -> bytes:
        """Let answers pass that are not to be lost, with the ports of the proxies instead of the servers'."""
        self._answered += data
        passed = bytearray()
        for answer in _frames(self._answered, 0, _LENGTH):
            kind = self._asked.pop(answer[4:8], None)
            if kind in self._losses.answers:
                self._losses.fired[dropped(kind)] += 1
                self._is_mute = True
            if not self._is_mute:
                passed += self._advertised(answer)
        return bytes(passed)

    def _advertised(self, answer: bytes) -> bytes:
        # In whatever answer: newer versions of Produce and Fetch name the leader too. Hosts stand before their ports.
        if _LOOPBACK in answer:
            for port, ours in self._ports.items():
                answer = answer.replace(_LOOPBACK + port.to_bytes(4), _LOOPBACK + ours.to_bytes(4))
        return answer


Speaks = Callable[[Losses], Conversation]


def dropped(kind: int) -> str:
    """Return the name under which lost answers of a kind are counted."""
    return f"dropped answer {kind}"


def _frames(buffer: bytearray, length_at: int, beside: int = 0) -> Iterator[bytes]:
    return iter(partial(_frame, buffer, length_at, beside), None)


def _frame(buffer: bytearray, length_at: int, beside: int = 0) -> bytes | None:
    """Take a whole message from the front: its length stands at `length_at` and leaves out `beside` bytes."""
    body = length_at + _LENGTH
    if len(buffer) < body:
        return None
    end = length_at + int.from_bytes(buffer[length_at:body]) + beside
    if len(buffer) < end:
        return None
    message = bytes(buffer[:end])
    del buffer[:end]
    return message
