# SPDX-License-Identifier: GPL-2.0-only
"""The version, in this one place."""

__version__ = "0.1.0"
