"""ds4 in the terminal: one answer, a conversation, dumps, mistakes. Runs the program of the build that DS4_BUILD names."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("DS4_BUILD", ROOT / "build")) / "bin" / "ds4"
MODEL = ROOT / "models" / "ds4-mini.gguf"


class Ds4(unittest.TestCase):
    def run_ds4(self, *arguments, text=None, code=0):
        with tempfile.TemporaryDirectory() as home:
            done = subprocess.run([str(PROGRAM), *arguments], input=text, capture_output=True, text=True,
                                  env=dict(os.environ, HOME=home))
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def test_one_answer(self):
        self.assertIn("71", self.run_ds4("-p", "What is 23 + 48?", "--nothink", "--temp", "0").stdout)
        thought = self.run_ds4("-p", "What is 23 + 48?", "--temp", "0")
        self.assertIn("71", thought.stdout)
        self.assertNotIn("Ones", thought.stdout, "reasoning belongs to the terminal, not to stdout")

    def test_a_conversation(self):
        done = self.run_ds4("--nothink", "--temp", "0", text="/help\nWhat is 23 + 48?\n/nope\nHello\n/quit\n")
        self.assertIn("71", done.stdout)
        self.assertIn("/read FILE", done.stdout)
        self.assertIn("no command /nope", done.stderr)

    def test_checkpoints_survive_the_program(self):
        with tempfile.TemporaryDirectory() as store:
            os.chmod(store, 0o700)
            text = "Remember: " + "the harbour is quiet and the lantern is lit. " * 80 + " What is 12 + 13?"
            flags = ("-p", text, "--nothink", "--temp", "0", "--kv-disk-dir", store, "-v")
            first, second = self.run_ds4(*flags), self.run_ds4(*flags)
            self.assertEqual(first.stdout, second.stdout)
            self.assertNotIn("kv restore", first.stderr)
            self.assertIn("kv restore plan=exact", second.stderr)

    def test_tokens(self):
        lines = self.run_ds4("--dump-tokens", "-p", "Hi <think>12").stdout.splitlines()
        ids = json.loads(lines[0])
        self.assertEqual(len(ids), len(lines) - 1)
        self.assertIn("<think>", lines[3])
        self.assertEqual([line.split()[0] for line in lines[1:]], [str(i) for i in ids])

    def test_log_probabilities(self):
        data = json.loads(self.run_ds4("--dump-logprobs", "-", "-p", "Hello", "--nothink", "-n", "3", "--logprobs-top-k", "4").stdout)
        self.assertEqual(len(data["tokens"]), 3)
        for token in data["tokens"]:
            self.assertEqual(token["id"], token["top"][0]["id"])
            self.assertEqual(len(token["top"]), 4)

    def test_token_lists_are_read_to_their_end(self):
        with tempfile.TemporaryDirectory() as folder:
            ids, out = os.path.join(folder, "ids"), os.path.join(folder, "out")
            for text, code in (("1, 2\n3\n", 0), ("1,2,junk", 2), ("1,4294967296", 2), ("", 2)):
                pathlib.Path(ids).write_text(text)
                done = subprocess.run([str(PROGRAM.parent / "ds4-logits"), "-m", str(MODEL), "--ids", "@" + ids, "--out", out], capture_output=True)
                self.assertEqual(done.returncode, code, done.stderr)
            self.assertEqual(os.path.getsize(out) % (4 * 2048), 0)

    def test_mistakes(self):
        self.assertIn("unknown option --nope", self.run_ds4("--nope", code=2).stderr)
        self.assertIn("needs a prompt", self.run_ds4("--dump-tokens", code=2).stderr)
        self.assertIn("/nonexistent", self.run_ds4("-m", "/nonexistent", "-p", "x", code=2).stderr)
        self.assertIn("the context holds 64", self.run_ds4("-p", "word " * 300, "-c", "64", code=1).stderr)
        self.assertIn("context clamped from=9000 to=8192", self.run_ds4("-p", "Hi", "-n", "1", "-c", "9000", "-v").stderr)
        self.assertNotIn("clamped", self.run_ds4("-p", "Hi", "-n", "1", "-v").stderr, "nobody asked for more")
        self.assertIn("usage: ds4", self.run_ds4("--help").stdout)
        self.assertRegex(self.run_ds4("--version").stdout, r"^ds4 \d+\.\d+\.\d+\n$")

    def test_numbers_are_decimal(self):
        for value in ("0x400", "1e3", "-5", "+5", " 5", "5k", "", "99999999999999999999"):
            self.assertIn("--ctx wants an integer from 16 to 1073741824", self.run_ds4("--ctx", value, code=2).stderr)
        self.run_ds4("-p", "Hi", "--nothink", "-n", "1", "--seed", str(2**64 - 1))

    def test_files_that_are_no_prompt(self):
        with tempfile.NamedTemporaryFile() as file:
            self.assertIn("is empty", self.run_ds4("--prompt-file", file.name, code=2).stderr)
            file.write(b"a\0b")
            file.flush()
            self.assertIn("is not text", self.run_ds4("--prompt-file", file.name, code=2).stderr)
        self.assertIn("Is a directory", self.run_ds4("--prompt-file", "/", code=2).stderr)

    def test_an_answer_that_cannot_be_written_is_a_failure(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([str(PROGRAM), "-p", "Hi", "--nothink", "-n", "2"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot be written", done.stderr)

    def test_flags_of_the_reference(self):
        done = self.run_ds4("-p", "Hi", "--nothink", "-n", "1", "--cpu", "--backend", "cpu", "--quality", "--mtp", "FILE", "--power=50")
        self.assertIn("--mtp has no meaning in this build and is ignored", done.stderr)
        self.assertNotIn("--cpu has", done.stderr)
        for flag, words in (("--cuda", "only the cpu backend"), ("--server", "ds4-server"), ("--imatrix-out", "not available")):
            self.assertIn(words, self.run_ds4(flag, code=2).stderr)
        self.assertIn("only cpu", self.run_ds4("--backend", "cuda", code=2).stderr)

    def test_log_probabilities_end_with_the_context(self):
        data = json.loads(self.run_ds4("--dump-logprobs", "-", "--raw-prompt", "-p", "word", "-n", "5000", "-c", "16").stdout)
        self.assertLessEqual(data["n_prompt"] + len(data["tokens"]), 16)
        self.assertIn("the context holds 16", self.run_ds4("--dump-logprobs", "-", "-p", "word " * 50, "-c", "16", code=1).stderr)

    def test_the_model_is_described(self):
        self.assertIn("1 sliding, 4 CSA, 2 HCA", self.run_ds4("--inspect", "-m", str(MODEL)).stdout)


if __name__ == "__main__":
    unittest.main()
