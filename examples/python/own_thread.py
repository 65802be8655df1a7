# SPDX-License-Identifier: GPL-2.0-only
"""A thread function of one's own: set up on the thread, serve the worker, take down."""

import threading

import pykworker as kw

context = threading.local()  # of one thread alone, like a GL context
ready = threading.Event()
seen: list[object] = []

worker = kw.Worker("device", start=False)
work = kw.Work(lambda: seen.append(context.value))
worker.queue(work)  # kept until there is a thread


def device_thread() -> None:
    context.value = "set up here"
    ready.set()
    worker.run()  # until the worker is stopped or destroyed
    del context.value


thread = threading.Thread(target=device_thread, name="device")
thread.start()
assert ready.wait(10)
for _ in range(10):
    work.flush()
    worker.queue(work)
worker.flush()
worker.destroy()
thread.join(10)

print(f"{len(seen)} runs, all with what the thread had set up: {set(seen)}")
assert not thread.is_alive()
assert seen == ["set up here"] * 11
