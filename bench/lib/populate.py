"""Filling a data directory with the example `populate`, before its hub starts."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path

from .hub import ROOT, Hub
from .proc import BenchFailure, say


def find_populate(given: str | None = None) -> Path:
    """The program: `given`, or target/release/examples/populate, which is built where it is missing."""
    path = Path(given) if given else ROOT / "target" / "release" / "examples" / "populate"
    if not path.exists() and not given:
        say("building the example `populate`")
        command = ["cargo", "build", "--quiet", "--release", "--package", "portreeve-hub", "--example", "populate"]
        subprocess.run(command, cwd=ROOT, check=True)
    if not os.access(path, os.X_OK):
        raise BenchFailure(f"{path} is no program")
    return path.resolve()


def fill(populate: Path, hub: Hub, *, timeout_s: float = 900.0, **wanted: int | str) -> None:
    """Writes rows into the data directory of a hub that does not run; `wanted` are populate's words, such as devices=10."""
    hub.bundles.mkdir(exist_ok=True)
    words = [f"{key}={value}" for key, value in {"bundles": hub.bundles, **wanted}.items()]
    done = subprocess.run([populate, hub.data, *words], capture_output=True, text=True, timeout=timeout_s)
    if done.returncode:
        raise BenchFailure(f"populate failed: {done.stderr.strip() or done.stdout.strip()}")
