# SPDX-License-Identifier: GPL-2.0-only
"""How Sphinx builds the site: ``make docs``. Nothing of it needs the network."""

from __future__ import annotations

import builtins
import inspect
import os
import re
import textwrap
import types
import typing
import warnings
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ConfigError
from sphinx.transforms import SphinxTransform
from sphinx.util import inspect as sphinx_inspect
from sphinx.util import logging

HERE = Path(__file__).resolve().parent
log = logging.getLogger(__name__)

# The reference is made of the docstrings. The pure backend does for that, but then somebody
# should know: the package says so in a RuntimeWarning, here it is one line of the build.
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        import pykworker
        import pykworker.pure
except ImportError as error:
    raise ConfigError(
        f"the documentation is made from the package, which can't be imported: {error}\n"
        "`make docs` installs it first; by hand: pip install --editable '.[docs]'"
    ) from error
if pykworker.backend != "native":
    log.info("pykworker's extension module is not built: the reference is the pure backend's")

project = "pykworker"
release = version = pykworker.__version__
copyright = "the authors of pykworker; GPL-2.0-only"  # noqa: A001 - Sphinx's name

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"pykworker {release}"
html_show_sphinx = False
html_copy_source = False

myst_heading_anchors = 3  # those that a repository's viewer makes, too

# References: each has to lead somewhere. The standard library's pages can't be reached from
# everywhere, so what is theirs stands without a link; type variables are nobody's.
nitpicky = True
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(asyncio|collections|concurrent|contextlib|contextvars|ctypes|os|queue|threading|types)\..*",
    ),
    (r"py:.*", r"(typing|typing_extensions|cffi)\..*"),
    (r"py:mod", r"threading"),
    (r"py:(class|exc)", "|".join(dir(builtins))),
    (r"py:(class|obj)", r"(.*\._)?[A-Z]|FFI"),
]

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90

# Where the repository can be browsed, if anywhere: what comes before a file's path. Links to
# files outside docs/ lead there, and without it they are text that names the file.
SOURCE_URL = os.environ.get("PYKWORKER_SOURCE_URL", "").rstrip("/")


class OutsideFiles(SphinxTransform):
    """Links to files outside docs/ work where the repository is browsed, but not in the site."""

    default_priority = 10  # before the files are collected for download

    def apply(self, **kwargs: Any) -> None:
        folder = (HERE / self.env.docname).parent
        for node in list(self.document.findall(addnodes.download_reference)):
            target = (folder / node["reftarget"]).resolve()
            if target.is_relative_to(HERE):
                continue
            path = target.relative_to(HERE.parent).as_posix()
            if SOURCE_URL:
                new: nodes.Element = nodes.reference("", "", refuri=f"{SOURCE_URL}/{path}")
            else:
                title = node.get("reftitle")
                new = nodes.abbreviation(explanation=f"{path}: {title}" if title else path)
            new += [child.deepcopy() for child in node.children]
            node.replace_self(new)


def is_there(path: str) -> bool:
    """Whether this backend has what the dotted path below pykworker names."""
    thing: Any = pykworker
    for name in path.split("."):
        if not hasattr(thing, name):
            return False
        thing = getattr(thing, name)
    return True


def leave_out_what_is_not_there(app: Sphinx, docname: str, source: list[str]) -> None:
    """Some names are the compiled backend's alone; the reference is for both."""
    if docname != "reference":
        return

    def keep(match: re.Match[str]) -> str:
        if is_there(match["path"]):
            return written_in_c(match["path"]) or match[0]
        log.info("the reference leaves out %s, which the backend does not have", match["path"])
        return ""

    directive = r"^\.\. auto\w+:: (?P<path>[\w.]+)\n(?:[ \t]+\S.*\n|\n(?=[ \t]))*"
    source[0] = re.sub(directive, keep, source[0], flags=re.MULTILINE)


def written_in_c(path: str) -> str:
    """A property written in C, as it would be shown if it were Python's; else nothing.

    Sphinx takes it for an attribute without a type. Its pure twin has the type.
    """
    kind, _, name = path.partition(".")
    prop = getattr(getattr(pykworker, kind), name, None)
    if not isinstance(prop, types.GetSetDescriptorType):
        return ""
    twin = getattr(getattr(pykworker.pure, kind, None), name, None)
    returns = getattr(getattr(twin, "fget", None), "__annotations__", {}).get("return", "")
    text = f".. py:property:: {path}\n"
    text += f"   :type: {readable(returns)}\n" if returns else ""
    return text + "\n" + textwrap.indent(inspect.getdoc(prop) or "", "   ") + "\n\n"


def sign(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str, str] | None:
    """Signatures for people: with types, also of what is written in C, and without noise."""
    if not signature:
        return None
    if name == "pykworker.Future":
        return "", ""  # submit() alone makes it
    twin: Any = pykworker.pure  # what is in C has no types; its pure twin's are the same
    for part in name.removeprefix("pykworker.").split("."):
        twin = getattr(twin, part, None)
    code = obj.__init__ if isinstance(obj, type) else obj
    if what in ("method", "class") and not hasattr(code, "__annotations__") and twin is not None:
        found = sphinx_inspect.signature(twin, bound_method=what == "method")
        signature, _, returns = sphinx_inspect.stringify_signature(
            found, unqualified_typehints=True
        ).rpartition(" -> ")
        if not signature:  # it says nothing of what it returns
            signature, returns = returns, ""
    return readable(signature), "" if what == "class" else readable(returns or "")


def readable(text: str) -> str:
    """``Callable[[...], object]`` and ``Callable[[~_P], ~_R]`` as one would write them."""
    text = re.sub(r"\[\[(\.\.\.|~?(?:\w+\.)*_P)\], ", r"[\1, ", text)
    return re.sub(r"~?(?:\w+\.)*_([PRT])\b", r"\1", text)


def find_public_name(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, child: nodes.Element
) -> nodes.reference | None:
    """What is referred to by another name than the one it is documented under.

    A class stands where people import it from, not where it is defined; a method with the class
    that brings it, not with those that inherit it.
    """
    target = node["reftarget"]
    if node.get("refdomain") != "py":
        return None
    kind = getattr(pykworker, (node.get("py:class") or "").rpartition(".")[2], None)
    if match := re.fullmatch(r"pykworker\.(?:native|pure|_\w+)(?:\.\w+)*?\.([A-Z]\w*)", target):
        names = [match[1]]
    elif isinstance(kind, type) and target.isidentifier():
        names = [f"{base.__name__}.{target}" for base in kind.__mro__]
    else:
        return None
    for name in names:
        found = env.domains.python_domain.resolve_xref(
            env, node["refdoc"], app.builder, node["reftype"], f"pykworker.{name}", node, child
        )
        if found is not None:
            return found
    return None


def hide_inner_bases(app: Sphinx, name: str, obj: Any, options: Any, bases: list[Any]) -> None:
    """The base that is written in C, and Generic, say nothing to who reads the reference."""
    plain = [typing.get_origin(base) or base for base in bases]
    hidden = ("pykworker._native", "typing")
    bases[:] = [base for base in plain if base.__module__ not in hidden] or [object]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(OutsideFiles)
    app.connect("source-read", leave_out_what_is_not_there)
    app.connect("autodoc-process-signature", sign)
    app.connect("autodoc-process-bases", hide_inner_bases)
    app.connect("missing-reference", find_public_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
