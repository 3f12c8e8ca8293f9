"""Floor, Portreeve and its peers: how to get, configure, start and stop each.

Every broker gets the same certificates: the hub's own server certificate (P-256 leaf and issuing CA below a P-384 root), its
key, and its root, which also vouches for the clients. Every broker demands and verifies a client certificate, keeps nothing
on disk, allows 100 unacknowledged messages each way and sets TCP_NODELAY where it can. Peers run without access control
and, where it can be chosen, without metrics: at their lightest. Portreeve decides every message by policy and counts it.
"""
from __future__ import annotations

import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

from lib.hub import BENCH_POLICY, Hub
from lib.proc import BenchFailure, Process, free_port, say
from lib.result import ROOT, version_of
from peers import pki

CACHE = ROOT / "bench" / ".cache"
INFLIGHT_MAX = 100
BUILD_TIMEOUT_S = 3600


class Broker(ABC):
    """One of those compared."""

    key: str
    label: str
    version = "unknown"

    def prepare(self, *, may_build: bool) -> str | None:
        """Makes it ready to start; what is missing, in words, if that cannot be."""
        return None

    @abstractmethod
    def start(self, site: "Site", shape: str) -> Process:
        """Starts it afresh on `site.port` and waits until it listens; `shape` is pairs, fanout or fanin."""

    def stop(self, process: Process) -> None:
        """Ends what `start` started."""
        process.stop(grace_s=5.0)


class Site:
    """Where brokers run: directory, certificates, port, core."""

    def __init__(self, hub: Hub, core: int | None, *, p256_chain: bool = False) -> None:
        """Takes certificates from `hub`, which must run, and puts the policy in force there.

        With `p256_chain` all others get certificates of the same shape without the hub's P-384 root.
        """
        hub.apply_policy(BENCH_POLICY)
        self.hub = hub
        self.core = core
        self.directory = hub.directory
        self.server, self._hubs_clients = hub.server_bundle(), hub.add_identity("bench", kind="application", group="bench")
        self._others_clients = self._hubs_clients
        if p256_chain:
            self.server, self._others_clients = pki.make(self.directory / "p256")
        self.port = free_port()

    def clients_of(self, broker: Broker) -> Path:
        """The bundle of the clients that `broker` trusts."""
        return self._hubs_clients if broker.key == Portreeve.key else self._others_clients

    def log(self, broker: Broker) -> Path:
        """Where a broker's output goes."""
        return self.directory / f"{broker.key}.log"


class Floor(Broker):
    """The relay with no broker logic."""

    key, label = "floor", "floor"

    def __init__(self, binary: Path) -> None:
        self.binary = binary
        self.version = "of this commit"

    def start(self, site: Site, shape: str) -> Process:
        command = [self.binary, site.server, "--listen", f"127.0.0.1:{site.port}", "--shape", shape]
        process = Process(command, core=site.core, log=site.log(self), name="floor")
        process.wait_for_port(site.port)
        return process


class Portreeve(Broker):
    """The hub: same data directory in every run, a new process each."""

    key, label = "portreeve", "Portreeve"
    SETTINGS = {
        "mqtt.receive_max": str(INFLIGHT_MAX),
        "limits.inflight_per_session": str(INFLIGHT_MAX),
    }

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.version = version_of(hub.binary, "--version").split()[-1]

    @classmethod
    def found(cls, binary: Path, core: int | None) -> "Portreeve":
        """Starts one on a directory of its own."""
        return cls(Hub(binary, core=core, settings=cls.SETTINGS))

    def start(self, site: Site, shape: str) -> Process:
        self.hub.mqtt_port = site.port
        self.hub.start()
        assert self.hub.process is not None
        return self.hub.process

    def stop(self, process: Process) -> None:
        self.hub.stop()


class Mosquitto(Broker):
    """Eclipse Mosquitto as Debian packages it."""

    key, label = "mosquitto", "Mosquitto"

    def __init__(self) -> None:
        self.binary: Path | None = None

    def prepare(self, *, may_build: bool) -> str | None:
        self.binary = self._find()
        if self.binary is None:
            problem = install_package("mosquitto")
            if problem:
                return problem
            stop_service("mosquitto")
            self.binary = self._find()
        if self.binary is None:
            return "the package mosquitto brought no program of that name"
        self.version = f"{version_of(self.binary, '-h').split()[-1]}, {self._openssl()}"
        return None

    @staticmethod
    def _find() -> Path | None:
        found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        return Path(found) if found else None

    def _openssl(self) -> str:
        """The OpenSSL that it is linked with; Debian's `openssl` is built from the same source."""
        return " ".join(version_of("openssl", "version").split()[:2])

    def start(self, site: Site, shape: str) -> Process:
        config = site.directory / "mosquitto.conf"
        config.write_text(
            f"""\
listener {site.port} 127.0.0.1
cafile {site.server}/ca.pem
certfile {site.server}/cert.pem
keyfile {site.server}/key.pem
require_certificate true
ciphers ECDHE-ECDSA-AES128-GCM-SHA256
ciphers_tls1.3 TLS_AES_128_GCM_SHA256
allow_anonymous true
persistence false
set_tcp_nodelay true
max_inflight_messages {INFLIGHT_MAX}
max_queued_messages 100000
sys_interval 0
log_dest stderr
log_type error
connection_messages false
"""
        )
        process = Process([self.binary, "-c", config], core=site.core, log=site.log(self), name="mosquitto")
        process.wait_for_port(site.port)
        return process


class CrateBroker(Broker):
    """A broker library from crates.io in a small host program, bench/peers/KEY, which is built into bench/.cache."""

    crate_version: str
    minutes: int

    @property
    def host(self) -> Path:
        """The host program's source."""
        return ROOT / "bench" / "peers" / self.key

    @property
    def target(self) -> Path:
        """Cargo's target directory for it."""
        return CACHE / f"{self.key}-{self.crate_version}"

    @property
    def binary(self) -> Path:
        """The host program, once it is built; its path holds the version."""
        return self.target / "release" / f"{self.key}-host"

    def prepare(self, *, may_build: bool) -> str | None:
        self.version = self.crate_version
        if os.access(self.binary, os.X_OK):
            return None
        if not may_build:
            return f"not built; --build-peers builds it (some {self.minutes} minutes on two cores)"
        return self._build()

    def _build(self) -> str | None:
        CACHE.mkdir(parents=True, exist_ok=True)
        log = CACHE / f"{self.key}.log"
        say(f"building {self.label} {self.crate_version}, some {self.minutes} minutes; output in {log.relative_to(ROOT)}")
        command = ["cargo", "build", "--release", "--locked", "--manifest-path", str(self.host / "Cargo.toml")]
        env = {**os.environ, "CARGO_TARGET_DIR": str(self.target)}
        with open(log, "wb") as output:
            try:
                done = subprocess.run(command, env=env, stdout=output, stderr=output, timeout=BUILD_TIMEOUT_S)
            except (OSError, subprocess.TimeoutExpired) as error:
                return f"its build did not end: {error}"
        if done.returncode == 0 and os.access(self.binary, os.X_OK):
            return None
        errors = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("error")]
        return f"it does not build: {errors[0] if errors else f'cargo ended with {done.returncode}'}"


class Rumqttd(CrateBroker):
    """rumqttd, with the feature that makes it verify client certificates."""

    key, label = "rumqttd", "rumqttd"
    crate_version = "0.20.0"
    minutes = 3

    def start(self, site: Site, shape: str) -> Process:
        config = site.directory / "rumqttd.toml"
        config.write_text(
            f"""\
id = 0

[router]
id = 0
max_connections = 20000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "v5-1"
listen = "127.0.0.1:{site.port}"
next_connection_delay_ms = 0

[v5.1.tls]
capath = "{site.server}/ca.pem"
certpath = "{site.server}/cert.pem"
keypath = "{site.server}/key.pem"

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 20480
max_inflight_count = {INFLIGHT_MAX}
"""
        )
        process = Process([self.binary, config], core=site.core, log=site.log(self), name="rumqttd")
        process.wait_for_port(site.port)
        return process


class Rmqtt(CrateBroker):
    """RMQTT's broker library with one listener."""

    key, label = "rmqtt", "RMQTT"
    crate_version = "0.24.0"
    minutes = 4

    def start(self, site: Site, shape: str) -> Process:
        command = [self.binary, str(site.port), site.server]
        process = Process(command, core=site.core, log=site.log(self), name="rmqtt")
        process.wait_for_port(site.port)
        return process


PEERS: dict[str, type[Broker]] = {"mosquitto": Mosquitto, "rumqttd": Rumqttd, "rmqtt": Rmqtt}


def install_package(package: str) -> str | None:
    """Installs a Debian package; what stands against it, in words, if it cannot be."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return f"not installed, and only root on a Debian-like system can install the package {package} here"
    say(f"installing {package}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "--yes", "--no-install-recommends", package]):
        done = subprocess.run(["apt-get", "-qq", *words], env=env, capture_output=True, text=True)
        if done.returncode:
            return f"apt-get {words[0]} failed: {(done.stderr.strip() or done.stdout.strip())[-200:]}"
    return None


def stop_service(name: str) -> None:
    """A freshly installed broker must not stay behind as a service that listens."""
    if Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "disable", "--now", name], capture_output=True)


def build_ours() -> None:
    """Builds the hub and the floor relay."""
    say("building the hub and the floor relay (nothing to do if they are built)")
    parts = (["--package", "portreeve"], ["--package", "portreeve-bench", "--example", "floor"])
    for part in parts:
        done = subprocess.run(["cargo", "build", "--quiet", "--release", *part], cwd=ROOT)
        if done.returncode:
            raise BenchFailure(f"cargo build --release {' '.join(part)} failed")


def target_directory() -> Path:
    """Where cargo puts the release builds of this work tree."""
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
