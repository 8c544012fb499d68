"""Breaks every rule of check_structure.py once, in a copy of the sources, and wants the breach named."""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import check_structure

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = "docs/architecture.md"

# (file, text added at its end, what the check has to say). A new file under src needs a name in the page, too; that breach
# is expected beside the one that a row is about.
BREACHES = [
    ("src/kv/read.c", '#include "model/model.h"\n', "module 'kv' may not include 'model'"),
    ("src/chat/tag.c", '#include "server/server.h"\n', "module 'chat' may not include 'server'"),
    ("src/server/pages.c", '#include "model/model.h"\n', "module 'server' may not include 'model'"),
    ("src/base/log.c", '#include "gguf/gguf.h"\n', "module 'base' may not include 'gguf'"),
    ("src/kv/read.c", "#include <model/model.h>\n", "module 'kv' may not include 'model'"),
    ("src/engine/engine.c", '#include "kv/index.h"\n', "its public header is \"kv/kv.h\""),
    ("src/model/forward.c", '#include "backend/cpu/kernels.h"\n', "its public header is \"backend/backend.h\""),
    ("src/cli/talk.c", '#include "sched/job.h"\n', "its public header is \"sched/sched.h\""),
    ("src/text/bpe.c", '#include "cli/talk.h"\n', "module 'text' may not include 'cli'"),
    ("src/kv/read.c", '#include "disk.h"\n', "is no room's header"),
    ("src/kv/read.c", '#include "../base/file.h"\n', "is no room's header"),
    ("src/sched/step.c", '#include "ds4/ds4.h"\n', "for those who embed libds4"),
    ("src/backend/cpu/cpu.c", '#include "backend/cuda/cuda.h"\n', "cpu/ and cuda/ never meet"),
    ("include/ds4/ds4.h", '#include "base/buffer.h"\n', "is not installed"),
    ("src/engine/engine.c", 'const char *f(void) { return getenv("X"); }\n', "the environment is read in src/cli only"),
    ("src/text/bpe.c", 'double f(const char *t) { return strtod(t, 0); }\n', "strtod() follows the program's locale"),
    ("src/kv/key.c", 'void f(char *o) { snprintf(o, 9, "%.1f", 0.5); }\n', "snprintf() follows the program's locale"),
    ("src/gguf/parse.c", "void f(void) { exit(1); }\n", "exit() in a library"),
    ("src/quant/row.c", "void f(void) { abort(); }\n", "abort() in a library"),
    ("src/kv/key.c", "\n" * 800, "look for the second noun"),
    ("src/kv/key.c", "/* TO" "DO: later */\n", "a promise without an issue"),
    ("src/kv/key.c", "/* See docs/nowhere.md. */\n", "there is no docs/nowhere.md"),
    ("README.md", "`scripts/nowhere.sh`\n", "there is no scripts/nowhere.sh"),
    (PAGE, "`kv/nowhere.c`\n", "there is no src/kv/nowhere.c"),
    ("src/kv/extra.c", "int extra;\n", "does not say what 'extra' in 'kv' is"),
    ("src/kv/extra.h", "int extra;\n", "no include guard"),
    ("src/kv/extra.h", "#ifndef EXTRA_H\n#define EXTRA_H\n#endif\n", "the include guard is EXTRA_H, not KV_EXTRA_H"),
    ("src/attic/old.c", "int old;\n", "stands in no room"),
    ("src/loose.c", "int loose;\n", "stands in no room"),
    ("tests/attic/test_old.c", "int old;\n", "no room has this name"),
    ("CMakeLists.txt", "ds4_room(attic USES base)\n", "the table of modules lacks 'attic'"),
]

# (file, old, new, what the check has to say)
CHANGES = [
    ("CMakeLists.txt", "ds4_room(kv USES base)", "ds4_room(kv USES server base)", "module 'kv' uses 'server', which stands below it"),
    ("CMakeLists.txt", "ds4_room(kv USES base)", "ds4_room(kv USES text base)", "'kv' may include ['base', 'text'] in CMakeLists"),
    (PAGE, "`evict`", "`banish`", "does not say what 'evict' in 'kv' is"),
    (PAGE, "`evict`", "`banish`", "there is no 'banish' in 'kv'"),
    ("src/kv/kv.h", "KV_KV_H", "KV_H", "the include guard is KV_H, not KV_KV_H"),
]


class Structure(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="ds4-structure-"))
        for folder in ("src", "include", "docs"):
            shutil.copytree(ROOT / folder, self.root / folder)
        for name in [*ROOT.glob("*.md"), ROOT / "Makefile", ROOT / "CMakeLists.txt"]:
            shutil.copy(name, self.root)
        # Of the others the names are enough; that the tree as it is has no breach is the test structure/sources.
        for folder in ("tests", "bench", "scripts", "train", "cmake", "models"):
            for path in (ROOT / folder).rglob("*"):
                if path.is_file() and "__pycache__" not in path.parts:
                    copy = self.root / path.relative_to(ROOT)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    copy.touch()

    def tearDown(self):
        shutil.rmtree(self.root)

    def check(self):
        """The breaches, a line each."""
        check = check_structure.Check(self.root.resolve())
        check.run()
        return "\n".join(check.breaches)

    def test_a_copy_without_changes_is_clean(self):
        self.assertEqual(self.check(), "")

    def test_every_rule_can_be_broken(self):
        for name, text, said in BREACHES:
            with self.subTest(file=name, added=text[:60]):
                path = self.root / name
                before = path.read_text() if path.exists() else None
                path.parent.mkdir(exist_ok=True)
                path.write_text((before or "") + text)
                line = [line for line in self.check().splitlines() if said in line and line.startswith(name.rsplit("/", 1)[0])
                        or said in line and name == "CMakeLists.txt"]
                self.assertTrue(line, f"nobody noticed: {said}")
                if before is None:
                    path.unlink()
                    if not any(path.parent.iterdir()):
                        path.parent.rmdir()
                else:
                    path.write_text(before)

    def test_page_and_build_agree(self):
        for name, old, new, said in CHANGES:
            with self.subTest(file=name, new=new):
                path = self.root / name
                before = path.read_text()
                self.assertIn(old, before)
                path.write_text(before.replace(old, new))
                self.assertIn(said, self.check())
                path.write_text(before)

    def test_a_door_may_not_be_missing(self):
        (self.root / "src/text/text.h").unlink()
        self.assertIn("module 'text' has no public header text.h", self.check())

    def test_fault_points_may_not_be_in_the_release(self):
        library = self.root / "fault.o"
        source = "void fault_at(void); void fault_at(void) {}"
        subprocess.run(["cc", "-x", "c", "-c", "-", "-o", str(library)], input=source, text=True, check=True)
        done = subprocess.run([sys.executable, str(ROOT / "tests/structure/check_structure.py"), "--release", str(library)],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("the release library holds fault_at()", done.stdout)


if __name__ == "__main__":
    unittest.main()
