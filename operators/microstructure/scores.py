"""The score columns of `micro.{timeframe}`: what resting orders and derivatives say of the direction."""

from __future__ import annotations

from typing import NamedTuple

from events.feeds import BOOKS, CONTEXT, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, RATES, TICKERS, TOPS


class MicroScore(NamedTuple):
    """A direction u in [-1, 1], a column of the rows of `micro.{timeframe}`.

    Attributes:
        name: of the feature in the specification, such as "funding".
        dimension: which dimension it votes in.
        weight: inside the dimension. Source: file 05 section 2.
        column: its column. Where it has no meaning (the instrument has none of its streams, or it is not of this timeframe) its
            status is SILENT.
        freshness: the column of its freshness f in (0, 1], None for a score that is as fresh as its bar.
        streams: it is applicable where the instrument has one of these.
        of: the columns that say what it was made of, for people.
    """

    name: str
    dimension: str
    weight: float
    column: str
    freshness: str | None
    streams: tuple[str, ...]
    of: tuple[str, ...] = ()


def _score(dimension: str, name: str, weight: float, of: str, *streams: str, event: bool = False) -> MicroScore:
    column = f"{dimension}.{name}"
    freshness = f"{column}.freshness" if event else None
    return MicroScore(name, dimension, weight, column, freshness, streams, tuple(of.split()))


MICRO_SCORES: tuple[MicroScore, ...] = (
    _score("order_flow", "ofi", 0.25, "ofi_n", BOOKS),
    _score("order_flow", "oi_quadrant", 0.10, "oi_base oi_change", OPEN_INTEREST),
    _score("liquidity", "book_imbalance", 0.35, "imb_band", BOOKS),
    _score("liquidity", "mlofi", 0.20, "mlofi_n", BOOKS),
    _score("liquidity", "imbalance_5", 0.15, "imb_5", BOOKS),
    _score("liquidity", "microprice", 0.15, "micro_dev", BOOKS, TOPS),
    _score("sentiment", "funding", 0.30, "funding_rate funding_z", RATES, event=True),
    _score("sentiment", "liquidations", 0.25, "liq_imb_30m liq_intensity_z", LIQUIDATIONS),
    _score("sentiment", "long_short", 0.20, "long_frac long_short_z", LONG_SHORT, event=True),
    _score("sentiment", "basis", 0.15, "basis basis_z", TICKERS, RATES),
    _score("sentiment", "fear_greed", 0.10, "fear_greed", CONTEXT, event=True),
)
"""All score columns, in registry order: sums run in this order."""
