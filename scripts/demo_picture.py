#!/usr/bin/env python3
"""Runs the demo in a terminal of its own and writes what it looks like as an SVG.

    ./dev exec -- python3 scripts/demo_picture.py docs/demo.svg
"""

import argparse
import codecs
import fcntl
import os
import pty
import re
import select
import struct
import sys
import tempfile
import termios
import time
import unicodedata
from html import escape
from pathlib import Path

COLUMNS, LINES = 100, 30
# From here on the robots have met each other; the rest of the demo only makes sure that it ends well.
SECONDS, TAKEN_AT = 40, 25

# The window: fonts differ, so each piece of text is set to the width that its characters have here.
CHARACTER, LINE, MARGIN, BAR, FONT_SIZE = 8.4, 18, 16, 34, 14
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
BACKGROUND, FRAME, TEXT, FAINT = "#0d1117", "#161b22", "#e6edf3", "#8b949e"
COLOURS = {31: "#ff7b72", 32: "#56d364", 33: "#e3b341"}


def main():
    parser = argparse.ArgumentParser(description="Writes a picture of `switchboard demo`.")
    parser.add_argument("file", type=Path, help="the SVG file to write")
    arguments = parser.parse_args()
    command = ["switchboard", "demo", "--seconds", str(SECONDS)]
    screen = Screen(COLUMNS, LINES)
    frame = play(command, screen)
    if frame is None:
        sys.exit(f"error: {' '.join(command)} ended after less than {TAKEN_AT} s, and showed:\n{screen.text()}")
    arguments.file.write_text(svg(frame, "switchboard demo"), encoding="utf-8")


def play(command, screen):
    """Runs the command to its end; what the screen showed in the middle, or None if it ended before."""
    with tempfile.TemporaryDirectory() as home:
        child, terminal = pty.fork()
        if child == 0:
            # A home of its own: nothing of this machine's shows.
            os.environ.update(TERM="xterm-256color", HOME=home, TMPDIR="/tmp")
            for variable in ("NO_COLOR", "COLUMNS", "RUST_LOG", "SWITCHBOARD_LOG"):
                os.environ.pop(variable, None)
            try:
                os.execvp(command[0], command)
            except OSError as error:
                print(f"{command[0]}: {error.strerror}; run this with ./dev exec --")
                os._exit(1)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", screen.lines, screen.columns, 0, 0))
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        frame, begun = None, time.monotonic()
        while True:
            ready, _, _ = select.select([terminal], [], [], 0.1)
            # Only between two drawings: while nothing has come for a while, the last one is whole.
            if frame is None and not ready and time.monotonic() - begun >= TAKEN_AT:
                frame = screen.copy()
            if not ready:
                continue
            try:
                data = os.read(terminal, 65536)
            except OSError:  # the other side was closed
                data = b""
            if not data:
                break
            screen.feed(decoder.decode(data))
        os.close(terminal)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code != 0:
            sys.exit(f"error: {' '.join(command)} ended with code {code}, and showed:\n{screen.text()}")
        return frame


class Screen:
    """The part of a terminal that the demo uses: lines, colours, moving up and clearing to the end."""

    SEQUENCE = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])")

    def __init__(self, columns, lines):
        self.columns, self.lines = columns, lines
        self.cells = [[] for _ in range(lines)]  # of (character, look); a look is a set of SGR numbers
        self.row = self.column = 0
        self.look = frozenset()
        self.rest = ""

    def copy(self):
        """What it shows; the name of the temporary folder, which chance made, stands as mktemp's template."""
        lines = [list(line) for line in self.cells]
        for line in lines:
            chance = re.search(r"(?<=switchboard-demo-)\w+", "".join(character for character, _ in line))
            for column in range(*chance.span()) if chance else ():
                line[column] = ("X", line[column][1])
        return lines

    def text(self):
        return "\n".join("".join(character for character, _ in line) for line in self.cells).rstrip()

    def feed(self, text):
        text, self.rest = self.rest + text, ""
        at = 0
        while at < len(text):
            if text[at] != "\x1b":
                self.put(text[at])
                at += 1
                continue
            sequence = self.SEQUENCE.match(text, at)
            if sequence is None:
                if len(text) - at < 16:  # the rest of it comes later
                    self.rest = text[at:]
                    return
                raise ValueError(f"a sequence that this script does not know: {text[at:at + 16]!r}")
            self.obey(sequence[1], sequence[2])
            at = sequence.end()

    def obey(self, numbers, what):
        values = [int(number or 0) for number in numbers.split(";")]
        if what == "m":
            for value in values:
                self.look = frozenset() if value == 0 else self.look | {value}
        elif what == "A":
            self.row = max(0, self.row - max(1, values[0]))
        elif what == "J" and values == [0]:
            self.cells[self.row][self.column:] = []
            for row in range(self.row + 1, self.lines):
                self.cells[row] = []
        elif what == "K" and values == [0]:
            self.cells[self.row][self.column:] = []
        else:
            raise ValueError(f"a sequence that this script does not know: {numbers}{what}")

    def put(self, character):
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row += 1
            if self.row == self.lines:
                self.cells = [*self.cells[1:], []]
                self.row -= 1
        elif character == "\t":
            self.put_cells(" " * (8 - self.column % 8))
        elif unicodedata.category(character) != "Cc":
            self.put_cells(character)

    def put_cells(self, characters):
        for character in characters:
            if self.column == self.columns:
                self.put("\r")
                self.put("\n")
            line = self.cells[self.row]
            line.extend([(" ", frozenset())] * (self.column + 1 - len(line)))
            line[self.column] = (character, self.look)
            self.column += 1


def svg(frame, title):
    while frame and not frame[-1]:
        frame.pop()
    while frame and not frame[0]:
        frame.pop(0)
    width = MARGIN * 2 + COLUMNS * CHARACTER
    height = BAR + MARGIN * 2 + len(frame) * LINE - (LINE - FONT_SIZE)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
        f' font-family="{FONTS}" font-size="{FONT_SIZE}">',
        f"<title>{escape(title)}</title>",
        f'<rect x="0.5" y="0.5" width="{width - 1:g}" height="{height - 1:g}" rx="9" fill="{BACKGROUND}" stroke="#30363d"/>',
        f'<path d="M1 {BAR}V10a9 9 0 0 1 9-9H{width - 10:g}a9 9 0 0 1 9 9V{BAR}z" fill="{FRAME}"/>',
    ]
    for index, colour in enumerate(("#ff5f57", "#febc2e", "#28c840")):
        drawn.append(f'<circle cx="{20 + index * 20}" cy="{BAR / 2:g}" r="6" fill="{colour}"/>')
    drawn.append(f'<text x="{width / 2:g}" y="{BAR / 2 + 5:g}" text-anchor="middle" fill="{FAINT}">{escape(title)}</text>')
    for number, line in enumerate(frame):
        y = BAR + MARGIN + FONT_SIZE - 3 + number * LINE
        for column, text, look in runs(line):
            x = MARGIN + column * CHARACTER
            drawn.append(
                f'<text x="{x:.1f}" y="{y:g}" textLength="{len(text) * CHARACTER:.1f}" xml:space="preserve"'
                f"{style(look)}>{escape(text)}</text>"
            )
    drawn.append("</svg>")
    return "\n".join(drawn) + "\n"


def runs(line):
    """Pieces of a line that look the same, without the gaps between columns: (column, text, look)."""
    text = "".join(character for character, _ in line)
    for word in re.finditer(r"\S+(?: \S+)*", text):
        start = word.start()
        for column in range(word.start() + 1, word.end() + 1):
            if column == word.end() or line[column][1] != line[start][1]:
                piece = text[start:column]
                if piece.strip():
                    yield start, piece.rstrip(), line[start][1]
                start = column


def style(look):
    fill = next((COLOURS[number] for number in sorted(look) if number in COLOURS), FAINT if 2 in look else TEXT)
    return f' fill="{fill}"' + (' font-weight="bold"' if 1 in look else "")


if __name__ == "__main__":
    main()
