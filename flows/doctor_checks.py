"""What `tidewax doctor` looks at on this machine: versions, required history, disk, ports, open files."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import Final, Literal, NamedTuple

import talib
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from config import Settings
from connectors.exchange import VENUES
from connectors.exchange.client import groups, kind_of
from connectors.storage import storage_errors
from events.errors import RunError
from events.times import DAY_NS, timeframe_ns
from flows.history_needed import required_bars
from flows.plan import Plan

State = Literal["ok", "warning", "wrong"]

_GB: Final = 10**9
_FEW_BYTES: Final = 5 * _GB
_TOO_FEW_BYTES: Final = _GB // 2
_PROBE_BYTES: Final = 1 << 20
_SLOW_S: Final = 1.0
_FILES: Final = 64
"""Files that a live run has open besides those of its connections and its streams, with room: measured were 16."""


class Finding(NamedTuple):
    """What a check found: of what, how it is, what was seen, and what to do about it."""

    check: str
    state: State
    found: str
    remedy: str = ""


def versions() -> list[Finding]:
    """Python and the libraries against what the package asks for."""
    try:
        about = metadata("tidewax")
    except PackageNotFoundError:
        return [Finding("versions", "warning", "tidewax is not installed as a package", "install it: make install")]
    wanted = [Requirement(text) for text in about.get_all("Requires-Dist") or ()]
    return versions_of(about["Requires-Python"], [r for r in wanted if r.marker is None or r.marker.evaluate()])


def versions_of(python: str, wanted: Iterable[Requirement]) -> list[Finding]:
    """`versions` of what is asked for: a specifier for Python, and requirements."""
    found, wrong = [f"Python {platform.python_version()}"], []
    if not SpecifierSet(python).contains(platform.python_version(), prereleases=True):
        remedy = "run it with Python 3.11 or 3.12: Bytewax has no wheels for others"
        said = f"Python is {platform.python_version()}, it has to be {python}"
        wrong.append(Finding("versions", "wrong", said, remedy))
    for requirement in sorted(wanted, key=lambda r: r.name.lower()):
        name, needs = requirement.name, str(requirement.specifier) or "there"
        try:
            installed = version(name)
        except PackageNotFoundError:
            said, remedy = f"{name} is not installed, it has to be {needs}", f"pip install '{requirement}'"
            wrong.append(Finding("versions", "wrong", said, remedy))
            continue
        found.append(f"{name} {installed}")
        if not requirement.specifier.contains(installed, prereleases=True):
            said, remedy = f"{name} is {installed}, it has to be {needs}", f"pip install '{requirement}'"
            wrong.append(Finding("versions", "wrong", said, remedy))
    library = talib.__ta_version__.decode().partition(" ")[0]  # type: ignore[attr-defined]
    return wrong or [Finding("versions", "ok", f"{', '.join(found)}; C library of TA-Lib {library}")]


def history(settings: Settings) -> list[Finding]:
    """Per timeframe, the bars until every column is settled.

    Raises:
        SettingsError: there is no plan of these settings.
    """
    found = []
    for name, need in required_bars(Plan(settings)).items():
        days = need.bars * timeframe_ns(name) / DAY_NS
        said = f"{need.bars:,} bars, {days:,.1f} days, until all columns are settled; {need.column} needs most"
        found.append(Finding(f"history {name}", "ok", said))
    return found


def disk(directory: Path) -> list[Finding]:
    """Free space for a run directory, and how long it takes to get a megabyte onto the disk; what is written is removed."""
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        with storage_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=directory, prefix=".doctor-") as file:
                began = time.perf_counter()
                file.write(bytes(_PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
                took_s = time.perf_counter() - began
            free = shutil.disk_usage(directory).free
            for path in made:
                path.rmdir()
    except RunError as error:
        return [Finding("disk", "wrong", str(error))]
    said = f"{free / _GB:,.1f} GB free in {directory}; 1 MB is on the disk in {1000 * took_s:,.0f} ms"
    if free < _FEW_BYTES:
        state: State = "wrong" if free < _TOO_FEW_BYTES else "warning"
        return [Finding("disk", state, said, "free some: a million trades take about 0.1 GB on the tape")]
    if took_s > _SLOW_S:
        return [Finding("disk", "warning", said, "use a faster disk: a live run does this once a second")]
    return [Finding("disk", "ok", said)]


def wanted_ports(settings: Settings, environ: Mapping[str, str]) -> dict[str, int]:
    """The ports that a live run opens, by what opens them; not those for which any free one will do.

    >>> wanted_ports(Settings(), {"BYTEWAX_DATAFLOW_API_ENABLED": "1"}), wanted_ports(Settings(), {})
    ({'the web server of Bytewax (BYTEWAX_DATAFLOW_API_PORT)': 3030}, {})
    """
    wanted = {"metrics (metrics.port)": settings.metrics.port} if settings.metrics.port else {}
    if "BYTEWAX_DATAFLOW_API_ENABLED" not in environ:  # any value turns it on, 0 too
        return wanted
    port = environ.get("BYTEWAX_DATAFLOW_API_PORT", "3030")
    return wanted | {"the web server of Bytewax (BYTEWAX_DATAFLOW_API_PORT)": int(port) if port.isdecimal() else -1}


def ports(wanted: Mapping[str, int]) -> list[Finding]:
    """Whether the ports that a run opens are free, by what opens them."""
    if not wanted:
        return [Finding("ports", "ok", "a run opens none")]
    found = []
    for what, port in wanted.items():
        if not 0 <= port < 1 << 16:
            found.append(Finding("ports", "wrong", f"{what} is no port", "give a number from 1 to 65535"))
            continue
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ports that were just closed are free
            try:
                tried.bind(("", port))
                tried.listen()
            except OSError as error:
                said = f"port {port} for {what} cannot be opened: {error.strerror}"
                found.append(Finding("ports", "wrong", said, "end what uses it, or choose another one"))
            else:
                found.append(Finding("ports", "ok", f"port {port} for {what} is free"))
    return found


def open_files(settings: Settings, streams: int) -> list[Finding]:
    """The limit of open files against what a live run of `exchange.symbols` needs; it writes so many streams."""
    symbols = settings.exchange.symbols
    connections = sum(connections_of(exchange, listed) for exchange, listed in symbols.items() if exchange in VENUES)
    needed = _FILES + settings.run.workers * streams + 2 * connections
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    shown = "unlimited" if limit == resource.RLIM_INFINITY else f"{limit:,}"
    said = f"{shown} may be open; a run needs up to {needed:,}, {connections} connections among them"
    if limit != resource.RLIM_INFINITY and limit < needed:
        return [Finding("open files", "wrong", said, f"raise the limit: ulimit -n {2 * needed}")]
    return [Finding("open files", "ok", said)]


def connections_of(exchange: str, symbols: tuple[str, ...]) -> int:
    """How many connections these symbols of an exchange take.

    >>> connections_of("binance", tuple(f"A{n}/USDT" for n in range(60))), connections_of("kraken", ("A/USD", "B/USD"))
    (2, 1)
    """
    venue = VENUES[exchange]
    return len({kind_of(symbol) for symbol in symbols}) if venue.shared else len(groups(venue, symbols))
