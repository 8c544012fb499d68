"""The twelve-request script of suites C1, C2, C5: three conversations that grow, branch and come back. It runs over the
synthetic model, and answers are compared to the bit, with the logarithm of every token's probability."""
import shutil

import harness

FLAGS = ["-c", "2048", "--threads", "1", "--batched-session", "2"]
STORE_FLAGS = ["--kv-segment", "48", "--kv-cache-min-tokens", "32"]


class Server(harness.Server):
    def __init__(self, store=None, faults=None, flags=(), seed=1, **more):
        super().__init__(store, faults, FLAGS + (STORE_FLAGS if store else []) + list(flags), model=harness.tiny_model(seed), **more)


def opening(seed, n_words):
    return [{"role": "system", "content": f"Case {seed}. " + harness.story(seed, n_words)},
            {"role": "user", "content": f"What is {20 + seed} + {11 + seed}?"}]


def bodies(answers):
    """Yields (name, messages) one after the other; `answers` maps a name to what was answered, filled by the caller.
    The history always contains the answers of a server without a cache, so that every run asks the same."""
    said = lambda name: answers(name)[0] or "-"
    a, b, c = opening(1, 30), opening(2, 55), opening(3, 12)
    yield "a1", a
    yield "b1", b
    a2 = harness.continued(a, said("a1"), "What is 12 + 13?")
    yield "a2", a2
    yield "a2 again", a2
    yield "c1", c
    b2 = harness.continued(b, said("b1"), harness.story(9, 12))
    yield "b2", b2
    a3 = harness.continued(a2, said("a2"), "What is 40 - 7?")
    yield "a3", a3
    yield "a2 branch", harness.continued(a, said("a1"), "Hello! Who are you?")
    c2 = harness.continued(c, said("c1"), harness.story(10, 24))
    yield "c2", c2
    yield "b3", harness.continued(b2, said("b2"), "What is 5 + 6?")
    yield "a4", harness.continued(a3, said("a3"), "Thank you.")
    yield "c1 again", c


HALF = 3  # requests that fill the store which the suites start from

_truth, _half = {}, []


def truth():
    """What a server without a cache answers, once per process of the test runner."""
    if not _truth:
        with Server() as server:
            for name, messages in bodies(_truth.__getitem__):
                _truth[name] = server.exact(messages)
    return _truth


def run(server, first=None):
    """Runs the script, or its first requests; returns {name: answer}. A server that dies ends it early with what there is."""
    answers, right = {}, truth()
    for name, messages in list(bodies(right.__getitem__))[:first]:
        try:
            answers[name] = server.exact(messages)
        except (OSError, harness.http.client.HTTPException):
            assert server.ends(10), f"{name}: no answer from a living server\n{server.log()}"
            break
    return answers


def half_store():
    """A copy of a store that holds the first requests' checkpoints, so that restores take part from the beginning."""
    if not _half:
        store = harness.new_store()
        harness.atexit.register(harness.drop_store, store)
        with Server(store) as server:
            run(server, HALF)
            server.wait_saved()
        assert harness.objects(store, "s") and harness.objects(store, "f")
        _half.append(store)
    copy = harness.new_store()
    shutil.rmtree(copy)
    shutil.copytree(_half[0], copy, symlinks=True)
    return copy
