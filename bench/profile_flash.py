#!/usr/bin/env python3
"""Where the time of a large model goes: a prompt and an answer of a Flash-shaped model (bench/flash_shaped.py) under `perf record`,
processor time by kind of work. Everything that is neither a matrix product nor attention should stay below 2 % of a token.

The file is made on first use (7 GB; --model says where). The answer is sampled with top_p, so that drawing a token counts too.
Needs perf (Debian: linux-perf); the software clock serves where the processor's counters are not there.
"""
import pathlib
import re
import signal
import subprocess
import sys
import time

import common

KINDS = [  # the first that matches; functions of other libraries are named by perf
    ("matrix products", r"^(tile_|tile$|matmul_task|grouped_task|cpu_rows|widen_task|narrow_task)"),
    ("attention", r"^(attend_task|weighted_sum|softmax|visible_rows|score_rows)"),
]


def profile(pid, work):
    """{function: share} of the process while work() runs, of user and kernel time, without sleeping."""
    data = pathlib.Path("/tmp") / f"ds4-profile-{pid}.data"
    perf = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "999", "-p", str(pid), "-o", str(data)],
                            stderr=subprocess.DEVNULL)
    time.sleep(0.3)  # until it has attached; what it misses is the begin of the work
    result = work()
    perf.send_signal(signal.SIGINT)
    perf.wait()
    text = subprocess.run(["perf", "report", "-i", str(data), "--no-children", "--percent-limit", "0.02", "--sort", "symbol", "--stdio", "-q"],
                          capture_output=True, text=True, check=True).stdout
    data.unlink()
    shares = {}
    for share, space, name in re.findall(r"^ +([\d.]+)% +\[(.)\] +(\S+)", text, re.M):
        name = re.sub(r"\.(isra|part|constprop|cold)\.?\d*|\.lto_priv\.\d+", "", name) if space == "." else f"[kernel] {name}"
        shares[name] = shares.get(name, 0) + float(share)
    return shares, result


def report(what, shares, seconds, n_tokens):
    total = sum(shares.values())
    print(f"\n{what}: {n_tokens} tokens, {seconds / n_tokens * 1e3:.1f} ms each")
    left = dict(shares)
    for kind, pattern in KINDS:
        mine = {name: share for name, share in left.items() if re.search(pattern, name)}
        left = {name: share for name, share in left.items() if name not in mine}
        print(f"  {kind:<32}{sum(mine.values()) / total * 100:6.1f} %")
    print(f"  {'everything else':<32}{sum(left.values()) / total * 100:6.1f} %")
    for name, share in sorted(left.items(), key=lambda item: -item[1])[:8]:
        print(f"    {name:<30}{share / total * 100:6.2f} %{'   above 2 %' if share / total > 0.02 else ''}")


def main():
    parser = common.parser(__doc__, rounds=1)
    parser.set_defaults(model=pathlib.Path("/tmp/flash-shaped.gguf"), tokens=2200)
    parser.add_argument("--threads", default="2", help="kernel threads (2)")
    args = common.parse(parser)
    if not pathlib.Path(args.model).exists():
        subprocess.run([sys.executable, pathlib.Path(__file__).with_name("flash_shaped.py"), args.model], check=True)
    common.head()
    text = " ".join(common.WORDS[(i * i + i // 7) % len(common.WORDS)] for i in range(args.tokens))[:args.tokens - 20]
    sampled = {"temperature": 1, "top_p": 0.95, "min_p": 0, "seed": 1}
    with common.Server(args, ("-t", args.threads)) as server:
        server.ask([{"role": "user", "content": text[::-1]}], 2, empty=True)  # the pages of the file, once
        shares, (_, _, last) = profile(server.child.pid, lambda: server.ask([{"role": "user", "content": text}], 1, empty=True))
        report("prefill", shares, last["timings"]["prompt_ms"] / 1e3, last["timings"]["prompt_n"])
        shares, (_, _, last) = profile(server.child.pid, lambda: server.ask([{"role": "user", "content": text}], 64, empty=True, **sampled))
        report("decode", shares, last["timings"]["predicted_ms"] / 1e3, last["timings"]["predicted_n"])


if __name__ == "__main__":
    main()
