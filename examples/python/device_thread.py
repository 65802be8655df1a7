# SPDX-License-Identifier: GPL-2.0-only
"""One thread owns a connection: SQLite's, which refuses every thread but the one that made it."""

import sqlite3
import threading

import pykworker as kw

rows: list[int] = []
connection: sqlite3.Connection

with kw.Worker("database") as worker:

    @worker.work
    def connect() -> None:
        global connection
        connection = sqlite3.connect(":memory:")
        connection.execute("create table reading (value integer)")

    def insert(value: int) -> None:
        connection.execute("insert into reading values (?)", (value,))

    @worker.work
    def summarise() -> None:
        """However many ask while it is pending: it is done once."""
        rows.append(connection.execute("select count(*) from reading").fetchone()[0])

    def produce(first: int) -> None:
        for value in range(first, first + 100):
            worker.queue(kw.Work(insert, value))
            summarise.queue()

    connect.queue()
    threads = [threading.Thread(target=produce, args=(n * 100,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A pending work keeps its place, which may be ahead of some inserts: let those be done.
    worker.flush()
    summarise.queue()
    summarise.flush()
    asked = 401
    print(f"{rows[-1]} rows; asked {asked} times, summarised {len(rows)} times")
    worker.queue(kw.Work(lambda: connection.close()))

assert rows[-1] == 400
assert len(rows) <= asked
