"""The twelve-request script of suite C1: three conversations that grow, branch and come back."""
import harness


def bodies(answers):
    """Yields (name, messages) one after the other; `answers` maps a name to what was answered, filled by the caller.
    The history always contains the answers of a server without a cache, so that every run asks the same."""
    a, b, c = harness.opening(1, 150), harness.opening(2, 260), harness.opening(3, 90)
    yield "a1", a
    yield "b1", b
    a2 = harness.continued(a, answers("a1"), "What is 12 + 13?")
    yield "a2", a2
    yield "a2 again", a2
    yield "c1", c
    b2 = harness.continued(b, answers("b1"), harness.story(9, 60))
    yield "b2", b2
    a3 = harness.continued(a2, answers("a2"), "What is 40 - 7?")
    yield "a3", a3
    yield "a2 branch", harness.continued(a, answers("a1"), "Hello! Who are you?")
    c2 = harness.continued(c, answers("c1"), harness.story(10, 120))
    yield "c2", c2
    yield "b3", harness.continued(b2, answers("b2"), "What is 5 + 6?")
    yield "a4", harness.continued(a3, answers("a3"), "Thank you.")
    yield "c1 again", c


_truth = {}


def truth():
    """What a server without a cache answers, once per process of the test runner."""
    if not _truth:
        with harness.Server() as server:
            for name, messages in bodies(_truth.__getitem__):
                _truth[name], _ = server.chat(messages, max_tokens=8)
    return _truth


def run(server):
    """Runs the script; returns {name: answer}. A killed server ends it early with what there is."""
    answers, right = {}, truth()
    for name, messages in bodies(right.__getitem__):
        try:
            answers[name], _ = server.chat(messages, max_tokens=8)
        except (OSError, harness.http.client.HTTPException):
            if server.child.poll() is None:
                server.child.wait(10)
            break
    return answers
