"""Suite C5 from outside, and what may happen to a directory: objects are damaged, exchanged and replaced, the directory is
taken away, emptied, swapped, filled and shared; the answers never change. P4, P5, P6, P9. (Every bit and every length of
the files: tests/kv/test_damage.c.)"""
import concurrent.futures
import os
import random
import shutil
import subprocess
import unittest

import harness
import script


class Case(unittest.TestCase):
    def setUp(self):
        self.store = script.half_store()
        self.addCleanup(harness.drop_store, self.store)

    def assert_right(self, **more):
        with script.Server(self.store, **more) as server:
            self.assertEqual(script.run(server), script.truth(), server.log())
            return server.log()

    def assert_used(self):
        """The cache is good for something (again): a server hits what it finds."""
        with script.Server(self.store) as server:
            script.run(server)
            server.wait_saved()
        self.assertIn("kv restore plan=exact", self.assert_right())


class Damage(Case):
    def each_object(self, change):
        for path in harness.objects(self.store):
            change(path)

    def test_a_bit_flipped_in_every_object(self):
        whole = {p: p.read_bytes() for p in harness.objects(self.store)}
        for seed in range(10):
            with self.subTest(seed=seed):
                dice = random.Random(seed)
                for path, data in whole.items():
                    data = bytearray(data)
                    at = dice.randrange(4096) if seed % 2 == 0 else dice.randrange(len(data))
                    data[at] ^= 1 << dice.randrange(8)
                    path.unlink(missing_ok=True)
                    path.write_bytes(data)
                self.assert_right()

    def test_every_object_cut_short(self):
        dice = random.Random(5)
        self.each_object(lambda path: os.truncate(path, dice.randrange(0, path.stat().st_size // 512) * 512))
        self.assert_right()
        self.assert_used()

    def test_objects_that_trade_places(self):
        for kind in "sf":
            paths = harness.objects(self.store, kind)
            data = [p.read_bytes() for p in paths]
            for path, other in zip(paths, data[1:] + data[:1]):
                path.write_bytes(other)
        self.assert_right()
        self.assert_used()

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

    def test_records_that_are_rubbish(self):
        for name in ("intent/1.x.1", "poison/00", "use/1.2", "pin/x", "tmp/x", "quarantine/x", "o/zz", "o/00/short.s"):
            (self.store / name).parent.mkdir(exist_ok=True)
            (self.store / name).write_bytes(random.Random(name).randbytes(5000))
        self.assertIn("kv restore plan=exact", self.assert_right())

    def test_the_store_of_another_model_is_never_used(self):
        """A twin: every shape is the same, the weights are not (F33)."""
        before = {p: p.read_bytes() for p in harness.objects(self.store)}
        with script.Server(seed=2) as server:
            other = {name: server.exact(messages) for name, messages in script.bodies(script.truth().__getitem__)}
        with script.Server(self.store, seed=2) as server:
            for name, messages in script.bodies(script.truth().__getitem__):
                self.assertEqual(server.exact(messages), other[name], name)
            server.wait_saved()
        self.assertNotEqual(other, script.truth())
        for path, data in before.items():
            self.assertEqual(path.read_bytes(), data)
        self.assertIn("kv restore plan=exact", self.assert_right())


class Directory(Case):
    def during(self, events, **more):
        """The script, with events[i]() before request i."""
        with script.Server(self.store, **more) as server:
            for i, (name, messages) in enumerate(script.bodies(script.truth().__getitem__)):
                events.get(i, lambda: None)()
                self.assertEqual(server.exact(messages), script.truth()[name], f"{name}\n{server.log()}")
            server.wait_saved()
            return server.log()

    def test_it_vanishes_and_comes_back(self):
        self.during({4: lambda: harness.remove_tree(self.store), 8: lambda: self.store.mkdir(mode=0o700, exist_ok=True)})
        self.assert_used()

    def test_it_is_emptied(self):
        def empty():
            for path in self.store.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        log = self.during({4: empty})
        self.assertIn("kv directory back", log)
        self.assertTrue(harness.objects(self.store, "f"), log)
        self.assert_used()

    def test_it_is_swapped_for_a_link_and_for_a_file(self):
        elsewhere = harness.new_store()
        self.addCleanup(harness.drop_store, elsewhere)
        away = self.store.with_name(self.store.name + ".away")
        self.addCleanup(shutil.rmtree, away, ignore_errors=True)

        def link():
            self.store.rename(away)
            self.store.symlink_to(elsewhere)

        def file():
            self.store.unlink()
            self.store.write_text("not a directory")

        def again():
            self.store.unlink()
            away.rename(self.store)
        self.during({3: link, 6: file, 9: again})
        self.assert_used()

    def test_objects_are_links_to_other_places(self):
        outside = harness.new_store()
        self.addCleanup(harness.drop_store, outside)
        for path in harness.objects(self.store):
            path.rename(outside / path.name)
            path.symlink_to(outside / path.name)
        names = sorted(p.name for p in outside.iterdir())
        log = self.assert_right(flags=["--kv-read-only"])
        self.assertNotIn("kv restore", log)
        self.assert_right()
        self.assertEqual(sorted(p.name for p in outside.iterdir()), names)

    def test_it_cannot_be_written(self):
        for root, _, _ in os.walk(self.store):
            os.chmod(root, 0o500)
        try:
            self.assert_right()
        finally:
            for root, _, _ in os.walk(self.store):
                os.chmod(root, 0o700)

    def test_read_only_by_choice(self):
        before = sorted(p.name for p in self.store.rglob("*"))
        self.assertIn("kv restore plan=exact", self.assert_right(flags=["--kv-read-only"]))
        self.assertEqual(sorted(p.name for p in self.store.rglob("*")), before)

    def test_a_full_file_system(self):
        """A tmpfs of 400 KiB, mounted where only this server sees it (F18, F19)."""
        wrap = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=400k,mode=700 none "$0" && exec "$@"', str(self.store)]
        if subprocess.run(wrap + ["true"], capture_output=True).returncode != 0:
            self.skipTest("no user namespaces here")
        with script.Server(self.store, flags=["--kv-disk-space-mb", "100"], wrap=wrap) as server:
            for _ in range(2):
                self.assertEqual(script.run(server), script.truth(), server.log())
                server.wait_saved()
            self.assertGreater(server.metric("ds4_kv_write_dropped_total"), 0)
            self.assertLess(server.metric("ds4_kv_store_bytes"), 400 * 1024)
            self.assertIn("kv restore plan=exact", server.log())

    def test_few_descriptors(self):
        """F54: what the store cannot open is a miss."""
        for n in (24, 28, 32):
            with self.subTest(n=n):
                self.assert_right(wrap=["sh", "-c", f'ulimit -n {n} && exec "$@"', "sh"])

    def test_two_servers_share_it_and_die_in_turn(self):
        with script.Server(self.store) as one:
            for _ in range(3):
                with script.Server(self.store) as other:
                    for name, messages in script.bodies(script.truth().__getitem__):
                        self.assertEqual(other.exact(messages), script.truth()[name], name)
                        self.assertEqual(one.exact(messages), script.truth()[name], name)
            # __exit__ was a kill -9.
        self.assert_used()

    def test_two_running_servers_find_what_the_other_saved(self):
        """A conversation that changes servers at every turn is never read again from its beginning."""
        store = harness.new_store()
        self.addCleanup(harness.drop_store, store)
        messages, cached = harness.opening(3), 0
        with script.Server(store) as a, script.Server(store) as b:
            for turn, server in enumerate((a, b, a, b)):
                answer, usage = server.chat(messages)
                found = usage["prompt_tokens_details"]["cached_tokens"]
                if turn:
                    self.assertGreater(found, cached, f"turn {turn}\n{server.log()}")
                cached = found
                server.wait_saved()
                messages = harness.continued(messages, answer, f"And what is {turn} + 44?")

    def test_others_evict_what_is_being_used(self):
        """F24, F26: another program deletes objects at any moment."""
        dice = random.Random(7)

        def delete():
            for path in dice.sample(harness.objects(self.store), len(harness.objects(self.store)) // 2):
                path.unlink(missing_ok=True)
        self.during({i: delete for i in range(12)})
        self.assert_used()


    def test_many_talk_while_it_evicts(self):
        """F29, P13: restores, saves and evictions of several conversations at once, in a budget too small for all."""
        flags = ["--kv-disk-space-mb", "1", "--batched-session", "3"]
        with script.Server(self.store, faults="clock:skew:120@*", flags=flags) as server:
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                for answers in pool.map(lambda _: script.run(server), range(8)):
                    self.assertEqual(answers, script.truth(), server.log())
            server.wait_saved()
            self.assertGreater(server.metric("ds4_kv_evicted_total"), 0)
            self.assertLessEqual(server.metric("ds4_kv_store_bytes"), 1 << 20)


class Time(Case):
    def test_a_disk_that_hangs(self):
        """F17: reads that take for ever cost the checkpoint, not the request, and not every request its patience."""
        with script.Server(self.store, faults="read.frn:delay:3600000@1") as server:
            self.assertEqual(script.run(server), script.truth(), server.log())
            self.assertIn("kv search given up", server.log())
            self.assertEqual(server.log().count("kv search given up"), 1)

    def test_sigterm_during_a_save(self):
        """What is being written has no name yet; what has one is whole."""
        for point in ("publish.before_link", "writer.before_copy"):
            with self.subTest(point=point):
                server = script.Server(self.store, faults=f"{point}:delay:300@*", flags=["--kv-shutdown-ms", "100"])
                server.wait_ready()
                self.assertEqual(script.run(server, 4), dict(list(script.truth().items())[:4]))
                self.assertEqual(server.stop(), 0)
                self.assert_right()

    def test_a_crash_loop_of_different_checkpoints_ends(self):
        """Three crashes on use within ten minutes: then it is the code, and nothing is restored, also after the restart."""
        for first in (1, 2, 3):
            server = script.Server(self.store, faults="restore.after_intent:kill@1")
            server.wait_ready()
            with self.assertRaises((OSError, harness.http.client.HTTPException)):
                for name, messages in list(script.bodies(script.truth().__getitem__))[first - 1:]:
                    server.exact(messages)
            server.kill()
        log = self.assert_right(faults="restore.after_intent:kill@1")
        self.assertIn("why=breaker", log)


if __name__ == "__main__":
    unittest.main(verbosity=2)
