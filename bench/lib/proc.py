"""Processes that are started, pinned to cores, measured and ended for sure."""
from __future__ import annotations

import atexit
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
FILES_WANTED = 200_000

_running: list["Process"] = []


class BenchFailure(Exception):
    """Something that ends the script with a sentence for a person instead of a traceback."""


class Process:
    """A started program; ends with `stop()`, with its `with` block, and with the script whatever happens."""

    def __init__(
        self,
        command: Iterable[str | Path],
        *,
        core: int | None = None,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        name: str | None = None,
    ) -> None:
        """Starts `command`, on processor core number `core` alone if one is given, its output going to the file `log`."""
        words = pinned([str(word) for word in command], core)
        self.name = name or Path(words[-1] if core is None else words[3]).name
        self.log = log
        with open(log or os.devnull, "ab") as output:
            self._child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )
        _running.append(self)

    @property
    def pid(self) -> int:
        """Its process id; `taskset` replaces itself, so this is the program's own."""
        return self._child.pid

    def is_alive(self) -> bool:
        """Whether it still runs."""
        # Looks without reaping: until `stop`, nobody else can get its process id.
        if self._child.returncode is not None:
            return False
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def wait_for_port(self, port: int, *, timeout_s: float = 20.0) -> None:
        """Waits until something listens on loopback `port`; fails if the process ends first."""
        end = time.monotonic() + timeout_s
        while not is_listening(port):
            if not self.is_alive():
                raise BenchFailure(f"{self.name} ended at once:\n{self.last_words()}")
            if time.monotonic() > end:
                raise BenchFailure(f"{self.name} does not listen on port {port} after {timeout_s:.0f} s:\n{self.last_words()}")
            time.sleep(0.02)

    def last_words(self, lines: int = 12) -> str:
        """The end of its output."""
        if self.log is None or not self.log.exists():
            return "(no output)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) or "(no output)"

    def stop(self, *, grace_s: float = 10.0) -> int | None:
        """SIGTERM, after `grace_s` SIGKILL, to its children too; returns the exit status."""
        if self in _running:
            _running.remove(self)
        if self._child.returncode is not None:
            return self._child.returncode
        if grace_s > 0 and self.is_alive():
            self._child.terminate()
            end = time.monotonic() + grace_s
            while self.is_alive() and time.monotonic() < end:
                time.sleep(0.01)
        # It leads a process group of its own, and is not reaped yet, so this reaches itself and its children alone.
        os.killpg(self.pid, signal.SIGKILL)
        return self._child.wait()

    def kill(self) -> None:
        """SIGKILL at once: a crash."""
        self.stop(grace_s=0.0)

    def cpu_s(self) -> float:
        """CPU time, user and system, of it and all its living and waited-for children, seconds."""
        return sum(cpu_s(pid) for pid in family(self.pid))

    def resident_bytes(self) -> int:
        """Resident memory of it and its children, bytes."""
        return sum(resident_bytes(pid) for pid in family(self.pid))

    def open_files(self) -> int:
        """File descriptors that it holds."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def pinned(command: list[str], core: int | None) -> list[str]:
    """The command that runs `command` on `core` alone; on all cores for `None`."""
    return command if core is None else ["taskset", "-c", str(core), *command]


def cpu_s(pid: int) -> float:
    """CPU time of a process and its waited-for children, seconds; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(fields[at]) for at in (11, 12, 13, 14)) / CLOCK_TICKS_PER_S


def resident_bytes(pid: int) -> int:
    """Resident memory of a process, bytes; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def is_listening(port: int) -> bool:
    """Whether something listens on loopback `port`, found without connecting to it."""
    wanted = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        if any(row.split()[1].endswith(wanted) and row.split()[3] == "0A" for row in rows):
            return True
    return False


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def raise_file_limit() -> int:
    """Lets this process and what it starts open as many files as the system allows, at most 200,000; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (max(FILES_WANTED, hard), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def stop_all() -> None:
    """Ends everything that this script started and that still runs."""
    for process in list(reversed(_running)):
        process.stop(grace_s=3.0)


def guarded(main) -> None:
    """Runs a script's `main`: whatever happens, SIGTERM and Ctrl-C too, what it started ends, and failures read well."""

    def end(number: int, _: object) -> None:
        # At once, so that threads that wait for what they started end too.
        stop_all()
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    atexit.register(stop_all)
    raise_file_limit()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
    except BenchFailure as failure:
        print(f"{Path(sys.argv[0]).name}: {failure}", file=sys.stderr)
        sys.exit(1)


def say(text: str) -> None:
    """A line of progress, with the time, on standard error."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)
