#!/usr/bin/env python3
"""Runs one test and ends it when it is stuck, however busy the machine is.

    watchdog.py [--idle SECONDS] [--cpu SECONDS] COMMAND...

A limit in wall-clock time fails on a busy machine for no fault of the test's own. What cannot be caused by load is a test whose
processes use no processor time (a deadlock) or use far too much of it (an endless loop). So the test is ended when, together
with everything that it started,
  - it used less than 0.2 % of one core over the last `--idle` seconds (default 300: far more than any wait in a test), or
  - it used more than `--cpu` seconds of processor time (default: DS4_TEST_CPU_SECONDS or 3600).
The exit status is the command's; 124 when the watchdog ended it; 128 + N when signal N did.
"""
import argparse
import ctypes
import os
import signal
import subprocess
import sys
import time

TICKS = os.sysconf("SC_CLK_TCK")
IDLE_SHARE = 0.002
PR_SET_CHILD_SUBREAPER = 36


def processes():
    """{pid: (parent, processor seconds including those of children that were waited for, name)} of all processes."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                text = file.read().decode("latin-1")
        except OSError:
            continue  # it ended meanwhile
        name, _, rest = text.rpartition(")")
        fields = rest.split()
        found[int(entry)] = (int(fields[1]), sum(map(int, fields[11:15])) / TICKS, name.partition("(")[2])
    return found


def family():
    """The processes below this one, without itself: {pid: (parent, seconds, name)}."""
    everybody = processes()
    below = {os.getpid()}
    grown = True
    while grown:
        more = {pid for pid, (parent, _, _) in everybody.items() if parent in below} - below
        grown = bool(more)
        below |= more
    return {pid: everybody[pid] for pid in below - {os.getpid()} if pid in everybody}


def end(pids, child):
    """SIGABRT first, so that a sanitizer or Python can print where it hangs; then SIGKILL."""
    for signal_number, grace in ((signal.SIGABRT, 5), (signal.SIGKILL, 0)):
        for pid in pids:
            try:
                os.kill(pid, signal_number)
            except OSError:
                pass
        if grace:
            try:
                child.wait(grace)
            except subprocess.TimeoutExpired:
                pass
    child.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--idle", type=float, default=300)
    parser.add_argument("--cpu", type=float, default=float(os.environ.get("DS4_TEST_CPU_SECONDS", 3600)))
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    # Processes whose parent ended come to this one, so that the whole family stays in sight.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = subprocess.Popen(options.command)
    signal.signal(signal.SIGTERM, lambda *_: (end(family(), child), sys.exit(143)))

    most = 0.0  # processes that end before they are waited for take their figures along: only growth counts
    mark, mark_time = 0.0, time.monotonic()
    pause = 0.05
    while True:
        try:
            status = child.wait(pause)
            sys.exit(status if status >= 0 else 128 - status)
        except subprocess.TimeoutExpired:
            pause = min(2 * pause, 2.0)
        members = family()
        most = max(most, sum(seconds for _, seconds, _ in members.values()))
        now = time.monotonic()
        why = None
        if most > options.cpu:
            why = f"used {most:.0f} s of processor time, the limit is {options.cpu:.0f}"
        elif most - mark > IDLE_SHARE * options.idle:
            mark, mark_time = most, now
        elif now - mark_time > options.idle:
            why = f"used next to no processor time in the last {options.idle:.0f} s"
        if why:
            print(f"watchdog: {' '.join(options.command)[:200]}: {why}; ended", file=sys.stderr)
            for pid, (parent, seconds, name) in sorted(members.items()):
                try:
                    with open(f"/proc/{pid}/wchan") as file:
                        waits = file.read()
                except OSError:
                    waits = "?"
                print(f"watchdog:   {pid} {name}, parent {parent}, {seconds:.1f} s, waits in {waits}", file=sys.stderr)
            end(members, child)
            sys.exit(124)


if __name__ == "__main__":
    main()
