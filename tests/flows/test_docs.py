"""Every example of the README and the documentation runs, in the order of its page, in a folder of its own.

Lines of console blocks that begin with `tidewax` (or the engine's runner) are run as they stand, and so are
Python blocks. A comment above a block says more:

    <!-- file: NAME -->       the block is written to this file
    <!-- shown -->            all lines that are no commands must be in what its commands print, or, if it has none, those of
                              the block before; `...` stands for other lines
    <!-- fails -->            the same, and its last command must end with exit code 1
    <!-- not run: WHY -->     it is not run

Data files that a page names and does not make are generated here.
"""

from __future__ import annotations

import glob
import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest
from commands import ROOT, called, environment

from connectors.simulator import Market, write_trades
from events.times import DAY_NS

BLOCK = re.compile(r"^(?:<!-- (?P<mark>[^\n]*?) -->\n)?```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.M | re.S)
PAGES = [p for p in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if BLOCK.search(p.read_text("utf-8"))]
LINK = re.compile(r"\]\((?!https?://)([^)#\s]+)(?:#([^)\s]+))?\)")
KINDS = ("console", "python", "yaml", "csv", "text", "mermaid", "json")
OTHER_TOOLS = (".", "cd", "git", "kill", "make", "pip", "python3.11")
COMMAND = [sys.executable, "-m", "flows"]
START_NS = 19_675 * DAY_NS
PERPETUAL = "binance:BTC/USDT:USDT"


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """The files that pages take for granted: two days of a generated market in several formats."""
    folder = tmp_path_factory.mktemp("market")
    write_trades(folder / "trades.parquet", (Market("synthetic:BTC/USDT", seed=1),), START_NS, 2.0)
    table = pl.read_parquet(folder / "trades.parquet")
    plain = table.drop("instrument").with_columns(pl.col("side").cast(pl.String))
    plain.write_csv(folder / "trades.csv")
    (folder / "trades.csv.gz").write_bytes(gzip.compress((folder / "trades.csv").read_bytes(), 1))
    plain.write_csv(folder / "trades_BTCUSDT.csv")
    plain.with_columns(price=pl.when(pl.int_range(pl.len()) == 100).then(None).otherwise("price")).write_csv(
        folder / "trades_with_a_bad_row.csv"
    )
    _own_files(plain, folder)
    dump = plain.select(
        pl.int_range(pl.len()).alias("id"),
        "price",
        "qty",
        (pl.col("price") * pl.col("qty")).alias("quote_qty"),
        (pl.col("ts_event") // 1_000_000).alias("time"),
        (pl.col("side") == "sell").alias("is_buyer_maker"),
    )
    with zipfile.ZipFile(folder / "BTCUSDT-trades-2024-10-18.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("BTCUSDT-trades-2024-10-18.csv", dump.write_csv())
    return folder


def _own_files(plain: pl.DataFrame, folder: Path) -> None:
    """Files as people have them: odd names of columns, semicolons, local times; klines and funding as freqtrade keeps them."""
    at = pl.from_epoch("ts_event", time_unit="ns").dt.replace_time_zone("UTC")
    told = at.dt.convert_time_zone("Europe/Berlin").dt.strftime("%Y-%m-%d %H:%M:%S%.3f%:z")
    mine = plain.select(told.alias("Zeit"), pl.col("price").alias("Kurs"), pl.col("qty").alias("Menge"))
    (folder / "my-trades.csv").write_text("\ufeff" + mine.write_csv(separator=";"), "utf-8")
    (folder / "newest-first.csv").write_text(plain.reverse().write_csv(), "utf-8")
    minutes = plain.group_by_dynamic(at.dt.cast_time_unit("ms").alias("date"), every="1m").agg(
        open=pl.first("price"), high=pl.max("price"), low=pl.min("price"), close=pl.last("price"), volume=pl.sum("qty")
    )
    minutes.with_columns(pl.col("date").dt.strftime("%Y-%m-%d %H:%M")).rename({"volume": "Volume BTC"}).write_csv(
        folder / "my-bars.csv"
    )
    minutes.write_ipc(folder / "BTC_USDT_USDT-1m-futures.feather")
    rates = minutes.gather_every(480).with_columns(
        [pl.lit(1e-4).alias("open")] + [pl.lit(0.0).alias(name) for name in ("high", "low", "close", "volume")]
    )
    rates.write_ipc(folder / "BTC_USDT_USDT-8h-funding_rate.feather")
    klines = minutes.select(
        pl.col("date").dt.epoch("ms"),
        *("open", "high", "low", "close", "volume"),
        (pl.col("date").dt.epoch("ms") + 59_999).alias("close_time"),
        (pl.col("close") * pl.col("volume")).alias("quote_volume"),
        pl.lit(1).alias("count"),
        (pl.col("volume") / 2).alias("buy"),
        (pl.col("close") * pl.col("volume") / 2).alias("buy_quote"),
        pl.lit(0).alias("ignore"),
    )
    with zipfile.ZipFile(folder / "BTCUSDT-1m-2023-11.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("BTCUSDT-1m-2023-11.csv", klines.write_csv(include_header=False))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_of_a_page_run(page, market, tmp_path):
    for file in market.iterdir():
        os.symlink(file, tmp_path / file.name)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    printed = ""
    for block in BLOCK.finditer(page.read_text("utf-8")):
        mark, kind, body = block["mark"] or "", block["kind"], block["body"]
        if mark.startswith("file: "):
            path = tmp_path / mark.removeprefix("file: ")
            path.parent.mkdir(exist_ok=True)
            path.write_text(body, "utf-8")
        elif mark.startswith("not run: "):
            continue
        elif kind == "python":
            _run([sys.executable, "-c", body], tmp_path)
        elif kind == "console":
            said, new = _console(body, tmp_path, fails=mark == "fails")
            printed = printed if new is None else new
            assert said or not mark, f"{page.name} has a block marked {mark} that shows nothing"
            missing = [line for line in said if _flat(line) not in _flat(printed)]
            assert not (mark and missing), f"{page.name} shows what is not printed: {missing}\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_written_as_the_harness_reads_it(page):
    text = page.read_text("utf-8")
    blocks = list(BLOCK.finditer(text))
    assert text.count("```") == 2 * len(blocks), "a block that is not seen"
    for block in blocks:
        assert block["kind"] in ("", *KINDS)
        mark = block["mark"] or ""
        assert mark in ("", "shown", "fails") or mark.startswith(("file: ", "not run: ")), mark
    for target, _ in LINK.findall(text):
        assert (page.parent / target).exists(), f"{page.name} points at {target}, which there is not"


def test_every_page_can_be_reached_from_the_readme():
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page not in seen:
            seen.add(page)
            todo += [
                (page.parent / target).resolve()
                for target, _ in LINK.findall(page.read_text("utf-8"))
                if target.endswith(".md")
            ]
    assert {page.resolve() for page in (ROOT / "docs").rglob("*.md")} <= seen


def _console(body: str, folder: Path, fails: bool) -> tuple[list[str], str | None]:
    """(the lines that are no commands, what its commands print, None if it has none)."""
    commands: list[tuple[list[str], dict[str, str]]] = []
    said: list[str] = []
    for line in body.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line.removeprefix("$ "), comments=True) if line[:1].strip() else []
        except ValueError:  # a quotation mark of a sentence
            words = []
        extra = {}
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            name, _, extra[name] = words.pop(0).partition("=")
        if words[:1] == ["tidewax"]:
            commands.append(([*COMMAND, *words[1:]], extra))
        elif words[:3] == ["python", "-m", "bytewax.run"]:
            commands.append(([sys.executable, *words[1:]], extra))
        elif (words[:1] and words[0] not in OTHER_TOOLS and _flat(line) != "...") or line[:1] == " ":
            said.append(line)
    printed = ""
    for i, (words, extra) in enumerate(commands):
        code = int(fails and i == len(commands) - 1)
        printed += _run(_arguments(words, folder), folder, code, **extra)
    return said, printed if commands else None


def _arguments(words: list[str], folder: Path) -> list[str]:
    """Placeholders and patterns filled in."""
    found: list[str] = []
    for word in words:
        if word == "SIGNAL_ID":
            ids = pl.read_parquet(folder / found[-1] / "signals.parquet")["json"].to_list()
            found.append(json.loads(ids[0])["signal_id"])
        elif "*" in word:
            found += sorted(glob.glob(word, root_dir=folder))
        else:
            found.append(word)
    return found


def _run(line: list[str], folder: Path, code: int = 0, **extra: str) -> str:
    extra = {"COLUMNS": "120", **extra}
    if line[:3] == COMMAND:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            done = called(*line[3:], **extra)
    else:
        env = environment(**extra)
        done = subprocess.run(line, check=False, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, f"{shlex.join(line)}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr * code


def _flat(text: str) -> str:
    """In single spaces; any id is as good as another, since a new setting changes them all."""
    return " ".join(re.sub(r"\b[0-9a-f]{16}\b", "ID", text).split())
