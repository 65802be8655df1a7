# SPDX-License-Identifier: GPL-2.0-only
"""What would be uploaded: built, looked into, and used where there is nothing else.

    make test-package
    python tests/package/run.py [--python FILE]... [--cross TARGET]... [--out DIR]

The archive of sources is made from a copy of what git tracks, and the wheel from that archive
alone. The wheel is then installed into an empty environment of each interpreter, and used there.
With --cross the wheel is built for other machines as well, with zig's compiler.

Takes the extra "package". Exit status 1 when something is wrong.
"""

from __future__ import annotations

import argparse
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

# zig's name of a target: the platform, as sysconfig would say it there, what the linker wants
# besides, and the first bytes and the machine that the module must have.
ELF, MACHO = b"\x7fELF", b"\xcf\xfa\xed\xfe"
CROSS = {
    "x86_64-linux-gnu.2.17": ("manylinux_2_17_x86_64", "", ELF, 62),
    "aarch64-linux-gnu.2.17": ("manylinux_2_17_aarch64", "", ELF, 183),
    "x86_64-linux-musl": ("musllinux_1_2_x86_64", "", ELF, 62),
    "aarch64-linux-musl": ("musllinux_1_2_aarch64", "", ELF, 183),
    "x86_64-macos.13.0": ("macosx-13.0-x86_64", "-undefined dynamic_lookup", MACHO, 0x01000007),
    "aarch64-macos.13.0": ("macosx-13.0-arm64", "-undefined dynamic_lookup", MACHO, 0x0100000C),
}

# What cibuildwheel must find to do; one interpreter, since one wheel serves the later ones.
IDENTIFIERS = {
    "linux": {
        "cp311-manylinux_x86_64", "cp311-manylinux_aarch64",
        "cp311-musllinux_x86_64", "cp311-musllinux_aarch64",
    },
    "macos": {"cp311-macosx_x86_64", "cp311-macosx_arm64"},
}  # fmt: skip

PUBLIC_HEADERS = {"kthread.h", "kthread_worker.h", "pykworker.h", "kthread_compat.h"}


class WrongError(Exception):
    """Something is not as it has to be."""


def require(condition: object, message: str) -> None:
    if not condition:
        raise WrongError(message)


def call(*command: str | Path, **options: object) -> str:
    """Run it; what it printed comes back, or goes into the error."""
    words = [os.fspath(word) for word in command]
    result = subprocess.run(  # type: ignore[call-overload]
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options
    )
    require(result.returncode == 0, f"{' '.join(words)}\n{result.stdout}")
    return str(result.stdout)


def step(text: str) -> None:
    print(f"ok    {text}", flush=True)


def sources(out: Path) -> Path:
    """A copy of what git tracks as it stands here, or of all, where there is no git."""
    copy = out / "tree"
    shutil.rmtree(copy, ignore_errors=True)
    if not (ROOT / ".git").exists():
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("build", "dist", "*.so"))
        return copy
    for name in call("git", "-C", ROOT, "ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    return copy


def build(out: Path) -> tuple[Path, Path]:
    dist = out / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    call(sys.executable, "-m", "build", "--outdir", dist, sources(out))
    (sdist,) = dist.glob("*.tar.gz")
    (wheel,) = dist.glob("*.whl")
    step(f"{sdist.name} and {wheel.name}")
    return sdist, wheel


def look_at_sdist(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in (
        "src/kthread_worker.c", "src/kthread_worker.h", "build_ffi.py", "pyproject.toml",
        "Makefile", "LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md",
        "pykworker/_binding/core.cdef", "tests/c/Makefile", "tests/python/helpers.py",
        "tests/model/run.py", "benchmarks/c/Makefile", "examples/Makefile", "docs/conf.py",
    ):  # fmt: skip
        require(needed in names, f"the archive of sources has no {needed}")
    built = [name for name in names if name.endswith((".so", ".o", ".pyc", "_native.c"))]
    require(not built, f"built files among the sources: {built}")
    if (ROOT / ".git").exists():
        call(sys.executable, "-m", "check_manifest", ROOT)
        step("the archive of sources holds what git tracks")


def look_at_wheel(wheel: Path) -> None:
    require("-cp311-abi3-" in wheel.name, f"{wheel.name} is not for 3.11 and later")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    core = {path.name for path in (ROOT / "src").glob("*.[ch]")}
    require(
        {f"pykworker/src/{name}" for name in core} == {n for n in names if "/src/" in n},
        "the wheel's src/ is not the core's",
    )
    headers = {Path(name).name for name in names if name.startswith("pykworker/include/")}
    require(headers >= PUBLIC_HEADERS, f"the wheel's include/ has {headers}")
    modules = [name for name in names if name.endswith(".so")]
    require(modules == ["pykworker/_native.abi3.so"], f"modules in the wheel: {modules}")
    strangers = {name.partition("/")[0] for name in names} - {"pykworker"}
    require(
        len(strangers) == 1 and strangers.pop().endswith(".dist-info"),
        "the wheel installs more than pykworker",
    )
    call(sys.executable, "-m", "abi3audit", "--strict", "--assume-minimum-abi3", "3.11", wheel)
    step("the wheel's module keeps to the stable ABI of 3.11")


def look_at_metadata(*files: Path) -> None:
    call(sys.executable, "-m", "twine", "check", "--strict", *files)
    step("twine finds nothing amiss in the metadata")


def look_at_cibuildwheel() -> None:
    for platform, expected in IDENTIFIERS.items():
        printed = call(
            sys.executable, "-m", "cibuildwheel", "--platform", platform,
            "--print-build-identifiers", ROOT,
        )  # fmt: skip
        found = {line for line in printed.split() if line.startswith("cp")}
        require(found == expected, f"cibuildwheel would build {sorted(found)} on {platform}")
    step("cibuildwheel would build manylinux, musllinux and macOS, two processors each")


def use(out: Path, python: Path, wheel: Path, name: str) -> Path:
    """Install it into an empty environment of that interpreter, and use it from elsewhere."""
    venv = out / f"venv-{name}"
    call(python, "-m", "venv", "--clear", venv)
    installed = venv / "bin/python"
    call(installed, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", wheel)
    elsewhere = out / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    environment.pop("PYTHONPATH", None)
    call(
        installed, "-W", "error", HERE / "smoke.py", ROOT / "README.md",
        cwd=elsewhere, env=environment, timeout=120,
    )  # fmt: skip
    step(f"{wheel.name} in an empty environment of {call(installed, '-V').strip()}")
    return installed


def test_from_sdist(out: Path, sdist: Path) -> None:
    """The archive's own tests: those of the core in one build, and of what is installed."""
    unpacked = out / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (tree,) = unpacked.iterdir()
    environment = {
        key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL")
    }
    call(
        "make", "-C", tree / "tests/c", "VARIANT=plain", "TESTS=test_queue test_flush", "run",
        env=environment, timeout=300,
    )  # fmt: skip
    call("cc", "-c", *sorted((tree / "src").glob("*.c")), "-pthread", cwd=unpacked)
    step("the unpacked sources build and pass tests of the core")


def build_for(out: Path, target: str, sdist: Path) -> None:
    host, flags, magic, machine = CROSS[target]
    platform = host.replace("-", "_").replace(".", "_")  # in the wheel's name
    compiler = f"{sys.executable} -m ziglang cc -target {target}"
    folder = out / "cross" / target
    shutil.rmtree(folder, ignore_errors=True)
    environment = {
        **os.environ,
        "CC": compiler,
        "LDSHARED": f"{compiler} -shared {flags}",
        "_PYTHON_HOST_PLATFORM": host,
    }
    call(
        sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps",
        "--no-build-isolation",  # else cffi, which builds it, would be built for that machine too
        "--wheel-dir", folder, sdist, env=environment,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    require(wheel.name.endswith(f"-cp311-abi3-{platform}.whl"), f"{wheel.name} for {target}")
    with zipfile.ZipFile(wheel) as archive:
        head = archive.read("pykworker/_native.abi3.so")[:20]
    order, offset = ("<H", 18) if magic == ELF else ("<I", 4)
    found = struct.unpack_from(order, head, offset)[0]
    require(head.startswith(magic) and found == machine, f"{wheel.name} holds another's module")
    call(sys.executable, "-m", "abi3audit", "--strict", "--assume-minimum-abi3", "3.11", wheel)
    step(wheel.name)


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Build what would be uploaded, look into it, and use it where it is alone."
    )
    parser.add_argument(
        "--python", action="append", default=[], type=Path, metavar="FILE",
        help="an interpreter to install the wheel for (repeatable; default: this one)",
    )  # fmt: skip
    parser.add_argument(
        "--cross", action="append", default=[], choices=[*CROSS, "all"], metavar="TARGET",
        help="also build for this machine, with zig: %(choices)s (repeatable)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build/package", metavar="DIR",
        help="where to build (default: build/package)",
    )  # fmt: skip
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    try:
        sdist, wheel = build(out)
        look_at_sdist(sdist)
        look_at_wheel(wheel)
        look_at_metadata(sdist, wheel)
        look_at_cibuildwheel()
        for number, python in enumerate(options.python or [Path(sys.executable)]):
            use(out, python, wheel, str(number))
        test_from_sdist(out, sdist)
        for target in CROSS if "all" in options.cross else options.cross:
            build_for(out, target, sdist)
    except WrongError as error:
        print(f"not ok {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ended by Ctrl-C", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
