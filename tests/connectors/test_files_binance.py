"""Official Binance dumps and recorded Binance messages, made here."""

import json
import zipfile

import pytest

from connectors.files import open_inputs, read_trades

HOUR_MS = 1_750_507_200_000


def only(trades):
    assert len(trades) == 1
    return next(iter(trades.items()))


OFFICIAL = {
    "trades": ("7,1.5,2.0,3.0,1750507200001,True", "id,price,qty,quote_qty,time,is_buyer_maker"),
    "trades of old": ("7,1.5,2.0,3.0,1750507200001,True,True", "Id,Price,Qty,QuoteQty,Time,IsBuyerMaker,IsBestMatch"),
    "trades in us": ("7,1.5,2.0,3.0,1750507200001000,true,true", "id,price,qty,quoteQty,time,isBuyerMaker,isBestMatch"),
    "aggTrades": (
        "7,1.5,2.0,3,4,1750507200001,true",
        "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
    ),
    "aggTrades of old": (
        "7,1.5,2.0,3,4,1750507200001,True,True",
        "aggTradeId,price,quantity,firstTradeId,lastTradeId,transactTime,isBuyerMaker,isBestMatch",
    ),
}


@pytest.mark.parametrize("kind", OFFICIAL)
@pytest.mark.parametrize("header", [True, False])
def test_official_dumps(tmp_path, kind, header):
    row, names = OFFICIAL[kind]
    name = kind.split()[0]
    path = tmp_path / f"BTCUSDT-{name}-2025-06-21.csv"
    path.write_text(f"{names}\n{row}\n" if header else f"{row}\n")
    assert open_inputs([path]).describe()[0]["layout"] == f"binance-{name.lower()}"
    name, rows = only(read_trades([path]))
    assert name == "binance:BTC/USDT"
    assert rows[0].item() == (1_750_507_200_001_000_000, 1_750_507_200_001_000_000, 7, 7, 1.5, 2.0, -1, 0)


def test_official_dump_of_futures(tmp_path):
    folder = tmp_path / "futures" / "um" / "daily"
    folder.mkdir(parents=True)
    path = folder / "BTCUSDT-trades-2025-06-21.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("BTCUSDT-trades-2025-06-21.csv", OFFICIAL["trades"][0])
    assert open_inputs([path]).instruments == ("binance:BTC/USDT:USDT",)
    assert open_inputs([path], instrument="binance:BTC/USDT").instruments == ("binance:BTC/USDT",)


def event(i, symbol="BTCUSDT", kind="trade", **more):
    key = "t" if kind == "trade" else "a"
    return {"e": kind, "E": HOUR_MS, "s": symbol, key: i, "p": "1.50", "q": "2.00", "T": HOUR_MS + i, "m": False} | more


def test_plain_stream_lines(tmp_path):
    path = tmp_path / "t.jsonl"
    lines = [
        {"result": None, "id": 1},
        {"e": "depthUpdate", "s": "BTCUSDT", "b": [["1", "2"]], "a": []},
        event(1, M=True),
        {"stream": "btcusdt@trade", "data": event(2, M=True)},
        event(3, X="MARKET"),
        event(4, X="NA", p="0", q="0"),
        event(5, X="INSURANCE_FUND"),
        event(6, kind="aggTrade", M=True),
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_trades([path])
    assert {name: rows["trade_id"].tolist() for name, rows in found.items()} == {
        "binance:BTC/USDT": [1, 2],
        "binance:BTC/USDT:USDT": [3],
    }
    assert found["binance:BTC/USDT"][0].item() == (
        (HOUR_MS + 1) * 1_000_000,
        (HOUR_MS + 1) * 1_000_000,
        *(1, 1, 1.5, 2.0, 1, 0),
    )


def test_stream_of_aggregates_alone(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(event(6, kind="aggTrade", M=True)) + "\n")
    inputs = open_inputs([path])
    assert inputs.instruments == ("binance:BTC/USDT",)
    assert not inputs.sequenced("binance:BTC/USDT")


def test_stream_in_microseconds(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text("17 " + json.dumps(event(6, M=True, T=HOUR_MS * 1_000 + 3)) + "\n")
    with pytest.raises(Exception, match="recv"):
        read_trades([path])
    path.write_text(f"{HOUR_MS}000005 " + json.dumps(event(6, M=True, T=HOUR_MS * 1_000 + 3)) + "\n")
    _, rows = only(read_trades([path]))
    assert rows[0].item()[:2] == (HOUR_MS * 1_000_000 + 3_000, HOUR_MS * 1_000_000 + 5)
