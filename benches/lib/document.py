"""The generated parts of docs/PERFORMANCE.md and other documents."""

import textwrap

import machine

PERFORMANCE = machine.ROOT / "docs" / "PERFORMANCE.md"


def add_argument(parser):
    parser.add_argument("--update-docs", action="store_true", help=f"put the tables into docs/{PERFORMANCE.name}")


def replace(part, text, path=PERFORMANCE):
    """Puts `text` between the marks of this part of a document."""
    begin, end = f"<!-- {part}:begin -->", f"<!-- {part}:end -->"
    document = path.read_text()
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{path.name} has no {begin} … {end}")
    lines = [part for line in text.strip().splitlines() for part in wrapped(line)]
    path.write_text(f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}")


def wrapped(line):
    """Prose in lines of 120 columns, everything else as it is."""
    if not line.strip() or line.startswith(("|", " ", "#", "```")):
        return [line]
    return textwrap.wrap(line, 120, break_long_words=False, break_on_hyphens=False)
