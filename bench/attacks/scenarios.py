"""The attacks, as data: who attacks how, what they have to get, and how much memory the limits allow them to take."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

MIB = 2**20

# What one thing of each kind may weigh in the hub beside the bytes that a limit counts, bytes. Generous on purpose: the
# bound has to tell "grows with the attack" from "does not", not one allocator from another.
TCP_BYTES = 8 * 1024
HANDSHAKE_BYTES = 48 * 1024
SESSION_BYTES = 40 * 1024
SUBSCRIPTION_BYTES = 1024
RETAINED_BYTES = 1024
READ_BYTES = 64 * 1024
# Whatever happens: buffers of the threads, what the allocator keeps, journal and cache pages.
SLACK_BYTES = 48 * MIB

# A number for the full run and one for --quick.
Scale = Callable[[int, int], int]
# The hub's limits by name, as `portreeve status` tells them.
Limits = Mapping[str, int]


@dataclass(frozen=True)
class Scenario:
    """One attack."""

    name: str
    """How it is called on the command line."""
    title: str
    """What it is, for the table."""
    attackers: Callable[[Scale], list[list[str]]]
    """The words of each attacking process."""
    memory: Callable[[Scale, Limits], int]
    """Bytes by which the hub may grow."""
    allowed: tuple[str, ...] = ()
    """Regular expressions of what attackers may get; something else fails the scenario."""
    needed: tuple[str, ...] = ()
    """Regular expressions of what attackers must get, each at least once."""
    devices: Callable[[Scale], int] = lambda scale: 0
    """Attackers of kind device."""
    setup: Callable[[Scale], list[str]] | None = None
    """An attacking process that runs to its end before anything is measured."""
    shares_source: bool = False
    """Attackers come from the good clients' address: new connections may then be refused, established ones not."""
    has_probe: bool = True
    """New clients come meanwhile."""
    is_herd: bool = False
    """The hub restarts in the middle."""
    seconds: tuple[int, int] = (12, 4)
    """How long: full, quick."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Configuration other than the default."""


def words(attack: str, **options: int | str | bool) -> list[str]:
    """The command line of an attacking process."""
    found = [attack]
    for key, value in options.items():
        found += [f"--{key.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return found


def application(attack: str, **options: int | str | bool) -> list[str]:
    """An attacker with the one certificate of an application."""
    return words(attack, name="attack-app", topics="attack", **options)


OPEN = r"still (open|connected|waits).*"
CLOSED = r"(closed|reset) .*"
LEFT = r"served, then left"
SILENCE = (OPEN, CLOSED)
# TLS says no more than that something was wrong with the record or the message; the rest is silence.
BAD_TLS = (*SILENCE, r"TLS alert (DecodeError|UnexpectedMessage|IllegalParameter|ProtocolVersion|RecordOverflow|"
           r"InternalError|BadRecordMac|HandshakeFailure)")


def half_open(scale: Scale, limits: Limits) -> int:
    """As many handshakes as may be under way."""
    return limits["half_open_connections"] * HANDSHAKE_BYTES


def sessions(full: int, quick: int, each: int = 0) -> Callable[[Scale, Limits], int]:
    """So many sessions, with so many more bytes each."""
    return lambda scale, limits: scale(full, quick) * (SESSION_BYTES + each)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "none", "no attack: what the machine itself makes of it",
        attackers=lambda scale: [], memory=lambda scale, limits: 0,
    ),
    # --- without a certificate ---
    Scenario(
        "silent", "TCP connections that say nothing, from 8 addresses",
        attackers=lambda scale: [words("silent", connections=scale(10_000, 3000), rate=4000, sources=8, again=True)],
        memory=lambda scale, limits: limits["half_open_connections"] * TCP_BYTES,
        allowed=SILENCE, needed=(CLOSED,), seconds=(25, 6),
    ),
    Scenario(
        "silent-many", "the same, from 20,000 addresses",
        attackers=lambda scale: [
            words("silent", connections=scale(10_000, 6000), rate=scale(3000, 2500), sources=20_000, again=True)
        ],
        memory=lambda scale, limits: limits["half_open_connections"] * TCP_BYTES,
        allowed=SILENCE, seconds=(20, 8),
    ),
    Scenario(
        "silent-shared", "the same, from the good clients' own address",
        attackers=lambda scale: [
            words("silent", connections=scale(10_000, 3000), rate=1500, source="127.0.0.1", again=True)
        ],
        memory=lambda scale, limits: limits["half_open_per_source"] * TCP_BYTES,
        allowed=SILENCE, needed=(CLOSED,), shares_source=True, seconds=(25, 6),
    ),
    Scenario(
        "stalled", "handshakes that stall behind the ClientHello, and in its middle",
        attackers=lambda scale: [
            words("hello", connections=scale(2500, 500), rate=1000, sources=4, again=True),
            words("half-hello", connections=scale(2500, 500), rate=1000, sources=4, source="127.0.3.1", again=True),
        ],
        memory=half_open,
        allowed=(*SILENCE, r"the hub's half of a handshake"), needed=(OPEN,), seconds=(20, 5),
    ),
    Scenario(
        "handshakes-one", "handshake flood from one address: one recorded ClientHello, over and over",
        attackers=lambda scale: [words("handshakes", connections=400, rate=scale(6000, 3000), again=True)],
        memory=half_open,
        allowed=(*SILENCE, r"the hub's half of a handshake"), needed=(r"the hub's half of a handshake",), seconds=(20, 5),
    ),
    Scenario(
        "handshakes-many", "handshake flood from 250 addresses",
        attackers=lambda scale: [words("handshakes", connections=2000, rate=scale(6000, 4000), sources=250, again=True)],
        memory=half_open,
        allowed=(*SILENCE, r"the hub's half of a handshake"), needed=(r"the hub's half of a handshake",), seconds=(20, 5),
    ),
    Scenario(
        "anonymous", "whole handshakes without a certificate, from 50 addresses",
        attackers=lambda scale: [words("anonymous", connections=500, rate=scale(2000, 1000), sources=50, again=True)],
        memory=half_open,
        allowed=(*SILENCE, r"TLS alert CertificateRequired"), needed=(r"TLS alert CertificateRequired",),
    ),
    Scenario(
        "garbage", "random bytes, a record too large, HTTP, instead of TLS",
        attackers=lambda scale: [
            words(kind, connections=300, rate=scale(1000, 500), sources=10, source=f"127.0.{net}.1", again=True)
            for net, kind in enumerate(("noise", "huge-record", "http"), start=3)
        ],
        memory=half_open, allowed=BAD_TLS,
    ),
    # --- with a certificate, before a session ---
    Scenario(
        "bad-mqtt", "a valid certificate, then bytes that are no MQTT",
        attackers=lambda scale: [words("bad-mqtt", identities=20, connections=200, rate=500, again=True)],
        devices=lambda scale: 20, memory=half_open, allowed=SILENCE, needed=(CLOSED,),
    ),
    Scenario(
        "mute", "a valid certificate, and no CONNECT",
        attackers=lambda scale: [
            words("mute", identities=20, connections=scale(9000, 1500), rate=900, sources=4, again=True)
        ],
        devices=lambda scale: 20, memory=sessions(9000, 1500),
        allowed=(r"still waits for (CONNACK|TLS|TCP)", CLOSED), seconds=(15, 4),
    ),
    Scenario(
        "reconnect", "valid certificates that connect and drop the connection in a loop",
        attackers=lambda scale: [
            words("reconnect", identities=100, connections=200, rate=scale(1500, 1000), sources=10, again=True)
        ],
        devices=lambda scale: 100, memory=half_open, allowed=(LEFT, OPEN), needed=(LEFT,),
    ),
    Scenario(
        "takeover", "connections that take one session from each other in a loop",
        attackers=lambda scale: [application("takeover", connections=100, rate=scale(1500, 1000), again=True)],
        memory=half_open, allowed=(r"DISCONNECT 0x8e", OPEN), needed=(r"DISCONNECT 0x8e",),
    ),
    # --- with a session ---
    Scenario(
        "flood-q0", "devices that publish QoS 0 without end",
        attackers=lambda scale: [words("flood", identities=20, connections=20, rate=50, again=True)],
        devices=lambda scale: 20, memory=sessions(20, 20, 2 * READ_BYTES),
        allowed=(r"DISCONNECT 0x96", OPEN, CLOSED), needed=(r"DISCONNECT 0x96",),
    ),
    Scenario(
        "flood-q1", "devices that publish QoS 1 without end, within the Receive Maximum",
        attackers=lambda scale: [words("flood", identities=20, connections=80, qos=1, rate=200, again=True)],
        devices=lambda scale: 20, memory=sessions(80, 80, 2 * READ_BYTES),
        allowed=(r"DISCONNECT 0x96", OPEN, CLOSED),
    ),
    Scenario(
        "overrun", "devices that publish QoS 1 beyond the Receive Maximum",
        attackers=lambda scale: [words("overrun", identities=20, connections=20, rate=100, again=True)],
        devices=lambda scale: 20, memory=sessions(20, 20, 2 * READ_BYTES),
        allowed=(r"DISCONNECT 0x(93|96)", OPEN, CLOSED), needed=(r"DISCONNECT 0x(93|96)",),
    ),
    Scenario(
        "fresh-topics", "devices that publish each message on a new topic",
        attackers=lambda scale: [words("fresh-topics", identities=20, connections=20, rate=50, again=True)],
        devices=lambda scale: 20, memory=sessions(20, 20, 2 * READ_BYTES + MIB),
        allowed=(r"DISCONNECT 0x96", OPEN, CLOSED),
    ),
    Scenario(
        "subscribe", "sessions that ask for 2,500 filters each, 100,000 in all",
        attackers=lambda scale: [
            words("subscribe", identities=scale(10, 2), connections=scale(40, 8), amount=2500, rate=100)
        ],
        devices=lambda scale: scale(10, 2),
        memory=lambda scale, limits: scale(40, 8)
        * (SESSION_BYTES + limits["subscriptions_per_session"] * SUBSCRIPTION_BYTES),
        allowed=(OPEN, r"SUBACK 0x97"), needed=(r"SUBACK 0x97",),
    ),
    Scenario(
        "churn", "sessions that subscribe and unsubscribe 200 filters in a loop",
        attackers=lambda scale: [application("churn", connections=10, amount=200, rate=100, again=True)],
        memory=sessions(10, 10, 400 * SUBSCRIPTION_BYTES), allowed=(OPEN, CLOSED, r"DISCONNECT 0x96"),
    ),
    Scenario(
        "slow-packet", "the largest packet, nearly whole at once, then byte by byte",
        attackers=lambda scale: [
            words("slow-packet", identities=scale(100, 25), connections=scale(400, 100), size=260_000, pace=10, rate=200)
        ],
        devices=lambda scale: scale(100, 25),
        memory=lambda scale, limits: scale(400, 100) * (SESSION_BYTES + limits["packet_bytes"] + 2 * READ_BYTES),
        allowed=(OPEN,),
    ),
    Scenario(
        "slow-consumer", "sessions that read nothing of what others publish to them",
        attackers=lambda scale: [
            application("slow-consumer", feeders=4, connections=scale(64, 44), size=16_384, pace=scale(50, 150), rate=100)
        ],
        memory=lambda scale, limits: limits["queue_bytes_total"] * 5 // 4
        + scale(64, 44) * (SESSION_BYTES + 2 * READ_BYTES),
        allowed=(OPEN, CLOSED, r"PUBACK 0x97"), seconds=(20, 8),
    ),
    Scenario(
        "retained", "sessions that ask for all retained messages over and over",
        setup=lambda scale: application(
            "retained", feeders=20, connections=20, amount=scale(990_000, 10_000), duration_s=scale(90, 5), rate=1000
        ),
        attackers=lambda scale: [application("retained", connections=50, pace=5, rate=100, again=True)],
        memory=lambda scale, limits: limits["queue_bytes_total"] + sessions(50, 50, 2 * READ_BYTES)(scale, limits),
        allowed=(OPEN,), seconds=(20, 5),
    ),
    Scenario(
        "hoard", "an application and a device that leave retained messages, large and small, until there is no room",
        attackers=lambda scale: [
            application("retained", feeders=4, connections=4, amount=1200, size=240_000, rate=100, again=True),
            words("retained", feeders=4, connections=4, amount=40_000, size=1, pace=2000, rate=100, again=True),
        ],
        devices=lambda scale: 1,
        memory=lambda scale, limits: limits["retained_bytes"] * 5 // 4 + limits["journal_pending_bytes"],
        allowed=(OPEN, r"PUBACK 0x97"), seconds=(20, 10),
    ),
    Scenario(
        "scan", "sessions whose filters search all retained messages and match none",
        setup=lambda scale: application(
            "scan", feeders=20, connections=20, amount=scale(990_000, 10_000), duration_s=scale(90, 5), rate=1000
        ),
        attackers=lambda scale: [application("scan", connections=scale(500, 200), rate=300, again=True)],
        memory=sessions(500, 200, 200 * SUBSCRIPTION_BYTES), allowed=(OPEN, r"DISCONNECT 0x96"), seconds=(20, 5),
    ),
    # --- what else a valid certificate could try ---
    Scenario(
        "hop", "sessions with 1,000 subscriptions that come back from another address each time",
        attackers=lambda scale: [
            words("hop", identities=10, connections=40, amount=1000, rate=scale(200, 100), sources=2, again=True)
        ],
        devices=lambda scale: 10, memory=sessions(40, 40, 1000 * SUBSCRIPTION_BYTES), allowed=(LEFT, OPEN, CLOSED),
        needed=(LEFT,),
    ),
    Scenario(
        "amplify", "a device that publishes what 3,000 overlapping filters of its own match",
        attackers=lambda scale: [words("amplify", feeders=1, connections=4, amount=1000, rate=100, again=True)],
        devices=lambda scale: 1,
        memory=lambda scale, limits: 4 * (limits["queue_bytes_per_session"] * 5 // 4 + SESSION_BYTES + 1000 * SUBSCRIPTION_BYTES),
        allowed=(OPEN, CLOSED, r"DISCONNECT 0x96"),
    ),
    Scenario(
        "wills", "clients that die in a loop, with a will that 3,000 overlapping filters match",
        attackers=lambda scale: [
            application("wills", feeders=50, connections=53, amount=1000, size=4096, rate=scale(500, 300), again=True)
        ],
        memory=lambda scale, limits: half_open(scale, limits) + 3 * limits["queue_bytes_per_session"] * 5 // 4,
        allowed=(OPEN, CLOSED, LEFT), needed=(LEFT,),
    ),
    Scenario(
        "pile", "clients that acknowledge nothing and ping",
        attackers=lambda scale: [words("pile", identities=4, connections=4, amount=300, rate=100)],
        devices=lambda scale: 4, memory=sessions(4, 4, 300 * RETAINED_BYTES + 2 * READ_BYTES),
        # New clients would have the store commit, which ends the pile.
        allowed=(OPEN, CLOSED, r"DISCONNECT 0x96"), has_probe=False,
    ),
    # --- no attack, and as bad ---
    Scenario(
        "herd", "devices and applications that all come back at once after a restart",
        attackers=lambda scale: [
            words("herd", identities=scale(500, 50), connections=scale(2000, 200), rate=10_000),
            *(
                words("herd", name=f"herd-{app}", topics="attack", connections=scale(1000, 100), rate=10_000,
                      source=f"127.0.{app + 3}.1")
                for app in range(8)
            ),
        ],
        devices=lambda scale: scale(500, 50),
        memory=lambda scale, limits: half_open(scale, limits) + sessions(10_000, 1000)(scale, limits),
        # A reset on the way back is a nuisance, not a refusal: the client comes again. So does one that hears "server busy".
        allowed=(OPEN, CLOSED, r"CONNACK 0x89"), is_herd=True, seconds=(20, 8),
    ),
)
