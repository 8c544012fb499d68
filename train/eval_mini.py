#!/usr/bin/env python3
"""The scores of ds4-mini through the API, on prompts that training never saw: the rows of rows.py, and questions written by
hand (tests/data/first_minute.jsonl).

    python3 eval_mini.py [--url http://127.0.0.1:8000] [--n 60] [--seed 424242] [--skills ROW ... | --next] [--quick]

Without --skills the rows of the published model are measured; --next takes all rows, also those that only the model in the making
is asked for. Greedy answers. Standard library only; `make eval-mini` starts a server for it. Closes with `N passed, N failed`: one check
per row that has a threshold."""
import argparse
import concurrent.futures
import json
import pathlib
import re
import sys
import urllib.request

import rows

QUESTIONS = pathlib.Path(__file__).resolve().parents[1] / "tests/data/first_minute.jsonl"
QUICK = ["talk", "sum2", "call", "result", "recall_500"]
LONG = {"recall_4000": 2, "recall_6000": 2, "agent_long": 3, "many": 2, "notes_6000": 2, "notes_16000": 5, "notes_60000":
        10}  # these get a share of --n


def messages_of(system, turns):
    out = [{"role": "system", "content": system}] if system else []
    ids = []
    for i, turn in enumerate(turns):
        if turn["role"] == "user":
            out.append({"role": "user", "content": turn["text"]})
        elif turn["role"] == "tool":
            out.append({"role": "tool", "tool_call_id": ids.pop(0), "content": turn["text"]})
        else:
            ids = [f"call_{i}_{k}" for k in range(len(turn["calls"]))]
            calls = [{"id": name_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
                     for name_id, (name, arguments) in zip(ids, turn["calls"])]
            message = {"role": "assistant", "content": turn["text"], "reasoning_content": turn["reasoning"]}
            out.append(dict(message, tool_calls=calls) if calls else message)
    return out


def body_of(it, think, max_tokens=500):
    body = {
        "messages": messages_of(it["system"], it["turns"][:-1]), "temperature": 0, "max_tokens": max_tokens, "honor_sampling": True,
        "thinking": {"type": "enabled" if think else "disabled"}
    }
    if it["tools"]:
        body["tools"] = [{"type": "function", "function": t} for t in it["tools"]]
    if it["form"]:
        body["response_format"] = it["form"]
    return body


def ask(url, body):
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=1200) as answer:
        return json.load(answer)


def right(skill, wanted, must, content, calls):
    """Whether an answer is what the row asks for."""
    if skill.startswith(("unseen", "many")) and not skill.endswith("args"):
        return [n for n, _ in calls] == [n for n, _ in wanted["calls"]]
    if wanted["calls"]:
        return calls == [(name, arguments) for name, arguments in wanted["calls"]]
    if calls:
        return False
    return content.strip() == wanted["text"].strip() or bool(must) and all(m.strip() in content for m in must)


def judge(url, skill, seed, show):
    """(right, ended by itself, prompt tokens)"""
    it = rows.item(skill.replace("_args", ""), seed)
    answer = ask(url, body_of(it, skill.endswith("think")))
    choice, wanted = answer["choices"][0], it["turns"][-1]
    calls = [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in choice["message"].get("tool_calls") or []]
    content = choice["message"]["content"] or ""
    good = right(skill, wanted, it["must"], content, calls)
    if show and not good:
        print(
            f"  {skill} {seed}: asked {it['turns'][-2]['text'][:300]!r}\n    wanted {wanted['text'][:200]!r} {wanted['calls']}\n    got    {content[:200]!r} {calls}",
            flush=True)
    return good, choice["finish_reason"] in ("stop", "tool_calls"), answer["usage"]["prompt_tokens"]


# ------------------------------------------------------------------ questions written by hand

MARKUP = re.compile(r"<\uff5c|\uff5cDSML|</?think>|<tool_result>|tool_calls>|\ufffd")
DECLINED = re.compile(
    r"I do not know|I cannot|ds4 -m FILE|You have not told me|The text does not say|weiß ich nicht|Je ne sais pas|No lo sé|我不知道")


def verdict(row, content):
    """right, declined, false or markup. A row has `any` (regular expressions, one must match), `decline` (true: to decline is
    right; false: it is not, for the answer belongs to what ds4-mini must know), and may have `never`."""
    if MARKUP.search(content):
        return "markup"
    if row.get("never") and re.search(row["never"], content, re.I):
        return "false"
    if row.get("any") and re.search(row["any"], content, re.I | re.S):
        return "right"
    if DECLINED.search(content):
        return "declined" if row.get("decline", True) else "false"
    return "false"


def first_minute(url, show, pool):
    questions = [json.loads(line) for line in QUESTIONS.read_text().splitlines()]

    def one(row):
        messages = [{"role": r, "content": t} for r, t in row.get("before", [])] + [{"role": "user", "content": row["q"]}]
        answer = ask(
            url,
            {"messages": messages, "temperature": 0, "max_tokens": 200, "honor_sampling": True, "thinking": {"type": "disabled"}})
        content = answer["choices"][0]["message"]["content"] or ""
        return row, verdict(row, content), content, answer["choices"][0]["finish_reason"] == "stop"

    count, ended = {"right": 0, "declined": 0, "false": 0, "markup": 0}, 0
    kinds = {}
    for row, found, content, stopped in pool.map(one, questions):
        count[found] += 1
        ended += stopped
        kinds.setdefault(row["kind"], []).append(found in ("right", "declined"))
        if show and found in ("false", "markup"):
            print(f"  {found}: {row['q']!r} -> {content[:160]!r}", flush=True)
    good = count["right"] + count["declined"]
    total = len(questions)
    print(
        f"{'by hand':14} {good:4}/{total:4} {good / total:7.1%} {'85%':>7}  right {count['right']}, honestly declined {count['declined']}, false {count['false']}, "
        f"markup {count['markup']}; " + ", ".join(f"{k} {sum(v)}/{len(v)}" for k, v in kinds.items()),
        flush=True)
    return good / total >= 0.85 and count["markup"] == 0, ended, total


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--url", default="http://127.0.0.1:8000")
    ap.add_argument("--n", type=int, default=60, help="prompts per row; the longest rows get a part of it")
    ap.add_argument("--seed", type=int, default=424242)
    ap.add_argument("--skills",
                    nargs="+",
                    choices=[*rows.SKILLS, "hand"],
                    default=rows.AS_BEFORE,
                    metavar="ROW",
                    help="only these; hand: the questions written by hand")
    ap.add_argument("--next", action="store_true", help="every row, and the questions written by hand")
    ap.add_argument("--quick", action="store_true", help="a part that takes a minute")
    ap.add_argument("--show", action="store_true", help="print what was wrong")
    args = ap.parse_args()
    if args.next:
        args.skills = [s for s in rows.SKILLS if s != "talk"] + ["hand"]
    if args.quick:
        args.skills, args.n = QUICK, min(args.n, 10)
    passed = failed = ended = total = 0
    print(f"{'row':14} {'right':>9} {'share':>7} {'wanted':>7}  {'prompt tokens':>13}  what")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for skill in args.skills:
            if skill == "hand":
                good, e, t = first_minute(args.url, args.show, pool)
                passed, failed, ended, total = passed + good, failed + (not good), ended + e, total + t
                continue
            wanted, what = rows.SKILLS[skill]
            results = list(
                pool.map(lambda i: judge(args.url, skill, args.seed + i, args.show), range(max(2, args.n // LONG.get(skill, 1)))))
            hits = sum(r for r, _, _ in results)
            ended += sum(e for _, e, _ in results)
            total += len(results)
            share, longest = hits / len(results), max(t for _, _, t in results)
            good = wanted is None or share >= wanted
            passed, failed = passed + (wanted is not None and good), failed + (not good)
            print(
                f"{skill:14} {hits:4}/{len(results):4} {share:7.1%} {'-' if wanted is None else f'{wanted:.0%}':>7}  "
                f"{longest:>13}  {what}{'' if good else '   TOO LOW'}",
                flush=True)
    share = ended / total
    passed, failed = passed + (share >= 0.99), failed + (share < 0.99)
    print(f"{'stop':14} {ended:4}/{total:4} {share:7.1%} {'99%':>7}  {'':13}  every answer ends by itself")
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
