#!/usr/bin/env python3
"""A second renderer of prompts, plain and slow, written from docs/spec/protocol.md, section 2, and not from src/chat.

    prompt.py [SEED [N]] > tests/data/prompts.jsonl     random requests with the prompts they must become

Each line: {"profile": v4 0, v4-0731 1, v4.1 2; "body": a request; "prompt": its text, every control token between U+0002 and
U+0003}. tests/server/test_prompt.c reads the requests as the server does and compares. Standard library only."""
import json
import random
import re
import sys


def control(spelling):
    return "\x02" + spelling + "\x03"


BOS, EOS = control("<｜begin▁of▁sentence｜>"), control("<｜end▁of▁sentence｜>")
USER, ASSISTANT, SYSTEM = control("<｜User｜>"), control("<｜Assistant｜>"), control("<｜System｜>")
REMINDER, DSML = control("<｜latest_reminder｜>"), control("｜DSML｜")
THINK, THINK_END = control("<think>"), control("</think>")

TOOLS_HEAD = """## Tools

You have access to a set of tools to help answer the user's question. You can invoke tools by writing a "<DSML+tool_calls>" \
block like the following:

<DSML+tool_calls>
<DSML+invoke name="$TOOL_NAME">
<DSML+parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</DSML+parameter>
...
</DSML+invoke>
<DSML+invoke name="$TOOL_NAME2">
...
</DSML+invoke>
</DSML+tool_calls>

String parameters should be specified as is and set `string="true"`. For all other types (numbers, booleans, arrays, objects), \
pass the value in JSON format and set `string="false"`.

If thinking_mode is enabled (triggered by THINK+), you MUST output your complete reasoning inside THINK+...THINK- BEFORE any \
tool calls or final response.

Otherwise, output directly after THINK- with tool calls or final response.

### Available Tool Schemas

"""
TOOLS_TAIL = "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n"
FORMAT_HEAD = "\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n"


def dumps(value):
    return json.dumps(value, ensure_ascii=False)


def tags(text, profile):
    """DSML+name as the profile writes it."""
    if profile == 2:
        text = text.replace("DSML+tool_calls", "DSML+calls").replace("DSML+", DSML + " ")
    text = text.replace("DSML+", DSML)
    return text.replace("THINK+", THINK).replace("THINK-", THINK_END)


def texts(content):
    if content is None or isinstance(content, str):
        return [] if content is None else [content]
    return [part if isinstance(part, str) else part.get("text", "[Unsupported %s]" % part.get("type")) for part in content]


def refuse(constant):
    raise ValueError(constant)


def parameters(arguments):
    """(key, is a string, text) of each."""
    if not isinstance(arguments, (str, type(None))):
        arguments = json.dumps(arguments)
    if arguments is None or not arguments.strip(" \t\r\n"):
        return []
    try:
        value = json.loads(arguments, parse_constant=refuse)
    except ValueError:
        return [("arguments", True, arguments)]
    if value is None:
        return []
    if not isinstance(value, dict):
        return [("arguments", True, arguments)]
    return [(key, isinstance(v, str), v if isinstance(v, str) else dumps(v)) for key, v in value.items()]


def escaped(value):
    """The closing tag as text, and what it becomes, one level up."""
    return re.sub("(<|&(?:amp;)*lt;)(/｜DSML｜parameter>)",
                  lambda m: ("&lt;" if m[1] == "<" else "&amp;" + m[1][1:]) + m[2], value)


def quoted(name):
    return name.replace('"', "&quot;")


def calls_block(calls, profile):
    invokes = []
    for call in calls:
        lines = [tags('<DSML+parameter name="', profile) + quoted(key) + '" string="%s">' % ("true" if is_text else "false") +
                 escaped(text) + tags("</DSML+parameter>", profile)
                 for key, is_text, text in parameters(call["function"].get("arguments"))]
        invokes.append(tags('<DSML+invoke name="', profile) + quoted(call["function"]["name"]) + '">\n' + "\n".join(lines) +
                       tags("\n</DSML+invoke>", profile))
    return tags("\n\n<DSML+tool_calls>\n", profile) + "\n".join(invokes) + tags("\n</DSML+tool_calls>", profile)


def turns_of(messages, profile):
    """(texts of the system block, turns): ["user", blocks], ["assistant", message], ["system"|"reminder", text]."""
    leading, system, turns = True, [], []
    for m in messages:
        role, parts = m["role"], texts(m.get("content"))
        leading = leading and role in ("system", "developer", "latest_reminder")
        if role in ("system", "developer"):
            if not any(parts):
                continue
            if leading or profile == 2:
                (system.append if leading else lambda t: turns.append(["system", t]))("\n\n".join(parts))
                continue
        if role == "latest_reminder":
            turns.append(["reminder", "\n\n".join(parts)])
        elif role == "assistant":
            turns.append(["assistant", m])
        else:
            if role in ("tool", "function"):
                inside = "\n\n".join(p.replace("</tool_result>", "&lt;/tool_result>") for p in parts)
                blocks = [("result", "<tool_result>" + inside + "</tool_result>", m.get("tool_call_id"))]
            else:
                blocks = [("text", p, None) for p in parts or [""]]
            if turns and turns[-1][0] == "user":
                turns[-1][1].extend(blocks)
            else:
                turns.append(["user", blocks])
    return system, turns


def sort_results(turns):
    order = {}
    for kind, what in turns:
        if kind == "assistant" and what.get("tool_calls"):
            order = {call["id"]: i for i, call in enumerate(what["tool_calls"]) if call.get("id")}
        if kind == "user":
            results = iter(sorted((b for b in what if b[0] == "result"), key=lambda b: order.get(b[2], 0)))
            what[:] = [next(results) if b[0] == "result" else b for b in what]


def head(body, system, profile, effort):
    block = "\n\n".join(system)
    if body.get("tools"):
        block += "\n\n" + tags(TOOLS_HEAD, profile) + "\n".join(dumps(t["function"]) for t in body["tools"]) + TOOLS_TAIL
    if body.get("response_format", {}).get("type", "text") != "text":
        block += FORMAT_HEAD + dumps(body["response_format"])
    if profile != 2:
        return BOS + block
    line = "Reasoning Effort: %d (range 1-100, the higher the value, the more thorough the reasoning)\n\n" % effort if effort else ""
    return BOS + (SYSTEM if line or block else "") + line + block


def prompt_of(body, profile, effort):
    """`effort`: of v4.1; for all, 0 is no thinking."""
    system, turns = turns_of(body["messages"], profile)
    sort_results(turns)
    has_tools = bool(body.get("tools")) or any(
        what.get("tool_calls") if kind == "assistant" else kind == "user" and any(b[0] == "result" for b in what)
        for kind, what in turns)
    last_user = max((i for i, t in enumerate(turns) if t[0] in ("user", "system")), default=-1)
    out = head(body, system, profile, effort)
    for i, (kind, what) in enumerate(turns):
        if kind == "user":
            out += USER + "\n\n".join(b[1] for b in what)
        elif kind == "assistant":
            reasoning = what.get("reasoning_content") or ""
            keeps = effort and (has_tools or i > last_user)
            out += ASSISTANT + (THINK + (reasoning if reasoning.strip() else "") if keeps else "") + THINK_END
            out += "".join(texts(what.get("content")))
            if what.get("tool_calls"):
                out += calls_block(what["tool_calls"], profile)
            if i + 1 < len(turns):
                out += EOS
        else:
            out += (SYSTEM if kind == "system" else REMINDER) + what
    return out if turns and turns[-1][0] == "assistant" else out + ASSISTANT + (THINK if effort else THINK_END)


class Requests:
    """Random ones, with everything in them that is hard."""
    ATOMS = ["a", "b c", "</think>", "<｜User｜>", "｜DSML｜", "\n", '"', "&lt;/｜DSML｜parameter>", "</｜DSML｜parameter>",
             "&amp;lt;/｜DSML｜parameter>", "</tool_result>", "é", "\x01", "\x05", "\0", "<", " ", "&quot;", "&amp;", "😀"]

    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, p):
        return self.random.random() < p

    def text(self):
        return "".join(self.random.choice(self.ATOMS) for _ in range(self.random.randint(0, 4)))

    def value(self, depth=0):
        if depth > 2 or self.chance(0.4):
            return self.text()
        if self.chance(0.3):
            return self.random.choice([1, -2, True, False, None, 1.5, 1e-7, 1e16, 2.0 ** -44, 12345678901234567890])
        if self.chance(0.5):
            return [self.value(depth + 1) for _ in range(self.random.randint(0, 3))]
        return {self.text(): self.value(depth + 1) for _ in range(self.random.randint(0, 3))}

    def arguments(self):
        if self.chance(0.3):
            return self.random.choice([None, "", " ", "null", "[1]", '"x"', "3", '{"a":', "no", '{"a":NaN}', " {} "])
        value = {self.text(): self.value() for _ in range(self.random.randint(0, 3))}
        return json.dumps(value, ensure_ascii=self.chance(0.5)) if self.chance(0.7) else value

    def content(self):
        if self.chance(0.05):
            return None
        if self.chance(0.2):
            return [self.random.choice([self.text(), {"type": "text", "text": self.text()}])
                    for _ in range(self.random.randint(0, 3))]
        return self.text()

    def message(self):
        m = {"role": self.random.choice(["system", "developer", "user", "user", "assistant", "assistant", "tool", "function",
                                         "latest_reminder"]), "content": self.content()}
        if m["role"] == "assistant":
            if self.chance(0.5):
                m["reasoning_content"] = self.random.choice(["", " ", "R", self.text()])
            if self.chance(0.5):
                m["tool_calls"] = [{"id": self.random.choice(["c1", "c2", "c3", ""]), "type": "function", "function": {
                    "name": self.random.choice(["f", "g", 'we"ird']), "arguments": self.arguments()}}
                    for _ in range(self.random.randint(0, 3))]
        if m["role"] in ("tool", "function"):
            if self.chance(0.8):
                m["tool_call_id"] = self.random.choice(["c1", "c2", "c3", "zz", ""])
            if self.chance(0.2):
                m["content"] = [{"type": "image_url", "x": 1}, {"type": "text", "text": "t"}, "s"]
        return m

    def body(self):
        body = {"messages": [self.message() for _ in range(self.random.randint(1, 7))]}
        if body["messages"][-1].get("tool_calls"):
            body["messages"].append({"role": "tool", "content": "done", "tool_call_id": "c1"})
        if self.chance(0.2):
            body["tools"] = [{"type": "function", "function": {
                "name": "n%d" % i, "description": self.text(), "parameters": {"properties": {self.text(): self.value()}}}}
                for i in range(self.random.randint(0, 3))]
        if self.chance(0.2):
            body["response_format"] = self.random.choice([{"type": "text"}, {"type": "json_object"}, {
                "type": "json_schema", "json_schema": {"name": self.text(), "schema": {"a": 1.0}}}])
        return body


def main(seed=1, n=120):
    requests = Requests(seed)
    for i in range(n):
        body, profile = requests.body(), i % 3
        word, effort = requests.random.choice([("none", 0), ("low", 25), ("medium", 50)])
        body["reasoning_effort"] = word
        print(json.dumps({"profile": profile, "body": body, "prompt": prompt_of(body, profile, effort)}, ensure_ascii=False))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
