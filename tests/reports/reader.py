"""A strict reader of a page: what a browser would load, run and say."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "img", "input", "link", "br", "hr"}
_LOADING = {"src", "href", "srcset", "data", "action", "poster", "xlink:href"}


@dataclass
class Seen:
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    text: str = ""
    scripts: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.seen = Seen()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.seen.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        if inside == "script":
            self.seen.scripts.append(data)
        elif inside == "style":
            self.seen.styles.append(data)
        else:
            self.seen.text += data


def read(page: str) -> Seen:
    """Parse a page."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    reader.seen.faults += [f"<{tag}> stays open" for tag in reader.open]
    return reader.seen


def faults(page: str) -> list[str]:
    """Everything wrong with a page that must be well formed, self-contained and described for those who cannot see."""
    seen = read(page)
    found = list(seen.faults)
    found += [] if page.startswith("<!DOCTYPE html>") else ["no doctype"]
    names = [attributes["id"] for _, attributes in seen.tags if "id" in attributes]
    found += [f"id {name} twice" for name in sorted({name for name in names if names.count(name) > 1})]
    for tag, attributes in seen.tags:
        for key in _LOADING & set(attributes):
            if not attributes[key].startswith(("data:image/png;base64,", "#")):
                found.append(f"<{tag} {key}> loads {attributes[key][:40]}")
        found += [f"<{tag} {key}> runs code" for key in attributes if key.startswith("on")]
        if tag in {"link", "iframe", "object", "embed", "base"}:
            found.append(f"<{tag}> may load")
        if tag == "img" and not attributes.get("alt"):
            found.append("an image without words")
        references = attributes.get("aria-labelledby", "").split()
        found += [f"label {name} is not there" for name in references if name not in names]
    found += ["a style loads" for style in seen.styles if "url(" in style or "@import" in style]
    return found
