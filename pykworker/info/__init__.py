# SPDX-License-Identifier: GPL-2.0-only
"""``python -m pykworker info``: what this machine allows a worker's thread, and what would help.

system    what the system's files say; they are read below a root, which is "/" but in tests
attempts  what was refused when it was tried
wakeups   what it costs to wake a thread, measured
advice    what would help, from the figures of those three
document  all of it as plain data (``--json``)
report    that data for people
command   the arguments
"""
