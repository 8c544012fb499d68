"""What the build promises: a library that is missing is named at once, tests never vanish in silence, and programs are hardened."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["DS4_BUILD"])


def cached(name):
    for line in (BUILD / "CMakeCache.txt").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.partition("=")[2]
    return ""


class Configuring(unittest.TestCase):
    def configure(self, missing, *options):
        """Configures the project where pkg-config does not know `missing`."""
        with tempfile.TemporaryDirectory() as folder:
            fake = pathlib.Path(folder) / "pkg-config"
            fake.write_text(f'#!/bin/sh\nfor a in "$@"; do case $a in {missing}*) exit 1 ;; esac; done\n'
                            f'exec {shutil.which("pkg-config")} "$@"\n')
            fake.chmod(0o755)
            done = subprocess.run(["cmake", "-S", ROOT, "-B", f"{folder}/build", "-G", "Ninja", *options], capture_output=True,
                                  text=True, env={**os.environ, "PKG_CONFIG": str(fake), "CC": cached("CMAKE_C_COMPILER")})
            return done.returncode, done.stdout + done.stderr

    def test_without_cmocka_it_says_what_to_install_and_how_to_do_without(self):
        code, text = self.configure("cmocka")
        self.assertNotEqual(code, 0)
        self.assertIn("libcmocka-dev", text)
        self.assertIn("-DDS4_TESTS=OFF", text)

    def test_programs_alone_need_no_cmocka(self):
        code, text = self.configure("cmocka", "-DDS4_TESTS=OFF")
        self.assertEqual(code, 0, text)

    def test_without_libedit_it_does_not_configure(self):
        code, text = self.configure("libedit", "-DDS4_TESTS=OFF")
        self.assertNotEqual(code, 0)
        self.assertIn("libedit", text)


@unittest.skipIf(cached("DS4_SANITIZE"), "sanitizers bring checks of their own")
class Hardening(unittest.TestCase):
    def read(self, *options):
        return subprocess.run(["readelf", "-W", *options, BUILD / "bin" / "ds4-server"], check=True, capture_output=True, text=True).stdout

    def test_addresses_are_random_and_tables_of_functions_are_read_only(self):
        self.assertIn("DYN (", self.read("-h"))
        self.assertIn("GNU_RELRO", self.read("-l"))
        self.assertIn("BIND_NOW", self.read("-d"))

    def test_overflows_of_the_stack_and_of_known_objects_are_noticed(self):
        symbols = self.read("--dyn-syms")
        self.assertIn("__stack_chk_fail", symbols)
        if cached("CMAKE_BUILD_TYPE") in ("Release", "RelWithDebInfo", "MinSizeRel"):
            self.assertIn("__snprintf_chk", symbols)


if __name__ == "__main__":
    unittest.main()
