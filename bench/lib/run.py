"""Runs the load generator, `portreeve bench …`, and returns its report."""
from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .proc import BenchFailure, pinned

# The report's own words: 0 nothing lost, 1 something lost or out of order; the report is whole in both cases.
_WITH_REPORT = (0, 1)


@dataclass(frozen=True)
class Generator:
    """How to run the load generator."""

    binary: Path
    core: int | None = None
    tls: str = "1.3"
    group: str | None = None
    duration_s: float = 5.0
    warm_up_s: float = 1.0

    def run(
        self,
        scenario: str,
        *options: str,
        broker: str,
        bundle: str | Path,
        pid: int | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """One run; `scenario` is connect, idle, publish, fanout or fanin, `options` are more of its words.

        `bundle` may hold `{n}`, the number of the client. With `pid`, CPU time and memory of that process are measured
        in exactly the measured time. Raises BenchFailure, with what the generator said, if there is no report.
        `report["complaint"]` is what the generator has to say about loss, disorder and failed connections, or "".
        """
        command = self.command(scenario, *options, broker=broker, bundle=bundle, pid=pid)
        limit_s = timeout_s or self.duration_s + self.warm_up_s + 90
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise BenchFailure(f"the load generator did not end within {limit_s:.0f} s") from None
        said = done.stderr.strip().replace("portreeve bench: ", "")
        if done.returncode not in _WITH_REPORT or not done.stdout.strip():
            raise BenchFailure(said.splitlines()[-1] if said else f"the load generator ended with {done.returncode}")
        report = json.loads(done.stdout)
        report["complaint"] = said if done.returncode else ""
        return report

    def command(
        self, scenario: str, *options: str, broker: str, bundle: str | Path, pid: int | None = None
    ) -> list[str]:
        """The command line of `run`."""
        words = [os.fspath(self.binary), "bench", scenario, *options, "--output", "json", "--quiet"]
        words += ["--broker", broker, "--bundle", os.fspath(bundle), "--tls", self.tls]
        words += ["--duration", f"{round(self.duration_s * 1000)}ms", "--warm-up", f"{round(self.warm_up_s * 1000)}ms"]
        if self.group:
            words += ["--group", self.group]
        if pid is not None:
            words += ["--pid", str(pid)]
        return pinned(words, self.core)


def is_intact(report: dict[str, Any], *, may_lose: bool = False) -> bool:
    """Whether everything arrived once and in order over connections that held; `may_lose` overlooks mere loss."""
    integrity = report["integrity"]
    twice = 0 if report["qos"] == 1 else integrity["duplicates"]
    lost = 0 if may_lose else integrity["lost"]
    return not (lost or integrity["out_of_order"] or twice or report["connections_failed"])
