"""Plain questions to ds4-mini, without tools: no answer shows the markup of tool calls or scraps of their tags in ordinary letters
("_calls>"), neither greedy nor sampled, in no part of it, and none is empty. DS4_QUESTIONS=all asks all of tests/data/questions.txt
(`make questions`); else every tenth is asked, and some that ds4-mini would call a tool for. Streamed, each gets the same answer."""
import concurrent.futures
import os
import re
import unittest

import harness

MARKUP = re.compile(r"DSML|tool_calls|_calls>|\binvoke\b|\bparameter\b|string=\"|name=\"")
CALLED = ["Get the current price of gold.", "What time is it in Tokyo?", "Give me a list of four vegetables.", "Suggest a name for a black cat."]
MODES = {"greedy": {"temperature": 0, "thinking": {"type": "disabled"}},
         "greedy, reasoning": {"temperature": 0, "honor_sampling": True, "thinking": {"type": "enabled"}},
         "sampled": {"temperature": 1, "seed": 7, "thinking": {"type": "disabled"}},
         "sampled, reasoning": {"temperature": 1, "seed": 7, "thinking": {"type": "enabled"}}}


class Questions(unittest.TestCase):
    def test_no_answer_shows_markup(self):
        questions = (harness.ROOT / "tests/data/questions.txt").read_text().splitlines()
        self.assertEqual(len(set(questions)), 200)
        if os.environ.get("DS4_QUESTIONS") != "all":
            self.assertLessEqual(set(CALLED), set(questions))
            questions = sorted({*questions[::10], *CALLED})

        def ask(job):
            mode, question = job
            body = {"max_tokens": 64, **MODES[mode]}
            messages = [{"role": "user", "content": question}]
            status, answer = server.post({"messages": messages, **body})
            if status != 200:
                return False, mode, question, f"HTTP {status}"
            message = answer["choices"][0]["message"]
            content = message.get("content") or ""
            text = (message.get("reasoning_content") or "") + "|" + content
            good = "tool_calls" not in message and not MARKUP.search(text)
            if answer["choices"][0]["finish_reason"] != "length":
                good = good and content.strip() != ""
            return good and server.stream(messages, **body)[0] == content, mode, question, text

        jobs = [(mode, question) for mode in MODES for question in questions]
        with harness.Server(flags=["--batched-session", "4"]) as server, \
                concurrent.futures.ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(ask, jobs))
        wrong = [answer[1:] for answer in answers if not answer[0]]
        print(f"{len(answers)} answers to {len(questions)} questions, {len(wrong)} with markup, empty or not as streamed")
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
