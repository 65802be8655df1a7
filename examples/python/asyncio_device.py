# SPDX-License-Identifier: GPL-2.0-only
"""From asyncio: a connection that only one thread may touch, and works on the loop's own thread."""

import asyncio
import sqlite3
import threading

import pykworker as kw


async def on_a_thread_of_its_own() -> None:
    """SQLite refuses every thread but the one that made the connection."""
    summaries: list[int] = []
    async with kw.Worker("database") as worker:
        connection = await worker.call(sqlite3.connect, ":memory:")
        await worker.call(connection.execute, "create table reading (value integer)")

        @worker.work
        def summarise() -> None:
            cursor = connection.execute("select count(*) from reading")
            summaries.append(cursor.fetchone()[0])

        def insert(value: int) -> None:
            connection.execute("insert into reading values (?)", (value,))

        async def store(value: int) -> None:
            await worker.call(insert, value)
            summarise.queue()  # however many ask while it is pending: it is done once

        await asyncio.gather(*(store(value) for value in range(100)))
        await summarise.flushed()  # that one, not what others have queued behind it
        await worker.call(connection.close)
    # Its thread has ended, and the loop went on meanwhile.
    assert summaries[-1] == 100
    print(f"{summaries[-1]} rows; asked 100 times, summarised {len(summaries)} times")


async def on_the_loops_thread() -> None:
    """Any thread may queue; what runs, runs between two turns of the loop, and needs no lock."""
    loop = asyncio.get_running_loop()
    finished = asyncio.Event()
    threads = []
    worker = kw.Worker("loop", start=False)
    loop.add_reader(worker.fileno(), worker.run_pending)

    def produce() -> None:
        worker.queue(kw.Work(lambda: threads.append(threading.get_ident())))
        worker.queue_delayed(kw.DelayedWork(finished.set), 0.01)  # asyncio's: not for other threads

    await asyncio.to_thread(produce)
    await finished.wait()
    loop.remove_reader(worker.fileno())
    worker.destroy()
    assert threads == [threading.get_ident()]
    print("queued by another thread, run by the loop's")


async def main() -> None:
    await on_a_thread_of_its_own()
    await on_the_loops_thread()


print("with asyncio's loop")
asyncio.run(main())
try:
    import uvloop
except ModuleNotFoundError:
    print("uvloop is not installed")
else:
    print("with uvloop's")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
