"""A Portreeve hub to measure: started in a fresh directory, filled with identities, asked for its figures, ended.

    with Hub(binary, core=0) as hub:
        bench = hub.add_identity("bench", kind="application", group="bench")   # a bundle: ca.pem, cert.pem, key.pem
        hub.apply_policy(BENCH_POLICY)
        hub.metrics()["portreeve_clients_connected"]
"""
from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .proc import BenchFailure, Process, free_port

ROOT = Path(__file__).resolve().parents[2]

# Whoever is in the group `bench` may use the load generator's topics.
BENCH_POLICY = """\
permit (principal in Group::"bench", action in [Action::"publish", Action::"subscribe"], resource in Topic::"bench/#");
"""

# All of a benchmark's load comes from one address and mostly from one identity, so the bounds that keep a single client
# from taking the hub are set above what the machine can do. They stay in force: each is counted and compared as ever.
BENCH_SETTINGS = {
    "limits.sessions_per_application": "100000",
    "limits.connections_per_source_per_s": "1000000",
    "limits.connections_per_source_burst": "1000000",
    "limits.handshakes_per_s": "1000000",
    "limits.connects_per_s": "1000000",
    "limits.application_messages_per_s": "100000000",
    "limits.application_messages_burst": "100000000",
    "limits.application_bytes_per_s": "1099511627776",
    "limits.messages_per_s": "1000000000",
    "limits.bytes_per_s": "1099511627776",
}

_ADMIN_TIMEOUT_S = 60.0
# The hub takes 64 conversations on its administration socket at a time.
_ADMIN_THREADS = 32


class Hub:
    """A hub in a temporary directory. Its ports stay the same over `restart()`."""

    def __init__(
        self,
        binary: Path,
        *,
        core: int | None = None,
        settings: Mapping[str, str] | None = None,
        bench_settings: bool = True,
        directory: Path | None = None,
        config: Path | None = None,
        start: bool = True,
    ) -> None:
        """Starts `binary` on processor core `core` (all cores for `None`).

        `settings` are configuration keys; `bench_settings` puts BENCH_SETTINGS below them, leave it out to test the
        limits themselves. `directory` is used and kept instead of a temporary one that goes with `close()`. `config` is a
        configuration file; what it says of other keys can change with a reload.
        """
        self.binary = Path(binary).resolve()
        self.config = config
        self.core = core
        self.settings = {**(BENCH_SETTINGS if bench_settings else {}), **(settings or {})}
        self._is_temporary = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix="portreeve-bench-"))
        self.data = self.directory / "data"
        self.bundles = self.directory / "bundles"
        self.log = self.directory / "hub.log"
        self.mqtt_port, self.https_port, self.metrics_port = free_port(), free_port(), free_port()
        self.process: Process | None = None
        if start:
            try:
                self.start()
            except BaseException:
                self.close()
                raise

    # --- life ---

    def start(self, *, timeout_s: float = 60.0) -> float:
        """Starts it and waits until it is ready; returns the seconds that took."""
        options: list[str] = ["--config", str(self.config)] if self.config else []
        for key, value in self._all_settings().items():
            options += ["--set", f"{key}={value}"]
        began = time.monotonic()
        command = [self.binary, "--data", self.data, "serve", *options]
        self.process = Process(command, core=self.core, log=self.log, name="portreeve")
        self.process.wait_for_port(self.mqtt_port, timeout_s=timeout_s)
        end = began + timeout_s
        while not self._is_ready():
            if not self.process.is_alive() or time.monotonic() > end:
                raise BenchFailure(f"the hub did not become ready in {timeout_s:.0f} s:\n{self.process.last_words()}")
            time.sleep(0.01)
        return time.monotonic() - began

    def _all_settings(self) -> dict[str, str]:
        listen = {
            "mqtt.listen": f"127.0.0.1:{self.mqtt_port}",
            "device_https.listen": f"127.0.0.1:{self.https_port}",
            "metrics.listen": f"127.0.0.1:{self.metrics_port}",
        }
        return {**listen, **self.settings}

    def _is_ready(self) -> bool:
        try:
            return bool(self.status()["ready"])
        except (OSError, http.client.HTTPException):
            return False

    def stop(self, *, grace_s: float = 30.0) -> int | None:
        """Lets it end in order (SIGTERM); returns its exit status."""
        status = self.process.stop(grace_s=grace_s) if self.process else None
        self.process = None
        return status

    def kill(self) -> None:
        """Ends it as a crash would (SIGKILL)."""
        if self.process:
            self.process.kill()
        self.process = None

    def restart(self, *, crash: bool = False, settings: Mapping[str, str] | None = None) -> float:
        """Ends it, in order or by a crash, and starts it on the same data; returns the seconds until it was ready."""
        self.kill() if crash else self.stop()
        self.settings.update(settings or {})
        return self.start()

    def close(self) -> None:
        """Stops it and removes its temporary directory."""
        self.stop(grace_s=5.0)
        if self._is_temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> "Hub":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- where ---

    @property
    def pid(self) -> int:
        """Its process id."""
        if self.process is None:
            raise BenchFailure("the hub does not run")
        return self.process.pid

    @property
    def broker(self) -> str:
        """`HOST:PORT` as the load generator takes it."""
        return f"localhost:{self.mqtt_port}"

    def server_bundle(self) -> Path:
        """A directory with the hub's own ca.pem, cert.pem (with its intermediate) and key.pem.

        Another broker that uses them is told apart by its port alone: the same clients trust it, it trusts the same
        clients, and its handshakes carry the same bytes.
        """
        bundle = self.directory / "server"
        bundle.mkdir(exist_ok=True)
        for source, target in (("root.pem", "ca.pem"), ("server.pem", "cert.pem"), ("server.key", "key.pem")):
            shutil.copy(self.data / "pki" / source, bundle / target)
        # A peer may give up root's rights before it reads them; they are worth nothing after this run.
        self.directory.chmod(0o755)
        for path in (bundle, *bundle.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
        return bundle

    # --- identities and policy ---

    def add_identity(self, name: str, *, kind: str = "device", group: str | None = None) -> Path:
        """Registers one and returns its bundle's directory."""
        return self.add_identities([name], kind=kind, group=group) / name

    def add_identities(
        self, names: Iterable[str], *, kind: str = "device", group: str | None = None, bundles: bool = True
    ) -> Path:
        """Registers many at once; their bundles, if wanted, are `<returned>/<name>/{ca,cert,key}.pem`.

        For the load generator: `--bundle <returned>/dev-{n}` if they are named dev-0, dev-1, …
        """
        self.bundles.mkdir(exist_ok=True)
        wishes = [
            {"do": "device-add", "name": name, "kind": kind, "bundle": bundles, "fields": {"group": group}}
            for name in names
        ]
        with ThreadPoolExecutor(_ADMIN_THREADS) as threads:
            for wish, answer in zip(wishes, threads.map(self.ask, wishes)):
                if bundles:
                    self._write_bundle(self.bundles / wish["name"], answer["bundle"])
        return self.bundles

    @staticmethod
    def _write_bundle(folder: Path, bundle: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for part in ("ca", "cert", "key"):
            path = folder / f"{part}.pem"
            path.write_text(bundle[f"{part}_pem"])
            path.chmod(0o600 if part == "key" else 0o644)

    def apply_policy(self, *texts: str) -> None:
        """Puts Cedar policies in force, beside the built-in one, in place of the earlier ones."""
        sources = [{"file": f"bench-{at}.cedar", "text": text} for at, text in enumerate(texts)]
        self.ask({"do": "policy-apply", "sources": sources})

    # --- figures ---

    def status(self) -> dict[str, Any]:
        """What `portreeve status --output json` says."""
        return self.ask({"do": "status"})

    def metrics(self) -> dict[str, float]:
        """All Prometheus samples: `name` or `name{label="value"}` to value."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def cpu_s(self) -> float:
        """CPU time so far, seconds."""
        return self.process.cpu_s() if self.process else 0.0

    def resident_bytes(self) -> int:
        """Resident memory, bytes."""
        return self.process.resident_bytes() if self.process else 0

    # --- the administration socket ---

    def ask(self, request: Mapping[str, Any]) -> Any:
        """Posts one administration request (see AdminRequest in crates/app/hub) and returns its result."""
        connection = _UnixConnection(self.data / "admin.sock")
        try:
            connection.request("POST", "/admin/v1", json.dumps(request), {"content-type": "application/json"})
            answer = connection.getresponse()
            body = json.loads(answer.read() or b"{}")
        finally:
            connection.close()
        if answer.status != 200:
            raise BenchFailure(f"the hub refused {request['do']}: {body.get('error', answer.status)}")
        return body["result"]


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the administration socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ADMIN_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ADMIN_TIMEOUT_S)
        self.sock.connect(os.fspath(self._path))


def find_binary(given: str | None = None) -> Path:
    """The hub's release build: `given`, `PORTREEVE_BIN`, or target/release/portreeve."""
    candidates = [given, os.environ.get("PORTREEVE_BIN"), ROOT / "target" / "release" / "portreeve"]
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            return Path(candidate).resolve()
    wanted = given or "target/release/portreeve"
    raise BenchFailure(f"{wanted} is no program; build it with `cargo build --release` or name one with --binary")
