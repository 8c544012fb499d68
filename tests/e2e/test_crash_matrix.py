"""Suite C1: for the enumerated passages of each fault point, killed and aborted there, the next server must answer as if
there were no cache, and what it leaves on the disk must be whole. P2, P3. `matrix.py` says which passages."""
import pathlib
import signal
import sys
import unittest

import harness
import matrix
import script

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import kv_reader  # noqa: E402

# Passed only where there is no store yet.
ONCE = {"write.store"}
ACTIONS = {"kill": -signal.SIGKILL, "abort": -signal.SIGABRT}


class CrashMatrix(unittest.TestCase):
    def one(self, life, point, action, passage):
        """True if the server died there: the last passages depend on which thread was faster."""
        store = script.half_store()
        try:
            answers, code, log = matrix.live(store, life, f"{point}:{action}@{passage}")
            self.assertIn(code, (0, ACTIONS[action]), log)
            for name, answer in answers.items():
                self.assertEqual(answer, script.truth()[name], f"{name}\n{log}")
            kv_reader.check(store)  # nothing half-written has a name, before anybody mends anything
            with script.Server(store) as server:
                self.assertEqual(script.run(server), script.truth(), server.log())
                server.wait_saved()
                self.assertEqual(list((store / "tmp").glob("*")), [], "a temporary file was left")
                self.assertEqual(list((store / "intent").glob("*")), [], "an intent was left")
            kv_reader.check(store)
            return code != 0
        finally:
            harness.drop_store(store)

    def test_a_store_at_rest_has_no_intents(self):
        """The last answer may be out long before the librarian has withdrawn its intent: wait_saved() waits for both."""
        store = script.half_store()
        self.addCleanup(harness.drop_store, store)
        messages = dict(script.bodies(script.truth().__getitem__))["a2"]
        with script.Server(store, faults="intent.unlink:delay:400@*") as server:
            self.assertEqual(server.exact(messages), script.truth()["a2"])
            self.assertTrue(list((store / "intent").glob("*")), "the delay should have kept one for a moment")
            server.wait_saved()
            self.assertIn("kv restore plan=exact", server.log())
            self.assertEqual(list((store / "intent").glob("*")), [], "an intent was left")

    def test_every_point(self):
        points, died = matrix.passages(), []
        self.assertGreater(len(points), 30, f"too few fault points were passed: {sorted(points)}")
        cases = [(life, point, action, passage) for (life, point), n in sorted(points.items())
                 for passage in matrix.chosen(n) for action in ACTIONS]
        failed = matrix.each(cases, lambda *case: died.append(case) if self.one(*case) else None)
        print(f"\n{len(points)} fault points, {sum(points.values())} passages; {len(cases)} cases, {len(died)} died there",
              flush=True)
        self.assertEqual(failed, [], "\n".join(failed))
        self.assertEqual({point for _, point in points} - {case[1] for case in died} - ONCE, set(), "nothing happened there")


if __name__ == "__main__":
    unittest.main(verbosity=2)
