"""Our logits against tests/oracle/reference.py: every kind of layer, five seeds each (DS4_SEEDS changes that), and the same
bits however the tokens came. Runs ds4-logits of the build that DS4_BUILD names."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "oracle"))
import models  # noqa: E402
import reference  # noqa: E402

PROGRAM = pathlib.Path(os.environ.get("DS4_BUILD", ROOT / "build")) / "bin" / "ds4-logits"
SEEDS = int(os.environ.get("DS4_SEEDS", 5))
PARITY = 1e-5  # relative L2; float32 kernels are at about 5e-7


def relative(got, want):
    return np.linalg.norm(got - want) / np.linalg.norm(want)


class Exactness(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="ds4-exact-")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def logits(self, model, tokens, *flags):
        out = pathlib.Path(self.folder.name) / "logits.f32"
        command = [str(PROGRAM), "-m", str(model), "--ids", ",".join(map(str, tokens)), "--out", str(out), *flags]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return np.fromfile(out, "<f4")

    def model(self, preset, seed):
        path = pathlib.Path(self.folder.name) / f"{preset}-{seed}.gguf"
        return (path, *models.write(path, preset, seed))

    def check(self, preset):
        for seed in range(SEEDS):
            path, c, tokens = self.model(preset, seed)
            with self.subTest(preset=preset, seed=seed):
                net = reference.Network(path)
                want = net.logits(tokens)
                got = self.logits(path, tokens, "--parity", "--all").reshape(len(tokens), -1)
                # A choice of rows or experts that is close may fall either way in float32: then positions after it differ.
                # Such a draw is rare; the median over positions shows a mistake, the maximum a close choice.
                errors = [relative(g, w) for g, w in zip(got, want)]
                self.assertLess(np.median(errors), PARITY)
                agree = [e < PARITY for e in errors]
                self.assertGreater(np.mean(agree), 0.6, f"errors {max(errors):.2e}")
                two = np.sort(want, 1)[:, -2:]
                for t in np.flatnonzero((two[:, 1] - two[:, 0] > 1e-3) & agree):
                    self.assertEqual(got[t].argmax(), want[t].argmax())
                if c["draft"]:
                    drafts = self.logits(path, tokens, "--parity", "--draft").reshape(len(tokens) - 1, -1)
                    self.assertLess(np.median([relative(g, w) for g, w in zip(drafts, net.draft_logits(tokens))]), PARITY)

    def test_official_roundings(self):
        """A value on a border flips by a whole step, so the logits agree loosely; without the roundings they would not."""
        for seed in range(SEEDS):
            path, _, tokens = self.model("rounding", seed)
            want = reference.Network(path, official=True).logits(tokens)
            plain = reference.Network(path).logits(tokens)
            got = self.logits(path, tokens, "--act", "f32", "--all").reshape(len(tokens), -1)
            near = np.median([relative(g, w) for g, w in zip(got, want)])
            far = np.median([relative(g, w) for g, w in zip(plain, want)])
            self.assertLess(near, 1e-2)
            self.assertLess(near, far / 2)

    def test_the_same_bits_in_chunks_of_any_size_and_with_any_threads(self):
        for preset in ("mixed", "odd", "deep128", "rounding"):
            path, _, tokens = self.model(preset, 1)
            flags = ["--all"] + (["--index-rounding", "none"] if preset != "rounding" else [])
            whole = self.logits(path, tokens, *flags, "--threads", "1")
            for chunk, threads in ((1, 1), (1, 2), (7, 2), (64, 2), (len(tokens), 2)):
                again = self.logits(path, tokens, *flags, "--chunk", str(chunk), "--threads", str(threads))
                self.assertTrue((whole.view("u4") == again.view("u4")).all(), f"{preset} chunk {chunk} threads {threads}")

    def test_every_kernel_variant(self):
        path, _, tokens = self.model("mixed", 2)
        want = reference.Network(path).logits(tokens)[-1]
        for kernels in ("scalar", "avx2", "avx512", "neon"):
            command = [str(PROGRAM), "-m", str(path), "--ids", "1", "--out", "/dev/null", "--kernels", kernels]
            if subprocess.run(command, capture_output=True).returncode:
                print(f"not checked here: {kernels}")
                continue
            self.assertLess(relative(self.logits(path, tokens, "--parity", "--kernels", kernels), want), 1e-4)


for name in models.PRESETS:
    setattr(Exactness, f"test_{name}", lambda self, preset=name: self.check(preset))

if __name__ == "__main__":
    unittest.main()
