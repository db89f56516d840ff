"""The exchange source under the engine itself, ended by a crash and resumed from its store."""

from datetime import timedelta

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource
from bytewax.recovery import RecoveryConfig
from bytewax.testing import TestingSink, run_main
from exchange_bench import QUICK
from stand_in import Binance

from connectors.exchange import ExchangeSource, Options
from connectors.recovery import forget_what_was_not_reached, make_store


class Crash(Exception):
    pass


class Until(FixedPartitionedSource):
    """The source, until so many rows have come, then a crash."""

    def __init__(self, inner, rows):
        self.inner, self.rows = inner, rows

    def list_parts(self):
        return self.inner.list_parts()

    def build_part(self, step_id, for_part, resume_state):
        part = self.inner.build_part(step_id, for_part, resume_state)
        take, taken = part.next_batch, 0

        def counted():
            nonlocal taken
            if taken >= self.rows:
                part.close()
                raise Crash
            batch = take()
            taken += sum(len(frame.rows) for _, frame in batch)
            return batch

        part.next_batch = counted
        return part


@pytest.mark.slow
def test_the_engine_resumes_from_what_was_stored(tmp_path):
    store = tmp_path / "store"
    make_store(store)
    with Binance() as server:
        server.symbols = ("BTC/USDT",)
        server.make("BTC/USDT", 20)
        out = []
        for count in (400, 600, 500):
            source = ExchangeSource({"binance": ["BTC/USDT"]}, Options(**QUICK), {"binance": server.address})
            flow = Dataflow("live")
            op.output("out", op.input("exchange", flow, Until(source, count)), TestingSink(out))
            forget_what_was_not_reached(store)
            if out:
                server.make("BTC/USDT", 300)  # while nobody listens
            else:
                start_when_covered(server)
            with pytest.raises(Exception):  # noqa: B017
                run_main(
                    flow, epoch_interval=timedelta(milliseconds=20), recovery_config=RecoveryConfig(str(store), None)
                )
        ids = [trade_id for _, frame in out for trade_id in frame.rows["trade_id"].tolist()]
        assert sorted(set(ids)) == list(
            range(ids[0], max(ids) + 1)
        )  # nothing lost; what came twice was after a snapshot
        assert len(ids) - len(set(ids)) <= 2 * 600


def start_when_covered(server):
    """Trade for as long as the server runs."""
    import asyncio

    async def trade():
        while True:
            await server.trade("BTC/USDT", 3)
            await asyncio.sleep(0.005)

    asyncio.run_coroutine_threadsafe(trade(), server.loop)
