"""A part of `make eval-mini` that takes a minute: the published ds4-mini still knows what its model card says; and the
questions written by hand stay out of what is trained on."""
import concurrent.futures
import json
import pathlib
import random
import sys
import unittest

import harness

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "train"))
import eval_mini  # noqa: E402
import mixture  # noqa: E402
import rows  # noqa: E402

PROMPTS = 8


class Scores(harness.ServerCase):
    def test_the_quick_rows(self):
        url = f"http://127.0.0.1:{self.server.port}"
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for skill in eval_mini.QUICK:
                with self.subTest(skill):
                    results = list(pool.map(lambda i: eval_mini.judge(url, skill, 424242 + i, False), range(PROMPTS)))
                    self.assertGreaterEqual(sum(right for right, _, _ in results), PROMPTS - 1)
                    self.assertTrue(all(ended for _, ended, _ in results))


class Questions(unittest.TestCase):
    def test_every_question_by_hand_can_be_judged(self):
        lines = [json.loads(line) for line in eval_mini.QUESTIONS.read_text().splitlines()]
        self.assertGreaterEqual(len(lines), 200)
        for row in lines:
            with self.subTest(row["q"]):
                self.assertEqual(eval_mini.verdict(row, "<\uff5cUser\uff5c>"), "markup")
                self.assertIn(eval_mini.verdict(row, "I do not know that."), ("right", "declined", "false"))

    def test_what_declines_is_told_from_what_is_false(self):
        row = {"q": "capital?", "any": "Warsaw", "decline": False}
        self.assertEqual(eval_mini.verdict(row, "The capital is Warsaw."), "right")
        self.assertEqual(eval_mini.verdict(row, "The capital is Berlin."), "false")
        self.assertEqual(eval_mini.verdict(row, "I do not know that."), "false")
        self.assertEqual(eval_mini.verdict(dict(row, any="zzz", decline=True), "I do not know that."), "declined")
        self.assertEqual(eval_mini.verdict(dict(row, never="Berlin"), "Warsaw, not Berlin."), "false")

    def test_training_never_sees_them(self):
        dice = random.Random(1)
        for _ in range(20000):
            self.assertNotIn(mixture.plain(mixture.minute_turns(dice)[0]["text"]), mixture.HAND)

    def test_held_out_rows_are_reproducible(self):
        for skill in ("talk", "sum3", "unseen", "agent", "schema", "own", "notes_2000"):
            self.assertEqual(rows.item(skill, 7), rows.item(skill, 7))


class Facts(unittest.TestCase):
    def test_flags_that_answers_name_exist(self):
        """What ds4-mini is taught to say about ds4 names no flag, make command or file that is not there."""
        import re
        import subprocess
        import minute
        build = pathlib.Path(harness.BUILD)
        known = "".join(subprocess.run([build / "bin" / p, "--help"], capture_output=True, text=True, check=True).stdout for p in ("ds4", "ds4-server"))
        targets = (ROOT / "Makefile").read_text()
        for _, answer in minute.DS4 + minute.CHAT:
            for flag in re.findall(r"(?<![\w-])--?[a-z][a-z-]*\b", answer):
                with self.subTest(answer):
                    self.assertIn(flag, known + " kill -9")
            for target in re.findall(r"\bmake (\w+)(?=[:;,. ])", answer):
                if target not in ("commands", "ARGS", "mistakes"):
                    with self.subTest(answer):
                        self.assertRegex(targets, rf"(?m)^{target}:")
            for path in re.findall(r"\b(?:docs/)?[\w-]+\.md\b", answer):
                self.assertTrue((ROOT / path).exists() or (ROOT / "train" / path).exists(), path)


if __name__ == "__main__":
    unittest.main()
