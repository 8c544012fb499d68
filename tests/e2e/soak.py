"""Soak (suite S1, shortened by default): clients that talk, branch and edit, and a server that is killed again and again
over one store. Zero client errors except at the kill itself, zero differences from a server without a cache, no growth
of descriptors. `make soak` runs it for SOAK_MINUTES (default 30).

    python3 tests/e2e/soak.py --minutes 30 --seed 1
"""
import argparse
import concurrent.futures
import os
import pathlib
import random
import shutil
import time

import harness

CLIENTS = 4


class Talker:
    """One conversation that grows by its own answers; sometimes it goes back and branches."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.restart()

    def restart(self):
        self.messages = harness.opening(self.dice.randrange(50), self.dice.randrange(60, 400))

    def turn(self, server):
        """One request; returns (messages, answer) or None when the server was killed under it."""
        asked = list(self.messages)
        try:
            answer, _ = server.chat(asked, max_tokens=12)
        except (OSError, harness.http.client.HTTPException):
            return None
        roll = self.dice.random()
        if roll < 0.1 or len(self.messages) > 14:
            self.restart()
        elif roll < 0.25 and len(self.messages) > 3:
            del self.messages[-2:]
        else:
            question = harness.story(self.dice.randrange(1000), self.dice.randrange(5, 80))
            self.messages = harness.continued(asked, answer, question)
        return asked, answer


def descriptors(server):
    return len(os.listdir(f"/proc/{server.child.pid}/fd"))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--minutes", type=float, default=30)
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    dice = random.Random(args.seed)
    store = harness.new_store()
    talkers = [Talker(args.seed * 1000 + i) for i in range(CLIENTS)]
    end = time.monotonic() + args.minutes * 60
    n_turns = n_lives = n_checked = n_wrong = 0
    print(f"soak: seed {args.seed}, {args.minutes} minutes, store {store}", flush=True)
    with harness.Server() as truth, concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        while time.monotonic() < end:
            n_lives += 1
            life_end = min(end, time.monotonic() + dice.uniform(5, 40))
            with harness.Server(store, flags=["--kv-disk-space-mb", "256"]) as server:
                before = descriptors(server)
                while time.monotonic() < life_end:
                    turns = list(pool.map(lambda t: t.turn(server), talkers))
                    assert None not in turns, f"a request failed while the server was alive:\n{server.log()[-4000:]}"
                    n_turns += len(turns)
                    asked, answer = dice.choice(turns)
                    n_checked += 1
                    if truth.chat(asked, max_tokens=12)[0] != answer:
                        n_wrong += 1
                        print(f"soak: DIFFERENT answer to {asked!r}", flush=True)
                assert descriptors(server) < before + 40, "descriptors leak"
            if dice.random() < 0.1:
                shutil.rmtree(store)
            size = sum(p.stat().st_size for p in pathlib.Path(store).rglob("*") if p.is_file()) if store.exists() else 0
            print(f"soak: life {n_lives} turns {n_turns} checked {n_checked} wrong {n_wrong} store {size / 1e6:.1f} MB",
                  flush=True)
    harness.drop_store(store)
    print(f"soak: {n_lives} lives, {n_turns} turns, {n_checked} checked against a server without a cache")
    print(f"{n_checked - n_wrong} passed, {n_wrong} failed")
    return 1 if n_wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
