# SPDX-License-Identifier: GPL-2.0-only
"""The C core in other people's programs: by every way in, with each compiler, and run.

    make test-embed
    python3 tests/embed/run.py [--compiler NAME]... [--only WORD]... [--update] [--out DIR]

Needs Python alone. A tool that is not there is skipped with its reason; with REQUIRE_TOOLS=1 in
the environment that is an error. What the library exports, and the layout of its structs, is held
against functions.txt and layout-*.txt beside this file; --update writes them anew, and then a
changed line of either is a change of the ABI: see the head of kthread_worker.h.
Exit status 1 when something is wrong.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONSUMER = HERE / "consumer.c"
CONSUMER_CXX = ROOT / "tests/c/cplusplus.cc"
EXAMPLES = sorted((ROOT / "examples/c").glob("*.c"))
KERNEL_EXAMPLES = sorted((ROOT / "examples/kernel").glob("*.c"))
CXX = {"gcc": "g++", "clang": "clang++"}
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")
REQUIRE = os.environ.get("REQUIRE_TOOLS") == "1"
LIMIT = 60  # seconds that a program may take; for a build ten times that
LIBRARY = "libkthread_worker"

# What may be exported besides kthread_*: the names of the patch of 2010 and of its freezer.
PATCH = {"freezing", "try_to_freeze"}
# What would install a handler for a signal. Blocking signals in one's own thread does not.
HANDLERS = {"signal", "bsd_signal", "sysv_signal", "__sysv_signal", "sigaction", "__sigaction",
            "sigset", "sigvec", "signalfd"}  # fmt: skip


class WrongError(Exception):
    """Something is not as it has to be."""


class SkipError(Exception):
    """It can't be tried here."""


def require(condition: object, message: str) -> None:
    if not condition:
        raise WrongError(message)


def tool(name: str) -> str:
    found = shutil.which(name)
    if not found:
        raise SkipError(f"there is no {name} here")
    return found


def call(
    *command: str | Path, limit: int = 10 * LIMIT, env: dict[str, str] | None = None,
    cwd: Path | None = None, fails: bool = False,
) -> str:  # fmt: skip
    """Run it; what it printed comes back, or goes into the error."""
    words = [os.fspath(word) for word in command]
    # A make that this was started from is no business of the one started here.
    inherited = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS")}
    for name in ("CC", "CXX", "CFLAGS", "CPPFLAGS", "LDFLAGS", "PREFIX", "DESTDIR", "LIBDIR"):
        inherited.pop(name, None)
    try:
        result = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            timeout=limit, env=inherited | (env or {}), cwd=cwd,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise WrongError(f"{shlex.join(words)}\nnot over after {limit} s") from error
    if fails:
        require(result.returncode != 0, f"{shlex.join(words)}\nwas to fail, and did not")
    else:
        require(result.returncode == 0, f"{shlex.join(words)}\n{result.stdout}")
    return result.stdout


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def copy_core(folder: Path) -> Path:
    """The files that make, CMake and Meson are given, as they stand here."""
    fresh(folder)
    for name in ("src", "compat", "packaging"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.o", "__pycache__")
        )
    for name in ("CMakeLists.txt", "meson.build", "meson_options.txt", "Makefile"):
        shutil.copy2(ROOT / name, folder / name)
    return folder


class Setting:
    """One compiler, and what was built with it."""

    def __init__(self, out: Path, compiler: str) -> None:
        self.compiler = compiler
        self.cc = tool(compiler)
        self.cxx = tool(CXX[compiler])
        self.out = out / compiler
        self.tree = self.out / "tree"
        self.stage = self.out / "stage"

    def make(self, *arguments: str, tree: Path | None = None) -> str:
        return call("make", "-C", tree or self.tree, f"CC={self.compiler}",
                    f"PYTHON={sys.executable}", *arguments)  # fmt: skip

    def programs(self, folder: Path, flags: list[str], link: list[str], *, run: bool = True,
                 other_names: bool = True, path: Path | None = None) -> None:  # fmt: skip
        """The consumers, in each standard; compiled, linked and run."""
        fresh(folder)
        environment = {"LD_LIBRARY_PATH": str(path)} if path else {}
        standards = [("c11", CONSUMER), ("c17", CONSUMER),
                     ("c++17", CONSUMER_CXX), ("c++20", CONSUMER_CXX)]  # fmt: skip
        for standard, source in standards:
            compiler = self.cxx if source is CONSUMER_CXX else self.cc
            names = ["-DOTHER_NAMES"] if other_names and source is CONSUMER else []
            program = folder / standard
            call(compiler, f"-std={standard}", "-O2", *STRICT, *names, *flags, source,
                 "-o", program, *link)  # fmt: skip
            if run:
                call(program, limit=LIMIT, env=environment)


def one_line(s: Setting) -> str:
    """Copy src/ and compile: the line that the README has, in an empty folder."""
    folder = fresh(s.out / "oneline")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("*.o"))
    said = call("/bin/sh", "-c", f"{s.compiler} -c src/*.c -pthread", cwd=folder)
    require(not said, f"the compiler said:\n{said}")
    objects = [str(path) for path in sorted(folder.glob("*.o"))]
    s.programs(folder / "programs", [f"-I{folder / 'src'}"], [*objects, "-pthread"],
               other_names=False)  # fmt: skip
    for standard in ("c11", "c17"):
        call("/bin/sh", "-c", f"{s.compiler} -std={standard} -O2 -Wall -Wextra -Werror "
             "-c src/*.c -pthread", cwd=folder)  # fmt: skip
    return "compiled as C11 and C17; programs in C11, C17, C++17, C++20 run"


def install(s: Setting) -> str:
    """make lib and make install, again with nothing to do, with other flags, and uninstall."""
    copy_core(s.tree)
    fresh(s.stage)
    said = s.make("lib")
    require("warning" not in said, said)
    again = s.make("lib")
    require(f" -o build/lib/{LIBRARY}" not in again and " -c " not in again,
            f"a second make lib did something:\n{again}")  # fmt: skip
    call("touch", s.tree / "src/timers.h")
    require(" -c -o build/lib/timers.o" in s.make("lib"), "a changed header, and nothing is built")
    require(s.make("lib", "CFLAGS=-O1 -g").count(" -O1 ") > 5, "CFLAGS were not respected")
    s.make("install", "PREFIX=/opt/kw", f"DESTDIR={s.stage}")
    files = sorted(path for path in s.stage.rglob("*") if not path.is_dir())
    plain = {path.relative_to(s.stage / "opt/kw").as_posix() for path in files}
    for name in ("include/kthread.h", "include/kthread_worker.h", f"lib/{LIBRARY}.a",
                 f"lib/{LIBRARY}.so", f"lib/{LIBRARY}.so.{value('ABI')}",
                 f"lib/{LIBRARY}.so.{version()}", "lib/pkgconfig/kthread_worker.pc",
                 "lib/cmake/kthread_worker/kthread_worker-config.cmake",
                 "share/man/man3/kthread_queue_work.3",
                 "share/man/man7/kthread_worker.7"):  # fmt: skip
        require(name in plain, f"make install left out {name}")
    for path in files:
        require(path.exists(), f"{path} leads nowhere")
        text = path.read_bytes() if path.suffix in (".pc", ".cmake") else b""
        require(b"@" not in text and str(s.stage).encode() not in text and b"/opt/kw" not in text,
                f"{path} names what it must not")  # fmt: skip
    other = fresh(s.out / "uninstall")
    where = ["PREFIX=/usr", "LIBDIR=/usr/lib/somewhere", f"DESTDIR={other}"]
    s.make("install", *where)
    require((other / f"usr/lib/somewhere/{LIBRARY}.so").exists(), "LIBDIR was not respected")
    s.make("uninstall", *where)
    left = [path for path in other.rglob("*") if not path.is_dir()]
    require(not left, f"make uninstall left {left}")
    return f"{len(files)} files; built anew when a header or a flag changes; uninstalled whole"


def value(name: str) -> str:
    text = (ROOT / "src/kthread_worker.h").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^#define KTHREAD_WORKER_{name} (\d+)$", text, re.M)
    return found


def version() -> str:
    return ".".join(value(f"VERSION_{part}") for part in ("MAJOR", "MINOR", "PATCH"))


def prefix(s: Setting) -> Path:
    """Where it was installed: below DESTDIR, that is, not where it was told that it would be."""
    return s.stage / "opt/kw"


def pkg_config(s: Setting) -> str:
    """By pkg-config from where it was moved to: shared, from the archive, and wholly static."""
    tool("pkg-config")
    lib = prefix(s) / "lib"
    environment = {"PKG_CONFIG_PATH": str(lib / "pkgconfig")}

    def ask(*words: str) -> list[str]:
        return shlex.split(call("pkg-config", *words, "kthread_worker", env=environment))

    require(ask("--modversion") == [version()], "the .pc file has another version")
    cflags, libs = ask("--cflags"), ask("--libs")
    s.programs(s.out / "pc-shared", cflags, libs, path=lib)
    needed = call("readelf", "-d", s.out / "pc-shared/c11")
    require(f"[{LIBRARY}.so.{value('ABI')}]" in needed, "the program asks for no such soname")
    static = ask("--static", "--libs")
    require("-pthread" in static, f"pkg-config --static says {static}")
    s.programs(s.out / "pc-static", cflags, ["-static", *static])
    archive = ["-Wl,-Bstatic", *libs, "-Wl,-Bdynamic", "-pthread"]
    s.programs(s.out / "pc-archive", cflags, archive)
    compat = ask("--variable=compatdir")
    require((Path(compat[0]) / "linux/kthread.h").exists(), f"nothing for the kernel in {compat}")
    for example in EXAMPLES + KERNEL_EXAMPLES:
        program = s.out / "pc-shared" / example.stem
        flags = cflags + ([f"-I{compat[0]}"] if example in KERNEL_EXAMPLES else [])
        call(s.cc, "-O2", "-Wall", "-Wextra", *flags, example, "-o", program, *libs)
        call(program, limit=LIMIT, env={"LD_LIBRARY_PATH": str(lib)})
    # A plugin that has the archive inside.
    call(s.cc, "-shared", "-fPIC", *cflags, CONSUMER, "-o", s.out / "pc-archive/plugin.so",
         "-Wl,--whole-archive", f"{lib / LIBRARY}.a", "-Wl,--no-whole-archive", "-Wl,-z,text",
         "-Wl,-z,defs", "-pthread")  # fmt: skip
    count = len(EXAMPLES + KERNEL_EXAMPLES)
    return f"shared, archive, -static; {count} examples against the installed library"


def names_of(*nm: str | Path) -> dict[str, str]:
    """Of each global name its kind, as nm has it."""
    lines = [line.split() for line in call("nm", *nm).splitlines()]
    return {words[-1].partition("@")[0]: words[-2] for words in lines if len(words) >= 2}


def expected() -> list[str]:
    return (HERE / "functions.txt").read_text(encoding="utf-8").splitlines()


def name_in(declaration: str) -> str:
    (name,) = re.findall(r"(\w+)\(", declaration.partition("(*")[0])[:1]
    return name


def compare_symbols(tree: Path, lib: Path) -> set[str]:
    """What both libraries export, and the headers declare, is what functions.txt lists."""
    declared = call(sys.executable, tree / "packaging/man.py", "--functions").splitlines()
    listed = expected()
    differ = sorted(set(declared) ^ set(listed))
    require(
        not differ,
        "the headers and functions.txt differ; if that is meant, see --update and the head of "
        "kthread_worker.h:\n" + "\n".join(differ),
    )
    wanted = {name_in(line) for line in listed}
    strange = [n for n in wanted if not n.startswith("kthread_") and n not in PATCH]
    require(not strange, f"public names without the prefix: {strange}")
    shared, archive = lib / f"{LIBRARY}.so", lib / f"{LIBRARY}.a"
    for path, how in ((shared, "-D"), (archive, "-g")):
        found = set(names_of(how, "--defined-only", path))
        require(not found - wanted, f"{path.name} exports {sorted(found - wanted)}")
        require(not wanted - found, f"{path.name} does not export {sorted(wanted - found)}")
    return wanted


def compare_effects(lib: Path) -> None:
    """No constructor, no handler of signals, nothing to be relocated in the text."""
    archive = lib / f"{LIBRARY}.a"
    foreign = set(names_of("-g", "--undefined-only", archive))
    require(not foreign & HANDLERS, f"the core calls {sorted(foreign & HANDLERS)}")
    sections = call("readelf", "-SW", archive)
    bad = re.findall(r" (\.(?:init|fini|preinit)_array\S*|\.[cd]tors\S*|\.init|\.fini)\s", sections)
    require(not bad, f"the core has constructors: {bad}")
    dynamic = call("readelf", "-d", lib / f"{LIBRARY}.so")
    require("TEXTREL" not in dynamic, "the shared library has relocations in its text")


def symbols(s: Setting) -> str:
    """What is exported is what is written down; no handler, no constructor."""
    tool("nm")
    tool("readelf")
    wanted = compare_symbols(s.tree, prefix(s) / "lib")
    compare_effects(prefix(s) / "lib")
    return f"{len(wanted)} functions; nothing else, no constructor, no signal handler"


# What must not pass: a file of the core, what is replaced in it by what, and what is to be said.
DECLARED = {
    "new": ("kthread.h", r"KTHREAD_API_BEGIN\n", r"\g<0>int kthread_new(void);\n", "kthread_new"),
    "gone": ("kthread.h", r"void kthread_parkme.void.;\n", "", "void kthread_parkme"),
    "changed": ("kthread.h", r"int (kthread_stop.struct)", r"long \1", "long kthread_stop"),
}
BUILT = {
    "unmarked": ("kthread.h", "push.default.", "push(hidden)", "does not export"),
    "leak": (
        "timers.c", r"\Z",
        '__attribute__((visibility("default"))) int timers_leak(void);\n'
        "int timers_leak(void) { return 0; }\n",
        "exports ['timers_leak']",
    ),
    "constructor": (
        "timers.c", r"\Z",
        "static int built;\n__attribute__((constructor)) static void build(void) { built++; }\n",
        "the core has constructors",
    ),
    "handler": (
        "timers.c", r"\Z",
        "#include <signal.h>\nKTHREAD_HIDDEN void timers_quiet(void);\n"
        "void timers_quiet(void) { signal(SIGPIPE, SIG_IGN); }\n",
        "the core calls",
    ),
}  # fmt: skip


def faults(s: Setting) -> str:
    """Each of these faults is found by the step before."""
    tree = s.out / "fault"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(s.tree, tree, symlinks=True)
    for name, (file, pattern, new, said) in (DECLARED | BUILT).items():
        path = tree / "src" / file
        old = path.read_text(encoding="utf-8")
        text, count = re.subn(pattern, new, old, count=1)
        require(count == 1, f"{file} has no place for the fault {name}")
        path.write_text(text, encoding="utf-8")
        lib = prefix(s) / "lib"
        if name in BUILT:
            s.make("lib", "CFLAGS=-O0", tree=tree)
            lib = tree / "build/lib"
        try:
            compare_symbols(tree, lib)
            compare_effects(lib)
        except WrongError as error:
            require(said in str(error), f"the fault {name} is found as another:\n{error}")
        else:
            raise WrongError(f"the fault {name} is not found")
        path.write_text(old, encoding="utf-8")
    return f"found are {', '.join(DECLARED | BUILT)}"


def macros(s: Setting) -> str:
    """What the headers define, besides functions, has the prefix, too."""
    text = "".join((ROOT / "src" / name).read_text("utf-8") for name in ("kthread.h",
                   "kthread_worker.h"))  # fmt: skip
    names = set(re.findall(r"^#define (\w+)", text, re.M))
    names |= set(re.findall(r"^(?:struct|enum) (\w+)", text, re.M))
    names |= set(re.findall(r"^\t(KTHREAD\w*|[A-Z]\w+)(?: = \d+)?,", text, re.M))
    of_patch = {"KTW_FREEZABLE", "init_kthread_worker", "init_kthread_work", "queue_kthread_work",
                "flush_kthread_work", "flush_kthread_worker"}  # fmt: skip
    ours = re.compile(r"(DEFINE_)?KTHREAD_|kthread($|_)")
    strange = sorted(name for name in names - of_patch if not ours.match(name))
    require(not strange, f"names without the prefix: {strange}")
    for std, compiler in (("c11", s.cc), ("c++17", s.cxx)):
        language = "c" if std == "c11" else "c++"
        said = call(compiler, f"-std={std}", "-x", language, "-dM", "-E", CONSUMER,
                    f"-I{ROOT / 'src'}")  # fmt: skip
        require(f"KTHREAD_WORKER_ABI {value('ABI')}" in said, "the version is not in the headers")
    return f"{len(names)} macros, structs and constants have the prefix"


def layout_name(machine: str) -> Path:
    return HERE / f"layout-{machine}.txt"


def layout_of(s: Setting) -> str:
    folder = fresh(s.out / "layout")
    headers = [ROOT / "src" / name for name in ("kthread.h", "kthread_worker.h")]
    program = call(sys.executable, HERE / "layout.py", *headers)
    (folder / "layout.c").write_text(program, encoding="utf-8")
    call(s.cc, "-std=c11", f"-I{ROOT / 'src'}", folder / "layout.c", "-o", folder / "layout")
    text = call(folder / "layout", limit=LIMIT)
    # And the same in C++, whose atomics are of another type.
    call(s.cxx, "-std=c++17", "-x", "c++", "-Wno-invalid-offsetof", f"-I{ROOT / 'src'}",
         folder / "layout.c", "-o", folder / "layout++")  # fmt: skip
    require(call(folder / "layout++", limit=LIMIT) == text, "C and C++ differ in the layout")
    return text


def layout(s: Setting) -> str:
    """The structs' layout, which is compiled into programs, is the one written down."""
    text = layout_of(s)
    path = layout_name(platform.machine())
    if not path.exists():
        raise SkipError(f"the layout of {platform.machine()} is not written down")
    require(text == path.read_text(encoding="utf-8"),
            f"the layout is not that of {path.name}; if that is meant, see --update and the head "
            f"of kthread_worker.h. It is now:\n{text}")  # fmt: skip
    return f"{text.count('struct ')} structs, in C and in C++"


def cmake(s: Setting, name: str, *arguments: str, generator: str = "Ninja") -> None:
    """Configure, build and test the project beside this file."""
    build = fresh(s.out / f"cmake-{name}")
    call("cmake", "-S", HERE, "-B", build, "-G", generator, f"-DCMAKE_C_COMPILER={s.cc}",
         f"-DCMAKE_CXX_COMPILER={s.cxx}", "-DCMAKE_BUILD_TYPE=Release", *arguments)  # fmt: skip
    call("cmake", "--build", build, "-j2")
    call("ctest", "--output-on-failure", "--test-dir", build)


def cmake_install(s: Setting, name: str, *arguments: str) -> Path:
    build, where = fresh(s.out / f"build-{name}"), s.out / f"prefix-{name}"
    shutil.rmtree(where, ignore_errors=True)
    call("cmake", "-S", s.tree, "-B", build, "-G", "Ninja", f"-DCMAKE_C_COMPILER={s.cc}",
         "-DCMAKE_INSTALL_PREFIX=/opt/kw", "-DCMAKE_INSTALL_LIBDIR=lib", *arguments)  # fmt: skip
    call("cmake", "--build", build, "-j2")
    call("cmake", "--install", build, "--prefix", where)
    return where


def by_cmake(s: Setting) -> str:
    """find_package of what make, and what CMake, has installed; add_subdirectory, FetchContent."""
    for name in ("cmake", "ctest", "ninja"):
        tool(name)
    examples = "-DEXAMPLES=" + ";".join(map(str, EXAMPLES))
    installed = {"make": prefix(s)}
    kinds = {"static": "OFF", "shared": "ON"}
    for kind, flag in kinds.items():
        installed[kind] = cmake_install(s, kind, f"-DBUILD_SHARED_LIBS={flag}")
    exported = set(names_of("-g", "--defined-only", installed["static"] / f"lib/{LIBRARY}.a"))
    wanted = {name_in(line) for line in expected()}
    require(exported == wanted, f"CMake's archive differs in {sorted(exported ^ wanted)}")
    exported = set(names_of("-D", "--defined-only", installed["shared"] / f"lib/{LIBRARY}.so"))
    require(exported == wanted, f"CMake's library differs in {sorted(exported ^ wanted)}")
    for name, where in installed.items():
        common = ["-DWAY=installed", f"-DCMAKE_PREFIX_PATH={where}", examples]
        cmake(s, f"find-{name}", *common, f"-DVERSION={version()}")
        if name == "make":
            cmake(s, "find-make-static", *common, "-DKTHREAD_WORKER_STATIC=ON")
        for wrong in ("0.0.1", "99.0"):
            build = fresh(s.out / "cmake-wrong")
            call("cmake", "-S", HERE, "-B", build, "-G", "Ninja", f"-DCMAKE_C_COMPILER={s.cc}",
                 *common, f"-DVERSION={wrong}", fails=True)  # fmt: skip
    archive = s.out / "core.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(copy_core(s.out / "archived"), arcname="kthread_worker")
    for kind, flag in kinds.items():
        shared = f"-DBUILD_SHARED_LIBS={flag}"
        cmake(s, f"sub-{kind}", "-DWAY=subdirectory", f"-DCORE={ROOT}", shared,
              generator="Unix Makefiles")  # fmt: skip
        cmake(s, f"fetch-{kind}", "-DWAY=fetch", f"-DCORE={archive}", shared)
    cmake(s, "source", "-DWAY=source", f"-DCORE={s.out / 'archived'}")
    cmake(s, "sub-portable", "-DWAY=subdirectory", f"-DCORE={ROOT}", "-DKTHREAD_PORTABLE_PARK=ON",
          "-DKTHREAD_PROBES=OFF")  # fmt: skip
    again = call("cmake", "--build", s.out / "build-static")
    require("no work to do" in again, f"a second build did something:\n{again}")
    call("touch", s.tree / "src/timers.h")
    again = call("cmake", "--build", s.out / "build-static", "-v")
    require("timers.c.o" in again and "--localize-hidden" in again, "a changed header, and it is "
            "not built anew")  # fmt: skip
    inner = [p for p in (s.out / "cmake-sub-static/core").rglob("*") if "test" in p.name.lower()
             and p.name != "CTestTestfile.cmake"]  # fmt: skip
    require(not inner, f"a subproject has tests: {inner}")
    return "find_package of make's and of CMake's own, add_subdirectory, FetchContent"


def by_meson(s: Setting) -> str:
    """As a subproject, and installed by Meson and found by pkg-config."""
    for name in ("meson", "ninja", "pkg-config"):
        tool(name)
    environment = {"CC": s.cc}
    for kind in ("shared", "static"):
        project = fresh(s.out / f"meson-{kind}")
        shutil.copy2(HERE / "meson/meson.build", project)
        shutil.copy2(CONSUMER, project)
        copy_core(project / "subprojects/kthread_worker")
        call("meson", "setup", "build", f"-Ddefault_library={kind}", "--wrap-mode=forcefallback",
             cwd=project, env=environment)  # fmt: skip
        call("meson", "test", "-C", "build", "--print-errorlogs", cwd=project, env=environment)
    where = s.out / "prefix-meson"
    shutil.rmtree(where, ignore_errors=True)
    build = s.out / "build-meson"
    shutil.rmtree(build, ignore_errors=True)
    call("meson", "setup", build, s.tree, f"--prefix={where}", "--libdir=lib", env=environment)
    call("meson", "install", "-C", build, env=environment)
    exported = set(names_of("-D", "--defined-only", where / f"lib/{LIBRARY}.so"))
    wanted = {name_in(line) for line in expected()}
    require(exported == wanted, f"Meson's library differs in {sorted(exported ^ wanted)}")
    found = {"PKG_CONFIG_PATH": str(where / "lib/pkgconfig"), "LD_LIBRARY_PATH": str(where / "lib")}
    project = fresh(s.out / "meson-installed")
    shutil.copy2(HERE / "meson/meson.build", project)
    shutil.copy2(CONSUMER, project)
    call("meson", "setup", "build", "--wrap-mode=nofallback", cwd=project, env=environment | found)
    call("meson", "test", "-C", "build", "--print-errorlogs", cwd=project, env=environment | found)
    return "subproject, shared and static; installed"


def by_musl(s: Setting) -> str:
    """Against musl, wholly static; the programs need no other file."""
    musl = tool("musl-gcc")
    if s.compiler != "gcc":
        raise SkipError("musl-gcc is a gcc")
    tree, stage = copy_core(s.out / "musl-tree"), fresh(s.out / "musl-stage")
    words = ["make", "-C", str(tree), "CC=musl-gcc", f"PYTHON={sys.executable}"]
    said = call(*words, "install", "PREFIX=/musl", f"DESTDIR={stage}")
    require("warning" not in said, said)
    lib = stage / "musl/lib"
    exported = set(names_of("-g", "--defined-only", lib / f"{LIBRARY}.a"))
    wanted = {name_in(line) for line in expected()}
    require(exported == wanted, f"the archive differs in {sorted(exported ^ wanted)}")
    folder = fresh(s.out / "musl")
    for standard in ("c11", "c17"):
        program = folder / standard
        call(musl, f"-std={standard}", "-O2", *STRICT, "-DOTHER_NAMES", "-static",
             f"-I{stage / 'musl/include'}", CONSUMER, "-o", program, f"-L{lib}",
             "-lkthread_worker", "-pthread")  # fmt: skip
        require("NEEDED" not in call("readelf", "-d", program), "it is not static")
        call(program, limit=LIMIT)
    call(musl, "-c", *(tree / "src").glob("*.c"), "-pthread", cwd=folder)
    call(musl, f"-I{tree / 'src'}", CONSUMER, *folder.glob("*.o"), "-o", folder / "copied",
         "-static")  # fmt: skip
    call(folder / "copied", limit=LIMIT)
    return "make install CC=musl-gcc; -static programs run, as does the copy"


def one_version(s: Setting) -> str:
    """Another version in the header is another version everywhere."""
    tree = copy_core(s.out / "version")
    for name in ("pykworker/_version.py", "setup.py", "pyproject.toml", "README.md"):
        (tree / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    header = tree / "src/kthread_worker.h"
    text = header.read_text(encoding="utf-8")
    for name, number in (("VERSION_MAJOR", 7), ("VERSION_MINOR", 8), ("VERSION_PATCH", 9),
                         ("ABI", 6)):  # fmt: skip
        text, count = re.subn(rf"(define KTHREAD_WORKER_{name}) \d+$", rf"\1 {number}", text,
                              flags=re.M)  # fmt: skip
        require(count == 1, f"KTHREAD_WORKER_{name} stands {count} times in the header")
    header.write_text(text, encoding="utf-8")
    stage = fresh(s.out / "version-stage")
    s.make("install", "PREFIX=/v", f"DESTDIR={stage}", tree=tree)
    lib = stage / "v/lib"
    require((lib / f"{LIBRARY}.so.7.8.9").exists(), "the library's file has another version")
    require(f"[{LIBRARY}.so.6]" in call("readelf", "-d", lib / f"{LIBRARY}.so"), "the soname's ABI")
    require("\nVersion: 7.8.9\n" in (lib / "pkgconfig/kthread_worker.pc").read_text(), "the .pc's")
    cmake_files = (lib / "cmake/kthread_worker").glob("*.cmake")
    require(any('"7.8.9"' in path.read_text() for path in cmake_files), "CMake's file")
    page = (stage / "v/share/man/man7/kthread_worker.7").read_text(encoding="utf-8")
    require("kthread_worker 7.8.9" in page, "the manual pages'")
    said = call(sys.executable, "-c", "import runpy; print(runpy.run_path('_version.py')"
                "['__version__'])", cwd=tree / "pykworker")  # fmt: skip
    require(said == "7.8.9\n", f"the package's: {said}")
    for name in ("CMakeLists.txt", "meson.build", "Makefile", "setup.py", "pyproject.toml",
                 "packaging/lib.mk", "packaging/about.sh", "pykworker/_version.py"):  # fmt: skip
        typed = version() in (ROOT / name).read_text(encoding="utf-8")
        require(not typed, f"{name} has the version typed in it")
    if shutil.which("cmake"):
        call("cmake", "-S", tree, "-B", s.out / "version-cmake", f"-DCMAKE_C_COMPILER={s.cc}")
        cache = (s.out / "version-cmake/CMakeCache.txt").read_text(encoding="utf-8")
        require("CMAKE_PROJECT_VERSION:STATIC=7.8.9" in cache, "CMake's")
    if shutil.which("meson"):
        said = call("meson", "introspect", "--projectinfo", tree / "meson.build")
        require('"kthread_worker"' in said, "Meson does not know the project")
    return "header, soname, .pc, CMake, manual, Python: from one place"


def manual(s: Setting) -> str:
    """The pages are clean, and there is one for each function."""
    folder = fresh(s.out / "man")
    call(sys.executable, ROOT / "packaging/man.py", folder)
    pages = sorted(folder.rglob("*.[37]"))
    for line in expected():
        require((folder / f"man3/{name_in(line)}.3").exists(), f"no page for {line}")
    if shutil.which("mandoc"):
        said = call("mandoc", "-Tlint", "-Wwarning", *pages)
        require(not said, said)
    else:
        tool("groff")
    if shutil.which("groff"):
        for page in pages:
            said = subprocess.run(
                ["groff", "-man", "-Tutf8", "-ww", "-K", "utf-8", "-z", page], check=True,
                stderr=subprocess.PIPE, text=True, timeout=LIMIT,
            ).stderr  # fmt: skip
            require(not said, f"{page.name}: {said}")
    return f"{len(pages)} pages without a warning"


STEPS: tuple[Callable[[Setting], str], ...] = (
    one_line, install, symbols, faults, macros, layout, pkg_config, by_cmake, by_meson, by_musl,
    one_version, manual,
)  # fmt: skip
# What does not depend on the compiler is done with the first one.
ONCE = {faults, macros, one_version, manual}


def update(out: Path) -> None:
    declared = call(sys.executable, ROOT / "packaging/man.py", "--functions")
    (HERE / "functions.txt").write_text(declared, encoding="utf-8")
    text = layout_of(Setting(out, "gcc"))
    layout_name(platform.machine()).write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="The C core in other people's programs.")
    parser.add_argument("--compiler", action="append", choices=list(CXX), metavar="NAME",
                        help="gcc or clang (repeatable; default: both)")  # fmt: skip
    parser.add_argument("--only", action="append", default=[], metavar="WORD",
                        help="the steps whose name has this in it (repeatable); what a step "
                        "needs of an earlier one has to be there")  # fmt: skip
    parser.add_argument("--update", action="store_true", help="write down the ABI as it is now")
    parser.add_argument("--out", type=Path, default=ROOT / "build/embed", metavar="DIR",
                        help="where to build (default: build/embed)")  # fmt: skip
    options = parser.parse_args()
    out = options.out.resolve()
    if options.update:
        update(out)
        return 0
    wrong = 0
    compilers = options.compiler or list(CXX)
    for compiler, step in itertools.product(compilers, STEPS):
        if options.only and not any(word in step.__name__ for word in options.only):
            continue
        if step in ONCE and compiler != compilers[0]:
            continue
        label = f"{compiler}/{step.__name__}"
        try:
            print(f"ok    {label}: {step(Setting(out, compiler))}", flush=True)
        except SkipError as error:
            # That a step is another compiler's business is no tool that lacks.
            needed = REQUIRE and "there is no" in str(error)
            print(f"{'FAIL' if needed else 'skip'}  {label}: {error}", flush=True)
            wrong += needed
        except WrongError as error:
            print(f"FAIL  {label}: {error}", flush=True)
            wrong += 1
        except KeyboardInterrupt:
            print("ended by Ctrl-C", file=sys.stderr)
            return 130
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
