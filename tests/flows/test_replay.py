"""`tidewax replay`: a tape gives what a backtest over the same rows gives, from the beginning or resumed, whole or cut short."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from commands import command, kill_again_and_again, killed, rows_written
from typer.testing import CliRunner

from connectors.files import FileSource, open_inputs
from connectors.simulator import Market, write_trades
from connectors.tape import Recording, Tape, Universe, roll_closed
from events.errors import InputError, RunError
from events.frames import NO_ROWS, Frame
from flows.__main__ import app
from flows.replay import recorded

SOAK = bool(os.environ.get("TIDEWAX_SOAK"))
KEYS = "synthetic:BTC/USDT", "synthetic:ETH/USDT"
DAY = 1_700_006_400_000_000_000  # a UTC midnight
SETTINGS = """
bars: {time: [1m, 5m]}
confluence: {theta: 10.0, blend: {1m: 0.7, 5m: 0.3}}
signals: {tf: 1m}
run: {epoch_s: 0}
"""


def record(files: list[Path], directory: Path, chunk: int, exchange: str | None = None, **options: object) -> list[int]:
    """What the file source hands out, appended to a tape batch by batch as a live source does; the offsets."""
    inputs = open_inputs(files, block_rows=200, exchange=exchange)
    sequenced = frozenset(key for key in inputs.instruments if inputs.sequenced(key))
    part, offsets = FileSource(inputs, chunk).build_part("files", "files", None), []
    with Tape(directory, Universe(inputs.instruments, sequenced, inputs.feeds), **options) as tape:
        while True:
            try:
                offsets.append(tape.append(part.next_batch()))
            except StopIteration:
                return offsets


def run(*arguments: object) -> str:
    """A command in this process, to its end; what it printed."""
    done = CliRunner().invoke(app, [str(word) for word in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def report(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A file of trades of two instruments, a settings file, a backtest, and a tape of what it was made of."""
    folder = tmp_path_factory.mktemp("made")
    settings = folder / "settings.yaml"
    settings.write_text(SETTINGS)
    markets = Market(KEYS[0], trades_per_minute=12.0), Market(KEYS[1], 3_000.0, seed=2, trades_per_minute=6.0)
    write_trades(folder / "trades.parquet", markets, DAY, 0.5)
    run("backtest", folder / "trades.parquet", "--out", folder / "run", "--config", settings)
    assert report(folder / "run")["signals"] > 0
    offsets = record([folder / "trades.parquet"], folder / "tape", 100, segment_bytes=100_000)
    assert len(list((folder / "tape").glob("*.tape"))) > 3
    return folder, settings, offsets


def same(a: Path, b: Path) -> None:
    ours, theirs = report(a), report(b)
    for name in ("rows", "digests", "reasons", "trades", "signals", "entries", "cold", "results"):
        assert ours[name] == theirs[name], name
    assert "\nequal: " in "\n" + run("verify", a, b)  # maybe after a note: a tape allows for lateness, files do not


@pytest.mark.parametrize("options", [(), ("--chunk", 7, "--workers", 2)], ids=str)
def test_a_replay_equals_a_backtest_over_the_same_trades(made, tmp_path, options):
    folder, settings, offsets = made
    run("replay", folder / "tape", "--out", tmp_path / "run", "--config", settings, *options)
    same(folder / "run", tmp_path / "run")
    [told] = report(tmp_path / "run")["inputs"]
    assert (told["first"], told["until"], told["instruments"]) == (0, offsets[-1], list(KEYS))
    again = run("replay", folder / "tape", "--out", tmp_path / "run", "--config", settings)
    assert "finished run" in again


@pytest.mark.slow
def test_rolled_segments_replay_alike_and_their_trades_backtest_alike(made, tmp_path):
    folder, settings, _ = made
    shutil.copytree(folder / "tape", tmp_path / "tape")
    with Tape(tmp_path / "tape", Recording(folder / "tape").header.universe, segment_bytes=1) as tape:
        tape.append([(KEYS[0], Frame(KEYS[0], "trades", NO_ROWS, 0))])  # says nothing, in a segment that stays open
    rolled = roll_closed(tmp_path / "tape")
    assert len(rolled) > 3
    run("replay", tmp_path / "tape", "--out", tmp_path / "replayed", "--config", settings)
    same(folder / "run", tmp_path / "replayed")
    files = [path for part in rolled for path in part.files[1:]]
    run("backtest", *files, "--out", tmp_path / "tested", "--config", settings)
    same(folder / "run", tmp_path / "tested")


def test_a_tape_that_says_no_end_is_reported_as_far_as_it_goes(made, tmp_path):
    folder, settings, offsets = made
    middle = offsets[len(offsets) // 2]
    said = run("replay", folder / "tape", "--out", tmp_path / "run", "--config", settings, "--until", middle + 3)
    done = report(tmp_path / "run")
    assert done["inputs"][0]["until"] == middle
    assert set(done["results"]) == set(KEYS)
    assert 100 < done["results"][KEYS[0]]["base_bars"] < report(folder / "run")["results"][KEYS[0]]["base_bars"]
    assert "what was seen" in said
    assert run("outcomes", tmp_path / "run")


def test_a_torn_tape_is_replayed_as_far_as_it_is_whole_and_says_so(made, tmp_path):
    folder, settings, offsets = made
    shutil.copytree(folder / "tape", tmp_path / "tape")
    path = sorted((tmp_path / "tape").glob("*.tape"))[-1]
    os.truncate(path, path.stat().st_size - 5)
    said = run("replay", tmp_path / "tape", "--out", tmp_path / "run", "--config", settings)
    assert f"the last {offsets[-1] - offsets[-2] - 5} bytes are of a record that was cut short" in said
    assert report(tmp_path / "run")["inputs"][0]["until"] == offsets[-2]


def test_a_damaged_tape_is_a_sentence_and_leaves_nothing(made, tmp_path):
    folder, settings, offsets = made
    shutil.copytree(folder / "tape", tmp_path / "tape")
    path = sorted((tmp_path / "tape").glob("*.tape"))[1]
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"is damaged at byte .*--until (\d+)") as told:
        run("replay", tmp_path / "tape", "--out", tmp_path / "run", "--config", settings)
    assert not (tmp_path / "run").exists()
    until = int(str(told.value).split("--until ")[1].rstrip("."))
    assert until in offsets
    run("replay", tmp_path / "tape", "--out", tmp_path / "run", "--config", settings, "--until", until)
    with pytest.raises(InputError, match="holds no tape"):
        run("replay", folder, "--out", tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_an_unfinished_replay_goes_on_over_what_the_tape_was_when_it_began(made, tmp_path):
    folder, settings, offsets = made
    shutil.copytree(folder / "tape", tmp_path / "tape")
    universe = Recording(folder / "tape").header.universe
    with Tape(tmp_path / "tape", universe) as tape:
        rest = list(tape.read(offsets[-4]))
        tape.truncate(offsets[-4])
    killed(10, "replay", tmp_path / "tape", "--out", tmp_path / "run", "--config", settings, "--chunk", 1)
    with Tape(tmp_path / "tape", universe) as tape:
        assert [tape.append(items) for _, items in rest] == offsets[-3:]
    with pytest.raises(RunError, match="other files, another tape or other partitions"):
        run("replay", tmp_path / "tape", "--out", tmp_path / "run", "--config", settings, "--until", offsets[5])
    with pytest.raises(RunError, match="other files, another tape or other partitions"):
        run("backtest", folder / "trades.parquet", "--out", tmp_path / "run", "--config", settings)
    assert recorded(tmp_path / "tape", tmp_path / "run").end == offsets[-4]
    run("replay", tmp_path / "tape", "--out", tmp_path / "run", "--config", settings)
    assert report(tmp_path / "run")["inputs"][0]["until"] == offsets[-4]
    assert recorded(tmp_path / "tape", tmp_path / "run").end == offsets[-1]
    run("replay", tmp_path / "tape", "--out", tmp_path / "run", "--config", settings, "--again")
    same(folder / "run", tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3 if SOAK else 1))
def test_kills_at_random_moments_lose_nothing_and_double_nothing(made, tmp_path, seed):
    folder, settings, _ = made
    given = (folder / "tape", "--config", settings)
    rows = rows_written(folder / "run")
    kill_again_and_again(tmp_path / "run", *given, kills=10 if SOAK else 3, seed=seed, rows=rows, name="replay")
    run("replay", *given, "--out", tmp_path / "run")
    same(folder / "run", tmp_path / "run")


@pytest.mark.slow
def test_klines_and_funding_rates_replay_as_they_backtest(market_data, tmp_path):
    folder = market_data / "klines_1m_futures_2025-05"
    files = [folder / f"BTC_USDT_USDT-{kind}.feather" for kind in ("1m-futures", "8h-funding_rate")]
    record(files, tmp_path / "tape", 5_000, "binance")
    run("backtest", *files, "--exchange", "binance", "--out", tmp_path / "tested")
    run("replay", tmp_path / "tape", "--out", tmp_path / "replayed")
    assert report(tmp_path / "replayed")["signals"] > 0
    same(tmp_path / "tested", tmp_path / "replayed")


def test_the_command_is_told_by_its_help():
    done = command("replay", "--help")
    assert done.returncode == 0
    assert "TAPE" in done.stdout
