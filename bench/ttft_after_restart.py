#!/usr/bin/env python3
"""Time to first token of a long conversation after a restart, with and without the store, in one run.

    python3 bench/ttft_after_restart.py [--build build] [--model FILE] [--tokens 7000] [--rounds 5]

Two servers in turn, one with --kv-disk-dir and one without, each killed with SIGKILL and started again before every
measurement. The answers are compared first: a fast wrong answer is no result. Standard library only.
"""
import argparse
import http.client
import json
import os
import pathlib
import platform
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
WORDS = "harbour lantern copper meadow violet thunder paper window orchard silver compass river garden marble candle".split()


def start(build, model, store):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [str(build / "bin" / "ds4-server"), "-m", str(model), "--port", str(port), "-c", "16384", "--log-level", "error"]
    if store:
        command += ["--kv-disk-dir", store, "--kv-min-free", "1"]
    child = subprocess.Popen(command)
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return child, port
        except OSError:
            time.sleep(0.02)


def ask(port, messages):
    """(seconds to the first token, text, usage)"""
    body = {"messages": messages, "temperature": 0, "max_tokens": 24, "stream": True, "thinking": {"type": "disabled"},
            "stream_options": {"include_usage": True}}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    begun, first, text, usage = time.perf_counter(), None, "", None
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    for line in answer:
        if not line.startswith(b"data: {"):
            continue
        chunk = json.loads(line[6:])
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            piece = choice["delta"].get("content")
            if piece and first is None:
                first = time.perf_counter() - begun
            text += piece or ""
    return first if first is not None else time.perf_counter() - begun, text, usage


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--build", default=str(ROOT / "build"), type=pathlib.Path)
    ap.add_argument("--model", default=ROOT / "models" / "ds4-mini.gguf")
    ap.add_argument("--tokens", type=int, default=7000)
    ap.add_argument("--rounds", type=int, default=5)
    args = ap.parse_args()
    args.build = pathlib.Path(args.build)
    store = tempfile.mkdtemp(prefix="ds4-bench-")
    text = " ".join(WORDS[(i * i + i // 7) % len(WORDS)] for i in range(args.tokens))
    try:
        child, port = start(args.build, args.model, store)
        n = ask(port, [{"role": "user", "content": text[:4000]}])[2]["prompt_tokens"]
        text = text[:int(4000 * args.tokens / n)]
        history = [{"role": "system", "content": "You keep notes. " + text}, {"role": "user", "content": "What is 12 + 30?"}]
        _, said, _ = ask(port, history)
        history += [{"role": "assistant", "content": said}, {"role": "user", "content": "And 20 + 21?"}]
        time.sleep(1.0)  # the writer's queue
        child.kill()
        child.wait()
        cold, warm, answers = [], [], set()
        for i in range(args.rounds):
            for times, folder in ((cold, None), (warm, store)):
                if folder:  # every round finds the store as the first conversation left it
                    shutil.rmtree(folder + ".round", ignore_errors=True)
                    shutil.copytree(folder, folder + ".round")
                    os.chmod(folder + ".round", 0o700)
                child, port = start(args.build, args.model, folder and folder + ".round")
                seconds, said, usage = ask(port, history)
                times.append(seconds)
                answers.add(said)
                cached = usage["prompt_tokens_details"]["cached_tokens"]
                print(f"round {i + 1} {'store' if folder else 'clean'}: {seconds:.3f} s, {usage['prompt_tokens']} prompt tokens, "
                      f"{cached} cached", flush=True)
                child.kill()
                child.wait()
        assert len(answers) == 1, f"the answers differ: {answers}"
        c, w = statistics.median(cold), statistics.median(warm)
        commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
        print(f"\n{os.cpu_count()} x {platform.machine()}, commit {commit}, {usage['prompt_tokens']} tokens, {args.rounds} rounds in turn")
        print(f"without the store  {c:.3f} s  ({min(cold):.3f} .. {max(cold):.3f})")
        print(f"with the store     {w:.3f} s  ({min(warm):.3f} .. {max(warm):.3f})")
        print(f"ratio              {c / w:.1f}")
    finally:
        shutil.rmtree(store, ignore_errors=True)
        shutil.rmtree(store + ".round", ignore_errors=True)


if __name__ == "__main__":
    main()
