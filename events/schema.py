"""The one place for the schema version, and the codes that rows carry.

`SCHEMA_VERSION` changes with any change of a row type, a record or a digest. Codes are plain integers, because kernels
compile them in; `*_NAMES` give their words, for people and for sinks.
"""

from __future__ import annotations

from typing import Final

SCHEMA_VERSION: Final = 1

NEVER: Final = -(2**63)
"""Before all time; the null of int64 columns."""

FOREVER: Final = 2**63 - 1
"""After all time: the watermark of a stream of which nothing more comes."""

# Status of a value: it is NaN from COLD on.
SETTLED: Final = 0
CONVERGED: Final = 1
WARMING: Final = 2
COLD: Final = 3
MISSING: Final = 4
SILENT: Final = 5
STATUS_NAMES: Final = ("settled", "converged", "warming", "cold", "missing", "silent")

# Flags of a bar (bits).
SYNTHETIC: Final = 1
PARTIAL: Final = 2
GAP: Final = 4
FOLD_MISSING: Final = 8
FLUSHED: Final = 16
DAY_CUT: Final = 32
FROM_OHLCV: Final = 64
UNVERIFIED: Final = 256
BAR_FLAG_NAMES: Final = {
    SYNTHETIC: "synthetic",
    PARTIAL: "partial",
    GAP: "gap",
    FOLD_MISSING: "fold_missing",
    FLUSHED: "flushed",
    DAY_CUT: "day_cut",
    FROM_OHLCV: "from_ohlcv",
    UNVERIFIED: "unverified",
}

# Flags of an input row (bits).
MALFORMED: Final = 1

# Kinds of book rows.
BOOK_DELTA: Final = 0
BOOK_SNAPSHOT: Final = 1

# The market regime of all instruments together; a volatile one is that much more.
BROAD_DOWN: Final = -1
MIXED: Final = 0
BROAD_UP: Final = 1
HIGHLY_VOLATILE: Final = 10
MARKET_REGIME_NAMES: Final = {
    BROAD_DOWN: "BROAD_DOWN",
    MIXED: "MIXED",
    BROAD_UP: "BROAD_UP",
    BROAD_DOWN + HIGHLY_VOLATILE: "BROAD_DOWN_HIGH_VOL",
    MIXED + HIGHLY_VOLATILE: "MIXED_HIGH_VOL",
    BROAD_UP + HIGHLY_VOLATILE: "BROAD_UP_HIGH_VOL",
}
# States of a book.
EMPTY: Final = 0
BUFFERING: Final = 1
SYNCED: Final = 2
STALE: Final = 3
BOOK_STATE_NAMES: Final = ("empty", "buffering", "synced", "stale")

LONG_SHORT_BASES: Final = ("accounts", "positions", "taker")
CONTEXT_NAMES: Final = ("fear_greed", "btc_dominance", "custom")

# Kinds of control rows.
VOID: Final = 1
HOLE: Final = 2
COVERAGE: Final = 3
BEACON: Final = 4
END: Final = 5
LEAVE: Final = 6

# Reason of a void, if it has one: the stream is not there because the instrument is not in the universe.
ABSENT: Final = 1

# Reasons of a gap.
ID_HOLE: Final = 1
RECONNECT: Final = 2
BOOK_SEQUENCE: Final = 3
NO_TRADES: Final = 4
GAP_REASON_NAMES: Final = {
    ID_HOLE: "id_hole",
    RECONNECT: "reconnect",
    BOOK_SEQUENCE: "book_seq",
    NO_TRADES: "no_trades",
}
