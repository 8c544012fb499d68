#!/usr/bin/env python3
"""Decoding beside a busy neighbour: tokens per second with the default number of threads, with one and with two, on the
machine as it is and beside other programs that keep processors busy (one endless loop each, at the usual priority).

All servers run at once and are asked in turn, so that what else happens on the machine meets all of them. What counts are the
ratios: "to -t 1" says whether more threads are worth having, and beside a neighbour the default must not fall far below 1.
Answers are compared: they do not depend on threads or neighbours.
"""
import contextlib
import statistics
import subprocess
import sys

import common

ANSWER_TOKENS = 200
QUESTION = [{"role": "user", "content": "Say hello, then tell me a story about a lantern and a ship."}]
FLAGS = {"default": (), "-t 1": ("-t", "1"), "-t 2": ("-t", "2")}
LOOP = "while True: pass"


@contextlib.contextmanager
def neighbours(n):
    running = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(n)]
    try:
        yield
    finally:
        for child in running:
            child.kill()
            child.wait()


def main():
    parser = common.parser(__doc__, rounds=9)
    parser.add_argument("--neighbours", type=int, default=1, help="busy loops beside the server (1)")
    args = common.parse(parser)
    common.head()
    rates, answers = {}, set()
    endless = common.endless(args, ANSWER_TOKENS)
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(common.Server(args, flags)) for name, flags in FLAGS.items()}
        for server in servers.values():
            server.ask(QUESTION, **endless)
        for _ in range(args.rounds):
            for n in (0, args.neighbours):
                for name, server in servers.items():
                    with neighbours(n):
                        _, text, last = server.ask(QUESTION, **endless)
                    answers.add(text)
                    rates.setdefault((n, name), []).append(last["timings"]["predicted_per_second"])
    assert len(answers) == 1, f"{len(answers)} different answers to one question"
    print(f"decode, tokens/s{'alone':>26}{'to -t 1':>18}{f'beside {args.neighbours} busy':>22}{'to -t 1':>18}")
    for name in FLAGS:
        line = f"{name:<12}"
        for n in (0, args.neighbours):
            ratios = [a / b for a, b in zip(rates[n, name], rates[n, "-t 1"])]
            line += f"{common.spread(rates[n, name], 0):>30}{statistics.median(ratios):>10.2f}"
        print(line)


if __name__ == "__main__":
    main()
