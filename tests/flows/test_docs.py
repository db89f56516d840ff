"""Every example of the README and the documentation runs, in the order of its page, in a folder of its own.

`tidewax` lines of console blocks are run as they stand; Python blocks too. A block behind `<!-- file: NAME -->` is written to
that file first; one behind `<!-- shown -->` must have all its other lines in what its commands print; one behind
`<!-- not run: WHY -->` is not run. Data files that a page names and does not make are generated here.
"""

from __future__ import annotations

import glob
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
from commands import ROOT, environment

from connectors.simulator import Market, write_trades
from events.times import DAY_NS

pytestmark = pytest.mark.slow

BLOCK = re.compile(r"^(?:<!-- (?P<mark>[^\n]*?) -->\n)?```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.M | re.S)
PAGES = [p for p in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if BLOCK.search(p.read_text("utf-8"))]
OTHER_TOOLS = ("make", "pip", "git", "python", "TIDEWAX_CONFIG")


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """The files that pages take for granted: three days of a generated market in several formats."""
    folder = tmp_path_factory.mktemp("market")
    write_trades(folder / "trades.parquet", (Market("synthetic:BTC/USDT", seed=1),), 19_675 * DAY_NS, 3.0)
    table = pl.read_parquet(folder / "trades.parquet")
    plain = table.drop("instrument").with_columns(pl.col("side").cast(pl.String))
    plain.write_csv(folder / "trades.csv")
    subprocess.run(["gzip", "-k", str(folder / "trades.csv")], check=True)
    plain.write_csv(folder / "trades_BTCUSDT.csv")
    dump = plain.select(
        pl.int_range(pl.len()).alias("id"),
        "price",
        "qty",
        (pl.col("price") * pl.col("qty")).alias("quote_qty"),
        (pl.col("ts_event") // 1_000_000).alias("time"),
        (pl.col("side") == "sell").alias("is_buyer_maker"),
    )
    with zipfile.ZipFile(folder / "BTCUSDT-trades-2024-10-18.zip", "w") as archive:
        archive.writestr("BTCUSDT-trades-2024-10-18.csv", dump.write_csv())
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_of_a_page_run(page, market, tmp_path):
    for file in market.iterdir():
        os.symlink(file, tmp_path / file.name)
    if (ROOT / "examples").is_dir():
        shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for block in BLOCK.finditer(page.read_text("utf-8")):
        mark, kind, body = block["mark"] or "", block["kind"], block["body"]
        if mark.startswith("file: "):
            (tmp_path / mark.removeprefix("file: ")).write_text(body, "utf-8")
        if mark.startswith("not run"):
            continue
        if kind == "python":
            printed = _run([sys.executable, "-c", body], tmp_path)
        elif kind == "console":
            printed, said = _console(body, tmp_path)
            missing = [line for line in said if _flat(line) not in _flat(printed)]
            assert not (mark == "shown" and missing), f"{page.name} shows what is not printed: {missing}\n{printed}"


def _console(body: str, folder: Path) -> tuple[str, list[str]]:
    """(what its commands print, the lines that are no commands)."""
    printed, said = "", []
    for line in body.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True) if not line.startswith(" ") else []
        if words[:1] == ["tidewax"]:
            printed += _run([sys.executable, "-m", "flows", *_arguments(words[1:], folder)], folder)
        elif not words or words[0] not in OTHER_TOOLS:
            said.append(line)
    return printed, said


def _arguments(words: list[str], folder: Path) -> list[str]:
    """Placeholders and patterns filled in."""
    found: list[str] = []
    for word in words:
        if word == "SIGNAL_ID":
            ids = pl.read_parquet(folder / found[-1] / "signals.parquet")["json"].to_list()
            found.append(json.loads(ids[0])["signal_id"])
        elif "*" in word:
            found += sorted(os.path.relpath(path, folder) for path in glob.glob(str(folder / word)))
        else:
            found.append(word)
    return found


def _run(line: list[str], folder: Path) -> str:
    env = environment(COLUMNS="120")
    done = subprocess.run(line, check=False, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{shlex.join(line)}\n{done.stdout}{done.stderr}"
    return done.stdout


def _flat(text: str) -> str:
    return " ".join(text.split())
