#!/usr/bin/env python3
"""Keeps docs/architecture.md true: which room includes which, where every file is named, how large files are, where the
environment is read, what the release library must not hold. Standard library only.

    check_structure.py [--release LIBRARY --nm NM] [--program FILE] [--root DIR]

Rooms and their arrows stand in CMakeLists.txt (ds4_room(NAME USES ...), lowest first) and, for people, in the table of
docs/architecture.md; the two must agree, so that a new arrow is a decision. Exit 1 names each breach as FILE:LINE: what.
tests/structure/test_structure.py breaks every rule once.
"""
import argparse
import pathlib
import re
import subprocess
import sys

LINES_MAX = 800
PROGRAM_ROOMS = ("cli", "tools")  # these may include any public header
TEST_FOLDERS = ("e2e", "clients", "fuzz", "mutants", "support", "oracle", "data", "structure", "aarch64")  # beside one per room
PATH = re.compile(r"(?<![\w/.-])((?:bench|cmake|docs|include|models|scripts|src|tests|train)/[\w./-]*\.(?:c|h|json|md|mjs|py|sh|txt))\b")
FAULT_SYMBOLS = ("fault_at", "fault_errno", "fault_configure", "fault_arm", "fault_disarm", "fault_hold", "fault_release")
# kill and abort are what the fault points are for.
MAY_END_THE_PROCESS = ("src/base/fault.c",)


LOCALE = re.compile(r"\b(strto[dfl]d?|atof|strn?casecmp|is(?:alpha|alnum|digit|space|upper|lower|print|punct|xdigit)|to(?:lower|upper))\s*\(")
LOCALE_PRINTS = re.compile(r"(?<!\w)(v?snprintf)\s*\(.*%[-+#0-9.*]*[efgEFG]")


def room_table(root):
    """{room: rooms it may include}, from CMakeLists.txt."""
    text = re.sub(r"#.*", "", (root / "CMakeLists.txt").read_text())
    table = {}
    for name, rest in re.findall(r"ds4_room\(\s*(\w+)([^)]*)\)", text):
        words = rest.split()
        used = []
        if "USES" in words:
            for word in words[words.index("USES") + 1:]:
                if word == "LIBRARIES":
                    break
                used.append(word)
        table[name] = set(used)
    return table


class Check:
    def __init__(self, root):
        self.root, self.breaches, self.n_files = root, [], 0
        self.rooms = room_table(root)

    def is_own(self, path):
        """The rules and their test hold examples of what they forbid."""
        return path.parent == self.root / "tests/structure"

    def breach(self, path, line, what):
        self.breaches.append(f"{path.relative_to(self.root)}:{line}: {what}")

    def arrows_point_down(self):
        """Lowest first in CMakeLists.txt: a room uses only rooms that stand above its own line."""
        seen = set()
        for room, used in self.rooms.items():
            for other in sorted(used - seen):
                self.breach(self.root / "CMakeLists.txt", 1, f"module '{room}' uses '{other}', which stands below it")
            seen.add(room)

    def table_is_true(self):
        """The rows of docs/architecture.md, "| `src/ROOM` | ... | may include |", say what CMakeLists.txt says."""
        page = self.root / "docs/architecture.md"
        shown = {}
        for number, line in enumerate(page.read_text().splitlines(), 1):
            row = re.match(r"\| `src/(\w+)` \|.*\| ([\w ,–]+) \|$", line)
            if not row or row.group(1) not in self.rooms:
                continue
            shown[row.group(1)] = set(re.findall(r"\w+", row.group(2)))
            if shown[row.group(1)] != self.rooms[row.group(1)]:
                self.breach(page, number, f"'{row.group(1)}' may include {sorted(self.rooms[row.group(1)])} in CMakeLists.txt")
        for room in sorted(set(self.rooms) - set(shown)):
            self.breach(page, 1, f"the table of modules lacks '{room}'")

    def every_module_is_named(self):
        """A line of docs/architecture.md that begins with **ROOM** or **ROOM/** names each of its nouns, as `noun`."""
        page = self.root / "docs/architecture.md"
        named = {}
        for paragraph in page.read_text().split("\n\n"):
            room = re.match(r"\*\*([\w/]+?)/?\*\*", paragraph)
            if room:
                named.setdefault(room.group(1), set()).update(re.findall(r"`([\w-]+)`", paragraph))
        for path in sorted((self.root / "src").rglob("*.[ch]")):
            room = str(path.parent.relative_to(self.root / "src"))
            if path.stem not in named.get(room, ()):
                self.breach(path, 1, f"docs/architecture.md does not say what '{path.stem}' in '{room}' is")
        for room, nouns in sorted(named.items()):
            there = {path.stem for path in (self.root / "src" / room).glob("*.[ch]")}
            for noun in sorted(nouns - there):
                self.breach(page, 1, f"there is no '{noun}' in '{room}'")

    def tests_mirror_the_rooms(self):
        for folder in sorted((self.root / "tests").iterdir()):
            if folder.is_dir() and folder.name not in (*self.rooms, *PROGRAM_ROOMS, *TEST_FOLDERS, "__pycache__"):
                self.breach(folder, 1, "no room has this name")

    def include(self, path, room, number, name):
        if name.startswith("ds4/"):
            if name != "ds4/error.h" and room not in ("api", *PROGRAM_ROOMS):
                self.breach(path, number, f'"{name}" is for those who embed libds4; a module knows "ds4/error.h" only')
            return
        parts = name.split("/")
        if len(parts) < 2 or (parts[0] not in self.rooms and parts[0] not in PROGRAM_ROOMS):
            self.breach(path, number, f'"{name}" is no room\'s header; write "room/noun.h"')
            return
        other = parts[0]
        if other == room:
            sides = {p for p in path.relative_to(self.root).parts if p in ("cpu", "cuda")}
            if room == "backend" and parts[1] in ("cpu", "cuda") and sides and parts[1] not in sides:
                self.breach(path, number, "cpu/ and cuda/ never meet")
            return
        if room not in PROGRAM_ROOMS and other not in self.rooms[room]:
            self.breach(path, number, f"module '{room}' may not include '{other}'")
        if other != "base" and name != f"{other}/{other}.h" and not (room == "tools" and other == "cli"):
            self.breach(path, number, f'"{name}" is inside module \'{other}\'; its public header is "{other}/{other}.h"')

    def source(self, path, room):
        text = path.read_text()
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            match = re.match(r'\s*#\s*include\s*(["<])([^">]+)', line)
            if match and (match.group(1) == '"' or match.group(2).split("/")[0] in (*self.rooms, *PROGRAM_ROOMS, "ds4")):
                self.include(path, room, number, match.group(2))
            code = re.sub(r'"(\\.|[^"\\])*"', '""', line)
            code = re.sub(r"/\*.*?\*/|//.*", "", code)
            if re.search(r"\b(secure_)?getenv\s*\(", code) and room != "cli":
                self.breach(path, number, "the environment is read in src/cli only")
            follows = LOCALE.search(code) or LOCALE_PRINTS.search(line)
            if follows and room not in (*PROGRAM_ROOMS, "server") and path.stem != "c_locale":  # libds4 lives in programs of others
                self.breach(path, number, f"{follows.group(1)}() follows the program's locale: see base/c_locale.h")
            ends = re.search(r"(?<![\w.>])(exit|_exit|_Exit|quick_exit|abort)\s*\(", code)
            if ends and room not in PROGRAM_ROOMS and str(path.relative_to(self.root)) not in MAY_END_THE_PROCESS:
                self.breach(path, number, f"{ends.group(1)}() in a library: return a status")
        if path.suffix == ".h":
            self.guard(path, text)

    def guard(self, path, text):
        rest = re.sub(r"/\*.*?\*/", "", text, flags=re.S).strip()
        match = re.match(r"#ifndef (\w+_H)\n#define (\w+_H)\n", rest)
        want = "_".join(path.relative_to(self.root / "src").parts).replace(".", "_").replace("-", "_").upper()
        if not match or match.group(1) != match.group(2):
            self.breach(path, 1, "no include guard")
        elif match.group(1) != want:
            self.breach(path, 1, f"the include guard is {match.group(1)}, not {want}")

    def any_file(self, path):
        self.n_files += 1
        lines = path.read_text(errors="replace").splitlines()
        # Tables of constants live in files of their own, and are as long as they are.
        if len(lines) > LINES_MAX and not re.search(r"_(table|tables|data)$", path.stem):
            self.breach(path, LINES_MAX + 1, f"{len(lines)} lines; at {LINES_MAX}, look for the second noun")
        for number, line in enumerate(lines, 1):
            if re.search(r"\b(TODO|FIXME|XXX)\b", line) and not re.search(r"issue \d+", line) and not self.is_own(path):
                self.breach(path, number, "a promise without an issue: write 'issue N' or do it")
        self.paths_lead_somewhere(path, lines)

    def paths_lead_somewhere(self, path, lines):
        rooms = "|".join((*self.rooms, *PROGRAM_ROOMS))
        for number, line in enumerate(lines, 1):
            in_rooms = re.findall(rf"`((?:{rooms})/[\w/]+\.[ch])`", line) if path.suffix == ".md" else []
            for name in [*PATH.findall(line), *("src/" + name for name in in_rooms)]:
                if not (self.root / name).exists() and not re.search(r"[A-Z]{3}", name) and not self.is_own(path):
                    self.breach(path, number, f"there is no {name}")

    def public_headers(self):
        for path in sorted((self.root / "include").rglob("*.h")):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = re.match(r'\s*#\s*include\s*["<]([^">]+)', line)
                if match and "/" in match.group(1) and not match.group(1).startswith("ds4/"):
                    self.breach(path, number, f'"{match.group(1)}" is not installed')

    def doors_exist(self): # the public header of api is include/ds4/ds4.h
        for room in self.rooms:
            folder = self.root / "src" / room
            if room not in ("base", "api") and any(folder.rglob("*.c")) and not (folder / f"{room}.h").exists():
                self.breach(folder, 1, f"module '{room}' has no public header {room}.h")

    def release_library(self, nm, library):
        symbols = subprocess.run([nm, str(library)], capture_output=True, text=True, check=True).stdout
        for symbol in FAULT_SYMBOLS:
            if re.search(rf"\b{symbol}\b", symbols):
                self.breach(self.root / "src/base/fault.c", 1, f"the release library holds {symbol}()")

    def release_program(self, program):
        if b"DS4_KV_FAULT" in program.read_bytes():
            self.breach(self.root / "src/cli/startup.c", 1, f"{program.name} of a release build listens to DS4_KV_FAULT")

    def run(self):
        self.arrows_point_down()
        self.table_is_true()
        self.every_module_is_named()
        self.tests_mirror_the_rooms()
        self.doors_exist()
        self.public_headers()
        for folder in ("src", "include", "tests", "bench", "scripts", "train", "cmake"):
            for path in sorted((self.root / folder).rglob("*")):
                if path.suffix in (".c", ".h", ".cu", ".cuh", ".py", ".sh", ".cmake", ".mjs") and path.is_file():
                    self.any_file(path)
        for path in [*sorted(self.root.glob("*.md")), *sorted((self.root / "docs").rglob("*.md")), self.root / "Makefile"]:
            self.paths_lead_somewhere(path, path.read_text().splitlines())
        for path in sorted((self.root / "src").rglob("*")):
            if path.suffix not in (".c", ".h", ".cu", ".cuh"):
                continue
            parts = path.relative_to(self.root / "src").parts
            if len(parts) < 2 or (parts[0] not in self.rooms and parts[0] not in PROGRAM_ROOMS):
                self.breach(path, 1, "stands in no room")
                continue
            self.source(path, parts[0])


SELF = pathlib.Path(__file__).resolve()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--root", type=pathlib.Path, default=SELF.parents[2])
    ap.add_argument("--release", type=pathlib.Path, help="libds4_base.a of a build without fault points")
    ap.add_argument("--program", type=pathlib.Path, help="ds4-server of the same build")
    ap.add_argument("--nm", default="nm")
    args = ap.parse_args()
    check = Check(args.root.resolve())
    check.run()
    if args.release:
        check.release_library(args.nm, args.release)
    if args.program:
        check.release_program(args.program)
    for breach in check.breaches:
        print(breach)
    print(f"structure: {check.n_files} files, {len(check.breaches)} breaches")
    return 1 if check.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
