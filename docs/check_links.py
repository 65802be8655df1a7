# SPDX-License-Identifier: GPL-2.0-only
"""Follow every link inside the built site: to a page, a picture, a place on a page.

    python docs/check_links.py build/docs

Links to the world outside are left alone. Exit code 1 when one leads nowhere.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and the places on it that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name in ("href", "src"):
                self.links.add(value)
            elif name == "id" or (tag == "a" and name == "name"):
                self.places.add(value)


def broken_links(site: Path) -> list[str]:
    pages = {path.resolve(): Page(path.read_text("utf-8")) for path in site.rglob("*.html")}
    broken = []
    for path, page in sorted(pages.items()):
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            if not target.is_file():
                broken.append(f"{path.relative_to(site.resolve())}: {link}: no such file")
            elif place and target in pages and place not in pages[target].places:
                broken.append(f"{path.relative_to(site.resolve())}: {link}: no such place")
    if not pages:
        broken.append(f"{site}: no pages")
    return broken


def main() -> int:
    (site,) = sys.argv[1:]
    broken = broken_links(Path(site))
    print("\n".join(broken) or f"every internal link of {site} leads somewhere")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
