import asyncio

from runner.cluster.database import Database
from runner.cluster.listener import Listener
from tests.support.postgres import postgres


async def test_a_lost_connection_is_told_before_there_is_another():
    told = asyncio.Queue()
    with postgres() as server:
        listener = Listener(Database(server.make_database("heard")), ["channel"])
        listener.on_gap(lambda: told.put_nowait("gap"))
        task = asyncio.create_task(listener.run())
        async with asyncio.timeout(60):
            await told.get()
            await asyncio.to_thread(server.stop, "immediate")
            await told.get()  # nobody starts it again
        task.cancel()
        await asyncio.wait([task])
