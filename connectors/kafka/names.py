"""Names of topics, and which shard an instrument belongs to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache


@lru_cache(maxsize=65_536)
def shard_of(key: str, shards: int) -> int:
    """The shard of an instrument, which is its partition in every topic; the same on every machine, for good.

    >>> shard_of("binance:BTC/USDT", 8), shard_of("binance:ETH/USDT", 8), shard_of("GLOBAL", 1)
    (6, 3, 0)
    """
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") % shards


@dataclass(frozen=True)
class Topics:
    """The topics of a deployment, by what they are for.

    >>> Topics("tidewax").market, Topics("tidewax").result("bars"), Topics("tidewax").latest("bars")
    ('tidewax.market', 'tidewax.bars', 'tidewax.latest.bars')
    """

    prefix: str

    @property
    def market(self) -> str:
        """What ingest writes: every stream of the market, a partition a shard."""
        return f"{self.prefix}.market"

    @property
    def universe(self) -> str:
        """Who writes which instruments: one compacted partition."""
        return f"{self.prefix}.universe"

    @property
    def cross(self) -> str:
        """What `flows.market` tells each instrument of the others, a partition a shard."""
        return f"{self.prefix}.cross"

    def result(self, kind: str) -> str:
        """Results of a kind, a partition a shard."""
        return f"{self.prefix}.{kind}"

    def latest(self, kind: str) -> str:
        """The newest result of a kind of each instrument: compacted, a partition a shard."""
        return f"{self.prefix}.latest.{kind}"
