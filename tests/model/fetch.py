#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Fetch the checkers' Debian packages into build/, with an apt root of their own.

The system's package sources, lists and packages are neither read nor changed. apt checks
the signatures against the Debian keyring of the system.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "model"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")

# What, from which release, and the packages. herd7 needs a younger C library than the
# system may have: it is run with one of its own.
TOOLS = {
    "relacy": ("trixie", ["relacy-dev"]),
    "herd": ("sid", ["herdtools7", "libc6", "libgmp10"]),
}


class MissingError(Exception):
    """The tool can't be had here, for the reason given."""


def apt(root: Path, *args: str, cwd: Path | None = None) -> None:
    environment = {**os.environ, "APT_CONFIG": str(root / "apt.conf")}
    done = subprocess.run(
        ["apt-get", "-qq", *args],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MissingError(f"apt-get {args[0]}: {(done.stderr or done.stdout).strip()}")


def fetch(tool: str) -> Path:
    """The directory that the tool's packages were unpacked in."""
    release, packages = TOOLS[tool]
    target = BUILD / tool
    if (target / ".complete").exists():
        return target
    for program in ("apt-get", "dpkg-deb"):
        if not shutil.which(program):
            raise MissingError(f"there is no {program} here")
    if not KEYRING.exists():
        raise MissingError(f"there is no {KEYRING} here")
    root = BUILD / "apt" / release
    for directory in (
        "etc/apt/apt.conf.d",
        "etc/apt/preferences.d",
        "etc/apt/trusted.gpg.d",
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
        "var/lib/dpkg",
        "deb",
    ):
        (root / directory).mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "etc/apt/sources.list").write_text(
        f"deb [signed-by={KEYRING}] {MIRROR} {release} main\n"
    )
    lines = [f'Dir "{root}";', f'Dir::State::status "{root}/var/lib/dpkg/status";']
    lines += ['APT::Architecture "amd64";'] if os.uname().machine == "x86_64" else []
    lines += ['Acquire::Languages "none";', 'Acquire::Retries "3";']
    if os.geteuid() == 0:
        lines += ['APT::Sandbox::User "root";']
    if release == "sid":
        # A mirror of a past day is as good here; its signature is checked all the same.
        lines += ['Acquire::Check-Valid-Until "false";']
    (root / "apt.conf").write_text("\n".join(lines) + "\n")
    apt(root, "update")
    apt(root, "download", *packages, cwd=root / "deb")
    shutil.rmtree(target, ignore_errors=True)
    for package in packages:
        for archive in sorted((root / "deb").glob(f"{package}_*.deb"))[-1:]:
            subprocess.run(["dpkg-deb", "-x", str(archive), str(target)], check=True)
    (target / ".complete").touch()
    return target


def relacy_include() -> Path:
    """The directory that holds relacy/relacy.hpp; RELACY_INCLUDE names another."""
    given = os.environ.get("RELACY_INCLUDE")
    for directory in [Path(given)] if given else [Path("/usr/include")]:
        if (directory / "relacy/relacy.hpp").exists():
            return directory
    return fetch("relacy") / "usr/include"


def herd_command() -> list[str]:
    """How herd7 is called."""
    if shutil.which("herd7"):
        return ["herd7"]
    root = fetch("herd")
    loader = next(iter(root.glob("usr/lib*/ld-linux*.so*")), None)
    libraries = next(iter(root.glob("usr/lib/*/libgmp.so.10")), None)
    if not loader or not libraries:
        raise MissingError("the herdtools7 packages are not what was expected")
    return [
        str(loader),
        "--library-path",
        str(libraries.parent),
        str(root / "usr/bin/herd7"),
        "-set-libdir",
        str(root / "usr/share/herdtools7/herd"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool", nargs="*", metavar="relacy|herd")
    for tool in parser.parse_args().tool or list(TOOLS):
        try:
            print(f"{tool}: {relacy_include() if tool == 'relacy' else ' '.join(herd_command())}")
        except MissingError as reason:
            print(f"{tool}: {reason}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
