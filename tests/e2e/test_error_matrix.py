"""Suite C2: the system fails at every fault point that the script passes, once, always, and at random; every request
must succeed with the answer of a server without a cache. P1, P4."""
import unittest

import harness
import script
from test_crash_matrix import enumerate_points

ERRNOS = {
    "open": ("ENOENT", "EACCES", "EMFILE", "EIO"),
    "read": ("EIO", "short:100", "flip:12345", "zero:64"),
    "write": ("ENOSPC", "EIO", "short:7"),
    "publish": ("EIO", "ENOSPC", "EEXIST"),
    "evict": ("EACCES", "ENOENT"),
    "gc": ("busy",),
    "restore": ("EIO", "STATE_BAD"),
    "save": ("nan:0", "skew:1"),
    "writer": ("force",),
    "engine": (),  # the founding case has these
    "intent": ("EIO",),
    "poison": ("EIO",),
}


class ErrorMatrix(unittest.TestCase):
    def one(self, plan):
        store = harness.new_store()
        try:
            with harness.Server(store) as server:
                for name, messages in list(script.bodies(script.truth().__getitem__))[:3]:
                    server.chat(messages, max_tokens=8)
                server.wait_saved()
            with harness.Server(store, faults=plan) as server:
                self.assertEqual(script.run(server), script.truth())
        finally:
            harness.drop_store(store)

    def test_every_point_with_every_error_that_applies(self):
        plans = []
        for point in sorted(enumerate_points()):
            for action in ERRNOS.get(point.split(".")[0], ("EIO",)):
                plans.append(f"{point}:{action}@*")
        self.assertGreater(len(plans), 15)
        for plan in plans:
            with self.subTest(plan=plan):
                self.one(plan)

    def test_everything_fails_now_and_then(self):
        points = sorted(p for p in enumerate_points() if not p.startswith(("engine", "restore.first")))
        for action in ("EIO", "ENOSPC"):
            with self.subTest(action=action):
                self.one(";".join(f"{p}:{action}@p0.1" for p in points[:30]))


if __name__ == "__main__":
    unittest.main(verbosity=2)
