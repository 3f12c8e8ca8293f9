"""A small MQTT 5 client for what the load generator does not do: churn, take-overs, retained messages, resumed sessions.

    client = Client(port, bundle, "bench:1", expiry_s=3600, on_message=print)
    await client.connect()                      # resumes the session unless clean=True
    await client.subscribe("bench/#", qos=1)
    await client.publish("bench/1", b"…", qos=2)        # returns once it is acknowledged, also over reconnections
    await client.disconnect()                   # or client.abort(), as a crash would

It keeps its half of the session: what is not acknowledged is sent again after a reconnection, and a QoS 2 message that
comes twice is passed on once. It speaks only what these scripts need, and trusts only the bundle's CA.
"""
from __future__ import annotations

import asyncio
import functools
import itertools
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 10, 11, 12, 13, 14
PATIENCE_S = 30.0
# Below the hub's default of 20, Receive Maximum.
WINDOW = 16


class Refused(Exception):
    """The broker answered with an error; `reason` is its code."""

    def __init__(self, what: str, reason: int) -> None:
        super().__init__(f"{what} refused: reason code 0x{reason:02x}")
        self.reason = reason


class Lost(Exception):
    """The connection ended."""


@functools.lru_cache(maxsize=None)
def tls_context(bundle: Path) -> ssl.SSLContext:
    """TLS 1.3 with the bundle's certificate, trusting its CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(bundle / "ca.pem")
    context.load_cert_chain(bundle / "cert.pem", bundle / "key.pem")
    return context


# --- packets ---


def varint(value: int) -> bytes:
    """A Variable Byte Integer (§1.5.5)."""
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def text(value: str) -> bytes:
    """A UTF-8 string with its length (§1.5.4)."""
    data = value.encode()
    return struct.pack(">H", len(data)) + data


def packet(kind: int, flags: int, body: bytes) -> bytes:
    """A whole packet."""
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


def connect_packet(client_id: str, *, clean: bool, expiry_s: int, keep_alive_s: int) -> bytes:
    """CONNECT."""
    properties = struct.pack(">BI", 0x11, expiry_s) if expiry_s else b""
    head = text("MQTT") + struct.pack(">BBH", 5, 2 if clean else 0, keep_alive_s)
    return packet(CONNECT, 0, head + varint(len(properties)) + properties + text(client_id))


def publish_packet(topic: str, payload: bytes, *, qos: int = 0, retain: bool = False, packet_id: int = 0) -> bytes:
    """PUBLISH."""
    number = struct.pack(">H", packet_id) if qos else b""
    return packet(PUBLISH, qos << 1 | retain, text(topic) + number + b"\0" + payload)


def subscribe_packet(packet_id: int, filters: list[str], *, qos: int = 0) -> bytes:
    """SUBSCRIBE to all filters with one QoS."""
    return packet(SUBSCRIBE, 2, struct.pack(">HB", packet_id, 0) + b"".join(text(f) + bytes([qos]) for f in filters))


def unsubscribe_packet(packet_id: int, filters: list[str]) -> bytes:
    """UNSUBSCRIBE."""
    return packet(UNSUBSCRIBE, 2, struct.pack(">HB", packet_id, 0) + b"".join(map(text, filters)))


def frame(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """Where the body of the packet at `at` begins and ends; None while it is not whole."""
    length = shift = 0
    for index in range(at + 1, min(at + 5, len(data))):
        length |= (data[index] & 0x7F) << shift
        if data[index] < 0x80:
            return (index + 1, index + 1 + length) if index + 1 + length <= len(data) else None
        shift += 7
    return None


def skip_properties(body: memoryview, at: int) -> int:
    """Where the properties that begin at `at` end."""
    length = shift = 0
    while True:
        byte = body[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return at + length


@dataclass
class Message:
    """What was published to this client."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    dup: bool


# --- one client ---


@dataclass
class _Outgoing:
    """A message of ours that is not done."""

    data: bytes
    done: asyncio.Future
    released: bool = False


@dataclass
class _Session:
    """Our half of the session, which outlives connections."""

    outgoing: dict[int, _Outgoing] = field(default_factory=dict)
    received: set[int] = field(default_factory=set)


class Client(asyncio.Protocol):
    """One client; see the module. All its methods belong to the event loop's thread."""

    def __init__(
        self,
        port: int,
        bundle: Path,
        client_id: str,
        *,
        expiry_s: int = 0,
        keep_alive_s: int = 0,
        on_message: Callable[[Message], None] | None = None,
    ) -> None:
        self.client_id = client_id
        self.closed_reason: int | None = None
        self._where = (port, Path(bundle))
        self._expiry_s, self._keep_alive_s = expiry_s, keep_alive_s
        self._on_message = on_message
        self._session = _Session()
        self._transport: asyncio.Transport | None = None
        self._inbox = bytearray()
        self._answers: dict[int, asyncio.Future] = {}
        self._connack: asyncio.Future | None = None
        self._is_open = False
        self._ended: asyncio.Future | None = None
        self._ids = itertools.cycle(range(1, 65536))
        self._window = asyncio.Semaphore(WINDOW)

    @property
    def is_connected(self) -> bool:
        """Whether CONNACK came and the connection has not ended since."""
        return self._is_open

    async def connect(self, *, clean: bool = False) -> bool:
        """Connects; returns whether the broker still had the session. What was not acknowledged is sent again."""
        port, bundle = self._where
        loop = asyncio.get_running_loop()
        self._connack, self._ended, self.closed_reason = loop.create_future(), loop.create_future(), None
        self._inbox.clear()
        opening = loop.create_connection(lambda: self, "127.0.0.1", port, ssl=tls_context(bundle), server_hostname="localhost")
        await asyncio.wait_for(opening, PATIENCE_S)
        self._send(connect_packet(self.client_id, clean=clean, expiry_s=self._expiry_s, keep_alive_s=self._keep_alive_s))
        present = await asyncio.wait_for(self._connack, PATIENCE_S)
        if not present:
            self._session.received.clear()
        self._is_open = self._transport is not None
        for packet_id, item in list(self._session.outgoing.items()):
            # A broker that has forgotten the session has not seen the message either.
            again = bytes([item.data[0] | (8 if present else 0)]) + item.data[1:]
            self._send(_ack(PUBREL, packet_id) if item.released and present else again)
        return present

    async def subscribe(self, *filters: str, qos: int = 0) -> None:
        """Subscribes; raises Refused."""
        answer = await self._ask(lambda packet_id: subscribe_packet(packet_id, list(filters), qos=qos))
        for reason in answer:
            if reason >= 0x80:
                raise Refused(f"subscription of {self.client_id}", reason)

    async def unsubscribe(self, *filters: str) -> None:
        """Unsubscribes, whether there was a subscription or not."""
        await self._ask(lambda packet_id: unsubscribe_packet(packet_id, list(filters)))

    async def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """Publishes; QoS 1 and 2 return after PUBACK or PUBCOMP, raise Refused, and wait through reconnections."""
        if qos == 0:
            self._send(publish_packet(topic, payload, retain=retain))
            return
        async with self._window:
            packet_id = self._free_id()
            data = publish_packet(topic, payload, qos=qos, retain=retain, packet_id=packet_id)
            item = _Outgoing(data, asyncio.get_running_loop().create_future())
            self._session.outgoing[packet_id] = item
            # Otherwise the next connection sends it.
            if self._is_open:
                self._send(data)
            try:
                await item.done
            finally:
                self._session.outgoing.pop(packet_id, None)

    async def disconnect(self) -> None:
        """DISCONNECT, and waits for the end."""
        self._send(packet(DISCONNECT, 0, b""))
        if self._transport:
            self._transport.close()
        await self.ended()

    def abort(self) -> None:
        """Ends the connection without a word."""
        if self._transport:
            self._transport.abort()

    async def ended(self) -> None:
        """Waits until the connection is over."""
        if self._ended:
            await asyncio.wait_for(asyncio.shield(self._ended), PATIENCE_S)

    # --- the wire ---

    def _free_id(self) -> int:
        return next(number for number in self._ids if number not in self._session.outgoing)

    def _send(self, data: bytes) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(data)

    async def _ask(self, make: Callable[[int], bytes]) -> bytes:
        if not self.is_connected:
            raise Lost(f"{self.client_id} is not connected")
        packet_id = self._free_id()
        answer = asyncio.get_running_loop().create_future()
        self._answers[packet_id] = answer
        self._send(make(packet_id))
        return await asyncio.wait_for(answer, PATIENCE_S)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is up."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is over."""
        self._transport, self._is_open = None, False
        waiting = [self._connack, *self._answers.values()]
        self._answers.clear()
        for future in waiting:
            if future and not future.done():
                future.set_exception(Lost(f"the connection of {self.client_id} ended: {error or self.closed_reason}"))
                # Nobody may be waiting any more.
                future.exception()
        if self._ended and not self._ended.done():
            self._ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Takes packets, however they are cut."""
        self._inbox += data
        at = 0
        while (found := frame(self._inbox, at)) is not None:
            start, end = found
            head, body = self._inbox[at], bytes(self._inbox[start:end])
            at = end
            self._take(head >> 4, head & 0x0F, body)
        del self._inbox[:at]

    def _take(self, kind: int, flags: int, body: bytes) -> None:
        if kind == PUBLISH:
            self._take_publish(flags, body)
        elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            reason = body[2] if len(body) > 2 else 0
            self._take_ack(kind, int.from_bytes(body[:2], "big"), reason)
        elif kind in (SUBACK, UNSUBACK):
            answer = self._answers.pop(int.from_bytes(body[:2], "big"), None)
            if answer and not answer.done():
                answer.set_result(body[skip_properties(memoryview(body), 2) :])
        elif kind == CONNACK and self._connack and not self._connack.done():
            if body[1] >= 0x80:
                self._connack.set_exception(Refused(f"connection of {self.client_id}", body[1]))
            else:
                self._connack.set_result(bool(body[0] & 1))
        elif kind == DISCONNECT:
            self.closed_reason = body[0] if body else 0

    def _take_publish(self, flags: int, body: bytes) -> None:
        qos = flags >> 1 & 3
        at = 2 + int.from_bytes(body[:2], "big")
        topic = body[2:at].decode()
        packet_id = int.from_bytes(body[at : at + 2], "big") if qos else 0
        at = skip_properties(memoryview(body), at + 2 if qos else at)
        fresh = qos < 2 or packet_id not in self._session.received
        if qos == 2:
            self._session.received.add(packet_id)
        if fresh and self._on_message:
            self._on_message(Message(topic, body[at:], qos, bool(flags & 1), bool(flags & 8)))
        if qos:
            self._send(_ack(PUBACK if qos == 1 else PUBREC, packet_id))

    def _take_ack(self, kind: int, packet_id: int, reason: int) -> None:
        if kind == PUBREL:
            self._session.received.discard(packet_id)
            self._send(_ack(PUBCOMP, packet_id))
            return
        item = self._session.outgoing.get(packet_id)
        if item is None or item.done.done():
            return
        if reason >= 0x80:
            item.done.set_exception(Refused(f"message of {self.client_id}", reason))
        elif kind == PUBREC:
            item.released = True
            self._send(_ack(PUBREL, packet_id))
        else:
            item.done.set_result(None)


def _ack(kind: int, packet_id: int) -> bytes:
    return packet(kind, 2 if kind == PUBREL else 0, struct.pack(">H", packet_id))


# --- one blocking connection, for floods of equal packets ---


class Wire:
    """A connected client without an event loop: sends bytes, receives bytes, as fast as Python can."""

    def __init__(self, port: int, bundle: Path, client_id: str) -> None:
        raw = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = tls_context(Path(bundle)).wrap_socket(raw, server_hostname="localhost")
        self.inbox = bytearray()
        self.socket.sendall(connect_packet(client_id, clean=True, expiry_s=0, keep_alive_s=0))
        kind, body = self.next_packet()
        if kind != CONNACK or body[1]:
            raise Refused(f"connection of {client_id}", body[1])

    def next_packet(self) -> tuple[int, bytes]:
        """The next packet: its kind and body."""
        while (found := frame(self.inbox, 0)) is None:
            self.fill()
        start, end = found
        kind, body = self.inbox[0] >> 4, bytes(self.inbox[start:end])
        del self.inbox[:end]
        return kind, body

    def fill(self) -> int:
        """Receives once into `inbox`; returns how many bytes."""
        data = self.socket.recv(256 * 1024)
        if not data:
            raise Lost("the broker closed the connection")
        self.inbox += data
        return len(data)

    def close(self) -> None:
        """DISCONNECT and away."""
        try:
            self.socket.sendall(packet(DISCONNECT, 0, b""))
        finally:
            self.socket.close()

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
