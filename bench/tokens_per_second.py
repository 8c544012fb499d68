#!/usr/bin/env python3
"""Tokens per second: reading a prompt (prefill) and writing an answer (decode), alone and several at once, beside the
copy bandwidth of this machine's memory, measured in the same run.

A decoding step must read every weight that a token uses once, so (weights per token) x (tokens per second) over the
bandwidth says how far decoding is from the least that any program would need. Answers are checked before they count.
"""
import concurrent.futures
import ctypes
import json
import os
import re
import subprocess
import time

import common

STREAMS, ANSWER_TOKENS = 4, 256
QUESTIONS = [f"Say hello, then tell me what {10 + 7 * i} + {20 + 3 * i} is." for i in range(STREAMS)]


def copy_bandwidth():
    """GB/s read and written by memmove on every core at once, over buffers that no cache holds."""
    n = os.cpu_count()
    size = (512 << 20) // (2 * n)
    pairs = [(ctypes.create_string_buffer(size), ctypes.create_string_buffer(size)) for _ in range(n)]
    rates = []
    with concurrent.futures.ThreadPoolExecutor(n) as pool:  # ctypes gives up the interpreter's lock
        for _ in range(7):
            begun = time.perf_counter()
            list(pool.map(lambda pair: ctypes.memmove(pair[0], pair[1], size), pairs))
            rates.append(2 * n * size / (time.perf_counter() - begun) / 1e9)
    return rates[1:]  # the first one also pays for the pages


def weights_per_token(args):
    """Bytes of the weights that one token uses, about: of the experts those that are chosen, of the embedding one row."""
    text = subprocess.run([str(args.build / "bin" / "ds4"), "--inspect", "-m", str(args.model)], capture_output=True, text=True,
                          check=True).stdout

    def number(pattern):
        return float(re.search(pattern, text, re.M)[1])

    dim, n_vocab = number(r"^width +(\d+)"), number(r"^vocabulary +(\d+)")
    used, experts, width = (number(p) for p in (r"^experts +(\d+)", r"^experts +\d+ of (\d+)", r"^experts .*width (\d+)"))
    n_all = number(r"^parameters +([\d.]+) M") * 1e6
    n_used = n_all - number(r"^layers +(\d+)") * (experts - used) * 3 * dim * width - n_vocab * dim
    return n_used * os.path.getsize(args.model) / n_all


def report(what, rates, bandwidth=None, weight_bytes=0):
    tail = f"   {weight_bytes * sorted(rates)[len(rates) // 2] / 1e9 / bandwidth * 100:.0f} % of the copy bandwidth" if bandwidth else ""
    print(f"{what:<38} {common.spread(rates, 1)} tokens/s{tail}", flush=True)


def main():
    args = common.arguments(__doc__, rounds=5)
    common.head()
    rates = copy_bandwidth()
    bandwidth, weight_bytes = sorted(rates)[len(rates) // 2], weights_per_token(args)
    print(f"{'memory copy, all cores':<38} {common.spread(rates, 1)} GB/s read and written")
    print(f"{'weights that a token uses':<38} {weight_bytes / 1e6:.1f} MB")
    prefill, decode, deep, together, answers, long = {}, [], [], [], {}, common.endless(args, ANSWER_TOKENS)

    def said(question, text):  # the same question has the same answer, alone, in company and at every round
        assert answers.setdefault(question, text) == text, f"two answers to {question!r}: {answers[question]!r}, {text!r}"

    with common.Server(args) as server, concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
        text = server.text_of(args.tokens)
        for i in range(args.rounds):
            for n in (512, args.tokens):
                # The number in front makes the prompt a new one: nothing of it is resident.
                prompt = f"{i} {n} " + text[:int(len(text) * n / args.tokens)] + " What is 12 + 30?"
                _, answer, last = server.ask([{"role": "user", "content": prompt}], **long)
                said(prompt, answer)
                assert last["timings"]["cache_n"] < 64, "the prompt was resident"
                prefill.setdefault(n, []).append(last["timings"]["prompt_per_second"])
                if n == args.tokens:
                    deep.append(last["timings"]["predicted_per_second"])
            for question in QUESTIONS:
                _, answer, last = server.ask([{"role": "user", "content": question}], **long)
                said(question, answer)
                decode.append(last["timings"]["predicted_per_second"])
            results = list(pool.map(lambda question: server.ask([{"role": "user", "content": question}], **long), QUESTIONS))
            for question, (_, answer, last) in zip(QUESTIONS, results):
                said(question, answer)
            together.append(sum(last["timings"]["predicted_per_second"] for _, _, last in results))
    for n, values in prefill.items():
        report(f"prefill, {n} tokens", values)
    report("decode, one conversation", decode, bandwidth, weight_bytes)
    report(f"decode, one after {args.tokens} tokens", deep, bandwidth, weight_bytes)
    report(f"{STREAMS} conversations at once, in all", together)


if __name__ == "__main__":
    main()
