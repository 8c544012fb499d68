"""The founding case (docs/spec/kvstore.md, section 16, suites E2, E3 and E4; told in docs/founding-case.md).

A checkpoint is saved, the server is killed, and after the restart the engine fails on the restored state. The client
must see nothing but latency; the checkpoint must never be used again."""
import re
import unittest

import harness
import script


class FoundingCase(unittest.TestCase):
    def setUp(self):
        self.store = harness.new_store()
        self.addCleanup(harness.drop_store, self.store)
        self.messages = harness.opening(1)
        with harness.Server(self.store) as server:
            answer, usage = server.chat(self.messages)
            self.assertEqual(usage["prompt_tokens_details"]["cached_tokens"], 0)
            server.wait_saved()
        # __exit__ was a kill -9.
        self.assertTrue(harness.objects(self.store, "f"), "nothing was saved")
        self.next = harness.continued(self.messages, answer, "And what is 31 + 44?")
        with harness.Server() as cold:
            self.cold, _ = cold.chat(self.next)

    def key_of(self, log, event):
        match = re.search(rf"kv {event} .*?key=([0-9a-f]{{12}})", log)
        self.assertTrue(match, f"no 'kv {event}' line in the log:\n{log}")
        return match.group(1)

    def test_a_checkpoint_survives_kill_9_and_gives_the_same_answer(self):
        with harness.Server(self.store) as server:
            answer, usage = server.chat(self.next)
            self.assertEqual(answer, self.cold)
            self.assertGreater(usage["prompt_tokens_details"]["cached_tokens"], 64)
            self.assertIn("kv restore plan=exact", server.log())

    def test_a_state_that_fails_is_condemned_and_the_request_is_answered(self):
        with harness.Server(self.store, faults="engine.prefill:STATE_BAD@1") as server:
            answer, usage = server.chat(self.next)
            self.assertEqual(answer, self.cold)
            self.assertEqual(usage["prompt_tokens_details"]["cached_tokens"], 0)
            server.wait_saved()
            server.wait_for(lambda: "kv condemned" in server.log())
            log = server.log()
            suspect, condemned = self.key_of(log, "suspect"), self.key_of(log, "condemned")
            self.assertEqual(suspect, condemned)
            self.assertRegex(log, "kv condemned .*quarantine=yes retry=ok")
            self.assertEqual(server.metric("ds4_kv_retry_clean_total"), 1)
            # It has left its place, and the verdict is on disk.
            self.assertTrue(list((self.store / "quarantine").iterdir()))
            # (The clean run made the same bytes again, which acquits the objects; the plan stays condemned.)
            self.assertTrue(list((self.store / "poison").iterdir()))
            self.assertGreaterEqual(server.metric("ds4_kv_poison_records"), 1)
            # The next request does not touch it...
            again, _ = server.chat(self.next)
            self.assertEqual(again, self.cold)
            self.assertNotRegex(server.log()[len(log):], rf"kv restore .*key={condemned}")
        # ...and neither does the next start.
        with harness.Server(self.store) as server:
            again, _ = server.chat(self.next)
            self.assertEqual(again, self.cold)
            self.assertNotRegex(server.log(), rf"kv restore .*key={condemned}")

    def test_streams_see_nothing_of_it_either(self):
        with harness.Server(self.store, faults="engine.prefill:STATE_BAD@1") as server:
            text, usage, finish = server.stream(self.next)
            self.assertEqual(text, self.cold)
            self.assertIn(finish, ("stop", "length"))
            server.wait_for(lambda: "kv condemned" in server.log())

    def test_a_failure_in_decoding_after_a_restore_is_retried_with_the_sent_tokens(self):
        with harness.Server(self.store, faults="engine.decode:STATE_BAD@2") as server:
            text, _, _ = server.stream(self.next)
            self.assertEqual(text, self.cold)
            server.wait_for(lambda: "kv condemned" in server.log())

    def test_a_failure_of_the_clean_retry_too_acquits(self):
        with harness.Server(self.store, faults="engine.prefill:STATE_BAD@1;engine.prefill:STATE_BAD@2") as server:
            status, answer = server.post({"messages": self.next, "temperature": 0, "thinking": {"type": "disabled"},
                                          "max_tokens": 8})
            self.assertEqual(status, 500, answer)
            self.assertEqual(answer["error"]["type"], "server_error")
            self.assertNotIn("kv condemned", server.log())
            again, usage = server.chat(self.next)
            self.assertEqual(again, self.cold)
            self.assertGreater(usage["prompt_tokens_details"]["cached_tokens"], 64)

    def test_out_of_memory_is_no_verdict(self):
        with harness.Server(self.store, faults="engine.prefill:OOM@1") as server:
            answer, _ = server.chat(self.next)
            self.assertEqual(answer, self.cold)
            self.assertNotIn("kv condemned", server.log())
        with harness.Server(self.store) as server:  # the checkpoint is as good as before
            again, usage = server.chat(self.next)
            self.assertEqual(again, self.cold)
            self.assertGreater(usage["prompt_tokens_details"]["cached_tokens"], 64)

    def test_an_upload_that_fails_or_comes_short_never_reaches_the_client(self):
        for fault in ("restore.upload:EIO@1", "restore.upload:short:100@1", "restore.reset:STATE_BAD@1",
                      "restore.after_upload:STATE_BAD@1", "restore.first_chunk:STATE_BAD@1"):
            with self.subTest(fault=fault), harness.Server(self.store, faults=fault) as server:
                answer, _ = server.chat(self.next)
                self.assertEqual(answer, self.cold)
                server.wait_saved()

    def test_a_load_that_kills_the_process_is_not_met_twice(self):
        for fault in ("read.seg:kill@1", "restore.after_verify:kill@1", "restore.after_intent:kill@1",
                      "restore.first_chunk:kill@1"):
            with self.subTest(fault=fault):
                self.tearDownStore()
                server = harness.Server(self.store, faults=fault)
                server.wait_ready()
                with self.assertRaises((OSError, harness.http.client.HTTPException)):
                    server.post({"messages": self.next, "temperature": 0, "thinking": {"type": "disabled"}})
                server.child.wait(30)
                server.kill()
                self.assertTrue(list((self.store / "intent").iterdir()), "no intent record was left")
                with harness.Server(self.store) as server:
                    answer, usage = server.chat(self.next)
                    self.assertEqual(answer, self.cold)
                    self.assertEqual(usage["prompt_tokens_details"]["cached_tokens"], 0)
                    self.assertTrue(list((self.store / "poison").iterdir()))
                    self.assertFalse(list((self.store / "intent").iterdir()))

    def tearDownStore(self):
        """A fresh store with the same checkpoint."""
        harness.drop_store(self.store)
        self.store.mkdir(mode=0o700)
        with harness.Server(self.store) as server:
            server.chat(self.messages)
            server.wait_saved()

    def test_sigterm_saves_what_is_resident(self):
        harness.drop_store(self.store)
        self.store.mkdir(mode=0o700)
        server = harness.Server(self.store)
        server.wait_ready()
        server.chat(self.messages)
        self.assertEqual(server.stop(), 0)
        with harness.Server(self.store) as server:
            answer, usage = server.chat(self.next)
            self.assertEqual(answer, self.cold)
            self.assertGreater(usage["prompt_tokens_details"]["cached_tokens"], 64)


class ShortConversations(unittest.TestCase):
    """The restart example of README.md, with the default options: a question, an answer, kill -9, one message more."""

    def setUp(self):
        self.store = harness.new_store()
        self.addCleanup(harness.drop_store, self.store)

    def server(self):
        return harness.Server(harness.DEFAULT_STORE, env={"XDG_CACHE_HOME": str(self.store)}, flags=["--kv-min-free", "1"])

    def test_a_first_question_and_its_answer_are_kept(self):
        messages = [{"role": "user", "content": "What is 12 + 30?"}]
        with self.server() as server:
            answer, usage = server.chat(messages)
            n_first = usage["total_tokens"]
            server.wait_saved()
        messages = harness.continued(messages, answer, "And what is 31 + 44?")
        with self.server() as server:
            _, usage = server.chat(messages)
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            self.assertLess(n_first, 64)  # or this is no short conversation
            # All but the end of the turn, which the next prompt writes itself.
            self.assertGreaterEqual(cached, n_first - 2, server.log())
            server.wait_saved()
            answer, _ = server.chat(messages)
        messages = harness.continued(messages, answer, "Thanks!")
        with self.server() as server:
            _, usage = server.chat(messages)
            self.assertGreater(usage["prompt_tokens_details"]["cached_tokens"], cached, server.log())

    def test_a_question_is_kept_when_its_reasoning_is_not_sent_back(self):
        question = [{"role": "user", "content": "What is 12 + 30?"}]
        with self.server() as server:
            status, answer = server.post({"messages": question})
            self.assertEqual(status, 200)
            self.assertTrue(answer["choices"][0]["message"].get("reasoning_content"))
            server.wait_saved()
        messages = question + [{"role": "assistant", "content": "12 + 30 = 42."},
                               {"role": "user", "content": "And 13 + 13?"}]
        with self.server() as server:
            _, answer = server.post({"messages": messages})
            self.assertGreaterEqual(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 8, server.log())


class Classes(unittest.TestCase):
    """The table of docs/spec/kvstore.md, section 7, with sampling: what has been drawn stays drawn."""

    ASKED = "a3"
    HOW = {"temperature": 1, "seed": 5, "max_tokens": 12, "logit_bias": harness.NO_END}

    def ask(self, server):
        messages = dict(script.bodies(script.truth().__getitem__))[self.ASKED]
        return server.exact(messages, **self.HOW)

    def test_every_class_wherever_it_strikes(self):
        with script.Server() as server:
            want = self.ask(server)
        for what in ("STATE_BAD", "OTHER", "DEVICE_LOST", "nan:0", "OOM"):
            for where in ("engine.prefill:%s@1", "engine.decode:%s@1", "engine.decode:%s@4", "engine.decode:%s@11"):
                with self.subTest(what=what, where=where):
                    store = script.half_store()
                    self.addCleanup(harness.drop_store, store)
                    with script.Server(store, faults=where % what) as server:
                        self.assertEqual(self.ask(server), want)
                        server.wait_saved()
                        self.assertIn("kv restore plan=exact" if "decode" in where else "action=retry-clean", server.log())
                        self.assertIn("action=retry-clean", server.log())
                        server.wait_for(lambda: not list((store / "intent").iterdir()))  # judged
                        self.assertEqual("kv condemned" in server.log(), what != "OOM", server.log())

    def test_killed_in_the_clean_retry(self):
        """The suspicion outlives the process: the next start does not use it either."""
        for first in ("engine.prefill:STATE_BAD@1,engine.prefill:kill@2",
                      "engine.decode:STATE_BAD@2,engine.prefill:delay:300@4,engine.prefill:kill@5"):
            with self.subTest(first=first):
                store = script.half_store()
                self.addCleanup(harness.drop_store, store)
                server = script.Server(store, faults=first)
                server.wait_ready()
                with self.assertRaises((OSError, harness.http.client.HTTPException)):
                    self.ask(server)
                server.child.wait(10)
                server.kill()
                with script.Server() as cold, script.Server(store) as server:
                    self.assertEqual(self.ask(server), self.ask(cold))
                    self.assertIn("kv condemned", server.log())
                    self.assertNotIn("kv restore", server.log())


if __name__ == "__main__":
    unittest.main(verbosity=2)
