"""One check with the OpenAI SDK for Python: openai_client.py chat|stream|tools|errors|models. Exit 0 if it holds."""
import json
import sys

import openai

client = openai.OpenAI(max_retries=0, timeout=3600)
PLAIN = {"model": "ds4-mini", "temperature": 0, "extra_body": {"thinking": {"type": "disabled"}}}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather for a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]


def chat():
    answer = client.chat.completions.create(messages=[{"role": "user", "content": "What is 23 + 48?"}], **PLAIN)
    assert "71" in answer.choices[0].message.content, answer
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    thought = client.chat.completions.create(model="ds4-mini", messages=[{"role": "user", "content": "What is 23 + 48?"}],
                                             temperature=0, extra_body={"thinking": {"type": "enabled"}, "honor_sampling": True})
    assert thought.choices[0].message.reasoning_content, thought
    assert thought.usage.completion_tokens_details.reasoning_tokens > 0


def stream():
    text, usage, finish = "", None, None
    for chunk in client.chat.completions.create(messages=[{"role": "user", "content": "Hello"}], stream=True,
                                                stream_options={"include_usage": True}, **PLAIN):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    whole = client.chat.completions.create(messages=[{"role": "user", "content": "Hello"}], **PLAIN)
    assert text == whole.choices[0].message.content, (text, whole)
    assert finish == "stop" and usage.prompt_tokens == whole.usage.prompt_tokens


def tools():
    messages = [{"role": "user", "content": "What is the weather in Rome?"}]
    named = {"type": "function", "function": {"name": "get_weather"}}
    answer = client.chat.completions.create(messages=messages, tools=TOOLS, tool_choice=named, **PLAIN)
    call = answer.choices[0].message.tool_calls[0]
    assert answer.choices[0].finish_reason == "tool_calls" and call.function.name == "get_weather", answer
    assert isinstance(json.loads(call.function.arguments), dict)
    pieces = ""
    for chunk in client.chat.completions.create(messages=messages, tools=TOOLS, tool_choice=named, stream=True, **PLAIN):
        for choice in chunk.choices:
            for part in choice.delta.tool_calls or []:
                pieces += part.function.arguments or ""
    assert json.loads(pieces) == json.loads(call.function.arguments), pieces
    messages += [answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sunny, 24 degrees"}]
    final = client.chat.completions.create(messages=messages, tools=TOOLS, **PLAIN)
    assert final.choices[0].message.content, final


def errors():
    for wrong, kind in (({"temperature": 9}, openai.BadRequestError), ({"messages": []}, openai.BadRequestError)):
        try:
            client.chat.completions.create(**{"model": "m", "messages": [{"role": "user", "content": "x"}], **wrong})
        except kind as e:
            assert e.status_code == 400 and e.body["message"], e
        else:
            raise AssertionError(f"{wrong} was accepted")


def models():
    listed = client.models.list().data
    assert listed[0].id and client.models.retrieve(listed[0].id).object == "model"


globals()[sys.argv[1]]()
