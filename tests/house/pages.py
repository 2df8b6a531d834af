"""The pages that people read, README.md and those of `docs/`, as tests ask about them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.world.places import CHECKOUT

SHELLS = {"console", "sh", "bash", "zsh", "fish"}
#: The text of every page, by its path from the top.
PAGES = {
    str(path.relative_to(CHECKOUT)): path.read_text()
    for path in (CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md")))
}


@dataclass(frozen=True)
class Block:
    """A fenced block, the page and the section it stands in, and the comment right above it."""

    page: str
    line: int
    section: str
    language: str
    text: str
    comment: str

    @property
    def is_run(self) -> bool:
        return self.language in SHELLS and not self.comment

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> Iterator[tuple[int, str, str]]:
        """Each command with its line in the page and the output that is shown below it."""
        lines = self.text.splitlines()
        starts = [number for number, line in enumerate(lines) if self.language != "console" or line.startswith("$ ")]
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            command = lines[start].removeprefix("$ ")
            yield self.line + 1 + start, command, "".join(f"{line}\n" for line in lines[start + 1 : end])


def read_blocks(page: str, text: str) -> list[Block]:
    section, comment, blocks = "", "", []
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if line.startswith("#"):
            section = line.lstrip("# ")
        if line.startswith("```"):
            inside = []
            for _, each in lines:
                if each == "```":
                    break
                inside.append(each)
            blocks.append(Block(page, number, section, line.strip("`"), "\n".join(inside), comment))
        found = re.fullmatch(r"<!-- (.+) -->", line)
        comment = found[1] if found else ""
    return blocks


BLOCKS = [block for page, text in PAGES.items() for block in read_blocks(page, text)]


def prose(page: str) -> str:
    """A page without its blocks."""
    return re.sub(r"^```.*?^```", "", PAGES[page], flags=re.DOTALL | re.MULTILINE)


def section(page: str, title: str) -> str:
    """The text of one section, up to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", prose(page), re.DOTALL | re.MULTILINE)
    assert found, f"{page} has no section {title}"
    return found[1]


def rows(page: str, title: str = "") -> list[list[str]]:
    """The cells of every table row of a page, or of one of its sections, headings and rulers left out."""
    text = section(page, title) if title else prose(page)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rulers = {number for number, row in enumerate(cells) if set("".join(row)) <= {"-"}}
    return [row for number, row in enumerate(cells) if not {number, number + 1} & rulers]


def quoted(text: str) -> list[str]:
    """What stands between backquotes."""
    return re.findall(r"`([^`]+)`", text)


def anchors(page: str) -> set[str]:
    """The anchors that a page's headings have."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
