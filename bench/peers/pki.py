"""Certificates of the hub's shape with ECDSA P-256 all the way up, for brokers that shall not pay for the hub's P-384 root."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from lib.proc import BenchFailure

DAYS = "2"
_CONFIG = """\
[req]
distinguished_name = name
prompt = no
[name]
CN = bench
[root]
basicConstraints = critical, CA:TRUE, pathlen:1
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[issuer]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = URI:urn:uuid:00000000-0000-4000-8000-000000000000
"""


def make(directory: Path) -> tuple[Path, Path]:
    """Makes root, two issuing CAs, a server and a client; returns the bundles (ca, cert, key .pem) of server and client."""
    directory.mkdir()
    config = directory / "openssl.cnf"
    config.write_text(_CONFIG)
    root = _certificate(directory, "root", "root", None)
    bundles = []
    for kind in ("server", "client"):
        issuer = _certificate(directory, f"{kind}-issuer", "issuer", root)
        leaf = _certificate(directory, f"{kind}-leaf", kind, issuer)
        bundle = directory / kind
        bundle.mkdir()
        shutil.copy(f"{root}.pem", bundle / "ca.pem")
        shutil.copy(f"{leaf}.key", bundle / "key.pem")
        (bundle / "cert.pem").write_text(Path(f"{leaf}.pem").read_text() + Path(f"{issuer}.pem").read_text())
        # Mosquitto gives up root's rights before it reads them; they are worth nothing after this run.
        for path in (directory, bundle, *bundle.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
        bundles.append(bundle)
    return bundles[0], bundles[1]


def _certificate(directory: Path, name: str, section: str, issuer: Path | None) -> Path:
    """A P-256 key and its certificate, self-signed without an issuer; the path without `.pem` and `.key`."""
    stem = directory / name
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256"]
    command += ["-config", str(directory / "openssl.cnf"), "-extensions", section, "-subj", f"/CN={name}", "-days", DAYS]
    command += ["-keyout", f"{stem}.key", "-out", f"{stem}.pem"]
    if issuer:
        command += ["-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise BenchFailure(f"openssl cannot be run: {error}") from None
    if done.returncode:
        raise BenchFailure(f"openssl made no certificate: {done.stderr.strip()[-300:]}")
    return stem
