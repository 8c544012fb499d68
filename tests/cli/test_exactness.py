"""Our logits against tests/oracle/reference.py: ten networks that each catch one kind of mistake, five seeds each (DS4_SEEDS
changes that), every position, with every variant of the kernels; and the same bits however the tokens came. Runs ds4-logits
of the build that DS4_BUILD names."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: threads would only wait for each other
import numpy as np  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "oracle"))
import models  # noqa: E402
import reference  # noqa: E402

PROGRAM = pathlib.Path(os.environ.get("DS4_BUILD", ROOT / "build")) / "bin" / "ds4-logits"
SEEDS = int(os.environ.get("DS4_SEEDS", 5))
PARITY = 1e-5  # relative L2 of the logits of any position; measured: at most 2e-6
CLEAR = 1e-4   # a choice of rows or experts that is closer than this may fall either way in float32: such prompts are drawn again
GAP = 1e-3     # between the two largest logits: the argmax must be the same


def relative(got, want):
    """Relative L2 of each position."""
    return np.linalg.norm(got - want, axis=-1) / np.linalg.norm(want, axis=-1)


class Exactness(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="ds4-exact-")
        path = pathlib.Path(cls.folder.name) / "any.gguf"
        models.write(path, "swa", 0)
        cls.kernels = []
        for name in ("scalar", "avx2", "avx512", "neon"):
            command = [str(PROGRAM), "-m", str(path), "--ids", "1", "--out", os.devnull, "--parity", "--kernels", name]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                cls.kernels.append(name)
            else:
                assert f"kernels '{name}' do not exist or do not run" in done.stderr, done.stderr
                print(f"not checked here: {name}")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def logits(self, model, tokens, *flags):
        """[rows, vocab] of the positions that the flags ask for."""
        out = pathlib.Path(self.folder.name) / "logits.f32"
        command = [str(PROGRAM), "-m", str(model), "--ids", ",".join(map(str, tokens)), "--out", str(out), *flags]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = {"--all": len(tokens), "--draft": len(tokens) - 1}
        return np.fromfile(out, "<f4").reshape(sum(rows.get(f, 0) for f in flags) or 1, -1)

    def model(self, preset, seed):
        path = pathlib.Path(self.folder.name) / f"{preset}-{seed}.gguf"
        return (path, *models.write(path, preset, seed))

    def clear(self, net, draw, evaluate):
        """A prompt that leaves no choice of rows or experts in doubt, and what `evaluate` makes of it."""
        for _ in range(40):
            tokens, net.margin = draw(), np.inf
            want = evaluate(net, tokens)
            if net.margin > CLEAR:
                return tokens, want
        self.fail("no prompt with clear choices")

    def assert_near(self, got, want, what):
        errors = relative(got, want)
        self.assertLess(errors.max(), PARITY, f"{what}: position {errors.argmax()}")
        two = np.sort(want, 1)[:, -2:]
        sure = two[:, 1] - two[:, 0] > GAP
        self.assertGreater(sure.mean(), 0.9)
        self.assertTrue((got.argmax(1) == want.argmax(1))[sure].all(), what)

    def check(self, preset):
        for seed in range(SEEDS):
            path, c, draw = self.model(preset, seed)
            net = reference.Network(path)
            tokens, want = self.clear(net, draw, reference.Network.logits)
            for kernels in self.kernels:
                with self.subTest(seed=seed, kernels=kernels):
                    got = self.logits(path, tokens, "--parity", "--all", "--kernels", kernels)
                    self.assert_near(got, want, "logits")
            if c["draft"]:
                tokens, want = self.clear(net, draw, reference.Network.draft_logits)
                self.assert_near(self.logits(path, tokens, "--parity", "--draft"), want, "drafts")

    def test_official_roundings(self):
        """A value on a border flips by a whole step, which all later positions see; most prompts have none."""
        for preset in models.PRESETS:
            middle, worst = [], []
            for seed in range(SEEDS):
                path, c, draw = self.model(preset, seed)
                indexed = c["I"] % 32 == 0 and c["I"] & (c["I"] - 1) == 0
                net = reference.Network(path, kv_official=True, index_official=indexed)
                tokens, want = self.clear(net, draw, reference.Network.logits)
                flags = ["--act", "f32", "--all"] + ([] if indexed else ["--index-rounding", "none"])
                errors = relative(self.logits(path, tokens, *flags), want)
                middle.append(np.median(errors))
                worst.append(errors.max())
                if preset == "rounding":  # each of the two matters by far more than what a flip may do
                    for other in (dict(kv_official=True), dict(index_official=True)):
                        far = relative(reference.Network(path, **other).logits(tokens), want)
                        self.assertGreater(far.max(), 2e-2, other)
            with self.subTest(preset=preset):
                self.assertLess(np.median(middle), PARITY)
                self.assertLess(max(worst), 2e-2)

    def test_ds4_mini(self):
        """Weights in Q8_0 and F16, and a compression of 128: 150 tokens close the first such group."""
        path = ROOT / "models" / "ds4-mini.gguf"
        net, dice = reference.Network(path), np.random.default_rng(1)
        tokens, want = self.clear(net, lambda: dice.integers(0, 2048, 150).tolist(), reference.Network.logits)
        for kernels in self.kernels:
            with self.subTest(kernels=kernels):
                got = self.logits(path, tokens, "--parity", "--all", "--kernels", kernels)
                self.assert_near(got, want, "logits")

    def test_packed_rows_of_ds4_mini(self):
        """2,100 tokens, so that the indexer has to choose: the logits of packed rows are those of rows in f32, to the bit."""
        path = ROOT / "models" / "ds4-mini.gguf"
        tokens = np.random.default_rng(2).integers(0, 2048, 2100).tolist()
        best = self.kernels[-1]  # every variant unpacks to the same bits: tests/backend/test_kernels.c
        packed, plain = (self.logits(path, tokens, "--kernels", best, "--kv-rows", rows) for rows in ("auto", "f32"))
        self.assertTrue((packed.view("u4") == plain.view("u4")).all(), best)

    def test_the_same_bits_in_chunks_of_any_size_and_with_any_threads(self):
        for preset in ("mixed", "odd", "deep128", "rounding"):
            path, _, draw = self.model(preset, 1)
            tokens = draw()
            flags = ["--all"] + (["--index-rounding", "none"] if preset != "rounding" else [])
            whole = self.logits(path, tokens, *flags, "--threads", "1")
            rows = self.logits(path, tokens, *flags, "--kv-rows", "f32")  # packed rows hold the same values
            self.assertTrue((whole.view("u4") == rows.view("u4")).all(), f"{preset} rows in f32")
            for chunk, threads in ((1, 1), (1, 2), (7, 2), (64, 2), (len(tokens), 2)):
                again = self.logits(path, tokens, *flags, "--chunk", str(chunk), "--threads", str(threads))
                self.assertTrue((whole.view("u4") == again.view("u4")).all(), f"{preset} chunk {chunk} threads {threads}")

    def test_the_reference_itself(self):
        """Values that docs/spec/model.md gives (sections 3, 4, 12.2)."""
        net = reference.Network.__new__(reference.Network)
        net.rot = 64
        flash = {"rope.scaling.factor": 16.0, "rope.scaling.original_context_length": 65536, "rope.scaling.yarn_beta_fast": 32.0,
                 "rope.scaling.yarn_beta_slow": 1.0}
        for base, get, values in ((160000.0, lambda key, *default: flash[key],
                                   {1: 0.687656045, 15: 0.00363553851, 16: 0.00226562493, 20: 2.96977785e-4, 31: 5.6805294e-7}),
                                  (10000.0, None,
                                   {1: 0.749894202, 15: 0.0133352149, 16: 0.01, 20: 3.16227786e-3, 31: 1.3335215e-4})):
            omega = net.frequencies(base, get)
            for pair, value in values.items():
                self.assertAlmostEqual(omega[pair] / value, 1, 6)
        net.streams, net.hc_eps, net.eps = 2, 1e-6, 1e-6
        net.w = {"s_fn.weight": np.zeros((8, 4)), "s_scale.weight": np.ones(3), "s_base.weight": np.array([0, 0, 0, 0, 1, 0, 0, -2.0])}
        for net.sinkhorn, comb in ((1, [[.453551, .692887], [.546449, .307110]]), (2, [[.381937, .626834], [.618062, .373165]]),
                                   (20, [[.377541, .622458], [.622458, .377541]])):
            np.testing.assert_allclose(net.mix(np.ones((1, 2, 2)), "s")[2][0], comb, atol=1.5e-6)
        kv = np.zeros((2, 64))
        kv[0, :3], kv[1, :2] = (0.1, 3.3, 449), (100, 0.1)
        np.testing.assert_array_equal(reference.as_fp8(kv, 0)[0, :3], [0.1015625, 3.25, 448])
        self.assertEqual(reference.as_fp8(kv, 0)[1, 0], 96)


for name in models.PRESETS:
    setattr(Exactness, f"test_{name}", lambda self, preset=name: self.check(preset))

if __name__ == "__main__":
    unittest.main()
