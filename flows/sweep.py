"""A backtest under every combination of some settings, each into a run directory of its own below one directory.

sweep.json        the runs: what was set, where each is, its figures
<set>/            one run directory each

What earlier runs of the sweep made of the same files under the same settings is taken from them: bars, and features too, where
the settings that differ do not touch them. The digests are those of runs that computed everything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from config import Point
from connectors.files import Inputs
from connectors.storage import replacing, storage_errors
from events.errors import InputError, RunError, SettingsError
from events.identity import id_of
from events.records import Outcome
from flows.backtest import Backtest, taken_from
from flows.plan import Plan
from flows.report import narrow_table
from flows.report_figures import FEWEST, between, figures, percent, rate_between, signed, synthetic_note
from flows.report_runs import FinishedRun
from flows.reuse import Reused, bars_identity, bars_suffice, features_identity
from flows.rundir import RUN_FILE, RunDirectory

SWEEP_FILE: Final = "sweep.json"
_LONGEST_NAME: Final = 80


class Sweep:
    """Runs under every point of a grid. A run that is finished is skipped, one that was stopped goes on.

    Args:
        points: what each run sets.
        inputs: the files of all of them.
        path: the directory of the sweep.
        console: what is told of each run, and the progress of those that read the files.
        again: whether runs that are there start over.

    Raises:
        SettingsError: an indicator does not exist, or a score lacks a column; the text has a line for each run.
        RunError: the directory holds something else.
    """

    def __init__(
        self, points: Sequence[Point], inputs: Inputs, path: Path, console: Console, again: bool = False
    ) -> None:
        self.points, self.inputs, self.path, self.console, self.again = points, inputs, path, console, again
        self.given = {"fingerprint": inputs.fingerprint, "bad_rows": inputs.bad_rows}
        self.names = _names(points)
        _check(points)
        self.former = self._former()
        self.bars: dict[str, Path] = {}  # finished runs by what decides their bars
        self.features: dict[str, Path] = {}  # and their features

    def run(self) -> list[dict[str, Any]]:
        """Make all runs; what sweep.json says of each, those of former grids in this directory behind them.

        Raises:
            RunError: a directory holds a run of other settings or files, or another process runs in it.
        """
        done: list[dict[str, Any]] = []
        made = not self.path.exists()
        self._write(done)
        for k, (name, point) in enumerate(zip(self.names, self.points), 1):
            try:
                told = self._run(name, point)
            except InputError:
                if made and not done:  # nothing stays of a sweep that began with files that cannot be used
                    (self.path / SWEEP_FILE).unlink()
                    self.path.rmdir()
                raise
            done.append(_entry(self.path / name, name, dict(point.given)))
            self._write(done)
            signals = done[-1]["signals"]
            self.console.print(
                f"run {k} of {len(self.points)}, {name}: {signals} signal{'s' * (signals != 1)} ({told})",
                soft_wrap=True,
            )
        return done + self.former

    def _run(self, name: str, point: Point) -> str:
        """Make one run; how it was made."""
        with RunDirectory(self.path / name) as directory:
            if self.again:
                directory.clear()
            run = Backtest(point.settings, self.inputs, directory, self.console)
            by_bars, by_features = bars_identity(run.settings), features_identity(run.settings, run.plan)
            stored, told = directory.read(), "finished before"
            if stored is not None and stored["state"] == "finished":
                if _identity(stored) != _identity(run.header):
                    raise RunError(
                        f"{directory.path} holds a run of other settings or files: give --out another directory, or --again"
                    )
                directory.tidy()
            else:
                told = "from the files"
                if by_features in self.features:
                    told, reused = "bars and features reused", Reused(self.features[by_features], "features")
                    run = Backtest(point.settings, self.inputs, directory, None, reused)
                elif by_bars in self.bars:
                    told, reused = "bars reused", Reused(self.bars[by_bars], "bars")
                    run = Backtest(point.settings, self.inputs, directory, None, reused)
                if stored is not None and taken_from(stored) != taken_from(run.header):
                    directory.clear()  # what it was stopped at is not a place in what it is given now
                run.run()
            if bars_suffice(directory.path, run.plan):
                self.bars.setdefault(by_bars, directory.path)
                self.features.setdefault(by_features, directory.path)
        return told

    def _former(self) -> list[dict[str, Any]]:
        """The finished runs of this directory that the grid does not have."""
        if (self.path / RUN_FILE).exists():
            raise RunError(f"{self.path} holds a single run: give --out another directory for a sweep")
        file = self.path / SWEEP_FILE
        if not file.exists():
            held = sorted(f.name for f in self.path.iterdir()) if self.path.is_dir() else []
            foreign = [name for name in held if name != f".{SWEEP_FILE}.partial"]
            if foreign:
                raise RunError(
                    f"{self.path} holds other files ({foreign[0]}) and no {SWEEP_FILE}: "
                    "give --out an empty directory, or one of a former sweep"
                )
            return []
        try:
            stored = json.loads(file.read_text("utf-8"))
            runs: list[dict[str, Any]] = [run for run in stored["runs"] if run["directory"] not in self.names]
            different = {name for name, value in self.given.items() if stored[name] != value}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{file} cannot be read ({error}): give --out another directory") from None
        if different and not self.again:
            raise RunError(f"{self.path} holds a sweep over other files: name the same files and options, or --again")
        return [] if different else runs

    def _write(self, done: list[dict[str, Any]]) -> None:
        waiting = [
            {"directory": name, "set": dict(point.given), "state": "unfinished"}
            for name, point in zip(self.names[len(done) :], self.points[len(done) :])
        ]
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with replacing(self.path / SWEEP_FILE) as temporary:
            tree = self.given | {"runs": done + waiting + self.former}
            temporary.write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _check(points: Sequence[Point]) -> None:
    """Find before anything runs what only the plan of a run tells."""
    said: dict[str, str] = {}
    for point in points:
        try:
            plan = Plan(point.settings)
            _ = plan.analysis, plan.signals  # made of all the others
        except SettingsError as error:
            said.setdefault(str(error), " ".join(f"--set {path}={value}" for path, value in point.given))
    if said:
        raise SettingsError("\n".join(f"{given}: {error}" for error, given in said.items()))


def _identity(run: dict[str, Any]) -> tuple[Any, ...]:
    return run["analysis_hash"], run["fingerprint"], run["settings"]["sources"]


def _names(points: Sequence[Point]) -> list[str]:
    """A directory for each point, named by what it sets: the same point has the same one in every grid."""
    paths = [path for path, _ in points[0].given]
    short = {path: path.rpartition(".")[2] for path in paths}
    names = []
    for point in points:
        twice = len(set(short.values())) < len(short)
        plain = "_".join(f"{path if twice else short[path]}={value}" for path, value in point.given)
        name = re.sub(r"[^A-Za-z0-9.=_+-]+", "-", plain)[:_LONGEST_NAME]
        names.append(name if name == plain else f"{name}_{id_of('set', *point.given)[:6]}")
    return names


def _entry(path: Path, name: str, given: dict[str, str]) -> dict[str, Any]:
    """What sweep.json says of a finished run: figures over all its instruments."""
    run = FinishedRun(path)
    outcomes = [outcome for key in run.keys for outcome in run.records(Outcome, key)]
    return {
        "directory": name,
        "set": given,
        "state": "finished",
        "analysis_hash": run.run["analysis_hash"],
        "instruments": run.keys,
        "signals": run.run["signals"],
        "outcomes": figures(outcomes),
    }


def print_sweep(runs: Sequence[dict[str, Any]], path: Path, console: Console) -> None:
    """A row a run, readable from 80 columns on, and what many runs over the same data are worth."""
    table = narrow_table(
        "paper results net of costs, 95 % intervals, all instruments together; they predict nothing",
        "set", "signals", "closed", "hit rate", "expectancy R", "profit\nfactor",
    )  # fmt: skip
    finished = [run for run in runs if run["state"] == "finished"]
    for run in finished:
        found, given = run["outcomes"], ", ".join(f"{name}={value}" for name, value in run["set"].items())
        row = [given, str(run["signals"]), str(found["n"])]
        if not found["n"]:
            table.add_row(*row, "-", "-", "-")
            continue
        factor = found["profit_factor"]
        table.add_row(
            *row,
            f"{percent(found['win_rate'])}\n{rate_between(found['win_rate_interval'])}",
            f"{signed(found['mean_r'])}\n{between(found['mean_r_interval'])}",
            "-" if factor is None else f"{factor:.2f}",
        )
    console.print(table)
    for line in _caveats(finished):
        console.print(line, soft_wrap=True)
    console.print(f"{path}: {SWEEP_FILE}, a run directory for each", soft_wrap=True)


def _caveats(runs: Sequence[dict[str, Any]]) -> list[str]:
    n = len(runs)
    said = [
        f"{n} runs over the same data, all in sample: the best of them is no evidence. Were none of {n} independent runs any good, "
        f"one or more of their intervals would still lie above zero in {percent(1 - 0.975**n)} of sweeps. Choose on one period, "
        "then judge that choice once on another."
    ]
    if any(0 < run["outcomes"]["n"] < FEWEST for run in runs):
        said.append(f"fewer than {FEWEST} closed signals are too few to judge by")
    note = synthetic_note(key for run in runs for key in run["instruments"])
    return [*said, note] if note else said
