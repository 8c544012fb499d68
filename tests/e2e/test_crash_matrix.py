"""Suite C1: the server is killed at every fault point that the script passes; the next server must answer as if there
were no cache, and leave no garbage. P2, P3. The points come from a dry run, not from a hand-kept list."""
import collections
import os
import pathlib
import tempfile
import unittest

import harness
import script

# Which passages of a point are hit: the first, and one in the middle of the script.
PASSAGES = (1, 4)


def enumerate_points():
    """{point: passages} of one run over a fresh store and one over the store it left."""
    store, log = harness.new_store(), tempfile.mkstemp(prefix="ds4-points-")[1]
    os.environ["DS4_TEST_FAULT_LOG"] = log
    try:
        for _ in range(2):
            with harness.Server(store, faults="none.such.point:delay:1") as server:
                script.run(server)
                server.wait_saved()
    finally:
        del os.environ["DS4_TEST_FAULT_LOG"]
        harness.drop_store(store)
    return collections.Counter(pathlib.Path(log).read_text().split())


class CrashMatrix(unittest.TestCase):
    def one(self, point, action, passage):
        store = harness.new_store()
        try:
            # A first server fills the store half, so that restores take part in the run that dies.
            with harness.Server(store) as server:
                for name, messages in list(script.bodies(script.truth().__getitem__))[:3]:
                    server.chat(messages, max_tokens=8)
                server.wait_saved()
            server = harness.Server(store, faults=f"{point}:{action}@{passage}")
            try:
                server.wait_ready()
                for name, answer in script.run(server).items():
                    self.assertEqual(answer, script.truth()[name], name)
            except AssertionError:
                if server.child.poll() is None:
                    raise  # killed while starting is part of the matrix; anything else is a failure
            finally:
                server.kill()
            with harness.Server(store) as server:
                self.assertEqual(script.run(server), script.truth())
                server.wait_saved()
                self.assertEqual(list((store / "tmp").glob("*")), [], "a temporary file was left")
        finally:
            harness.drop_store(store)

    def test_every_point(self):
        points = enumerate_points()
        self.assertGreater(len(points), 12, f"too few fault points were passed: {sorted(points)}")
        print(f"\n{len(points)} fault points: {' '.join(sorted(points))}", flush=True)
        for point, n in sorted(points.items()):
            for passage in PASSAGES:
                if passage > n:
                    continue
                with self.subTest(point=point, passage=passage):
                    self.one(point, "kill", passage)


if __name__ == "__main__":
    unittest.main(verbosity=2)
