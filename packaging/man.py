# SPDX-License-Identifier: GPL-2.0-only
"""Manual pages from the comments in the public headers; needs nothing but Python.

    make man
    python3 packaging/man.py build/man      # man3/*.3, man7/*.7
    python3 packaging/man.py --functions    # every function as it is declared, one a line

A page is made of the comment above a function: its first line is "names - summary"; "@name:"
begins a parameter, "Returns" what it returns, "From" the callers it may have. A comment that
follows a declaration without an empty line, or begins with "Returns", belongs to the page above
it. What declares no function is on the header's own page in section 7.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

SRC = Path(__file__).resolve().parent.parent / "src"
HEADERS = ("kthread.h", "kthread_worker.h")

# What stands before a colon in a list of results.
RESULT = re.compile(
    r"(?:Returns )?((?:NULL|true|false|0|1|-?E[A-Z]+|errno E[A-Z]+)"
    r"(?:(?:,| or| with errno)? ?(?:errno [A-Zk]\w+|-?E[A-Z]+))*): (.*)"
)


@dataclass
class Block:
    """A comment and what is declared under it, up to the next comment."""

    comment: list[str]
    code: str
    continues: bool  # right under the declaration before it


@dataclass
class Page:
    header: str
    blocks: list[Block]
    names: list[str] = field(default_factory=list)


def blocks_of(text: str) -> tuple[list[str], list[Block]]:
    """The comment at the head, and the blocks after it."""
    parts = re.split(r"^(/\*.*?\*/\n)", text, flags=re.M | re.S)
    comments, codes = parts[1::2], parts[2::2]
    blocks = []
    for index, (comment, code) in enumerate(zip(comments, codes, strict=True)):
        body = comment.strip().removeprefix("/*").removesuffix("*/").strip()
        lines = [re.sub(r"^ ?\*(?: |(?=\t)|$)", "", line) for line in body.split("\n")]
        before = codes[index - 1] if index else ""
        blocks.append(Block([line.rstrip() for line in lines], code, before.endswith(";\n")))
    return blocks[1].comment, blocks[2:]  # the first is the licence


def functions_of(code: str) -> dict[str, str]:
    """The functions that the code declares, by name, each as one line."""
    code = re.sub(r"/\*.*?\*/", "", code, flags=re.S)
    code = re.sub(r"^#(?:.*\\\n)*.*$", "", code, flags=re.M)
    code = re.sub(r"^(?:struct|enum) \w+ \{.*?^\};", "", code, flags=re.M | re.S)
    found = {}
    for statement in code.split(";"):
        flat = " ".join(statement.split())
        flat = re.sub(r" KTHREAD_PRINTF\(\d, \d\)$", "", flat)
        match = re.match(r"(?!typedef)(?:KTHREAD_API_BEGIN )?([\w ]*[ *]+?)\*?(\w+)\(", flat)
        if match and not flat.startswith(("extern", "typedef")):
            found[match[2]] = flat.removeprefix("KTHREAD_API_BEGIN ") + ";"
    return found


def summary_of(block: Block) -> tuple[str, list[str]]:
    """The summary, and the rest of the comment."""
    lines = block.comment
    head = []
    for line in lines:
        if not line or line.startswith("@") or (head and line.startswith("Returns ")):
            break
        head.append(line)
    text = " ".join(head)
    rest = lines[len(head) :]
    match = re.match(r"[\w, .]+? - (.*)", text)
    if match:
        text = match[1]
    short = re.split(r"[.;?](?: |$)" if match else r"[.;:?](?: |$)", text)[0]
    if short != text.rstrip(".?"):
        rest = [text, *rest]
    return short if re.match("[A-Z]{2}", short) else short[0].lower() + short[1:], rest


def pages_of(header: str) -> tuple[list[str], list[Block], list[Page]]:
    """Of a header: what its head says, the blocks without a function, the pages."""
    head, blocks = blocks_of((SRC / header).read_text(encoding="utf-8"))
    plain: list[Block] = []
    pages: list[Page] = []
    previous = None
    for block in blocks:
        names = list(functions_of(block.code))
        if not names:
            plain.append(block)
        elif block.comment[0].startswith("Returns") and plain and plain[-1] is previous:
            pages.append(Page(header, [plain.pop(), block], names))  # what is above says it all
        elif pages and (block.continues or block.comment[0].startswith("Returns")):
            pages[-1].blocks.append(block)
            pages[-1].names += names
        else:
            pages.append(Page(header, [block], names))
        previous = block
    return head, plain, pages


def escape(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


def paragraphs(lines: list[str]) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    for line in lines:
        if line:
            groups[-1].append(line)
        elif groups[-1]:
            groups.append([])
    return [group for group in groups if group]


def items(lines: list[str], tag: re.Pattern[str]) -> list[str]:
    """Lines of roff: what has a tag as an item, with the lines that go on from it."""
    out: list[str] = []
    for line in lines:
        if match := tag.match(line):
            out += [".TP", f".B {escape(match[1])}", escape(match[2])]
            continue
        if ".TP" in out and not line[0].islower() and not line.startswith("\t"):
            out.append(".PP")
        out.append(escape(line.strip()))
    return out


def text_of(lines: list[str]) -> list[str]:
    """Paragraphs of prose; what is set in by a tab, or is a table, stays as it stands."""
    out: list[str] = []
    for group in paragraphs(lines):
        if all(line.startswith("\t") for line in group):
            out += [".PP", ".nf", ".RS", *(escape(line[1:].expandtabs(8)) for line in group)]
            out += [".RE", ".fi"]
        else:
            out += [".PP", *(escape(line.strip()) for line in group)]
    return out[1:] if out[:1] == [".PP"] and out[1:2] != [".nf"] else out


def sections_of(page: Page) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {
        "PARAMETERS": [], "DESCRIPTION": [], "CALLERS": [], "RETURN VALUE": [], "NOTES": [],
    }  # fmt: skip
    for number, block in enumerate(page.blocks):
        lines = summary_of(block)[1] if number == 0 else list(block.comment)
        names = list(functions_of(block.code))
        if number:
            sections["DESCRIPTION"] += [".PP", f".B {escape(', '.join(names))}", ".br"]
        for group in paragraphs(lines):
            if group[0].startswith("@"):
                sections["PARAMETERS"] += items(group, re.compile(r"(@[\w, @]+): (.*)"))
                continue
            where = "DESCRIPTION"
            if number == 0 and group[0].startswith("Returns "):
                where = "RETURN VALUE"
            elif number == 0 and re.match(r"From (any|where)", group[0]):
                where = "CALLERS"
            elif number == 0 and re.match(r"(As the kernel's|Ours)\b", group[0]):
                where = "NOTES"
            new = items(group, RESULT) if where == "RETURN VALUE" else text_of(group)
            if sections[where] and new[0] not in (".PP", ".TP") and number == 0:
                new.insert(0, ".PP")
            sections[where] += new
    if not sections["DESCRIPTION"]:
        summary = summary_of(page.blocks[0])[0]
        sections["DESCRIPTION"] = [escape(summary[0].upper() + summary[1:] + ".")]
    return sections


def code_of(block: Block) -> list[str]:
    code = re.sub(r"^(KTHREAD_API_|#if|#else|#endif|#include|extern \"C\").*\n", "", block.code,
                  flags=re.M)  # fmt: skip
    code = re.sub(r"\s+KTHREAD_PRINTF\(\d, \d\)", "", code)
    return re.sub(r"\n{3,}", "\n\n", code.removesuffix("\n}\n\n")).strip().split("\n")


def render(page: Page, title: str, known: set[str]) -> list[str]:
    first = page.names[0]
    out = [title.format(first.upper(), 3), ".SH NAME"]
    summary = summary_of(page.blocks[0])[0]
    out.append(f"{', '.join(page.names)} \\- {escape(summary)}")
    out += [".SH SYNOPSIS", ".nf", f"#include <{page.header}>", ""]
    for block in page.blocks:
        out += [escape(line.expandtabs(8)) for line in code_of(block)]
    out.append(".fi")
    for name, lines in sections_of(page).items():
        if lines:
            out += [f".SH {name}", *lines]
    text = "\n".join(line for block in page.blocks for line in block.comment)
    others = sorted(set(re.findall(r"\b\w+\b", text)) & known - set(page.names))
    see = [f".BR {name} (3)" for name in others]
    see.append(f".BR {page.header.removesuffix('.h')} (7)")
    return [*out, ".SH SEE ALSO", *(line + " ," for line in see[:-1]), see[-1]]


def overview(header: str, head: list[str], plain: list[Block], pages: list[Page],
             title: str) -> list[str]:  # fmt: skip
    """The page of a header: its head, its functions, its types and constants."""
    name = header.removesuffix(".h")
    first = head[0].partition(" - ")[2].rstrip(".")
    out = [title.format(name.upper(), 7), ".SH NAME", f"{name} \\- {escape(first)}"]
    out += [".SH SYNOPSIS", f"#include <{header}>", ".SH DESCRIPTION", *text_of(head[1:])]
    out.append(".SH FUNCTIONS")
    for page in pages:
        names = ' "(3), " '.join(page.names)
        out += [".TP", f".BR {names} (3)", escape(summary_of(page.blocks[0])[0])]
    out.append(".SH TYPES AND CONSTANTS")
    for block in plain:
        code = code_of(block)
        if code == [""]:
            continue
        out += [".PP", *text_of([*block.comment])]
        # Of what is nobody's to touch the members say nothing.
        if not re.search(r"not\s+for the caller\s+to touch|inside only", " ".join(block.comment)):
            out += [".PP", ".nf", ".RS", *(escape(line.expandtabs(8)) for line in code)]
            out += [".RE", ".fi"]
    others = [other.removesuffix(".h") for other in HEADERS if other != header]
    return [*out, ".SH SEE ALSO", *(f".BR {other} (7)" for other in others)]


def joined(lines: list[str]) -> str:
    """Without the paragraph macros that say nothing, right after a heading."""
    kept = [line for index, line in enumerate(lines)
            if line != ".PP" or not lines[index - 1].startswith(".SH")]  # fmt: skip
    return "\n".join(kept) + "\n"


def version() -> str:
    text = (SRC / "kthread_worker.h").read_text(encoding="utf-8")
    return ".".join(re.findall(r"^#define KTHREAD_WORKER_VERSION_\w+ (\d+)$", text, re.M))


def write(folder: Path) -> int:
    newest = max((SRC / header).stat().st_mtime for header in HEADERS)
    moment = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", newest)))
    date = time.strftime("%Y-%m-%d", moment)
    title = f'.TH {{}} {{}} {date} "kthread_worker {version()}" "Library functions"'
    read = {header: pages_of(header) for header in HEADERS}
    known = {name for _, _, pages in read.values() for page in pages for name in page.names}
    head = (
        '.\\" SPDX-License-Identifier: GPL-2.0-only\n.\\" Made from src/{} by packaging/man.py.\n'
    )
    files: dict[str, str] = {}
    links: dict[str, str] = {}
    for header, (text, plain, pages) in read.items():
        name = header.removesuffix(".h")
        lines = overview(header, text, plain, pages, title.replace("functions", "overview"))
        files[f"man7/{name}.7"] = head.format(header) + joined(lines)
        for page in pages:
            lines = render(page, title, known)
            files[f"man3/{page.names[0]}.3"] = head.format(header) + joined(lines)
            for alias in page.names[1:]:
                links[f"man3/{alias}.3"] = f"{page.names[0]}.3"
    for section in ("man3", "man7"):
        (folder / section).mkdir(parents=True, exist_ok=True)
        for old in (folder / section).iterdir():
            old.unlink()
    for path, content in files.items():
        (folder / path).write_text(content, encoding="utf-8")
    for path, target in links.items():
        (folder / path).symlink_to(target)
    return len(files) + len(links)


def main() -> int:
    parser = argparse.ArgumentParser(description="Manual pages from the public headers.")
    parser.add_argument("folder", nargs="?", type=Path, help="where man3 and man7 go")
    parser.add_argument("--functions", action="store_true", help="print the declarations")
    options = parser.parse_args()
    if options.functions:
        for header in HEADERS:
            text = (SRC / header).read_text(encoding="utf-8")
            for line in functions_of("".join(block.code for block in blocks_of(text)[1])).values():
                print(line)
    elif options.folder:
        print(f"{write(options.folder)} pages in {options.folder}")
    else:
        parser.error("say where the pages go")
    return 0


if __name__ == "__main__":
    sys.exit(main())
