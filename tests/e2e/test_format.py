"""The store that a server wrote, read by the reader that was written from docs/formats/kv-store.md alone."""
import pathlib
import sys
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import kv_reader  # noqa: E402


class Format(unittest.TestCase):
    def test_the_document_describes_the_files(self):
        store = harness.new_store()
        try:
            with harness.Server(store) as server:
                messages = harness.opening(3)
                said, _ = server.chat(messages)
                server.chat(harness.continued(messages, said, "And 5 + 6?"))
                server.wait_saved()
            objects = kv_reader.check(store)
            self.assertGreater(sum(o.kind == 1 for o in objects.values()), 1)
            self.assertGreater(sum(o.kind == 2 for o in objects.values()), 1)
            # The reader can fail: one bit of one object.
            path = next(iter(objects.values())).path
            data = bytearray(path.read_bytes())
            data[4100] ^= 1  # a token
            path.chmod(0o600)
            path.write_bytes(data)
            with self.assertRaises(kv_reader.Bad):
                kv_reader.check(store)
        finally:
            harness.drop_store(store)


if __name__ == "__main__":
    unittest.main()
