"""What the benches share: a ds4-server of their own, streaming requests with their times, the head of a report, medians.
Standard library only."""
import argparse
import http.client
import json
import os
import pathlib
import platform
import shlex
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
END = "<\uff5cend\u2581of\u2581sentence\uff5c>"
WORDS = "harbour lantern copper meadow violet thunder paper window orchard silver compass river garden marble candle".split()


def parser(doc, rounds):
    """The options that every bench knows, so that `make bench ARGS=...` can pass one line to all of them."""
    ap = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--build", default=ROOT / "build", type=pathlib.Path, help="build folder")
    ap.add_argument("--model", default=ROOT / "models" / "ds4-mini.gguf", help="model file")
    ap.add_argument("--tokens", type=int, default=7000, help="length of the long prompt (7000)")
    ap.add_argument("--rounds", type=int, default=rounds, help=f"repetitions ({rounds})")
    return ap


def parse(ap):
    args = ap.parse_args()
    if args.rounds < 1 or args.tokens < 1000:
        ap.error("at least 1 round and 1000 tokens")
    return args


def arguments(doc, rounds):
    return parse(parser(doc, rounds))


class Server:
    """A ds4-server on a free port, ready when the constructor returns; killed at the end of the `with` block."""

    def __init__(self, args, flags=()):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        command = [str(args.build / "bin" / "ds4-server"), "-m", str(args.model), "--host", "127.0.0.1", "--port", str(self.port),
                   "-c", "16384", "--log-level", "error", *flags]
        if "--kv-disk-dir" not in flags:  # neither the user's cache nor its speed
            command.append("--no-kv-disk")
        self.child = subprocess.Popen(command)
        while True:
            if self.child.poll() is not None:
                sys.exit(f"bench: {shlex.join(command)} ended with {self.child.returncode}")
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.child.kill()
        self.child.wait()

    def ask(self, messages, max_tokens=64, empty=False, **fields):
        """(seconds to the first token, text, the last chunk: `usage` and `timings`); an answer without text is an error unless
        `empty`."""
        body = {"messages": messages, "temperature": 0, "max_tokens": max_tokens, "stream": True,
                "thinking": {"type": "disabled"}, "stream_options": {"include_usage": True}, **fields}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        begun, first, text, last = time.perf_counter(), None, "", {}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            last = chunk if chunk.get("usage") else last
            for choice in chunk["choices"]:
                piece = choice["delta"].get("content")
                if piece and first is None:
                    first = time.perf_counter() - begun
                text += piece or ""
        assert empty or first is not None, "an empty answer"
        return first, text, last

    def text_of(self, n_tokens):
        """Words that make about n_tokens tokens."""
        text = " ".join(WORDS[(i * i + i // 7) % len(WORDS)] for i in range(n_tokens))
        n = self.ask([{"role": "user", "content": text[:4000]}], 1)[2]["usage"]["prompt_tokens"]
        return text[:int(4000 * n_tokens / n)]


def endless(args, n_tokens):
    """Request fields with which an answer has exactly n_tokens tokens: it may not end by itself."""
    text = subprocess.run([str(args.build / "bin" / "ds4"), "-m", str(args.model), "--dump-tokens", "-p", END], capture_output=True,
                          text=True, check=True).stdout
    return {"max_tokens": n_tokens, "logit_bias": {str(json.loads(text.splitlines()[0])[0]): -100}}


def spread(values, digits):
    """A median with its spread."""
    return f"{statistics.median(values):.{digits}f}  ({min(values):.{digits}f} .. {max(values):.{digits}f})"


def head():
    """The command, the machine and the commit: without them a number means nothing."""
    cpu = platform.machine()
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    command = shlex.join([os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]])
    print(f"{command}\n{os.cpu_count()} x {cpu}, load {os.getloadavg()[0]:.1f} before, commit {commit.stdout.strip() or 'unknown'}",
          flush=True)
