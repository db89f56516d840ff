"""Trades that an exchange does not number may come out of order: within the allowed lateness nobody can tell, beyond it is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import command, start
from stand_in import Bybit
from test_live import trading
from test_replay import run
from test_upkeep import end, wait_for

from connectors.simulator import Market
from connectors.tape import Recording, Tape, Universe
from events.frames import NO_ROWS, Frame
from events.schema import NEVER
from events.times import MINUTE_NS, SECOND_NS
from flows.verify import verify

BYBIT, KRAKEN = "bybit:BTC/USDT:USDT", "kraken:BTC/USD"
START_NS = 1_750_507_200_000_000_000
MINUTES = 40
SETTINGS = """
bars: {{time: [1m, 5m]}}
confluence: {{theta: 10.0, blend: {{1m: 0.7, 5m: 0.3}}}}
signals: {{tf: 1m}}
{more}
"""


def settings(folder: Path, more: str = "", name: str = "settings") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(SETTINGS.format(more=more))
    return path


def record(directory: Path, rows: dict[str, np.ndarray], pieces: int) -> None:
    """A tape of these rows, in the order in which they are here, of a venue that numbers its trades and one that does not."""
    universe = Universe((BYBIT, KRAKEN), frozenset({KRAKEN}), frozenset({"trades"}))
    cut = {key: np.array_split(of, pieces) for key, of in rows.items()}
    ends = START_NS + (MINUTES + 1) * MINUTE_NS
    with Tape(directory, universe) as tape:
        for k in range(pieces):
            tape.append([(key, Frame(key, "trades", parts[k], NEVER)) for key, parts in cut.items()])
        tape.append([(key, Frame(key, "trades", NO_ROWS, ends)) for key in rows])


def market() -> dict[str, np.ndarray]:
    made = {}
    for key, seed in ((BYBIT, 1), (KRAKEN, 2)):
        rows = Market(key, seed=seed, trades_per_minute=60.0).trades(START_NS, 1.0)
        made[key] = rows[rows["available_at"] < START_NS + MINUTES * MINUTE_NS].copy()
        made[key]["seq"] = np.arange(len(made[key]))
    return made


def out_of_order(rows: np.ndarray, by_s: float) -> np.ndarray:
    """The same rows as they come where each is under way for up to so many seconds."""
    arrival = rows["available_at"] + np.random.default_rng(3).integers(0, round(by_s * SECOND_NS), len(rows))
    return rows[np.argsort(arrival, kind="stable")]


def reported(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


def late(out: Path) -> int:
    """How many rows were late, all of which are among the dead letters."""
    letters = [json.loads(line) for line in (out / "dead_letters.jsonl").read_text().splitlines()]
    assert {letter["reason"] for letter in letters} <= {"LATE"}
    return len(letters)


def test_out_of_order_within_two_seconds_is_as_if_sorted_and_beyond_is_late(tmp_path):
    rows, config = market(), settings(tmp_path)
    shuffled = {BYBIT: out_of_order(rows[BYBIT], 2.0), KRAKEN: rows[KRAKEN]}
    assert (np.diff(shuffled[BYBIT]["available_at"]) < 0).sum() > 100
    record(tmp_path / "sorted", rows, 50)
    record(tmp_path / "shuffled", shuffled, 500)
    for name in ("sorted", "shuffled"):
        run("replay", tmp_path / name, "--out", tmp_path / f"of {name}", "--config", config)
        assert late(tmp_path / f"of {name}") == 0
    assert reported(tmp_path / "of shuffled")["lateness_s"] == {BYBIT: {"trades": 2.0}, KRAKEN: {"trades": 0.0}}
    verdict = verify(tmp_path / "of sorted", tmp_path / "of shuffled")
    assert (verdict.differences, verdict.notes) == ([], [])
    assert verdict.rows > 200
    strict = settings(tmp_path, "sources: {lateness_s: 0.5}", "strict")
    run("replay", tmp_path / "shuffled", "--out", tmp_path / "strict", "--config", strict)
    newest = np.maximum.accumulate(shuffled[BYBIT]["available_at"])
    assert late(tmp_path / "strict") == (shuffled[BYBIT]["available_at"] < newest - SECOND_NS // 2).sum() > 0
    [note] = verify(tmp_path / "of sorted", tmp_path / "strict").notes
    assert "the allowed lateness differs" in note


def beyond_lateness(frames, lateness_s: float) -> int:
    """How many rows of these frames came after everything before a later time was promised, by a row or by a heartbeat."""
    promised, late = NEVER, 0
    for frame in frames:
        for at in frame.rows["available_at"].tolist():
            late += at < promised
            promised = max(promised, at - round(lateness_s * SECOND_NS))
        promised = max(promised, frame.watermark)
    return late


@pytest.mark.slow
@pytest.mark.parametrize(("more", "refused"), [("", False), ("sources: {lateness_s: 0.2}", True)])
def test_live_and_replay_agree_on_what_was_late(tmp_path, more, refused):
    live, tape = tmp_path / "run", tmp_path / "run" / "tape"
    with Bybit() as server, trading(server):
        server.swap = 0.3  # frames change places; their times are less than 2 s apart
        config = settings(tmp_path, f"exchange: {{addresses: {{bybit: '{server.address}'}}, preload: 0}}\n{more}")
        process = start("live", BYBIT, "--config", config, "--out", live)
        wait_for(lambda: any(file.stat().st_size > 300_000 for file in tape.glob("*.tape")), process)
        end(process)
    other = settings(tmp_path, "sources: {lateness_s: 7}", "other")
    done = command("live", BYBIT, "--config", other, "--out", live)
    assert done.returncode == 1
    assert f"lateness_s.{BYBIT}.trades is 7.0, it was {'0.2' if refused else '2.0'}" in done.stderr
    frames = [frame for _, items in Recording(tape).read(0) for _, frame in items if frame.name == "trades"]
    rows = np.concatenate([frame.rows for frame in frames if len(frame.rows)])
    assert (np.diff(rows["available_at"]) < 0).sum() > 50
    beyond = beyond_lateness(frames, 0.2 if refused else 2.0)
    assert late(live) == beyond, "exactly those that the tape shows to be, however the machine paused"
    assert beyond > 0 or not refused
    run("replay", tape, "--out", tmp_path / "again", "--config", config)
    verdict = verify(live, tmp_path / "again")
    assert (verdict.differences, verdict.notes) == ([], [])
    assert verdict.rows > 50
    assert late(tmp_path / "again") == late(live)
