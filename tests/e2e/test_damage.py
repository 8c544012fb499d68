"""Suite C5 from outside: objects on disk are damaged, exchanged and replaced; the answers never change. P4, P5, P8."""
import os
import random
import shutil
import unittest

import harness
import script


class Damage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.saved = harness.new_store()
        cls.addClassCleanup(harness.drop_store, cls.saved)
        script.truth()
        with harness.Server(cls.saved) as server:
            script.run(server)
            server.wait_saved()
        assert harness.objects(cls.saved, "s") and harness.objects(cls.saved, "f")

    def setUp(self):
        self.store = harness.new_store()
        self.addCleanup(harness.drop_store, self.store)
        shutil.rmtree(self.store)
        shutil.copytree(self.saved, self.store, symlinks=True)

    def assert_right(self):
        with harness.Server(self.store) as server:
            self.assertEqual(script.run(server), script.truth())

    def each_object(self, change):
        for path in harness.objects(self.store):
            change(path)

    def test_a_bit_flipped_in_every_object(self):
        for seed in range(3):
            with self.subTest(seed=seed):
                dice = random.Random(seed)

                def flip(path):
                    data = bytearray(path.read_bytes())
                    at = dice.randrange(4096) if seed == 0 else dice.randrange(len(data))
                    data[at] ^= 1 << dice.randrange(8)
                    path.write_bytes(data)
                self.each_object(flip)
                self.assert_right()

    def test_every_object_cut_short(self):
        dice = random.Random(5)

        def cut(path):
            os.truncate(path, dice.randrange(0, path.stat().st_size // 512) * 512)
        self.each_object(cut)
        self.assert_right()

    def test_objects_that_trade_places(self):
        for kind in "sf":
            paths = harness.objects(self.store, kind)
            data = [p.read_bytes() for p in paths]
            for path, other in zip(paths, data[1:] + data[:1]):
                path.write_bytes(other)
        self.assert_right()

    def test_things_that_are_not_files(self):
        for i, path in enumerate(harness.objects(self.store)):
            path.unlink()
            if i % 3 == 0:
                os.mkfifo(path)
            elif i % 3 == 1:
                path.symlink_to("/dev/zero")
            else:
                path.mkdir()
        self.assert_right()

    def test_the_directory_vanishes_while_the_server_runs(self):
        with harness.Server(self.store) as server:
            right = script.truth()
            for i, (name, messages) in enumerate(script.bodies(right.__getitem__)):
                if i == 4:
                    shutil.rmtree(self.store, ignore_errors=True)
                if i == 8:
                    self.store.parent.joinpath(self.store.name).mkdir(mode=0o700, exist_ok=True)
                answer, _ = server.chat(messages, max_tokens=8)
                self.assertEqual(answer, right[name], name)

    def test_a_directory_that_cannot_be_written_still_serves(self):
        for root, folders, files in os.walk(self.store):
            os.chmod(root, 0o500)
        try:
            self.assert_right()
        finally:
            for root, folders, files in os.walk(self.store):
                os.chmod(root, 0o700)

    def test_the_store_of_another_model_is_never_used(self):
        # Another fingerprint in every header is damage to its digest; what is left is a store of strangers.
        def foreign(path):
            data = bytearray(path.read_bytes())
            data[32:64] = bytes(32)
            path.write_bytes(data)
        self.each_object(foreign)
        with harness.Server(self.store) as server:
            name, messages = next(iter(script.bodies(script.truth().__getitem__)))
            answer, usage = server.chat(messages, max_tokens=8)
            self.assertEqual(answer, script.truth()[name])
            self.assertEqual(usage["prompt_tokens_details"]["cached_tokens"], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
