"""Conversations with the default flags: a store in the user's cache directory, from which each turn goes on. Without it a live
state can go back 8 tokens only, and reasoning is not part of the next prompt, so each turn would read everything again."""
import json
import os
import pathlib
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import unittest

import harness

DS4 = harness.BUILD / "bin" / "ds4"
QUESTIONS = ["What is 12 + 30?", "And 13 + 13?", "Which is larger?", "Thank you. What is 40 - 7?", "And 9 + 9?"]


def opening(seed=1, n_words=760):
    return [{"role": "system", "content": f"You keep notes. Case {seed}. " + harness.story(seed, n_words)},
            {"role": "user", "content": QUESTIONS[0]}]


class DefaultStore(unittest.TestCase):
    def setUp(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="ds4-home-"))
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)
        self.env = {"HOME": str(self.home), "XDG_CACHE_HOME": ""}

    def server(self, *flags):
        # The floor is for the disk of a user; that of a test machine may be fuller.
        server = harness.Server(harness.DEFAULT_STORE, flags=["--kv-min-free", "1", *flags], env=self.env)
        self.addCleanup(server.kill)
        server.wait_ready()
        return server

    def turn(self, server, messages, **more):
        """An answer with reasoning: (content, cached, prompt). What it leaves is on disk when this returns."""
        status, answer = server.post({"messages": messages, "max_tokens": 200, "temperature": 0, **more})
        self.assertEqual(status, 200, answer)
        server.wait_saved()
        usage = answer["usage"]
        return (answer["choices"][0]["message"]["content"] or "-", usage["prompt_tokens_details"]["cached_tokens"],
                usage["prompt_tokens"])

    def assert_goes_on(self, cached, prompt, n_new):
        """All but what is new at the end of the prompt came from the cache."""
        self.assertGreaterEqual(cached, prompt - n_new, f"{cached} of {prompt}")

    def test_five_turns(self):
        server, messages = self.server(), opening()
        answer, cached, prompt = self.turn(server, messages)
        self.assertEqual(cached, 0)
        self.assertGreater(prompt, 1300)
        for question in QUESTIONS[1:]:
            before = prompt
            messages = harness.continued(messages, answer, question)
            answer, cached, prompt = self.turn(server, messages)
            self.assert_goes_on(cached, prompt, prompt - before + 8)

    def test_the_same_request_again_another_last_message_and_a_regenerated_answer(self):
        server, messages = self.server(), opening()
        _, _, prompt = self.turn(server, messages)
        _, cached, _ = self.turn(server, messages)
        self.assert_goes_on(cached, prompt, 8)
        _, cached, _ = self.turn(server, messages, temperature=1, seed=7)
        self.assert_goes_on(cached, prompt, 8)
        _, cached, other = self.turn(server, messages[:1] + [{"role": "user", "content": "Who are you, and what is this?"}])
        self.assert_goes_on(cached, other, 40)

    def test_an_answer_that_is_aborted_and_asked_for_again(self):
        server, messages = self.server(), opening()
        with server.ask({"messages": messages, "stream": True, "temperature": 0}) as answer:
            while b'"reasoning_content":"' not in answer.readline().replace(b" ", b""):
                pass
        server.wait_saved()
        _, cached, prompt = self.turn(server, messages)
        self.assert_goes_on(cached, prompt, 8)

    def test_more_conversations_than_slots(self):
        server = self.server("--batched-session", "2")
        talks = {seed: opening(seed) for seed in (1, 2, 3)}
        prompts = {}
        for question in (None, *QUESTIONS[1:3]):
            for seed, messages in talks.items():
                if question:
                    messages = talks[seed] = harness.continued(messages, said[seed], question)
                else:
                    said = prompts.setdefault("said", {})
                said[seed], cached, prompt = self.turn(server, messages)
                if question:
                    self.assert_goes_on(cached, prompt, prompt - prompts[seed] + 8)
                prompts[seed] = prompt

    def test_the_directory_is_private_and_said_at_the_start(self):
        server = self.server()
        store = self.home / ".cache" / "ds4" / "kv"
        for folder in (self.home / ".cache", store.parent, store):
            self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700, folder)
        self.assertRegex(server.log(), f'kv store dir="{store}" .*private data; --no-kv-disk')
        self.env["XDG_CACHE_HOME"] = str(self.home / "a" / "b")
        self.server()
        self.assertTrue((self.home / "a" / "b" / "ds4" / "kv" / "STORE").exists())

    def test_without_a_store_it_says_what_is_off(self):
        with harness.Server(env=self.env) as server:
            self.assertRegex(server.log(), "kv store off .*read again from its start.*--kv-disk-dir")
        self.assertFalse((self.home / ".cache").exists())

    def test_no_place_for_a_store_is_said_once_and_is_no_failure(self):
        file = self.home / "file"
        file.write_text("")
        for name, value, words in (("HOME", "", "neither XDG_CACHE_HOME nor HOME names a directory"),
                                   ("HOME", "/nonexistent", "HOME (/nonexistent): No such file"),
                                   ("XDG_CACHE_HOME", str(file), f"{file}/ds4 cannot be made: Not a directory")):
            self.env = {"HOME": str(self.home), "XDG_CACHE_HOME": "", name: value}
            server = self.server()
            self.assertEqual(server.log().count(words), 1, server.log())
            self.assertEqual(server.log().count("--kv-disk-dir DIR keeps them in DIR"), 1)
            self.assertEqual(server.chat([{"role": "user", "content": "Hi"}])[1]["completion_tokens"] > 0, True)

    def test_what_another_user_owns_is_left_alone(self):
        if os.geteuid() != 0:
            self.skipTest("only root can give a directory away")
        os.chown(self.home, 12345, 12345)
        self.assertIn("belongs to another user", self.server().log())
        self.assertEqual(list(self.home.iterdir()), [])

    def test_the_example_of_the_readme(self):
        """Run as it stands there, with another port and build folder; and the kill waits until the disk has what it promises."""
        text = (harness.ROOT / "README.md").read_text().partition("## Conversations on disk")[2]
        example = re.search(r"```sh\n(.*?)```", text, re.S)[1]
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = str(s.getsockname()[1])
        saved = f"until curl -s http://127.0.0.1:{port}/metrics | grep -q '^ds4_kv_queue_jobs 0'; do sleep 0.05; done\n"
        for what, instead in (("build/bin/ds4-server", f"{harness.SERVER} --port {port} --kv-min-free 1"), (":8000/", f":{port}/"),
                              ("kill -9", saved + "kill -9"), ("--retry 9", "--retry 60 --retry-delay 1")):
            self.assertIn(what, example)
            example = example.replace(what, instead)
        done = subprocess.run(["bash", "-c", example + "wait"], capture_output=True, text=True, env=os.environ | self.env)
        answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        self.assertEqual(len(answers), 2, done.stdout + done.stderr)
        first, second = (answer["usage"] for answer in answers)
        self.assertEqual(first["prompt_tokens_details"]["cached_tokens"], 0)
        self.assert_goes_on(second["prompt_tokens_details"]["cached_tokens"], first["prompt_tokens"], 8)

    def test_ds4_goes_on_after_a_file_was_read(self):
        """A turn at a time in the terminal program: what it logs about the cache, after /read FILE and four questions."""
        text = self.home / "notes.txt"
        text.write_text(harness.story(5, 700))
        lines = [f"/read {text}", *QUESTIONS[1:], "/quit"]
        done = subprocess.run([str(DS4), "-v", "--temp", "0", "-n", "200", "--kv-min-free", "1"], input="\n".join(lines) + "\n",
                              capture_output=True, text=True, timeout=250, env=os.environ | self.env)
        self.assertEqual(done.returncode, 0, done.stderr)
        turns = [tuple(map(int, found)) for found in re.findall(r"answer prompt=(\d+) cached=(\d+)", done.stderr)]
        self.assertEqual(len(turns), 5, done.stderr)
        self.assertGreater(turns[0][0], 1000)
        for (before, _), (prompt, cached) in zip(turns, turns[1:]):
            self.assert_goes_on(cached, prompt, prompt - before + 8)


if __name__ == "__main__":
    unittest.main()
