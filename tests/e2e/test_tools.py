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
NO_REASONING = {"thinking": {"type": "disabled"}}
END = "<\uff5cend\u2581of\u2581sentence\uff5c>"
HOT = {"temperature": 2, "min_p": 0, "honor_sampling": True, "thinking": {"type": "disabled"}, "max_tokens": 160}


def one_tool(name, key, required):
    return [{"type": "function", "function": {"name": name, "description": "d", "parameters": {
        "type": "object", "properties": {key: {"type": "string"}}, **({"required": [key]} if required else {})}}}]


def ids(text):
    dumped = subprocess.run([str(harness.BUILD / "bin" / "ds4"), "-m", str(harness.MODEL), "--dump-tokens", "-p", text],
                            capture_output=True, text=True, check=True).stdout
    return json.loads(dumped.split("\n")[0])


def both_ways(server, body):
    """A whole answer and a streamed one in the same words: (status or None, content, reasoning, calls, finish, error code).
    Calls that were not completed are no part of it: a whole answer does not show them."""
    status, whole = server.post(body)
    message = whole["choices"][0]["message"] if status == 200 else {}
    first = (message.get("content") or "", message.get("reasoning_content") or "",
             [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message.get("tool_calls", [])],
             whole["choices"][0]["finish_reason"] if status == 200 else None, whole.get("error", {}).get("code"))
    content, reasoning, calls, finish, code = "", "", [], None, None
    with server.ask({**body, "stream": True}) as answer:
        lines = answer.read().decode().split("\n")
    for chunk in (json.loads(line[6:]) for line in lines if line.startswith("data: {")):
        code = chunk.get("error", {}).get("code") or code
        for choice in chunk.get("choices", []):
            delta, finish = choice["delta"], choice["finish_reason"] or finish
            content += delta.get("content") or ""
            reasoning += delta.get("reasoning_content") or ""
            for call in delta.get("tool_calls", []):
                if "id" in call:
                    calls.append([call["function"]["name"], ""])
                calls[-1][1] += call["function"]["arguments"]
    assert ("data: [DONE]" in lines) == (code is None), lines
    if code:  # whatever was announced before does not count
        return first, ("", "", [], None, code)
    if finish == "length" and calls and not is_json(calls[-1][1]):
        calls.pop()
    return first, (content, reasoning, [(name, json.loads(text)) for name, text in calls], finish, None)


def is_json(text):
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


class Tools(harness.ServerCase):
    def same(self, **body):
        whole, streamed = both_ways(self.server, {"messages": ASKED, "temperature": 0, "honor_sampling": True, **body})
        self.assertEqual(whole, streamed, body)
        return whole

    def test_without_tools_there_is_no_markup(self):
        """Whatever the prompt asks for, and wherever the model would begin: the token of tool calls is not sampled."""
        mark = str(ids("\uff5cDSML\uff5c")[0])
        asked = [{"role": "user", "content": "Use a tool: the weather of Rome."}]
        for more in (NO_REASONING, {}, {"tools": TOOLS, "tool_choice": "none"},
                     {"logit_bias": {mark: 100}}, {"logit_bias": {mark: 100}, "temperature": 2, "seed": 3, **NO_REASONING}):
            content, reasoning, calls, _, code = self.same(messages=asked, max_tokens=60, **more)
            self.assertNotIn("DSML", content + reasoning)
            self.assertEqual((calls, code), ([], None))

    def test_a_block_that_is_cut_off_is_no_content(self):
        """Wherever the limit falls in the opening of a block or behind it: empty content, the same whole and streamed.
        test_parser.c cuts blocks everywhere."""
        reasoned = {"logit_bias": {str(ids("</think>")[0]): 100}}  # it ends at once, and the opening is forced
        for more, limits in ((NO_REASONING, (1, 2, 3, 4, 6, 9, 80)), (reasoned, (2, 3, 4, 5, 6, 8))):
            for n in limits:
                content, _, calls, finish, _ = self.same(messages=[{"role": "user", "content": "What is the weather of Rome?"}],
                                                         tools=one_tool("get_weather", "city", True), tool_choice="required",
                                                         max_tokens=n, **more)
                self.assertEqual((content, len(calls), finish), ("", n == 80, "tool_calls" if n == 80 else "length"), n)

    def test_a_required_call_comes_though_the_model_ends_its_turn_in_its_reasoning(self):
        end, think_end = ids(END)[0], ids("</think>")[0]
        for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
            _, reasoning, calls, finish, _ = self.same(tools=one_tool("get_weather", "city", True), tool_choice=choice,
                                                       logit_bias={str(think_end): -100, str(end): 30}, max_tokens=100)
            self.assertEqual(([name for name, _ in calls], finish), (["get_weather"], "tool_calls"))
            self.assertIn("city", calls[0][1])
        self.assertEqual(reasoning, "")  # the end of the turn was the likeliest token from the first on

    def test_no_call_is_lost_in_a_value(self):
        """A model that would write tags, or end its turn, inside a value."""
        mark, end = (str(ids(text)[0]) for text in ("\uff5cDSML\uff5c", END))
        for name, question, bias in (("f", "hi", {}), ("get_weather", "Hello", {}), ("f", "hi", {mark: 20}), ("f", "hi", {end: 50})):
            _, _, calls, finish, code = self.same(messages=[{"role": "user", "content": question}], max_tokens=120,
                                                  tools=one_tool(name, "a.b", False), tool_choice="required", logit_bias=bias,
                                                  **NO_REASONING)
            self.assertIn((len(calls), finish, code), ((1, "tool_calls", None), (0, "length", None)))
            self.assertNotIn("DSML", json.dumps(calls, ensure_ascii=False))

    def test_required_parameters_are_there(self):
        n = 0
        for seed in range(4):
            for call in self.answer(tool_choice={"type": "function", "function": {"name": "get_weather"}}, seed=seed,
                                    **HOT)["message"].get("tool_calls", []):
                self.assertIn("city", json.loads(call["function"]["arguments"]))
                n += 1
        self.assertGreater(n, 1)

    def answer(self, **body):
        status, answer = self.server.post({"messages": ASKED, "tools": TOOLS, "temperature": 0, "max_tokens": 160, **body})
        self.assertEqual(status, 200, answer)
        return answer["choices"][0]

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
        less, mark = ids("<\uff5cDSML\uff5c")
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
        never = {str(ids("</think>")[0]): -100, str(ids(END)[0]): -100}
        status, answer = self.server.post({"messages": [{"role": "user", "content": "What is 12 + 13?"}], "temperature": 0,
                                           "thinking": {"type": "enabled", "budget_tokens": 3}, "logit_bias": never,
                                           "max_tokens": 1100, "reasoning_effort": "high", "stop": [" ", ".", "\n"]})
        self.assertEqual(status, 200, answer)
        self.assertEqual(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 3 + 512)
        self.assertEqual(answer["choices"][0]["finish_reason"], "stop")
        status, answer = self.server.post({"messages": ASKED, "thinking": {"type": "enabled", "budget_tokens": -2}})
        self.assertEqual((status, answer["error"]["param"]), (400, "thinking.budget_tokens"))


class Unbound(unittest.TestCase):
    def test_a_call_that_breaks_ends_in_one_way(self):
        """Without the grammar a model can end its turn inside a block: an error, whole and streamed, in the log and in the figures."""
        body = {"messages": ASKED, "tools": TOOLS, "tool_choice": "required", "temperature": 0, "max_tokens": 60,
                "logit_bias": {str(ids(END)[0]): 100}, **NO_REASONING}
        with harness.Server(flags=["--no-dsml-grammar"]) as server:
            whole, streamed = both_ways(server, body)
            self.assertEqual(whole, ("", "", [], None, "broken_tool_call"))
            self.assertEqual(whole, streamed)
            self.assertEqual(server.log().count("finish=broken_tool_call"), 2)
            figures = server.get("/metrics")[1]
        self.assertIn('ds4_requests_finished_total{reason="broken_tool_call"} 2\n', figures)
        self.assertIn('ds4_requests_finished_total{reason="done"} 0\n', figures)


if __name__ == "__main__":
    unittest.main()
