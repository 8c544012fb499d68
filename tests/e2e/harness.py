"""What the end-to-end tests share: a ds4-server as a child process, its log, its store, and requests to it.

Standard library only. The program and the model come from the environment of the test runner:
    DS4_BUILD   build folder whose bin/ds4-server is tested (default: ./build-faults, which has the fault points)
    DS4_MODEL   model file (default: models/ds4-mini.gguf)
"""
import atexit
import contextlib
import http.client
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("DS4_BUILD", ROOT / "build-faults"))
MODEL = pathlib.Path(os.environ.get("DS4_MODEL", ROOT / "models" / "ds4-mini.gguf"))
SERVER = BUILD / "bin" / "ds4-server"

# Programs that keep conversations where nobody said keep them here, never in the cache of the person who runs the tests.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="ds4-cache-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # for the children: abort() is part of the crash matrix

# Small segments, so that short test prompts have stems, and every checkpoint counts.
STORE_FLAGS = ["--kv-segment", "128", "--kv-cache-min-tokens", "64", "--kv-min-free", "1"]


def scratch_file(prefix):
    """The path of an empty file that goes when the tests end."""
    handle, path = tempfile.mkstemp(prefix=prefix)
    os.close(handle)
    atexit.register(lambda: pathlib.Path(path).unlink(missing_ok=True))
    return path


_tiny = {}


def tiny_model(seed=1):
    """The synthetic model (tests/support/tiny_model.h): every kind of layer, a server that starts in milliseconds.
    Seeds differ in weights only: the twins of F33."""
    if seed not in _tiny:
        path = scratch_file("ds4-tiny-")
        subprocess.run([str(BUILD / "tests" / "tiny-model"), path, str(seed)], check=True)
        _tiny[seed] = path
    return _tiny[seed]


DEFAULT_STORE = object()


class Server:
    """A ds4-server on a free port. Use as a context manager; what is left running is killed.
    `store`: a directory; None: --no-kv-disk; DEFAULT_STORE: no flag at all.
    `faults`, `fault_seed`, `fault_log` are DS4_KV_FAULT and its companions; `wrap` stands before the command."""

    def __init__(self, store=None, faults=None, flags=(), log=None, model=None, fault_log=None,
                 fault_seed=1, wrap=(), env=None):
        self.port = None  # of the system's choice; known when it listens
        self.log_path = pathlib.Path(log or scratch_file("ds4-log-"))
        command = [str(SERVER), "-m", str(model or MODEL), "--host", "127.0.0.1", "--port", "0", "-c", "8192"]
        if store is None:
            command.append("--no-kv-disk")
        elif store is not DEFAULT_STORE:
            command += ["--kv-disk-dir", str(store)] + STORE_FLAGS
        command = list(wrap) + command + list(flags)
        env = {k: v for k, v in os.environ.items() if not k.startswith("DS4_KV_")} | (env or {})
        if faults:
            env["DS4_KV_FAULT"] = faults
            env["DS4_KV_SEED"] = str(fault_seed)
        if fault_log:
            env["DS4_KV_FAULT_LOG"] = str(fault_log)
        self.log_file = open(self.log_path, "ab")
        self.child = subprocess.Popen(command, stdout=self.log_file, stderr=self.log_file, env=env,
                                      stdin=subprocess.DEVNULL)

    def __enter__(self):
        self.wait_ready()
        return self

    def __exit__(self, *exception):
        self.kill()

    def wait_ready(self, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.child.poll() is not None:
                raise AssertionError(f"the server ended with {self.child.returncode}:\n{self.log()}")
            match = re.search(r"listening http://[^ ]*:([0-9]+) ", self.log())
            if match:
                self.port = int(match.group(1))
                assert self.get("/health")[0] == 200
                return
            time.sleep(0.02)
        raise AssertionError(f"the server did not become ready:\n{self.log()}")

    def log(self):
        return self.log_path.read_text(errors="replace")

    def ends(self, seconds):
        """Does it end by itself within that time?"""
        try:
            self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self):
        """kill -9"""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGKILL)
        self.child.wait()
        self.log_file.close()

    def stop(self, seconds=30):
        """SIGTERM; returns the exit code."""
        self.child.send_signal(signal.SIGTERM)
        code = self.child.wait(seconds)
        self.log_file.close()
        return code

    # ---- requests

    @contextlib.contextmanager
    def request(self, method, path, body=None, headers={}, timeout=3600):
        """The answer as http.client gives it, on a connection of its own that lives as long as the `with`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers)
            yield connection.getresponse()
        finally:
            connection.close()

    def get(self, path):
        with self.request("GET", path, timeout=3600) as answer:
            return answer.status, answer.read().decode()

    def ask(self, body, path="/v1/chat/completions", timeout=3600):
        """A body as JSON: request() with its answer unread."""
        return self.request("POST", path, json.dumps(body), {"Content-Type": "application/json"}, timeout)

    def post(self, body, path="/v1/chat/completions", timeout=3600):
        """The status and the parsed answer."""
        with self.ask(body, path, timeout) as answer:
            return answer.status, json.loads(answer.read())

    def exact(self, messages, **more):
        """One greedy answer of the tiny model to the last bit: the text and the logarithm of each token's probability."""
        body = {"messages": messages, "temperature": 0, "thinking": {"type": "disabled"}, "max_tokens": 6,
                "logprobs": True}
        body.update(more)
        status, answer = self.post(body)
        assert status == 200, f"HTTP {status}: {answer}\n{self.log()}"
        choice = answer["choices"][0]
        return (choice["message"]["content"], tuple((t["bytes"] and bytes(t["bytes"]), t["logprob"])
                                                    for t in choice["logprobs"]["content"]))

    def chat(self, messages, **more):
        """One greedy answer: (text, usage). Fails unless the status is 200."""
        body = {"messages": messages, "temperature": 0, "thinking": {"type": "disabled"}, "max_tokens": 24}
        body.update(more)
        status, answer = self.post(body)
        assert status == 200, f"HTTP {status}: {answer}\n{self.log()}"
        return answer["choices"][0]["message"]["content"], answer["usage"]

    def stream(self, messages, **more):
        """The same through SSE: (text, usage, final chunk's finish_reason)."""
        body = {"messages": messages, "temperature": 0, "thinking": {"type": "disabled"}, "max_tokens": 24,
                "stream": True, "stream_options": {"include_usage": True}}
        body.update(more)
        text, usage, finish = "", None, None
        with self.ask(body) as answer:
            assert answer.status == 200, answer.read()
            for line in answer:
                line = line.decode().strip()
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                chunk = json.loads(line[6:])
                assert "error" not in chunk, chunk
                if chunk.get("usage"):
                    usage = chunk["usage"]
                for choice in chunk["choices"]:
                    text += choice["delta"].get("content") or ""
                    finish = choice["finish_reason"] or finish
            return text, usage, finish

    def metric(self, name):
        """The value of a metric without labels, or the sum over its labels."""
        total, found = 0.0, False
        for line in self.get("/metrics")[1].splitlines():
            match = re.match(rf"{name}(\{{[^}}]*\}})? ([0-9.e+-]+)$", line)
            if match:
                total, found = total + float(match.group(2)), True
        assert found, f"no metric {name}"
        return total

    def wait_for(self, condition, seconds=30):
        """Until something has happened beside the requests: the librarian and the writer work on their own."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"it does not happen:\n{self.log()}"
            time.sleep(0.01)

    def wait_saved(self, seconds=30):
        """Until the writer's queue is empty and nothing is on trial any more (three times in a row: the engine may just be
        handing something over). The librarian withdraws an intent after the answer has been sent."""
        end, calm = time.monotonic() + seconds, 0
        while calm < 3:
            assert time.monotonic() < end, f"the store does not come to rest:\n{self.log()}"
            busy = self.metric("ds4_kv_queue_jobs") + self.metric("ds4_kv_intents")
            calm = calm + 1 if busy == 0 else 0
            time.sleep(0.02)


class ServerCase(unittest.TestCase):
    """Tests that share one server."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.kill)
        cls.server.wait_ready()


# logit_bias of an answer that goes on: no end mark, and no block of tools that may not be opened, which ends it as well.
NO_END = {"1": -100, "6": -100}


def remove_tree(path):
    """rmtree() beside a server that makes new files in it meanwhile."""
    while path.exists():
        try:
            shutil.rmtree(path)
        except OSError:
            pass


def new_store():
    return pathlib.Path(tempfile.mkdtemp(prefix="ds4-store-"))


def drop_store(path):
    shutil.rmtree(path, ignore_errors=True)


def objects(store, kind="*"):
    """Published objects, by name: kind "s" (segments), "f" (frontiers) or "*"."""
    return sorted(store.glob(f"o/??/*.{kind}"))


# ---- conversations

WORDS = ("harbour lantern copper meadow violet thunder paper window orchard silver compass river garden marble "
         "candle forest anchor bridge feather saddle").split()


def story(seed, n_words):
    """Text that differs early for every seed and never repeats in long runs."""
    value, out = seed * 7919 + 17, []
    for _ in range(n_words):
        value = (value * 1103515245 + 12345) % 2147483648
        out.append(WORDS[(value >> 8) % len(WORDS)])
    return " ".join(out) + "."


def opening(seed, n_words=220):
    return [{"role": "system", "content": f"You keep notes. Case {seed}. " + story(seed, n_words)},
            {"role": "user", "content": f"What is {20 + seed} + {11 + seed}?"}]


def continued(messages, answer, question):
    return messages + [{"role": "assistant", "content": answer}, {"role": "user", "content": question}]
