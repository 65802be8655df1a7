# SPDX-License-Identifier: GPL-2.0-only
"""``python -m pykworker latency``: how late the ticks of a period begin, as cyclictest does it.

histogram    what is counted in, in C or in Python, and the percentiles of it
load         what disturbs meanwhile
runs         who ticks: a thread of one's own, a Python callback, a native work
cyclictest   the same by rt-tests' program, where it is installed
document     all of it as plain data (``--json``); the reports below read nothing else
report       that data as a table and a histogram in characters; ``plot`` as a picture
command      the arguments, and who calls whom

What is not its own it has from :mod:`pykworker.bench`: the machine, Ctrl-C, files, the terminal.
"""
