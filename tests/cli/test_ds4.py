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
            done = subprocess.run([str(PROGRAM), *arguments], input=text, capture_output=True, text=True, timeout=250,
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

    def test_mistakes(self):
        self.assertIn("unknown option --nope", self.run_ds4("--nope", code=2).stderr)
        self.assertIn("needs a prompt", self.run_ds4("--dump-tokens", code=2).stderr)
        self.assertIn("/nonexistent", self.run_ds4("-m", "/nonexistent", "-p", "x", code=2).stderr)
        self.assertIn("the context holds 64", self.run_ds4("-p", "word " * 300, "-c", "64", code=1).stderr)
        self.assertIn("usage: ds4", self.run_ds4("--help").stdout)

    def test_the_model_is_described(self):
        self.assertIn("1 sliding, 4 CSA, 2 HCA", self.run_ds4("--inspect", "-m", str(MODEL)).stdout)


if __name__ == "__main__":
    unittest.main()
