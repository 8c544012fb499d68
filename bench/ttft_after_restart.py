#!/usr/bin/env python3
"""Time to first token of a long conversation after a restart, with and without the store, in one run.

Two servers in turn, one with --kv-disk-dir and one without, each killed with SIGKILL and started again before every
measurement. The answers are compared first: a fast wrong answer is no result.
"""
import os
import shutil
import statistics
import tempfile
import time

import common


def first_conversation(args, flags):
    """Fills the store; returns the history that every round continues."""
    with common.Server(args, flags) as server:
        text = server.text_of(args.tokens)
        history = [{"role": "system", "content": "You keep notes. " + text}, {"role": "user", "content": "What is 12 + 30?"}]
        said = server.ask(history)[1]
        time.sleep(2)  # the writer's queue; a checkpoint that is not there in time is noticed below
    return history + [{"role": "assistant", "content": said}, {"role": "user", "content": "And 20 + 21?"}]


def main():
    args = common.arguments(__doc__, rounds=5)
    common.head()
    folder = tempfile.mkdtemp(prefix="ds4-bench-")
    store, copy = os.path.join(folder, "store"), os.path.join(folder, "round")
    try:
        history = first_conversation(args, ["--kv-disk-dir", store, "--kv-min-free", "1"])
        cold, warm, answers = [], [], set()
        for i in range(args.rounds):
            for times, flags in ((cold, []), (warm, ["--kv-disk-dir", copy, "--kv-min-free", "1"])):
                # Every round finds the store as the first conversation left it.
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(store, copy)
                with common.Server(args, flags) as server:
                    seconds, said, last = server.ask(history)
                times.append(seconds)
                answers.add(said)
                n, n_cached = last["usage"]["prompt_tokens"], last["usage"]["prompt_tokens_details"]["cached_tokens"]
                print(f"round {i + 1} {'store' if flags else 'clean'}: {seconds:.3f} s, {n} prompt tokens, {n_cached} cached",
                      flush=True)
                assert bool(n_cached) == bool(flags), "the store was not used, or was used without being asked for"
        assert len(answers) == 1, f"the answers differ: {answers}"
        print(f"time to first token, {n} tokens, {args.rounds} rounds in turn: median (min .. max)")
        print(f"without the store  {common.spread(cold, 3)} s")
        print(f"with the store     {common.spread(warm, 3)} s")
        print(f"ratio              {statistics.median(cold) / statistics.median(warm):.1f}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
