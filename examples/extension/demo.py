# SPDX-License-Identifier: GPL-2.0-only
"""Works in C and works in Python take turns on one thread."""

import accumulate

import pykworker as kw

with kw.Worker("sums") as worker:
    sums = accumulate.Accumulator(worker)
    seen = []
    for n in range(1000):
        sums.add(n)
        worker.queue(kw.Work(seen.append, n))
    refused = sums.add_from_threads(4, 10_000)
    sums.flush()
    print(f"total {sums.total} in {sums.runs} runs, {refused} refused")
    assert sums.total == 999 * 1000 // 2 + 40_000
    worker.flush()
    assert seen == list(range(1000))

    try:
        import cycount
    except ImportError:
        print("cycount was not built: there is no Cython")
    else:
        counter = cycount.Counter(worker)
        counter.count()
        counter.then(kw.Work(lambda: print(f"counted {counter.n}")))
        worker.flush()
