# SPDX-License-Identifier: GPL-2.0-only
"""Save a document half a second after its last change, and note its size at a fixed rate."""

import threading

import pykworker as kw

document: list[str] = []
saved: list[int] = []
sizes: list[int] = []
enough = threading.Event()

with kw.Worker("editor") as worker:
    save = kw.DelayedWork(lambda: saved.append(len(document)))

    def type_in(word: str) -> None:
        document.append(word)
        # Each change moves the one pending run: no timer is made, and none piles up.
        worker.mod_delayed(save, 0.5)

    def sample() -> object:
        sizes.append(len(document))
        if len(sizes) == 5:
            enough.set()
            return kw.CANCEL
        return None

    beat = worker.every(0.005, sample)
    for word in ("only", "the", "last", "of", "these", "counts"):
        type_in(word)
    enough.wait()
    save.flush()  # no need to wait for the half second
    print(f"saved {len(saved)} time(s), {saved[-1]} words; {len(sizes)} samples")

    # A change that is taken back is not saved at all.
    type_in("never")
    assert save.cancel()

assert saved[-1] == 6
assert len(sizes) == 5
