"""The work that brokers are compared by: the rows of the table."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Report = dict[str, Any]

PAIRS = ("--count", "20")
# RMQTT takes a second to close a connection whose client said goodbye: fewer at a time would leave it idle.
CONNECTS = ("--concurrency", "500")
# QoS 0 has no acknowledgement that would hold a publisher back. Without a bound of what is on its way, brokers that cannot
# keep up drop messages, which costs them work that no delivery accounts for; with these, all deliver everything.
DEEP = ("--window", "1000")
FANOUT = ("--count", "500", "--window", "100")
FANIN = ("--count", "1000")
LARGE = ("--size", "1024")
QOS1 = ("--qos", "1")
PACED = ("--rate", "10000")


@dataclass(frozen=True)
class Row:
    """One kind of work and how its cost is read from the generator's report."""

    key: str
    label: str
    unit: str
    family: str
    scenario: str
    options: tuple[str, ...]
    cost: Callable[[Report], float | None]
    shape: str = "pairs"
    is_paced: bool = False


def _cpu_per_delivery(report: Report) -> float | None:
    return report["process"]["cpu_s_per_million_delivered"]


def _cpu_per_connection(report: Report) -> float | None:
    return report["process"]["cpu_us_per_connection"]


def _bytes_per_session(report: Report) -> float | None:
    return report["process"]["resident_bytes_per_session"]


def _messages(key: str, label: str, family: str, scenario: str, *options: str) -> Row:
    shape = "pairs" if scenario == "publish" else scenario
    is_paced = "--rate" in options
    return Row(key, label, "CPU s / million", family, scenario, options, _cpu_per_delivery, shape, is_paced)


ROWS = [
    Row("handshake", "full mutual handshake + CONNECT", "CPU µs", "handshake", "connect", CONNECTS, _cpu_per_connection),
    Row("idle", "idle mutual-TLS session", "bytes resident", "idle", "idle", ("--count", "1000"), _bytes_per_session),
    _messages("pairs-q0-64", "20 pairs, QoS 0, 64 B", "pairs", "publish", *PAIRS, *DEEP),
    _messages("pairs-q0-1k", "20 pairs, QoS 0, 1 KiB", "pairs", "publish", *PAIRS, *DEEP, *LARGE),
    _messages("pairs-q1-64", "20 pairs, QoS 1, 64 B", "pairs", "publish", *PAIRS, *QOS1),
    _messages("pairs-q1-1k", "20 pairs, QoS 1, 1 KiB", "pairs", "publish", *PAIRS, *QOS1, *LARGE),
    _messages("fanout-q0-64", "fan-out 1 → 500, QoS 0, 64 B", "fanout", "fanout", *FANOUT),
    _messages("fanout-q0-1k", "fan-out 1 → 500, QoS 0, 1 KiB", "fanout", "fanout", *FANOUT, *LARGE),
    _messages("fanout-q1-64", "fan-out 1 → 500, QoS 1, 64 B", "fanout", "fanout", *FANOUT, *QOS1),
    _messages("fanin-q1-64", "fan-in 1000 → 1, QoS 1, 64 B, paced 10,000/s", "paced", "fanin", *FANIN, *QOS1, *PACED),
    _messages("paced-q0-64", "20 pairs, QoS 0, 64 B, paced 10,000/s", "paced", "publish", *PAIRS, *PACED),
]
