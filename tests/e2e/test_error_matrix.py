"""Suite C2: the system fails at every fault point that the script passes, in every way that applies, once, always, and one
time in ten; every request must succeed with the answer of a server without a cache. P1, P4."""
import fnmatch
import pathlib
import sys
import unittest

import harness
import matrix
import script

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import kv_reader  # noqa: E402

# The table of docs/spec/kvstore.md, section 15. The engine's own points are in test_founding_case.py: there a failure
# of the clean run is meant to be seen.
ERRORS = {
    "open.*": ("ENOENT", "EACCES", "EMFILE", "ELOOP", "EIO", "EROFS"),
    "read.*": ("EIO", "EINTR", "short:100", "flip:12345", "zero:64", "delay:3"),
    "write.*": ("ENOSPC", "EDQUOT", "EIO", "short:7", "delay:3"),
    "publish.*": ("EIO", "ENOSPC", "EEXIST"),
    "save.offset": ("skew:1",),
    "save.rows": ("nan:0",),
    "writer.queue_full": ("force",),
    "writer.*": ("EIO", "delay:3"),
    "restore.upload": ("EIO", "short:100", "STATE_BAD", "OOM", "DEVICE_LOST"),
    "restore.after_verify": ("delay:3",),
    "restore.after_intent": ("delay:3",),
    "restore.*": ("EIO", "STATE_BAD", "OOM", "DEVICE_LOST"),
    "evict.*": ("EACCES", "ENOENT"),
    "lock": ("EINVAL",),
    "intent.unlink": ("EIO", "EACCES", "delay:3"),
    "identity.hash": ("EIO",),
    "clock": ("skew:-315360000", "skew:315360000"),
    "engine.*": (),
    "backend.*": (),
}


def errors_at(point):
    return next(actions for pattern, actions in ERRORS.items() if fnmatch.fnmatchcase(point, pattern))


class ErrorMatrix(unittest.TestCase):
    def one(self, life, plan, seed):
        store = script.half_store()
        try:
            answers, code, log = matrix.live(store, life, plan, seed=seed)
            self.assertEqual(answers, script.truth(), log)
            self.assertEqual(code, 0, log)
            kv_reader.check(store)
        finally:
            harness.drop_store(store)

    def test_every_point_with_every_error_that_applies(self):
        points, cases = matrix.passages(), []
        for (life, point), n in sorted(points.items()):
            ways = [("@*", 1)] + [("@p0.1", seed) for seed in range(1, 4 if matrix.FULL else 2)]
            ways += [(f"@{k}", 1) for k in (matrix.chosen(n) if matrix.FULL else (1,))]
            cases += [(life, point + ":" + action + way, seed) for action in errors_at(point) for way, seed in ways]
        self.assertGreater(len(cases), 300)
        failed = matrix.each(cases, self.one)
        print(f"\n{len(points)} fault points, {len(cases)} cases", flush=True)
        self.assertEqual(failed, [], "\n".join(failed))

    def test_everything_fails_now_and_then(self):
        points = [p for life, p in matrix.passages() if life == "plain" and not p.startswith(("engine", "clock", "open.dir", "open.store"))]
        cases = [("plain", ",".join(f"{p}:{action}@p0.1" for p in points), seed)
                 for action in ("EIO", "ENOSPC", "EMFILE") for seed in range(1, 21 if matrix.FULL else 4)]
        failed = matrix.each(cases, self.one)
        self.assertEqual(failed, [], "\n".join(failed))


if __name__ == "__main__":
    unittest.main(verbosity=2)
