# SPDX-License-Identifier: GPL-2.0-only
"""One job over several workers: queue a work on each, flush each, add up the results."""

import contextlib

import pykworker as kw

NODES, LEAVES, ROUNDS = 4, 1000, 25


class Node:
    def __init__(self, worker: kw.Worker, first: int, last: int) -> None:
        self.worker, self.leaves, self.sum = worker, range(first, last), 0
        self.work = kw.Work(self.add_up)

    def add_up(self) -> None:
        self.sum = sum(self.leaves)


with contextlib.ExitStack() as stack:
    share = LEAVES // NODES
    nodes = [
        Node(stack.enter_context(kw.Worker(f"node/{n}")), n * share, (n + 1) * share)
        for n in range(NODES)
    ]
    sums = set()
    for _ in range(ROUNDS):
        for node in nodes:
            node.sum = 0
            node.worker.queue(node.work)
        # In whatever order they end, the flushes together take as long as the slowest.
        for node in nodes:
            node.work.flush()
        sums.add(sum(node.sum for node in nodes))

print(f"{ROUNDS} rounds over {NODES} workers: {sums}")
assert sums == {sum(range(LEAVES))}
