#!/usr/bin/env python3
"""Keeps the picture of docs/architecture.md true: which room includes which, how large files are, where the environment
is read, what the release library must not hold. Standard library only.

    check_structure.py [--release LIBRARY --nm NM] [--program FILE] [--root DIR]

The table of rooms is CMakeLists.txt itself (ds4_room(NAME USES ...)), so there is one truth. Exit 1 names each breach as
FILE:LINE: what.
"""
import argparse
import pathlib
import re
import subprocess
import sys

LINES_MAX = 800
PROGRAM_ROOMS = ("cli", "tools")  # these may include any door
FAULT_SYMBOLS = ("fault_at", "fault_errno", "fault_configure", "fault_arm", "fault_disarm")
# kill and abort are what the fault points are for.
MAY_END_THE_PROCESS = ("src/base/fault.c",)


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

    def breach(self, path, line, what):
        self.breaches.append(f"{path.relative_to(self.root)}:{line}: {what}")

    def arrows_point_down(self):
        """Lowest first in CMakeLists.txt: a room uses only rooms that stand above its own line."""
        seen = set()
        for room, used in self.rooms.items():
            for other in sorted(used - seen):
                self.breach(self.root / "CMakeLists.txt", 1, f"room '{room}' uses '{other}', which stands below it")
            seen.add(room)

    def include(self, path, room, number, name):
        if name.startswith("ds4/"):
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
            self.breach(path, number, f"room '{room}' may not include '{other}'")
        if other != "base" and name != f"{other}/{other}.h" and not (room == "tools" and other == "cli"):
            self.breach(path, number, f'"{name}" is inside room \'{other}\'; its door is "{other}/{other}.h"')

    def source(self, path, room):
        text = path.read_text()
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if match:
                self.include(path, room, number, match.group(1))
            code = re.sub(r'"(\\.|[^"\\])*"', '""', line)
            code = re.sub(r"/\*.*?\*/|//.*", "", code)
            if re.search(r"\b(secure_)?getenv\s*\(", code) and room != "cli":
                self.breach(path, number, "the environment is read in src/cli only")
            ends = re.search(r"(?<![\w.>])(exit|_exit|abort)\s*\(", code)
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
            if re.search(r"\b(TODO|FIXME|XXX)\b", line) and not re.search(r"issue \d+", line) and path != SELF:
                self.breach(path, number, "a promise without an issue: write 'issue N' or do it")

    def doors_exist(self): # the door of api is include/ds4/ds4.h
        for room in self.rooms:
            folder = self.root / "src" / room
            if room not in ("base", "api") and any(folder.rglob("*.c")) and not (folder / f"{room}.h").exists():
                self.breach(folder, 1, f"room '{room}' has no door {room}.h")

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
        self.doors_exist()
        for folder in ("src", "include", "tests", "bench", "scripts", "train", "cmake"):
            for path in sorted((self.root / folder).rglob("*")):
                if path.suffix in (".c", ".h", ".cu", ".cuh", ".py", ".sh", ".cmake", ".mjs") and path.is_file():
                    self.any_file(path)
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
