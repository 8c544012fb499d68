"""What the crash and error matrices share: the fault points that the script passes, found by a dry run instead of a
hand-kept list, and which of their passages are tried.

    DS4_MATRIX=full   every passage, every error, three seeds of p=0.1 (hours); else the reduced set, the same every time:
                      of each point the passages 1, 2, 3, the middle one and the last
"""
import collections
import concurrent.futures
import os
import pathlib
import traceback

import harness
import script

FULL = os.environ.get("DS4_MATRIX") == "full"

# Lives of a server: faults that are there anyway, and flags. In the second one the first restore fails and is condemned,
# and a small budget evicts what the half-filled store holds (which the clock makes old enough).
LIVES = {"plain": ("none.such:delay:1", []),
         "trouble": ("engine.prefill:STATE_BAD@1,clock:skew:120@*", ["--kv-disk-space-mb", "1"])}


def live(store, life="plain", faults=None, fault_log=None, seed=1):
    """The script, and an orderly end. Returns (answers, exit code, log)."""
    log = harness.scratch_file("ds4-log-")
    always, flags = LIVES[life]
    plan = always if faults is None else faults + "," + always
    server = script.Server(store, faults=plan, flags=flags, log=log, fault_log=fault_log,
                           fault_seed=seed)
    answers = {}
    try:
        try:
            server.wait_ready()
            answers = script.run(server)
            if server.child.poll() is None and "kv off" not in server.log():
                server.wait_saved()
            if server.child.poll() is None:
                server.child.terminate()
        except (AssertionError, OSError, harness.http.client.HTTPException) as why:
            if not server.ends(10):  # died under the question, and the kernel needed a moment to say so?
                raise why
        server.child.wait(60)
    finally:
        server.kill()
        text = pathlib.Path(log).read_text(errors="replace")
    return answers, server.child.returncode, text


def passages():
    """{(life, point): how often it is passed}: over the half-filled store, and from zero where nothing is there yet."""
    log, found = harness.scratch_file("ds4-points-"), {}
    for life, store in (("plain", script.half_store()), ("plain", harness.new_store()), ("trouble", script.half_store())):
        pathlib.Path(log).write_text("")
        answers, code, text = live(store, life, None, log)
        assert answers == script.truth() and code == 0, text
        for point, n in collections.Counter(pathlib.Path(log).read_text().split()).items():
            if life == "plain" or ("plain", point) not in found:
                found[life, point] = max(n, found.get((life, point), 0))
        harness.drop_store(store)
    return found


def each(cases, check):
    """check(*case) for every case, as many at a time as there are processors; what failed, in words."""
    def one(case):
        try:
            check(*case)
        except Exception:  # every case has its turn
            return f"{case}:\n{traceback.format_exc()}"

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [words for words in pool.map(one, cases) if words]


def chosen(n):
    return range(1, n + 1) if FULL else sorted({1, 2, 3, (n + 1) // 2, n} & set(range(1, n + 1)))
