"""`tidewax doctor`: what would keep a live run from running, found before it runs; everything at once, within seconds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from config import Settings
from config.loader import Resolved
from connectors.exchange import VENUES, Options
from events.errors import TidewaxError
from flows.doctor_checks import Finding, disk, history, open_files, ports, versions, wanted_ports
from flows.doctor_exchanges import NO_ANSWER, Patient, context_figures
from flows.doctor_store import store
from flows.plan import Plan

_WITHIN_S: Final = 7.0

Check = Callable[[], list[Finding]]


def examine(resolved: Resolved, out: Path, within_s: float = _WITHIN_S) -> list[Finding]:
    """All findings, in the order of the table.

    Args:
        resolved: the settings, and what is wrong with them.
        out: the run directory of the live run that is to be.
        within_s: a check that takes longer is told as such.
    """
    settings = resolved.partial or Settings()
    found = [Finding("settings", "wrong", str(problem)) for problem in resolved.problems]
    if not found:
        found.append(Finding("settings", "ok", f"{resolved.name}: nothing is wrong"))
    return found + asyncio.run(_all(settings, out, within_s))


async def _all(settings: Settings, out: Path, within_s: float) -> list[Finding]:
    checks: dict[str, Check] = {
        "versions": versions,
        "history": lambda: history(settings),
        "disk and run directory": lambda: disk(out) + store(settings, out),
        "ports": lambda: ports(wanted_ports(settings, os.environ)),
        "open files": lambda: open_files(settings, len(Plan(settings).streams)),
    }
    local = [_in_time(name, check, within_s) for name, check in checks.items()]
    given = settings.exchange
    asked = given.symbols or dict.fromkeys(VENUES, ())
    options = Options(clock_s=given.clock_s)
    unknown = [
        Finding(name, "wrong", f"there is no exchange {name!r}, only {', '.join(VENUES)}")
        for name in asked
        if name not in VENUES
    ]
    exchanges = [
        Patient(name, symbols, options, given.addresses.get(name)).examine(within_s)
        for name, symbols in asked.items()
        if name in VENUES
    ]
    context = [context_figures(given.context, within_s)] if given.context else []
    found = await asyncio.gather(*local, *exchanges, *context)
    return [finding for findings in found for finding in findings] + unknown


async def _in_time(name: str, check: Check, within_s: float) -> list[Finding]:
    """What a check finds, in a thread that is left behind if it hangs, as on a disk that does not answer."""
    loop, result = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

    def told(findings: list[Finding]) -> None:
        if not result.done():
            result.set_result(findings)

    def work() -> None:
        try:
            findings = check()
        except TidewaxError as error:
            findings = [Finding(name, "wrong", str(error))]
        except Exception as error:  # a fault of the check must not hide what the others found
            findings = [Finding(name, "wrong", f"the check failed: {type(error).__name__}: {error}")]
        with contextlib.suppress(RuntimeError):  # everybody else has long gone
            loop.call_soon_threadsafe(told, findings)

    threading.Thread(target=work, daemon=True).start()
    try:
        return await asyncio.wait_for(result, within_s)
    except TimeoutError:
        return [Finding(name, "wrong", f"it is not done within {within_s:g} s", "look why the disk does not answer")]


def print_findings(found: Sequence[Finding], console: Console) -> bool:
    """The table; whether nothing is wrong."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("check", "", "found"):
        table.add_column(column, overflow="fold")
    for finding in found:
        told = f"{finding.found}: {finding.remedy}" if finding.remedy else finding.found
        table.add_row(finding.check, finding.state, told)
    console.print(table)
    counts = {state: sum(finding.state == state for finding in found) for state in ("wrong", "warning")}
    told = ", ".join(f"{n} {state}" for state, n in counts.items() if n) or "nothing is wrong"
    console.print(f"{len(found)} checks: {told}", soft_wrap=True)
    if any(finding.found.startswith(NO_ANSWER) for finding in found):
        console.print(
            "Without a network: `make demo` or `tidewax demo` shows what comes out, `tidewax simulate` is an exchange on this "
            "machine",
            soft_wrap=True,
        )
    return not counts["wrong"]
