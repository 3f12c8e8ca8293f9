"""Results: one shape for all, written as JSON, printed as a table, and drawn by `bench/report`.

A results file is bench/results/NAME.json:

    name      "compare"                     also the marker `<!-- results:compare -->` in docs/PERFORMANCE.md
    title     "CPU time against other brokers"
    command, date (UTC), commit, machine {cpu, cores, memory_gib, kernel, system}, versions {program: version}
    columns   [{"key": "work", "label": "work"}, {"key": "p99_ms", "label": "p99", "unit": "ms"}, …]
    rows      [{"work": "…", "p99_ms": 1.25, …}, …]    numbers stay numbers; a missing or null value shows as "–"
    notes     ["sentence", …]               shown below the table
    charts    [Chart, …]                    optional; see below

A chart is drawn to docs/images/performance/FILE.svg:

    file      "compare-pairs"
    title     "20 pairs"                    and "subtitle", optional: what is measured, and whether less is better
    kind      "bars"                        horizontal, one group per row, one bar per value
              "lines"                       one line per value over the column x
    label     "work"                        bars: the column that names each group
    x         "sessions"                    lines: the column of the horizontal axis
    split     "shape"                       lines, optional: a line for each different value of this column
    values    ["floor", "portreeve", …]     columns to draw; with "unit" for the axis
    where     {"family": "pairs"}           optional: only rows with these values
    log       "x", "y" or "xy"              optional: logarithmic axes (lines)
    rows, columns                           optional: to draw something else than what the table shows

A column may have "accent": true (the subject, drawn in the strong colour) or "quiet": true (the yardstick, drawn grey),
"digits": N to round to N decimal places (without it, three significant digits are shown), and "ratio": the key of a number
that stands behind its value as "(1.5×)". A row may have "marks", {column key: "†"}, which stand behind those cells, and any
further keys, which tables leave out.
"""
from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results"
MISSING = "–"


def describe(name: str, title: str, *, versions: dict[str, str] | None = None) -> dict[str, Any]:
    """The head of a result: what was run, when, on what. Add columns, rows, notes and charts to it."""
    return {
        "name": name,
        "title": title,
        "command": command(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "machine": machine(),
        "versions": versions or {},
        "columns": [],
        "rows": [],
        "notes": [],
    }


def command() -> str:
    """The command line as a reader of the documentation would type it."""
    script = Path(sys.argv[0]).resolve()
    shown = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script.name
    # Where somebody's builds lie is of no interest to a reader.
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    return " ".join([str(shown), *words])


def commit() -> str:
    """The commit of the work tree, with `+` if it holds changes; "unknown" outside a repository."""
    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "crates", "Cargo.toml", "Cargo.lock")
    except OSError:
        return "unknown"
    return f"{head}+" if head and changed else head or "unknown"


def machine() -> dict[str, Any]:
    """The processor, its cores, memory, kernel and system."""
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": _field("/proc/cpuinfo", "model name", ":") or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory_bytes / 2**30, 1),
        "kernel": platform.release(),
        "system": (_field("/etc/os-release", "PRETTY_NAME", "=") or platform.system()).strip('"'),
    }


def _field(file: str, name: str, separator: str) -> str:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return ""
    found = (line.partition(separator)[2].strip() for line in lines if line.partition(separator)[0].strip() == name)
    return next(found, "")


def version_of(*words: str | Path) -> str:
    """The first line that a program says of its version; "unknown" if it cannot be run."""
    try:
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"


def write(result: dict[str, Any], *, suffix: str = "") -> Path:
    """Writes bench/results/NAME[SUFFIX].json, whole or not at all; its name becomes NAME[SUFFIX]."""
    result = {**result, "name": result["name"] + suffix}
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{result['name']}.json"
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    draft.replace(path)
    return path


def shown(value: Any, digits: int | None = None) -> str:
    """A value as a table shows it: three significant digits, thousands apart by a comma."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if digits is None:
        size = abs(value)
        digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}"


def head(column: dict[str, Any]) -> str:
    """A column's heading with its unit."""
    unit = column.get("unit")
    return f"{column['label']} ({unit})" if unit else column["label"]


def cells(result: dict[str, Any]) -> list[list[str]]:
    """Heading and rows as text."""
    columns = result["columns"]
    return [[head(column) for column in columns], *([cell(row, column) for column in columns] for row in result["rows"])]


def cell(row: dict[str, Any], column: dict[str, Any]) -> str:
    """One cell as text, with its marks and its ratio."""
    text = shown(row.get(column["key"]), column.get("digits")) + row.get("marks", {}).get(column["key"], "")
    ratio = row.get(column.get("ratio", ""))
    return f"{text} ({ratio:.1f}×)" if ratio is not None else text


def is_number_column(result: dict[str, Any], key: str) -> bool:
    """Whether a column holds numbers, which are set flush right."""
    values = [row.get(key) for row in result["rows"]]
    return any(isinstance(value, (int, float)) for value in values)


def table(result: dict[str, Any]) -> str:
    """An aligned table for a terminal, with title and notes."""
    rows = cells(result)
    widths = [max(len(row[at]) for row in rows) for at in range(len(result["columns"]))]
    right = [is_number_column(result, column["key"]) for column in result["columns"]]

    def line(row: list[str]) -> str:
        parts = (text.rjust(width) if flush else text.ljust(width) for text, width, flush in zip(row, widths, right))
        return "  ".join(parts).rstrip()

    rule = "  ".join("─" * width for width in widths)
    notes = [f"· {note}" for note in result["notes"]]
    return "\n".join([result["title"], "", line(rows[0]), rule, *map(line, rows[1:]), "", *notes]).rstrip() + "\n"
