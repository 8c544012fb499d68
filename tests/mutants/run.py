#!/usr/bin/env python3
"""Applies small faults ("mutations") to the sources, one at a time, and checks that a test of the same module notices each.

    run.py [MODULE...] [--name REGEX] [--list] [--build FOLDER] [--table FILE]

tests/mutants/MODULE.txt holds one mutation a line; '#' begins a comment, fields are separated by ' | ', and `\\n` is a newline:

    name | src/MODULE/FILE | old text | new text | regex of CTest names (when it is not ^MODULE/)

The old text must occur exactly once in the file, so that a mutation that no longer fits its source is an error and not a pass.
The sources are copied; nothing in the checkout changes. A mutation is killed when the module's tests, which pass without it,
fail, crash or exceed their processor time with it. One that does not compile, or that all tests pass, fails the run.
Standard library only.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLES = ROOT / "tests/mutants"


class Mutation:
    def __init__(self, module, number, line):
        self.where = f"tests/mutants/{module}.txt:{number}"
        fields = [field.replace("\\n", "\n") for field in line.split(" | ")]
        if len(fields) not in (4, 5):
            sys.exit(f"{self.where}: four or five fields are expected, separated by ' | '")
        self.module, self.name, self.path, self.old, self.new = module, fields[0].strip(), fields[1].strip(), fields[2], fields[3]
        self.tests = fields[4].strip() if len(fields) == 5 else f"^{module}/"
        self.result, self.seconds = "", 0.0

    def applied(self, text):
        n = text.count(self.old)
        if n != 1:
            sys.exit(f"{self.where}: the old text occurs {n} times in {self.path}: {self.old!r}")
        if self.old == self.new:
            sys.exit(f"{self.where}: the new text is the old one")
        return text.replace(self.old, self.new)


def read_tables(modules):
    found = []
    for path in sorted(TABLES.glob("*.txt")):
        if modules and path.stem not in modules:
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                found.append(Mutation(path.stem, number, line))
    for mutation in found:  # all of them fit, or the run does not begin
        mutation.applied((ROOT / mutation.path).read_text())
    return found


def copy_sources(tree):
    """The tracked files as they are now. Large ones that are only read are linked."""
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True,
                           capture_output=True, text=True).stdout.split("\0")
    names = {name for name in names if name and (ROOT / name).is_file()}  # git still lists files that were deleted but not committed
    for stale in tree.rglob("*"):  # of an earlier run: the build takes every source that it finds
        if (stale.is_file() or stale.is_symlink()) and str(stale.relative_to(tree)) not in names:
            stale.unlink()
    for name in sorted(names):
        source, target = ROOT / name, tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and source.read_bytes() == target.read_bytes():
            continue  # its time stays, and so does what was built from it
        target.unlink(missing_ok=True)
        if name.startswith("models/"):
            os.link(source, target)
        else:
            shutil.copy(source, target)


class Bench:
    def __init__(self, folder):
        self.tree, self.build, self.log = folder / "tree", folder / "build", folder / "log"
        self.targets_of = {}
        self.tree.mkdir(parents=True, exist_ok=True)
        copy_sources(self.tree)
        if not (self.build / "build.ninja").exists():
            self.run(["cmake", "-S", self.tree, "-B", self.build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug", "-DDS4_FAULTS=ON",
                      "-DCMAKE_C_FLAGS_DEBUG=-O1", f"-DDS4_TEST_PYTHON={sys.executable}"], check=True)

    def run(self, command, check=False, **more):
        with open(self.log, "w") as log:
            done = subprocess.run([str(word) for word in command], stdout=log, stderr=subprocess.STDOUT, **more)
        if check and done.returncode:
            sys.exit(f"{' '.join(map(str, command))}\n{self.log.read_text()[-4000:]}")
        return done.returncode == 0

    def builds(self, check=False, tests=None):
        """Builds everything, or what the tests whose names match `tests` need."""
        targets = self.targets(tests) if tests else []
        return self.run(["cmake", "--build", self.build] + (["--target", *targets] if targets else []), check)

    def targets(self, tests):
        """The programs of C tests, test-ROOM-NOUN; nothing (that is, everything) when a script is among the tests."""
        if tests not in self.targets_of:
            names = subprocess.run(["ctest", "--test-dir", self.build, "-N", "-R", tests], capture_output=True, text=True).stdout
            found = ["test-" + name.replace("/", "-") for name in re.findall(r"Test +#\d+: (\S+)", names)]
            self.targets_of[tests] = found if all((self.build / "tests" / name).exists() for name in found) else []
        return self.targets_of[tests]

    def passes(self, tests, cpu_seconds):
        """Whether the tests whose names match pass. None if there is none."""
        passed = self.run(["ctest", "--test-dir", self.build, "-R", tests, "-j", str(os.cpu_count()), "--stop-on-failure",
                           "--timeout", "86400", "--no-tests=ignore"],
                          env=dict(os.environ, DS4_TEST_CPU_SECONDS=str(cpu_seconds)))
        return None if "No tests were found" in self.log.read_text() else passed

    def killer(self):
        failed = re.findall(r"^\s+\d+ - (\S+) \((.*)\)", self.log.read_text(), re.M)
        return ", ".join(name for name, _ in failed) or "?"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--name", default="", help="only mutations whose name matches this regular expression")
    parser.add_argument("--list", action="store_true", help="print the mutations and end")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build-mutants", help="the folder to work in")
    parser.add_argument("--table", type=pathlib.Path, help="write the result as a Markdown table")
    options = parser.parse_args()
    mutations = [m for m in read_tables(options.modules) if re.search(options.name, m.name)]
    if options.list:
        for mutation in mutations:
            print(f"{mutation.module}: {mutation.name} ({mutation.path})")
        return
    if not mutations:
        sys.exit("no mutation matches")

    bench = Bench(options.build)
    print(f"mutants: {len(mutations)} mutations; building without any", flush=True)
    bench.builds(check=True)
    for tests in sorted({m.tests for m in mutations}):
        if bench.passes(tests, 3600) is not True:
            sys.exit(f"the tests '{tests}' do not pass without a mutation, or there are none:\n{bench.log.read_text()[-3000:]}")

    for i, mutation in enumerate(mutations, 1):
        path = bench.tree / mutation.path
        original, begun = path.read_text(), time.monotonic()
        try:
            path.write_text(mutation.applied(original))
            if not bench.builds(tests=mutation.tests):
                mutation.result = "DOES NOT COMPILE"
            elif bench.passes(mutation.tests, 120):
                mutation.result = "SURVIVED"
            else:
                mutation.result = f"killed by {bench.killer()}"
        finally:
            path.write_text(original)
        mutation.seconds = time.monotonic() - begun
        print(f"{i:3d}/{len(mutations)} {mutation.module:8} {mutation.name}: {mutation.result} ({mutation.seconds:.0f} s)", flush=True)

    bad = [m for m in mutations if not m.result.startswith("killed")]
    if options.table:
        rows = [f"| {m.module} | {m.name} | `{m.path}` | {m.result} |" for m in mutations]
        options.table.write_text("\n".join(["| module | mutation | file | result |", "|---|---|---|---|", *rows]) + "\n")
    for mutation in bad:
        print(f"{mutation.where}: {mutation.name}: {mutation.result}")
    print(f"{len(mutations) - len(bad)} passed, {len(bad)} failed")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
