# SPDX-License-Identifier: GPL-2.0-only
"""The core's headers as the model checker takes them: only the types of members differ.

A plain member of a struct of the core becomes KTHREAD_PLAIN(type), so that each access to
it is under race detection; a counter, and a guess at a processor, becomes KTHREAD_QUIET.
The .c files need no change: a header that is included first keeps its guard.
"""

from __future__ import annotations

import re
from pathlib import Path

# A unit of its own, and what the shim stands for.
OTHERS = {"kthread.c", "kthread_attr.c", "park.c"}

HEADERS = ["kthread.h", "kthread_worker.h", "kthread_internal.h"]

# They steer how long to poll and what is counted, never what is correct.
QUIET = {"waker_cpu", "cpu", "poll_max_ns", "flush_poll_ns", "noted", "recent"}

# Their addresses are kept in pointers of the plain type; each is used under a lock.
RAW = {"waiters", "registry_next", "registry_prev"}

STRUCTS = {
    "kthread",
    "kthread_delayed_work",
    "kthread_work",
    "kthread_work_list",
    "kthread_worker",
}

STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^\};", re.MULTILINE | re.DOTALL)
ATOMIC = re.compile(r"^\t(?:KTHREAD_ATOMIC|_Atomic)\(([^;]*)\) (\w+)((?:\[\w+\])?);", re.MULTILINE)
FUNCTION = re.compile(r"^\t([\w ]+?)\(\*(\w+)\)(\([^;]*\));", re.MULTILINE)
PLAIN = re.compile(
    r"^\t((?:const )?(?:struct \w+ \*+|void \*|char \*|u?int\d*_t |int |bool |pid_t |pthread_t "
    r"|kthread_\w+_t ))(\w+);",
    re.MULTILINE,
)


def members(match: re.Match[str]) -> str:
    name, body = match.groups()
    if name not in STRUCTS:
        return match.group(0)
    body = ATOMIC.sub(
        lambda m: f"\tKTHREAD_QUIET({m[1]}) {m[2]}{m[3]};" if m[2] in QUIET else m[0], body
    )
    body = FUNCTION.sub(lambda m: f"\tKTHREAD_PLAIN({m[1].strip()} (*){m[3]}) {m[2]};", body)
    body = PLAIN.sub(
        lambda m: m[0] if m[2] in RAW else f"\tKTHREAD_PLAIN({m[1].strip()}) {m[2]};", body
    )
    return f"struct {name} {{\n{body}}};"


def converted(text: str) -> str:
    """A header's text with the types of the checker."""
    text = re.sub(
        r"#ifdef __cplusplus\n#include <atomic>.*?#endif\n", "", text, count=1, flags=re.DOTALL
    )
    return STRUCT.sub(members, text)


def worker_sources(source: Path) -> str:
    """The worker's files, as core.cc includes them."""
    names = [path.name for path in sorted(source.glob("*.c")) if path.name not in OTHERS]
    return "".join(f'#include "{name}"\n' for name in names)


def convert_all(source: Path, target: Path) -> None:
    """Write the headers, and the list of the worker's files."""
    target.mkdir(parents=True, exist_ok=True)
    texts = {name: converted((source / name).read_text()) for name in HEADERS}
    texts["worker_sources.h"] = worker_sources(source)
    for name, text in texts.items():
        out = target / name
        if not out.exists() or out.read_text() != text:
            out.write_text(text)
