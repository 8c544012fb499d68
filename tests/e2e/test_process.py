"""ds4-server as a process among others: signals, a log that nobody reads, descriptors that were closed when it was started."""
import fcntl
import os
import re
import signal
import socket
import subprocess
import time
import unittest

import harness

HELLO = [{"role": "user", "content": "Hi"}]


class Process(unittest.TestCase):
    def test_sighup_saves_and_ends_like_sigterm(self):
        store = harness.new_store()
        self.addCleanup(harness.drop_store, store)
        # Under nohup the tests themselves have it ignored, and a server respects that.
        self.addCleanup(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_DFL))
        with harness.Server(store) as server:
            messages = harness.opening(1)
            answer, _ = server.chat(messages)
            server.child.send_signal(signal.SIGHUP)
            server.child.send_signal(signal.SIGHUP)  # from the kernel and from the shell, when a terminal closes
            self.assertEqual(server.child.wait(60), 0, server.log())
            self.assertIn("shutdown signal=SIGHUP", server.log())
            self.assertIn(" bye", server.log())
        with harness.Server(store) as server:
            _, usage = server.chat(harness.continued(messages, answer, "And 1 + 1?"))
            self.assertGreater(usage["prompt_tokens_details"]["cached_tokens"], 100)

    def test_nohup_is_respected(self):
        with harness.Server(wrap=["nohup"]) as server:
            server.child.send_signal(signal.SIGHUP)
            self.assertTrue(server.chat(HELLO)[0])
            self.assertEqual(server.stop(), 0)
            self.assertNotIn("SIGHUP", server.log())

    def test_a_log_that_nobody_reads_stops_no_answer(self):
        command = [str(harness.SERVER), "-m", harness.tiny_model(), "--port", "0", "-c", "512", "--no-kv-disk"]
        child = subprocess.Popen(command, stderr=subprocess.PIPE)
        self.addCleanup(child.stderr.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        fcntl.fcntl(child.stderr, fcntl.F_SETPIPE_SZ, 16384)
        said = b""
        while not (found := re.search(rb"listening http://[^ ]*:(\d+) ", said)):
            said += os.read(child.stderr.fileno(), 4096)
        server = harness.Server.__new__(harness.Server)
        server.port, server.child, server.log = int(found[1]), child, lambda: "(not read)"
        for _ in range(150):  # a line of about 200 bytes each: more than the pipe holds
            server.chat(HELLO, max_tokens=1)
        self.assertEqual(server.get("/health")[0], 200)
        child.send_signal(signal.SIGTERM)
        rest = child.stderr.read()
        self.assertEqual(child.wait(60), 0)
        self.assertLess(rest.count(b"\n"), 150)

    def test_closed_descriptors_are_dev_null(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
        command = [str(harness.SERVER), "-m", harness.tiny_model(), "--port", str(port), "-c", "512", "--no-kv-disk"]
        child = subprocess.Popen(closed + command)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        server = harness.Server.__new__(harness.Server)
        server.port, server.child, server.log = port, child, lambda: "(closed)"
        end = time.monotonic() + 60
        while True:
            try:
                self.assertEqual(server.get("/health")[0], 200)
                break
            except OSError:
                self.assertIsNone(child.poll())
                self.assertLess(time.monotonic(), end)
                time.sleep(0.02)
        for fd in range(3):
            self.assertEqual(os.readlink(f"/proc/{child.pid}/fd/{fd}"), "/dev/null")
        self.assertTrue(server.chat(HELLO, max_tokens=1))
        for program, flags in (("ds4", ["-p", "Hi", "-n", "1", "--no-kv-disk"]), ("ds4-logits", ["--ids", "1", "--out", "-"])):
            done = subprocess.run(closed + [str(harness.BUILD / "bin" / program), *flags])
            self.assertEqual(done.returncode, 0, program)


if __name__ == "__main__":
    unittest.main()
