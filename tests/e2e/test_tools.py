"""Tool calls through the server: the grammar holds a model to the declared tools, whatever it would like to write; choices of
the request are kept; the prompt is the one the model was trained on."""
import json
import subprocess
import unittest

import harness

TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather for a city", "parameters": {
              "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
              "required": ["city"]}}},
         {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {
              "type": "object", "properties": {}}}},
         {"type": "function", "function": {"name": "list_files", "parameters": {
              "type": "object", "properties": {"paths": {"type": "array"}, "deep": {"type": "boolean"}}}}}]
KEYS = {"get_weather": {"city": str, "days": int}, "now": {}, "list_files": {"paths": list, "deep": bool}}
ASKED = [{"role": "user", "content": "What is the weather in Rome for the next 2 days?"}]
HOT = {"temperature": 2, "min_p": 0, "honor_sampling": True, "thinking": {"type": "disabled"}, "max_tokens": 160}


class Tools(harness.ServerCase):
    def answer(self, **body):
        status, answer = self.server.post({"messages": ASKED, "tools": TOOLS, "temperature": 0, "max_tokens": 160, **body})
        self.assertEqual(status, 200, answer)
        return answer["choices"][0]

    def ids(self, text):
        dumped = subprocess.run([str(harness.BUILD / "bin" / "ds4"), "-m", str(harness.MODEL), "--dump-tokens", "-p", text],
                                capture_output=True, text=True, check=True).stdout
        return json.loads(dumped.split("\n")[0])

    def assert_legal(self, call):
        function = call["function"]
        arguments = json.loads(function["arguments"])
        self.assertIn(function["name"], KEYS)
        self.assertLessEqual(set(arguments), set(KEYS[function["name"]]), function)
        if "city" in arguments:
            self.assertIsInstance(arguments["city"], str)

    def test_a_question_is_answered_with_a_call(self):
        choice = self.answer(thinking={"type": "disabled"})
        self.assertEqual(choice["finish_reason"], "tool_calls")
        call = choice["message"]["tool_calls"][0]["function"]
        self.assertEqual((call["name"], json.loads(call["arguments"])["city"]), ("get_weather", "Rome"))

    def test_whatever_is_sampled_names_a_tool_and_its_parameters(self):
        """At a temperature where this model writes noise, what is structure is still legal."""
        n = 0
        for seed in range(8):
            choice = self.answer(tool_choice="required", seed=seed, **HOT)
            for call in choice["message"].get("tool_calls", []):
                self.assert_legal(call)
                n += 1
            self.assertIn(choice["finish_reason"], ("tool_calls", "length"))
        self.assertGreater(n, 3)

    def test_one_call_means_one(self):
        both = [{"role": "user", "content": "What is the weather in Rome? And in Paris?"}]
        for body in ({"parallel_tool_calls": False, "tool_choice": "required"},
                     {"tool_choice": {"type": "function", "function": {"name": "now"}}}):
            for seed in range(3):
                choice = self.answer(messages=both, seed=seed, **body, **HOT)
                self.assertLessEqual(len(choice["message"].get("tool_calls", [])), 1)
                self.assertIn(choice["finish_reason"], ("tool_calls", "length"))
        self.assertEqual(choice["message"]["tool_calls"][0]["function"], {"name": "now", "arguments": "{}"})

    def test_a_call_continues_as_it_is_rendered(self):
        """A sampled block is the rendered one to the token, called freely or by name: the next turn finds it in the cache."""
        for how in ("auto", {"type": "function", "function": {"name": "get_weather"}}):
            body = {"tool_choice": how, "thinking": {"type": "disabled"}, "tools": TOOLS, "temperature": 0}
            status, first = self.server.post({**body, "messages": ASKED})
            self.assertEqual(status, 200)
            message, used = first["choices"][0]["message"], first["usage"]
            call = message["tool_calls"][0]
            more = ASKED + [message, {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}]
            status, second = self.server.post({**body, "messages": more, "tool_choice": "none", "max_tokens": 8})
            self.assertEqual(status, 200)
            self.assertGreaterEqual(second["usage"]["prompt_tokens_details"]["cached_tokens"],
                                    used["prompt_tokens"] + used["completion_tokens"] - 1)

    def test_choice_none_forbids_calls_and_keeps_the_prompt(self):
        free, none = (self.server.post({"messages": ASKED, "tools": TOOLS, "tool_choice": how, "temperature": 0,
                                        "max_tokens": 80, "thinking": {"type": "disabled"}})[1] for how in ("auto", "none"))
        self.assertEqual(free["choices"][0]["finish_reason"], "tool_calls")
        self.assertNotIn("tool_calls", none["choices"][0]["message"])
        self.assertNotIn("DSML", none["choices"][0]["message"]["content"])
        self.assertEqual(free["usage"]["prompt_tokens"], none["usage"]["prompt_tokens"])

    def test_a_call_that_breaks_into_reasoning_is_begun_anew(self):
        """3.4. A model that wants nothing but `<` and the DSML token, from the first token of its reasoning on."""
        less, mark = self.ids("<\uff5cDSML\uff5c")
        body = {"messages": ASKED, "tools": TOOLS, "temperature": 0, "honor_sampling": True, "max_tokens": 60, "stream": True,
                "reasoning_effort": "high", "logit_bias": {str(less): 40, str(mark): 30}}
        with self.server.request("POST", "/v1/chat/completions", json.dumps(body)) as answer:
            lines = answer.read().decode().split("\n")
        deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in lines if line.startswith("data: {")]
        self.assertEqual([d for d in deltas if d.get("reasoning_content") or d.get("content")], [])
        names = [c["function"]["name"] for d in deltas for c in d.get("tool_calls", []) if "id" in c]
        self.assertTrue(names and set(names) <= set(KEYS), names)
        self.assertIn("ds4_reasoning_escapes_total 1\n", self.server.get("/metrics")[1])

    def test_a_lowered_effort_is_said(self):
        for effort, header in (("max", "high (requested max)"), ("high", None)):
            body = {"messages": ASKED, "reasoning_effort": effort, "max_tokens": 1, "stream": effort == "high"}
            with self.server.request("POST", "/v1/chat/completions", json.dumps(body)) as answer:
                self.assertEqual(answer.getheader("x-ds4-effort"), header)
                answer.read()
        self.assertIn("effort=high requested=max", self.server.log())

    def test_a_budget_ends_reasoning(self):
        """A model that would reason for ever: 512 tokens beyond its budget the end is put there."""
        never = {str(self.ids("</think>")[0]): -100, str(self.ids("<\uff5cend\u2581of\u2581sentence\uff5c>")[0]): -100}
        status, answer = self.server.post({"messages": [{"role": "user", "content": "What is 12 + 13?"}], "temperature": 0,
                                           "thinking": {"type": "enabled", "budget_tokens": 3}, "logit_bias": never,
                                           "max_tokens": 1100, "reasoning_effort": "high", "stop": [" ", ".", "\n"]})
        self.assertEqual(status, 200, answer)
        self.assertEqual(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 3 + 512)
        self.assertEqual(answer["choices"][0]["finish_reason"], "stop")
        status, answer = self.server.post({"messages": ASKED, "thinking": {"type": "enabled", "budget_tokens": -2}})
        self.assertEqual((status, answer["error"]["param"]), (400, "thinking.budget_tokens"))


if __name__ == "__main__":
    unittest.main()
