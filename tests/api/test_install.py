"""The tree of `make install`: complete, movable, free of this machine's paths, and enough for a program of a stranger.
Installs the build that DS4_BUILD names below a temporary DESTDIR."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("DS4_BUILD", ROOT / "build"))
PREFIX = "opt/some where"
VERSION = re.search(r"project\(ds4 VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())[1]


def run(*command, code=0, **more):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **more)
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="ds4-install-"))
        run("cmake", "--install", BUILD, "--prefix", "/" + PREFIX, env=dict(os.environ, DESTDIR=str(cls.folder / "staged")))
        # Somewhere else than it was told, as a package manager or a container does it.
        cls.tree = cls.folder / "moved here"
        (cls.folder / "staged" / PREFIX).rename(cls.tree)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def test_every_file_has_its_place(self):
        files = {str(p.relative_to(self.tree)) for p in self.tree.rglob("*") if p.is_file()}
        library = next(p.parent.relative_to(self.tree) for p in self.tree.rglob("libds4.so"))
        documents = {f"share/doc/ds4/{p.relative_to(ROOT)}" for p in (ROOT / "docs").rglob("*.md")}
        self.assertEqual(files, documents | {
            "bin/ds4", "bin/ds4-server", "bin/ds4-logits", "include/ds4/ds4.h", "include/ds4/error.h", "share/ds4/ds4-mini.gguf",
            f"{library}/libds4.so", f"{library}/libds4.so.0", f"{library}/libds4.so.{VERSION}", f"{library}/pkgconfig/ds4.pc",
            "share/doc/ds4/README.md", "share/doc/ds4/CHANGELOG.md", "share/doc/ds4/CONTRIBUTING.md", "share/doc/ds4/LICENSE"})

    def test_the_links_of_the_documents_lead_somewhere(self):
        for page in (self.tree / "share/doc/ds4").rglob("*.md"):
            for target in re.findall(r"\]\(([\w./:-]+)", page.read_text()):
                self.assertTrue("://" in target or (page.parent / target).exists(), f"{page.name}: {target}")

    def test_programs_use_the_installed_model(self):
        where = run(self.tree / "bin/ds4", "--inspect", cwd="/").stdout.splitlines()[0]
        self.assertIn(str(self.tree / "share/ds4/ds4-mini.gguf"), where)

    def test_a_missing_model_is_named(self):
        alone = self.folder / "alone" / "bin"
        alone.mkdir(parents=True)
        shutil.copy(self.tree / "bin/ds4", alone)
        said = run(alone / "ds4", "--inspect", code=2).stderr
        self.assertIn("ds4-mini.gguf", said)
        self.assertIn("give -m FILE", said)

    def test_nothing_names_the_folder_where_it_was_built(self):
        for path in self.tree.rglob("*"):
            if path.is_file():
                self.assertNotIn(str(ROOT).encode(), path.read_bytes(), path)

    def test_a_stranger_can_embed_the_library(self):
        library = next(self.tree.rglob("libds4.so")).parent
        env = dict(os.environ, PKG_CONFIG_PATH=str(library / "pkgconfig"))
        self.assertEqual(run("pkg-config", "--modversion", "ds4", env=env).stdout.strip(), VERSION)
        program = self.folder / "embed"
        # Split by a shell, as every Makefile does.
        run("sh", "-c", 'eval "exec \\"\\$CC\\" -std=c17 -Wall -Wextra -Werror -pedantic \\"\\$1\\" $(pkg-config --cflags --libs ds4) -o \\"\\$2\\""',
            "sh", ROOT / "tests/api/embed.c", program, env=dict(env, CC=os.environ.get("CC", "cc")))
        env["LD_LIBRARY_PATH"] = str(library)
        answer = run(program, self.tree / "share/ds4/ds4-mini.gguf", env=env).stdout
        self.assertIn(f"ds4 {VERSION}: ", answer)
        self.assertIn("42", answer)
        self.assertIn("not_found: ", run(program, "/nowhere.gguf", env=env, code=1).stderr)

    def test_the_library_shows_its_api_and_nothing_else(self):
        declared = set()
        for header in (self.tree / "include/ds4").iterdir():
            code = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
            declared |= set(re.findall(r"^DS4_API[^;(]*?(\w+)\(", code, re.M))
        symbols = run("nm", "-D", "--defined-only", next(self.tree.rglob("libds4.so"))).stdout
        self.assertEqual({line.split()[-1] for line in symbols.splitlines()}, declared)


if __name__ == "__main__":
    unittest.main()
