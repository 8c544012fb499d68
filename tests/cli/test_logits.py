"""ds4-logits and the switches of numerics: wrong use and wrong input are said clearly; a model file that is cut off while it
is in use ends the program with words."""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "oracle"))
import models  # noqa: E402

PROGRAMS = pathlib.Path(os.environ.get("DS4_BUILD", ROOT / "build")) / "bin"


class Logits(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ds4-logits-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.model, self.out = self.folder / "m.gguf", self.folder / "out"
        models.write(self.model, "mixed", 0)

    def run_with(self, ids, *flags, model=None):
        command = [PROGRAMS / "ds4-logits", "-m", model or self.model, "--ids", ids, "--out", self.out, "--parity", *flags]
        return subprocess.run([str(c) for c in command], capture_output=True, text=True)

    def refused(self, words, ids, *flags, code=2, **more):
        done = self.run_with(ids, *flags, **more)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(words, done.stderr)

    def test_ids_from_a_file_are_the_ids_of_the_line(self):
        (self.folder / "ids").write_text(" 1, 2\n3\t4,\n5 \n")
        self.assertEqual(self.run_with("1,2,3,4,5", "--all").returncode, 0)
        line = self.out.read_bytes()
        self.assertEqual(self.run_with(f"@{self.folder}/ids", "--all").returncode, 0)
        self.assertEqual(line, self.out.read_bytes())
        self.assertEqual(len(line), 5 * 288 * 4)

    def test_what_is_no_list_of_ids_is_refused(self):
        for text in ("", "1,x", "1,2,-3", "4294967297", "1,2,,x", "1,,3", "1, ,3", "1,2,", ",1", "1 , , 2", "99999999999999999999999"):
            self.refused("not a list of token ids", text)
            (self.folder / "ids").write_text(text)
            self.refused("not a list of token ids", f"@{self.folder}/ids")
        self.refused("not a list of token ids", "@/nonexistent")

    def test_wrong_use(self):
        self.refused("ds4-logits: token 288 is not one of 288", "288")
        self.refused("--act f16: use q8 or f32", "1", "--act", "f16")
        self.refused("--kv-rounding some: use official or none", "1", "--kv-rounding", "some")
        self.refused("--backend abacus: use cpu", "1", "--backend", "abacus")
        self.refused("--chunk must be an integer", "1", "--chunk", "-1")
        self.refused("--nothing", "1", "--nothing")
        self.refused("kernels 'mmx' do not exist", "1", "--kernels", "mmx")
        self.refused("a draft needs two tokens", "1", "--draft")
        self.refused("m2.gguf: cannot open: No such file", "1", model=self.folder / "m2.gguf")
        self.out = self.folder / "nowhere" / "out"
        self.refused("No such file", "1", code=1)

    def test_without_a_model_it_uses_ds4_mini(self):
        command = [PROGRAMS / "ds4-logits", "--ids", "1,2", "--out", self.out]
        self.assertEqual(subprocess.run([str(c) for c in command], capture_output=True).returncode, 0)
        self.assertEqual(len(self.out.read_bytes()), 2048 * 4)

    def test_bytes_after_the_last_tensor_are_mentioned(self):
        with open(self.model, "ab") as f:
            f.write(bytes(96))
        done = self.run_with("1")
        self.assertEqual(done.returncode, 0)
        self.assertIn("m.gguf: 96 unused bytes at the end", done.stderr)

    def test_a_model_that_is_cut_off_while_in_use_ends_with_words(self):
        ids = ",".join(["7"] * 3000)
        command = [PROGRAMS / "ds4-logits", "-m", self.model, "--ids", ids, "--out", self.out, "--parity", "--kernels", "scalar",
                   "--chunk", "1", "--all"]
        running = subprocess.Popen([str(c) for c in command], stderr=subprocess.PIPE, text=True)
        maps, deadline = pathlib.Path(f"/proc/{running.pid}/maps"), time.monotonic() + 60
        while str(self.model) not in maps.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.truncate(self.model, 4096)
        _, words = running.communicate()
        self.assertEqual(running.returncode, 1, words)
        self.assertIn("the model file was truncated while in use", words)

    def test_the_server_has_the_switches(self):
        for flags, words in ((["--kv-rounding", "some"], "--kv-rounding some: use official or none"),
                             (["--index-rounding", "fp4"], "--index-rounding fp4: use official or none"),
                             (["--act", "fp8"], "--act fp8: use q8 or f32"), (["--kernels", "mmx", "--parity"], "kernels 'mmx' do not exist")):
            done = subprocess.run([str(PROGRAMS / "ds4-server"), "-m", str(self.model), "--port", "0", "--no-kv-disk", *flags], capture_output=True,
                                  text=True)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(words, done.stderr)

    def fingerprint(self, *flags):
        running = subprocess.Popen([str(PROGRAMS / "ds4-server"), "-m", str(self.model), "--port", "0", "--no-kv-disk", *flags],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in running.stderr:
            if "fingerprint=" in line:
                break
        running.send_signal(signal.SIGTERM)
        running.communicate()
        return line.split("fingerprint=")[1].split()[0]

    def test_the_switches_are_part_of_the_identity_of_states(self):
        base = ("--index-rounding", "none")  # this model's indexer is too narrow for the official one
        seen = {self.fingerprint(*base), self.fingerprint(*base, "--kv-rounding", "none"), self.fingerprint(*base, "--act", "f32")}
        self.assertEqual(len(seen), 3)
        self.assertEqual(self.fingerprint("--parity"), self.fingerprint(*base, "--kv-rounding", "none", "--act", "f32"))
        self.assertEqual(self.fingerprint(*base), self.fingerprint(*base, "--kernels", "scalar", "--threads", "1"))


if __name__ == "__main__":
    unittest.main()
