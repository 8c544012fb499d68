"""A directory whose every system call hangs (tests/e2e/hang_disk.c), at once and for good: whatever waits for it never comes
back. Nothing of that may reach HTTP, streams, new requests or the end of the process. F17, F42, P1, P10."""
import concurrent.futures
import pathlib
import signal
import sys
import tempfile
import unittest

import harness
import script

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import kv_reader  # noqa: E402

LIBRARY = harness.BUILD / "tests" / "hang-disk.so"
FOREVER = 240  # seconds; what takes so long has not ended


@unittest.skipUnless(LIBRARY.exists(), "this build has no hang-disk.so (sanitizers)")
class Hang(unittest.TestCase):
    def setUp(self):
        self.store = script.half_store()
        self.addCleanup(harness.drop_store, self.store)
        self.flag = pathlib.Path(tempfile.mkdtemp(prefix="ds4-hang-")) / "flag"
        self.addCleanup(harness.drop_store, self.flag.parent)
        self.log = self.flag.with_name("flag.log")

    def server(self, faults=None, flags=(), ready=True):
        env = {"LD_PRELOAD": str(LIBRARY), "DS4_HANG_DIR": str(self.store), "DS4_HANG_FLAG": str(self.flag)}
        server = script.Server(self.store, faults=faults, flags=["--shutdown-grace", "1", *flags], env=env)
        self.addCleanup(server.kill)
        if ready:
            server.wait_ready()
        return server

    def hanging(self):
        return self.log.read_text().split() if self.log.exists() else []

    def messages(self, name):
        return dict(script.bodies(script.truth().__getitem__))[name]

    def assert_unharmed(self):
        """The disk is back: what was saved before is used, and nothing that was cut off has a name."""
        self.flag.unlink()
        kv_reader.check(self.store)
        with script.Server(self.store) as server:
            self.assertEqual(script.run(server), script.truth(), server.log())
            self.assertIn("kv restore plan=exact", server.log())

    def test_everything_at_once(self):
        server = self.server(faults="engine.decode:delay:15@*")  # a stream of some seconds
        body = {"messages": self.messages("c1"), "temperature": 0, "thinking": {"type": "disabled"}, "max_tokens": 400,
                "stream": True, "logit_bias": harness.NO_END}
        with server.ask(body, timeout=FOREVER) as stream:
            def read(n):
                seen = 0
                while seen < n:
                    line = stream.readline()
                    self.assertTrue(line, "the stream ended")
                    seen += line.startswith(b"data: {")
            read(5)
            self.flag.touch()
            read(20)
            self.assertEqual(server.metric("ds4_kv_available"), 1)
            server.wait_for(self.hanging)  # the figures of /metrics are looked up, and that hangs
            self.assertEqual(server.get("/health")[0], 200)
            self.assertGreater(server.metric("ds4_kv_free_bytes"), 0)  # as it last was
            read(20)
            # A request whose checkpoint cannot be read, beside the stream; the answer is that of a clean run.
            self.assertEqual(server.exact(self.messages("a2")), script.truth()["a2"])
            self.assertIn("kv search given up", server.log())
            self.assertEqual(server.exact(self.messages("b1")), script.truth()["b1"])
            self.assertGreaterEqual(server.metric("ds4_kv_queue_jobs"), 1)
            self.assertEqual(server.get("/health")[0], 200)
            read(20)
        self.assertEqual(server.stop(FOREVER), 0)
        self.assertIn("kv directory does not answer", server.log())
        self.assertTrue(self.flag.exists())
        self.assert_unharmed()

    def test_sigterm_while_it_starts(self):
        """The directory is looked at before anything is served; there is nothing to save yet."""
        self.flag.touch()
        server = self.server(ready=False)
        server.wait_for(self.hanging)
        server.child.terminate()
        self.assertTrue(server.ends(FOREVER))
        self.assertEqual(server.child.returncode, -signal.SIGTERM)
        self.assert_unharmed()

    def test_sigterm_while_a_search_hangs(self):
        """The client waits for a checkpoint that does not come, and the server is told to end."""
        server = self.server()
        self.flag.touch()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(server.post, {"messages": self.messages("a2"), "max_tokens": 4}, timeout=FOREVER)
            server.wait_for(self.hanging)
            self.assertEqual(server.stop(FOREVER), 0)
            try:
                self.assertGreaterEqual(asked.result(FOREVER)[0], 200)  # whatever the grace period allowed
            except (OSError, ValueError, harness.http.client.HTTPException):
                pass
        self.assertIn("kv directory does not answer", server.log())
        self.assert_unharmed()


if __name__ == "__main__":
    unittest.main(verbosity=2)
