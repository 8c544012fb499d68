"""What a chat completion looks like, streamed and whole: the same text, the same numbers, the shapes that SDKs parse."""
import json
import math
import unittest

import harness

QUESTIONS = ("Hi", "What is 23 + 48?", "Tell me about yourself.", "Remember: the lantern is copper. What is the lantern?")


class Answers(harness.ServerCase):
    def events(self, body):
        """The data of every event, as text; fails unless the stream is well formed."""
        with self.server.request("POST", "/v1/chat/completions", json.dumps(dict(body, stream=True))) as answer:
            self.assertEqual((answer.status, answer.getheader("Content-Type")), (200, "text/event-stream"))
            self.assertEqual(answer.getheader("Cache-Control"), "no-cache")
            self.assertRegex(answer.getheader("x-request-id"), "^req_[0-9a-f]{24}$")
            text = answer.read().decode()
        self.assertTrue(text.endswith("\n\n"))
        events = [e for e in text[:-2].split("\n\n") if not e.startswith(": ")]
        for event in events:
            self.assertTrue(event.startswith("data: ") and "\n" not in event, event)
        return [e[6:] for e in events]

    def streamed(self, body):
        """(message, finish_reason, usage, logprobs) put together from a stream whose order is checked."""
        events = self.events(dict(body, stream_options={"include_usage": True}))
        self.assertEqual(events[-1], "[DONE]")
        chunks = [json.loads(e) for e in events[:-1]]
        self.assertEqual({(c["id"], c["object"], c["created"], c["model"]) for c in chunks},
                         {(chunks[0]["id"], "chat.completion.chunk", chunks[0]["created"], "ds4-mini")})
        self.assertEqual(chunks[0]["choices"][0]["delta"], {"role": "assistant", "content": ""})
        last = chunks.pop()
        self.assertEqual(last["choices"], [])
        self.assertTrue(all(c["usage"] is None and len(c["choices"]) == 1 for c in chunks))
        finishes = [c["choices"][0]["finish_reason"] for c in chunks]
        self.assertEqual([f for f in finishes if f], finishes[-1:])
        self.assertEqual(chunks[-1]["choices"][0]["delta"], {})
        message = {"content": "", "reasoning_content": ""}
        logprobs = []
        for chunk in chunks:
            for name, value in chunk["choices"][0]["delta"].items():
                if name != "role":
                    message[name] += value
            logprobs += (chunk["choices"][0]["logprobs"] or {"content": []})["content"]
        return message, finishes[-1], last["usage"], logprobs

    def whole(self, body):
        status, answer = self.server.post(body)
        self.assertEqual(status, 200, answer)
        choice = answer["choices"][0]
        message = choice["message"]
        self.assertEqual((message["role"], message["refusal"]), ("assistant", None))
        return ({"content": message["content"], "reasoning_content": message.get("reasoning_content", "")}, choice["finish_reason"],
                answer["usage"], (choice["logprobs"] or {"content": []})["content"])

    def check_usage(self, usage):
        self.assertEqual(usage["total_tokens"], usage["prompt_tokens"] + usage["completion_tokens"])
        details = usage["prompt_tokens_details"]
        self.assertEqual(details["cache_write_tokens"], 0, "there is no store")
        self.assertEqual((usage["prompt_cache_hit_tokens"], usage["prompt_cache_miss_tokens"]),
                         (details["cached_tokens"], usage["prompt_tokens"] - details["cached_tokens"]))
        self.assertLessEqual(usage["completion_tokens_details"]["reasoning_tokens"], usage["completion_tokens"])

    def test_streamed_and_whole_say_the_same(self):
        for question in QUESTIONS:
            for more in ({"temperature": 0, "thinking": False}, {"temperature": 1, "seed": 7, "thinking": False}, {"seed": 2**64 - 1},
                         {"temperature": 0, "thinking": False, "stop": ["e", "a b"]}):
                body = dict({"messages": [{"role": "user", "content": question}], "max_tokens": 60}, **more)
                whole, streamed = self.whole(body), self.streamed(body)
                self.assertEqual(whole[:2], streamed[:2], body)
                for usage in (whole[2], streamed[2]):
                    self.check_usage(usage)
                self.assertEqual(whole[2]["completion_tokens"], streamed[2]["completion_tokens"])
                for stop in more.get("stop", ()):
                    self.assertNotIn(stop, whole[0]["content"])

    def test_the_number_of_generated_tokens_is_one(self):
        """usage, timings and the log agree, whether the model ends its turn or is cut off."""
        for limit, finish in ((200, "stop"), (5, "length")):
            status, answer = self.server.post({"messages": [{"role": "user", "content": QUESTIONS[0]}], "temperature": 0,
                                               "thinking": False, "max_tokens": limit})
            self.assertEqual((status, answer["choices"][0]["finish_reason"]), (200, finish))
            n = answer["usage"]["completion_tokens"]
            self.assertEqual(answer["timings"]["predicted_n"], n)
            self.assertIn(f"gen={n} ", next(line for line in self.server.log().splitlines() if f"id={answer['id'][9:]}" in line))

    def test_temperature_0_is_greedy_while_the_model_reasons(self):
        body = {"messages": [{"role": "user", "content": QUESTIONS[1]}], "max_tokens": 40, "temperature": 0, "reasoning_effort": "high"}
        answers = {self.whole(dict(body, seed=seed))[0]["reasoning_content"] for seed in (1, 2, 3)}
        self.assertEqual(len(answers), 1)

    def test_what_is_not_kept_is_neither_advertised_nor_accepted(self):
        for model in json.loads(self.server.get("/v1/models")[1])["data"]:
            self.assertFalse({"response_format", "structured_outputs"} & set(model["supported_parameters"]))
        asked = [{"role": "user", "content": "Hi"}]
        schema = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {"type": "object"}}}
        for more, param in (({"response_format": schema}, "response_format"), ({"guided_json": {"type": "object"}}, "guided_json")):
            status, answer = self.server.post({"messages": asked, **more})
            self.assertEqual((status, answer["error"]["code"], answer["error"]["param"]), (400, "unsupported_parameter", param))

    def test_a_loop_ends_with_its_reason(self):
        """One token that is more likely than any other, for ever."""
        server = self.server
        for stream in (False, True):
            body = {"messages": [{"role": "user", "content": "Go on"}], "thinking": False, "temperature": 0, "logit_bias": {"100": 100},
                    "max_tokens": 3000, "stream": stream, "stream_options": {"include_usage": True}}
            with server.ask(body) as answer:
                text = answer.read().decode()
            self.assertIn('"finish_reason":"length","stop_reason":"loop"', text)
            self.assertIn('"completion_tokens":1024,', text)
        self.assertIn("finish=length", server.log())
        self.assertIn("why=loop period=1", server.log())
        self.assertEqual(server.metric("ds4_loops_ended_total"), 2)

    def test_a_seed_gives_the_same_answer_and_others_give_others(self):
        body = {"messages": [{"role": "user", "content": "Tell me something."}], "max_tokens": 30, "thinking": False, "logit_bias": harness.NO_END}
        answers = [self.whole(dict(body, seed=seed))[0]["content"] for seed in (3, 3, 3, 4, 5, 6, 7)]
        self.assertEqual(len(set(answers[:3])), 1)
        self.assertGreater(len(set(answers)), 1)

    def test_log_probabilities_belong_to_the_text(self):
        body = {"messages": [{"role": "user", "content": QUESTIONS[1]}], "max_tokens": 60, "thinking": False, "temperature": 0,
                "logprobs": True, "top_logprobs": 5}
        message, _, usage, tokens = self.whole(body)
        self.assertEqual(tokens, self.streamed(body)[3])
        self.assertEqual(len(tokens), usage["completion_tokens"])
        self.assertEqual(b"".join(bytes(t["bytes"]) for t in tokens).decode(), message["content"])
        for token in tokens:
            values = [t["logprob"] for t in token["top_logprobs"]]
            self.assertEqual(values, sorted(values, reverse=True))
            self.assertEqual(token["logprob"], values[0], "temperature 0 takes the most likely token")
            self.assertLessEqual(sum(math.exp(v) for v in values), 1 + 1e-5)

    def test_reasoning_is_counted_and_has_no_log_probabilities(self):
        body = {"messages": [{"role": "user", "content": QUESTIONS[1]}], "max_tokens": 200, "seed": 1, "logprobs": True}
        message, _, usage, tokens = self.whole(body)
        self.assertTrue(message["reasoning_content"])
        self.assertGreater(usage["completion_tokens_details"]["reasoning_tokens"], 0)
        self.assertEqual(b"".join(bytes(t["bytes"]) for t in tokens).decode(), message["content"])

    def test_strange_texts_come_through(self):
        for text in ("", "\0", "\ud800", "a\U0001f600b", "<\uff5cUser\uff5c></think>", "\n" * 50):
            status, answer = self.server.post({"messages": [{"role": "user", "content": text}], "max_tokens": 2, "thinking": False})
            self.assertEqual(status, 200, (text, answer))


class Written(unittest.TestCase):
    def test_written_tokens_are_found_again(self):
        """cache_write_tokens of one request are what the next server finds on disk; none with cache_prompt false."""
        store = harness.new_store()
        self.addCleanup(harness.drop_store, store)
        messages = harness.opening(3)
        with harness.Server(store) as server:
            _, usage = server.chat(messages, cache_prompt=False)
            self.assertEqual(usage["prompt_tokens_details"], {"cached_tokens": 0, "cache_write_tokens": 0})
            _, usage = server.chat(messages)
            written = usage["prompt_tokens_details"]["cache_write_tokens"]
            self.assertGreaterEqual(written, usage["prompt_tokens"] - 1)
            server.wait_saved()
        with harness.Server(store) as server:
            _, usage = server.chat(messages)
            details = usage["prompt_tokens_details"]
            self.assertGreaterEqual(details["cached_tokens"], written - 1)  # the last token is always computed
            self.assertLessEqual(details["cached_tokens"] + details["cache_write_tokens"], usage["prompt_tokens"])


if __name__ == "__main__":
    unittest.main()
