"""The HTTP surface as clients and mistakes meet it: errors in OpenAI's shape, limits, disconnects, a full queue, an end."""
import http.client
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import harness

LONG = {"messages": [{"role": "user", "content": harness.story(5, 2500)}], "temperature": 0, "max_tokens": 4000,
        "thinking": {"type": "disabled"}, "logit_bias": harness.NO_END}  # without the end mark it goes on


def program(*arguments, **more):
    return subprocess.run([str(harness.SERVER), *map(str, arguments)], capture_output=True, text=True, **more)


class BadStart(unittest.TestCase):
    def test_a_cut_off_model_is_named_with_what_is_missing(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "cut.gguf"
            path.write_bytes(harness.MODEL.read_bytes()[:-1000000])
            done = program("-m", path, "--port", 0)
            self.assertEqual(done.returncode, 2)
            self.assertIn("lies outside the file", done.stderr)
            self.assertIn("the download is incomplete", done.stderr)

    def test_a_model_that_is_not_there(self):
        done = program("-m", "/nonexistent.gguf")
        self.assertEqual(done.returncode, 2)
        self.assertIn("/nonexistent.gguf", done.stderr)

    def test_wrong_options_say_so(self):
        for arguments, words in ((("--port", "x"), "--port must be an integer"), (("--prot", "1"), "unknown option --prot"),
                                 (("--ctx",), "--ctx needs a value"), (("--port", "1e3"), "--port must be an integer"),
                                 (("--api-key", ""), "--api-key is empty"), (("--api-key-file", os.devnull), "is empty"),
                                 (("--default-effort", "silly"), "--default-effort silly"), (("--host", "nosuch.invalid"), "--host nosuch.invalid"),
                                 (("--cuda",), "only the cpu backend"), (("--heartbeat", "x"), "events, comments or off"),
                                 (("--kv-disk-dir", "/proc/nope"), "/proc/nope")):
            done = program("-m", harness.MODEL, *arguments)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(words, done.stderr)
        self.assertEqual(program("--help").returncode, 0)

    def test_a_port_in_use(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            done = program("-m", harness.MODEL, "--port", s.getsockname()[1])
        self.assertEqual(done.returncode, 1)
        self.assertIn("another program uses it", done.stderr)


class Http(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server(flags=["--max-body-mb", "8", "--batched-session", "2", "--max-queue", "1"])
        cls.server.wait_ready()

    @classmethod
    def tearDownClass(cls):
        cls.server.kill()

    def raw(self, body, path="/v1/chat/completions", method="POST", headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def assert_error(self, answer, status, code, words=""):
        self.assertEqual(answer[0], status, answer[2])
        error = json.loads(answer[2])["error"]
        self.assertEqual(error["code"], code)
        self.assertIn(words, error["message"])
        self.assertEqual(set(error) - {"n_prompt_tokens", "n_ctx"}, {"message", "type", "param", "code"})

    def test_bodies_that_are_wrong(self):
        for body, status, code, words in (
                (b'{"messages": [', 400, "invalid_json", "at byte 14"),
                (b"\xff\xfe", 400, "invalid_json", ""),
                (b"[1]", 400, "invalid_json", "must be a JSON object"),
                (b"{}", 400, "missing_required_parameter", "messages"),
                (b'{"messages": []}', 400, "invalid_value", "at least one"),
                (b'{"messages": [{"role": "robot", "content": "x"}]}', 400, "invalid_value", "robot"),
                (b'{"messages": [{"role": "user", "content": 7}]}', 400, "invalid_type", "messages[0].content"),
                (b'{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', 400, "unsupported_content", "image_url"),
                (b'{"messages": [{"role": "user", "content": "x"}], "temperature": 7}', 400, "invalid_value", "between 0 and 2 (got 7)"),
                (b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": "many"}', 400, "invalid_type", "max_tokens"),
                (b'{"messages": [{"role": "user", "content": "x"}], "tool_choice": "required"}', 400, "invalid_value", "no tools"),
                (b'{"messages": [{"role": "user", "content": "x"}], "reasoning_effort": "huge"}', 400, "invalid_value", "huge"),
                (b'{"messages": [{"role": "user", "content": [7]}]}', 400, "invalid_type", "must be an object or a string"),
                (b'{"messages": [{"role": "user", "content": [{"type": "image_url", "text": "x"}]}]}', 400, "unsupported_content", "image_url"),
                (b'{"messages": [{"role": "user", "content": "x"}], "chat_template_kwargs": 5}', 400, "invalid_type", "must be an object"),
                (b'{"messages": [{"role": "user", "content": "x"}], "functions": []}', 400, "unsupported_parameter", "use tools"),
                (b'{"messages": [{"role": "user", "content": "x"}], "modalities": ["audio"]}', 400, "unsupported_parameter", "text"),
                (b'{"messages": [{"role": "user", "content": "x"}], "seed": 1.5}', 400, "invalid_type", "integer"),
                (b'{"messages": [{"role": "user", "content": "x"}], "temperature": 1e999}', 400, "invalid_value", "1e999"),
                (b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}', 400, "invalid_json", "at byte"),
                (b'{"messages": [{"role": "user", "content": "\xff"}]}', 400, "invalid_json", "UTF-8"),
                (b'{"messages": [{"role": "user", "content": "x"}], "n": 2}', 400, "unsupported_parameter", "n above 1"),
                (b"[" * 300 + b"]" * 300, 400, "invalid_json", "nested too deep")):
            self.assert_error(self.raw(body), status, code, words)

    def test_a_prompt_longer_than_the_context(self):
        answer = self.raw(json.dumps({"messages": [{"role": "user", "content": "word " * 40000}]}))
        self.assert_error(answer, 400, "context_length_exceeded", "maximum context length is 8192 tokens")
        error = json.loads(answer[2])["error"]
        self.assertGreater(error["n_prompt_tokens"], 8192)
        self.assertNotIn("--ctx", error["message"], "this model knows no larger context")

    def test_a_prompt_far_longer_than_the_context_is_refused_without_tokenising_it(self):
        answer = self.raw(json.dumps({"messages": [{"role": "user", "content": "a" * 7_000_000}]}))
        self.assert_error(answer, 400, "context_length_exceeded", "at least")
        self.assertGreater(json.loads(answer[2])["error"]["n_prompt_tokens"], 8192)

    def test_numbers_at_the_edge(self):
        for more in ({"seed": 2**64 - 1}, {"seed": -(2**63)}, {"seed": 2**70}, {"seed": 3.0}, {"temperature": 1e-45}, {"top_p": 0}, {"max_tokens": 2**40},
                     {"max_tokens": 0}, {"max_tokens": -1}, {"max_tokens": 1.0}, {"stop": ""}, {"stop": []}):
            body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2, "thinking": False}
            status, answer = self.server.post(dict(body, **more))
            self.assertEqual(status, 200, (more, answer))
        self.assertEqual(self.server.post(dict(body, max_tokens=0))[1]["choices"][0]["message"]["content"], "")

    def test_a_body_of_100_megabytes(self):
        self.assert_error(self.raw(b" " * 100_000_000), 413, "request_too_large", "8 MiB")

    def test_paths_and_methods(self):
        self.assert_error(self.raw(b"", "/nope"), 404, "not_found")
        status, headers, _ = self.raw(None, method="GET")
        self.assertEqual((status, headers["Allow"]), (405, "POST, OPTIONS"))
        self.assertEqual(self.raw(None, "/health", "GET")[0], 200)
        self.assertEqual(self.raw(None, "/", "HEAD")[0], 200)
        self.assert_error(self.raw(None, "/v1/models/other", "GET"), 404, "model_not_found")
        models = json.loads(self.raw(None, "/v1/models", "GET")[2])
        self.assertEqual(models["object"], "list")
        self.assertEqual(json.loads(self.raw(None, "/v1/models/" + models["data"][0]["id"], "GET")[2])["object"], "model")
        self.assert_error(self.raw(b"{}", headers={"Host": "evil.example"}), 403, "invalid_host")

    def test_logprobs_and_limits(self):
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3, "logprobs": True, "top_logprobs": 2,
                "temperature": 0, "thinking": {"type": "disabled"}, "logit_bias": harness.NO_END}
        status, answer = self.server.post(body)
        self.assertEqual(status, 200)
        choice = answer["choices"][0]
        self.assertEqual(choice["finish_reason"], "length")
        self.assertEqual(len(choice["logprobs"]["content"]), 3)
        for token in choice["logprobs"]["content"]:
            self.assertEqual(len(token["top_logprobs"]), 2)
            self.assertLessEqual(token["logprob"], 0)

    def test_a_client_that_hangs_up_frees_its_sequence(self):
        for stream in (False, True):
            with socket.create_connection(("127.0.0.1", self.server.port)) as s:
                body = json.dumps(dict(LONG, stream=stream)).encode()
                s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                self.wait(lambda: self.server.metric("ds4_active_requests") == 1)
            self.wait(lambda: self.server.metric("ds4_active_requests") == 0, seconds=5)

    def wait(self, condition, seconds=20):
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, self.server.log())
            time.sleep(0.02)

    def test_a_full_queue_answers_503_with_retry_after(self):
        held = []
        try:
            for _ in range(3):  # two slots and one place in the queue
                s = socket.create_connection(("127.0.0.1", self.server.port))
                body = json.dumps(LONG).encode()
                s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                held.append(s)
                self.wait(lambda n=len(held): self.server.metric("ds4_active_requests") + self.server.metric("ds4_queued_requests") == n)
            answer = self.raw(json.dumps(LONG))
            self.assert_error(answer, 503, "queue_full")
            self.assertIn("Retry-After", answer[1])
        finally:
            for s in held:
                s.close()
            self.wait(lambda: self.server.metric("ds4_active_requests") == 0)

    def test_many_at_once_give_what_each_gives_alone(self):
        bodies = [[{"role": "user", "content": harness.story(seed, 30 + 40 * seed)}] for seed in range(1, 3)]
        alone = [self.server.chat(b)[0] for b in bodies]
        together = [None] * len(bodies)

        def ask(i):
            together[i] = self.server.stream(bodies[i], cache_prompt=False)[0]

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(bodies))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(alone, together)


class End(unittest.TestCase):
    def test_sigterm_lets_answers_end_and_refuses_new_ones(self):
        server = harness.Server(flags=["--shutdown-grace", "280"])  # a busy machine takes long for LONG
        server.wait_ready()
        result = {}

        def ask():
            result["answer"] = server.stream(LONG["messages"], max_tokens=60, logit_bias=harness.NO_END)

        thread = threading.Thread(target=ask)
        thread.start()
        while server.metric("ds4_active_requests") == 0:
            time.sleep(0.02)
        self.assertEqual(server.stop(300), 0)
        thread.join()
        self.assertEqual(result["answer"][2], "length")

    def test_keys(self):
        with harness.Server(flags=["--api-key", "secret"]) as server:
            def status(headers, path="/v1/models"):
                connection = http.client.HTTPConnection("127.0.0.1", server.port)
                connection.request("GET", path, headers=headers)
                return connection.getresponse().status
            self.assertEqual(status({}), 401)
            self.assertEqual(status({"Authorization": "Bearer wrong"}), 401)
            self.assertEqual(status({"Authorization": "Bearer secret"}), 200)
            self.assertEqual(status({"x-api-key": "secret"}), 200)
            self.assertEqual(status({}, "/health"), 200)


if __name__ == "__main__":
    unittest.main()
