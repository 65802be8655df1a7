# SPDX-License-Identifier: GPL-2.0-only
"""Races, each test named for its own.

PYKWORKER_STRESS_ROUNDS sets the length (default 300), PYKWORKER_STRESS_SEED the seed, which is
printed.
"""

from __future__ import annotations

import gc
import os
import random
import threading
import weakref

import pytest
from helpers import LIMIT, Background, wait_until

pytestmark = pytest.mark.timeout(0 if "PYKWORKER_STRESS_ROUNDS" in os.environ else 120)

ROUNDS = int(os.environ.get("PYKWORKER_STRESS_ROUNDS", "300"))


@pytest.fixture
def rng():
    seed = int(os.environ.get("PYKWORKER_STRESS_SEED", random.randrange(2**32)))
    print(f"PYKWORKER_STRESS_SEED={seed}")
    return random.Random(seed)


def spin(rng):
    """A short and random while, without a sleep."""
    for _ in range(rng.randrange(60)):
        pass


def test_queue_in_the_last_instant_of_a_callback(kw, worker, rng):
    """Every queueing that said True is followed by a run, however late in a run it comes."""
    runs = 0
    leaving = threading.Event()

    def body():
        nonlocal runs
        runs += 1
        leaving.set()

    work = kw.Work(body)
    queued = 0
    for _ in range(ROUNDS):
        leaving.clear()
        queued += worker.queue(work)
        assert leaving.wait(LIMIT)
        spin(rng)
        queued += worker.queue(work)
        work.flush(LIMIT)
        assert runs == queued


def test_eight_producers_one_worker_none_lost_none_twice(kw, worker):
    ran = []
    start = threading.Barrier(8)

    def produce(producer):
        start.wait(LIMIT)
        for number in range(ROUNDS):
            assert worker.queue(kw.Work(ran.append, (producer, number)))

    for caller in [Background(produce, producer) for producer in range(8)]:
        caller.result()
    worker.flush(LIMIT)
    assert len(ran) == 8 * ROUNDS
    for producer in range(8):
        assert [number for who, number in ran if who == producer] == list(range(ROUNDS))


def test_eight_producers_one_work_runs_as_often_as_it_was_queued(kw, worker):
    runs = []
    work = kw.Work(runs.append, 1)
    start = threading.Barrier(8)

    def produce():
        start.wait(LIMIT)
        return sum(worker.queue(work) for _ in range(ROUNDS))

    callers = [Background(produce) for _ in range(8)]
    queued = sum(caller.result() for caller in callers)
    work.flush(LIMIT)
    assert len(runs) == queued
    assert worker.stats()["queued"] == worker.stats()["executed"] == queued
    assert worker.stats()["coalesced"] == 8 * ROUNDS - queued


def test_requeue_while_executing_then_flush(kw, worker, rng):
    """A flush after a queueing sees a run that began after that queueing."""
    box = [0]
    seen = []
    work = kw.Work(lambda: seen.append(box[0]))
    for number in range(1, 2 * ROUNDS):
        worker.queue(work)
        spin(rng)
        box[0] = number
        worker.queue(work)
        work.flush(LIMIT)
        assert seen[-1] == number


def test_requeue_from_many_threads_then_flush(kw, worker, rng):
    boxes = [0] * 4
    seen = [0] * 4

    def body():
        seen[:] = boxes

    work = kw.Work(body)

    def use(mine, rng):
        for number in range(1, ROUNDS):
            boxes[mine] = number
            worker.queue(work)
            spin(rng)
            work.flush(LIMIT)
            assert seen[mine] >= number

    seeds = [random.Random(rng.random()) for _ in range(4)]
    for caller in [Background(use, mine, seeds[mine]) for mine in range(4)]:
        caller.result()


def test_stop_and_freeze_under_load(kw, rng):
    """None lost, none twice, order kept, while threads come and go and the worker rests."""
    worker = kw.Worker()
    ran = []
    over = threading.Event()

    def produce(producer):
        number = 0
        while not over.is_set():
            work = kw.Work(ran.append, (producer, number))
            assert worker.queue(work)
            number += 1
            if number % 20 == 0:
                work.flush(LIMIT)
        return number

    producers = [Background(produce, producer) for producer in range(3)]
    for _ in range(max(ROUNDS // 6, 1)):
        if rng.random() < 0.5:
            worker.freeze(LIMIT)
            spin(rng)
            worker.thaw()
        else:
            worker.stop(LIMIT)
            assert not worker.is_alive()
            worker.start()
        spin(rng)
    over.set()
    counts = [producer.result() for producer in producers]
    worker.destroy(LIMIT)
    assert len(ran) == sum(counts)
    for producer, count in enumerate(counts):
        assert [number for who, number in ran if who == producer] == list(range(count))


def test_flush_then_drop_the_work_at_once(kw, worker, rng):
    for _ in range(ROUNDS):
        work = kw.Work(int)
        ref = weakref.ref(work)
        worker.queue(work)
        spin(rng)
        if rng.random() < 0.3:
            worker.queue(work)
        work.flush(LIMIT)
        del work
        if ref() is not None:  # without reference counts it takes a collection
            gc.collect()
        assert ref() is None


def test_destroy_against_queue_and_flush(kw):
    """What was queued with True has run when destroy returns; the others were told."""
    for _ in range(max(ROUNDS // 10, 1)):
        worker = kw.Worker()
        ran = []

        def produce(worker=worker, ran=ran):
            queued = 0
            try:
                while True:
                    work = kw.Work(ran.append, 1)
                    queued += worker.queue(work)
                    if queued % 5 == 0:
                        work.flush(LIMIT)
            except RuntimeError:
                return queued

        producers = [Background(produce) for _ in range(2)]
        wait_until(lambda ran=ran: len(ran) > 3)
        worker.destroy(LIMIT)
        assert len(ran) == sum(producer.result() for producer in producers)


def test_one_work_claimed_by_many_workers_at_once(kw):
    """It runs on one of them at a time, and every queueing is a run, a no, or an error."""
    broken = []
    workers = [kw.Worker(on_error=lambda *error: broken.append(error)) for _ in range(3)]
    inside = threading.Lock()
    runs = []

    def body():
        assert inside.acquire(blocking=False), "it executes twice at once"
        runs.append(1)
        inside.release()

    errors = []
    work = kw.Work(body)

    def use(worker):
        queued = 0
        for _ in range(ROUNDS):
            try:
                queued += worker.queue(work)
            except RuntimeError as error:
                errors.append(str(error))
            work.flush(LIMIT)
        return queued

    callers = [Background(use, worker) for worker in workers]
    queued = sum(caller.result() for caller in callers)
    for worker in workers:
        worker.destroy(LIMIT)
    assert broken == []
    assert len(runs) == queued
    assert set(errors) <= {"work is pending or executing on another worker"}


def test_flushes_across_workers_that_make_no_circle(kw, rng):
    """A callback may wait for works that ran before it on another worker: never an error."""
    first, second = kw.Worker(), kw.Worker()
    errors = []

    def flush(work):
        try:
            work.flush(LIMIT)
        except BaseException as error:
            errors.append(error)

    for _ in range(ROUNDS):
        x, w = kw.Work(int), kw.Work(int)
        first.queue_many([x, kw.Work(flush, w)])
        second.queue_many([kw.Work(flush, x), w])
        if rng.random() < 0.5:
            first.flush(LIMIT)
    first.destroy(LIMIT)
    second.destroy(LIMIT)
    assert errors == []
