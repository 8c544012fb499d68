"""Plain questions to ds4-mini, without tools: no answer shows the markup of tool calls, neither greedy nor sampled, in no part
of it. A model as small as this one, kept from a call it has announced, may still write scraps of its tags in ordinary letters
("_calls>"): those are counted. DS4_QUESTIONS=all asks all of tests/data/questions.txt (`make questions`); else every tenth is asked."""
import concurrent.futures
import os
import re
import unittest

import harness

MARKUP = re.compile(r"DSML|</?(invoke|parameter)\b")
SCRAP = re.compile(r"_calls>")
MODES = {"greedy": {"temperature": 0, "thinking": {"type": "disabled"}},
         "greedy, reasoning": {"temperature": 0, "honor_sampling": True},
         "sampled": {"temperature": 1, "seed": 7, "thinking": {"type": "disabled"}},
         "sampled, reasoning": {"temperature": 1, "seed": 7}}


class Questions(unittest.TestCase):
    def test_no_answer_shows_markup(self):
        questions = (harness.ROOT / "tests/data/questions.txt").read_text().splitlines()
        self.assertEqual(len(set(questions)), 200)
        if os.environ.get("DS4_QUESTIONS") != "all":
            questions = questions[::10]

        def ask(job):
            mode, question = job
            status, answer = server.post({"messages": [{"role": "user", "content": question}], "max_tokens": 64, **MODES[mode]})
            message = answer["choices"][0]["message"] if status == 200 else {}
            text = (message.get("reasoning_content") or "") + (message.get("content") or "")
            return status == 200 and "tool_calls" not in message and not MARKUP.search(text), mode, question, text

        jobs = [(mode, question) for mode in MODES for question in questions]
        with harness.Server(flags=["--batched-session", "4"]) as server, \
                concurrent.futures.ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(ask, jobs))
        wrong = [answer[1:] for answer in answers if not answer[0]]
        scraps = sum(bool(SCRAP.search(answer[3])) for answer in answers)
        print(f"{len(answers)} answers to {len(questions)} questions, {len(wrong)} with markup, {scraps} with scraps of it")
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
