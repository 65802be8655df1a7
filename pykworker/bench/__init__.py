# SPDX-License-Identifier: GPL-2.0-only
"""``python -m pykworker bench``: this package against what people use today, in one run.

cases/      one question per file: what is queued, and what the clock sees of it
opponents   what the cases share: the backends, the queue with a thread, a pair of CPUs
measure     repetitions, turns, garbage collection, Ctrl-C
figures     medians, spread, ratios
targets     how fast it must be
machine     what it was measured on
document    the whole run as plain data (``--json``); the reports below read nothing else
report      that data as tables for people; ``plot`` as a picture; ``progress`` meanwhile
command     the arguments, and who calls whom
"""
