"""ds4 in the terminal: one answer, a conversation, dumps, mistakes. Runs the program of the build that DS4_BUILD names."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "oracle"))
import models  # noqa: E402

PROGRAM = pathlib.Path(os.environ.get("DS4_BUILD", ROOT / "build")) / "bin" / "ds4"
MODEL = ROOT / "models" / "ds4-mini.gguf"


class Ds4(unittest.TestCase):
    def run_ds4(self, *arguments, text=None, code=0):
        """In a home of its own, and without a store unless a flag says something about it: a slow disk is no part of these tests."""
        if not any(argument.startswith(("--kv", "--no-kv")) for argument in arguments):
            arguments += ("--no-kv-disk",)
        with tempfile.TemporaryDirectory() as home:
            done = subprocess.run([str(PROGRAM), *arguments], input=text, capture_output=True, text=True,
                                  env=dict(os.environ, HOME=home, XDG_CACHE_HOME=os.path.join(home, "cache")))
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def test_one_answer(self):
        self.assertIn("71", self.run_ds4("-p", "What is 23 + 48?", "--nothink", "--temp", "0").stdout)
        thought = self.run_ds4("-p", "What is 23 + 48?", "--temp", "0")
        self.assertIn("71", thought.stdout)
        self.assertNotIn("Ones", thought.stdout, "reasoning belongs to the terminal, not to stdout")

    def test_no_answer_shows_the_markup_of_tool_calls(self):
        for flags in (("--nothink", "--temp", "0"), ("--nothink", "--temp", "1", "--seed", "5")):
            self.assertNotIn("DSML", self.run_ds4("-p", "Use a tool: the weather of Rome.", "-n", "60", *flags).stdout)

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
        for value in ("0x400", "1e3", "-5", "+5", " 5", "5k", "", "15", "1073741825", "99999999999999999999"):
            self.assertIn("--ctx must be an integer between 16 and 1073741824", self.run_ds4("--ctx", value, code=2).stderr)
        self.run_ds4("-p", "Hi", "--nothink", "-n", "1", "--seed", str(2**64 - 1))

    def test_sampling_has_the_rules_of_the_server(self):
        """Temperature is 0 to 2, and seed 0 is a seed like any other."""
        self.run_ds4("-p", "Hi", "--nothink", "-n", "1", "--temp", "2")
        for value in ("2.01", "-0.1", "nan"):
            self.assertIn("--temp must be a number between 0 and 2", self.run_ds4("-p", "Hi", "--temp", value, code=2).stderr)
        say = lambda *seed: self.run_ds4("-p", "Write a long story.", "--nothink", "-n", "30", "--temp", "2", "--min-p", "0", *seed).stdout
        self.assertEqual(say("--seed", "0"), say("--seed", "0"))
        # Answers may end early and then be equal by chance: of six, some differ.
        self.assertGreater(len({say("--seed", str(seed)) for seed in range(6)}), 1, "another seed says something else")
        self.assertGreater(len({say() for _ in range(6)}), 1, "each run without a seed says something else")

    def test_the_loop_guard_takes_a_number_or_none(self):
        self.run_ds4("-p", "Hi", "--nothink", "-n", "1", "--loop-guard", "none")
        self.run_ds4("-p", "Hi", "--nothink", "-n", "1", "--loop-guard", "64")
        for value in ("63", "no", ""):
            self.assertIn("--loop-guard must be an integer between 64", self.run_ds4("-p", "Hi", "--loop-guard", value, code=2).stderr)

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
        self.assertIn("--mtp FILE has no meaning in this build and is ignored", done.stderr)
        self.assertNotIn("--cpu has", done.stderr)
        for flag, words in (("--cuda", "only the cpu backend"), ("--server", "ds4-server"), ("--imatrix-out", "not available")):
            self.assertIn(words, self.run_ds4(flag, code=2).stderr)
        self.assertIn("use cpu", self.run_ds4("--backend", "cuda", code=2).stderr)

    def test_an_ignored_flag_swallows_no_other(self):
        """--mtp took a file once; --mtp-model does now."""
        for flags in (("--mtp",), ("--mtp", "x.gguf"), ("--mtp=x.gguf",), ("--mtp-model", "x.gguf")):
            done = self.run_ds4(*flags, "--dump-tokens", "-p", "Hi")
            self.assertIn(f"{' '.join(flags)[:5]}", done.stderr)
            self.assertTrue(done.stdout.startswith("["), flags)
        self.assertIn("--power needs a value", self.run_ds4("--power", "--dump-tokens", "-p", "Hi", code=2).stderr)

    def test_unknown_options_suggest_the_nearest(self):
        for given, meant in (("--tmep", "--temp"), ("--kv-disk-dri", "--kv-disk-dir"), ("--contxt", None), ("--nothin", "--nothink"),
                             ("--prompt-fiel=x", "--prompt-file"), ("--xyzzy", None), ("-q", None), ("--temperature", "--temp"),
                             ("--temperature=1", "--temp"), ("--thinking-budget", "--think-budget"), ("--tokenizer", "--tokenizer-pre"), ("--", None)):
            said = self.run_ds4(given, code=2).stderr
            self.assertIn(f"unknown option {given}", said)
            self.assertEqual(re.findall("did you mean (.*)[?]", said), [meant] if meant else [], said)
        done = subprocess.run([str(PROGRAM.parent / "ds4-logits"), "--ouT", "x"], capture_output=True, text=True)
        self.assertIn("did you mean --out?", done.stderr)

    def test_flags_without_their_meaning_are_refused(self):
        for flags, words in ((("--raw-prompt", "-p", "x"), "--raw-prompt needs --dump-logprobs"),
                             (("--logprobs-top-k", "3", "-p", "x"), "--logprobs-top-k needs --dump-logprobs"),
                             (("--no-kv-disk", "--kv-disk-dir", "/tmp"), "--kv-disk-dir has no meaning beside --no-kv-disk"),
                             (("--no-kv-disk", "--kv-shutdown-ms", "0"), "--kv-shutdown-ms has no meaning beside --no-kv-disk"),
                             (("--inspect", "-p", "x"), "--inspect has no meaning beside --prompt"),
                             (("--kv-disk-dir", "", "-p", "x"), "--kv-disk-dir is empty")):
            self.assertIn(words, self.run_ds4(*flags, code=2).stderr)
        # A flag's name as another's value is no flag.
        self.run_ds4("--dump-tokens", "-p", "--raw-prompt")

    def test_both_programs_know_the_same_flags_about_model_and_store(self):
        """What ds4 says may be advice to use one of them, and libds4 says the same."""
        def flags(program):
            """By heading of the usage text."""
            heading, found = "", {}
            for line in subprocess.run([str(PROGRAM.parent / program), "--help"], capture_output=True, text=True).stdout.splitlines():
                if not line.startswith(" "):
                    heading = line
                elif match := re.match(r"  (?:-\w+, |--kv-dir, )?(--[a-z0-9-]+)", line):
                    found.setdefault(heading, set()).add(match[1])
            return found
        ds4, server = flags("ds4"), flags("ds4-server")
        for heading in server:
            if heading not in ("HTTP", "Requests"):
                self.assertLessEqual(server[heading], ds4[heading] if heading != "Other" else set().union(*ds4.values()), heading)
        self.assertEqual(ds4["Model"], server["Model"])
        self.assertIn("--index-rounding", ds4["Model"])

    def test_advice_can_be_followed(self):
        """A model whose indexer is too narrow for the official rounding: every program says which flag helps, and knows it."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "narrow.gguf")
            models.write(path, "odd", 0)
            said = self.run_ds4("--inspect", "-m", path, code=2).stderr
            self.assertIn("use --index-rounding none", said)
            self.run_ds4("--inspect", "-m", path, "--index-rounding", "none")

    def test_a_store_path_that_is_mistyped_is_not_made(self):
        with tempfile.TemporaryDirectory() as folder:
            said = self.run_ds4("-p", "Hi", "--kv-disk-dir", os.path.join(folder, "no", "such"), code=2).stderr
            self.assertIn("its parent does not exist", said)
            self.assertEqual(os.listdir(folder), [])
            self.run_ds4("-p", "Hi", "-n", "1", "--kv-disk-dir", os.path.join(folder, "last"))
            self.assertEqual(os.stat(os.path.join(folder, "last")).st_mode & 0o777, 0o700)

    def test_the_store_is_said_when_it_is_made_and_when_there_is_none(self):
        with tempfile.TemporaryDirectory() as home:
            env = {k: v for k, v in os.environ.items() if k != "XDG_CACHE_HOME"} | {"HOME": home}
            command = [str(PROGRAM), "-p", "Hi", "-n", "1"]
            first, second = (subprocess.run(command, capture_output=True, text=True, env=env).stderr for _ in range(2))
            self.assertIn(f"kept in {home}/.cache/ds4/kv (private data; --no-kv-disk keeps none)", first)
            self.assertNotIn("kept", second)
            for folder in (".cache", ".cache/ds4", ".cache/ds4/kv"):
                self.assertEqual(os.stat(os.path.join(home, folder)).st_mode & 0o777, 0o700)
        self.assertNotIn("kept", self.run_ds4("-p", "Hi", "-n", "1", "--no-kv-disk").stderr)
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            self.assertIn(f"{folder} cannot be used", self.run_ds4("-p", "Hi", "-n", "1", "--kv-disk-dir", folder).stderr)

    def test_a_context_beyond_the_trained_one_is_said(self):
        self.assertIn("trained for a context of 8192 tokens: 8192 are used, not 9000",
                      self.run_ds4("-p", "Hi", "-n", "1", "-c", "9000").stderr)

    def test_log_probabilities_end_with_the_context(self):
        data = json.loads(self.run_ds4("--dump-logprobs", "-", "--raw-prompt", "-p", "word", "-n", "5000", "-c", "16").stdout)
        self.assertLessEqual(data["n_prompt"] + len(data["tokens"]), 16)
        self.assertIn("the context holds 16", self.run_ds4("--dump-logprobs", "-", "-p", "word " * 50, "-c", "16", code=1).stderr)

    def test_the_model_is_described(self):
        self.assertIn("1 sliding, 4 CSA, 2 HCA", self.run_ds4("--inspect", "-m", str(MODEL)).stdout)


if __name__ == "__main__":
    unittest.main()
