// One check with the OpenAI SDK for Node: openai_client.mjs chat|stream|tools|errors. Exit 0 if it holds.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0, timeout: 120000 });
const plain = { model: "ds4-mini", temperature: 0, thinking: { type: "disabled" } };
const tools = [{ type: "function", function: { name: "get_weather", description: "Weather for a city", parameters: {
  type: "object", properties: { city: { type: "string" } }, required: ["city"] } } }];

const checks = {
  async chat() {
    const answer = await client.chat.completions.create({ ...plain, messages: [{ role: "user", content: "What is 23 + 48?" }] });
    assert.match(answer.choices[0].message.content, /71/);
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  },
  async stream() {
    let text = "", finish = null;
    const stream = await client.chat.completions.create({ ...plain, messages: [{ role: "user", content: "Hello" }], stream: true });
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      finish = chunk.choices[0]?.finish_reason ?? finish;
    }
    assert.ok(text.length > 0);
    assert.equal(finish, "stop");
  },
  async tools() {
    const answer = await client.chat.completions.create({ ...plain, tools, tool_choice: { type: "function", function: { name: "get_weather" } },
      messages: [{ role: "user", content: "What is the weather in Rome?" }] });
    const call = answer.choices[0].message.tool_calls[0];
    assert.equal(call.function.name, "get_weather");
    assert.equal(typeof JSON.parse(call.function.arguments), "object");
  },
  async errors() {
    await assert.rejects(client.chat.completions.create({ model: "m", messages: [] }), (e) => e.status === 400 && /messages/.test(e.message));
  },
};
await checks[process.argv[2]]();
