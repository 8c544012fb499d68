#!/usr/bin/env python3
"""The scores of ds4-mini through the API, on prompts that training never saw (other seeds; held-out sums and questions).

    python3 eval_mini.py [--url http://127.0.0.1:8000] [--n 60] [--seed 424242]

Greedy answers, compared as a whole with the wanted ones. Standard library only; `make eval-mini` starts a server for it.
Closes with `N passed, N failed`: one check per skill that has a threshold."""
import argparse
import concurrent.futures
import json
import random
import sys
import urllib.request

import tasks

# skill: (wanted share, what it is); None: shown, not judged
SKILLS = {
    "talk": (0.90, "small talk and questions about ds4"),
    "sum": (0.95, "two-digit arithmetic, no thinking"),
    "sum_think": (0.95, "the same with a thinking section"),
    "call": (0.90, "the right tool of 1 to 6, exact arguments"),
    "call_think": (0.90, "the same with a thinking section"),
    "result": (0.90, "a tool's result used in the answer"),
    "result_think": (0.90, "the same with a thinking section"),
    "recall_500": (0.90, "a fact from 500 tokens back"),
    "recall_1500": (0.90, "... 1,500"),
    "recall_4000": (0.90, "... 4,000"),
    "recall_6000": (0.90, "... 6,000"),
}


def draw(skill, dice):
    """(system, tools, turns): the last turn is the wanted answer."""
    kind = skill.split("_")[0]
    if kind == "talk":
        return dice.choice(tasks.SYSTEMS), [], tasks.talk(dice, held_out=True)
    if kind == "sum":
        return dice.choice(tasks.SYSTEMS), [], tasks.arithmetic(dice, held_out=True)[0]
    if kind == "recall":
        system, turns, _ = tasks.recall(dice, int(skill.split("_")[1]) // 11 - 8, dice.choice((1, 2, 3, 4)), 1)
        return system, [], turns
    made = tasks.make_tools(dice)
    turns = tasks.tool_turns(dice, made)[0]
    return dice.choice(tasks.SYSTEMS), [t for t, _ in made], turns[:2] if kind == "call" else turns


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


def judge(url, skill, seed):
    """(right, ended by itself, prompt tokens)"""
    system, tools, turns = draw(skill, random.Random(f"{skill}/{seed}"))
    body = {"messages": messages_of(system, turns[:-1]), "temperature": 0, "max_tokens": 400, "honor_sampling": True,
            "thinking": {"type": "enabled" if skill.endswith("think") else "disabled"}}
    if tools:
        body["tools"] = [{"type": "function", "function": t} for t in tools]
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        answer = json.load(answer)
    choice, wanted = answer["choices"][0], turns[-1]
    calls = [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in choice["message"].get("tool_calls") or []]
    if wanted["calls"]:
        right = calls == [(name, arguments) for name, arguments in wanted["calls"]]
    else:
        right = not calls and (choice["message"]["content"] or "").strip() == wanted["text"].strip()
    return right, choice["finish_reason"] in ("stop", "tool_calls"), answer["usage"]["prompt_tokens"]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--url", default="http://127.0.0.1:8000")
    ap.add_argument("--n", type=int, default=60, help="prompts per skill")
    ap.add_argument("--seed", type=int, default=424242)
    ap.add_argument("--skills", nargs="+", choices=SKILLS, default=list(SKILLS), metavar="SKILL", help="only these")
    args = ap.parse_args()
    passed = failed = ended = total = 0
    print(f"{'skill':14} {'right':>9} {'share':>7} {'wanted':>7}  {'prompt tokens':>13}  what")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for skill in args.skills:
            wanted, what = SKILLS[skill]
            results = list(pool.map(lambda i: judge(args.url, skill, args.seed + i), range(args.n)))
            right = sum(r for r, _, _ in results)
            ended += sum(e for _, e, _ in results)
            total += len(results)
            share, longest = right / len(results), max(t for _, _, t in results)
            good = wanted is None or share >= wanted
            passed, failed = passed + (wanted is not None and good), failed + (not good)
            print(f"{skill:14} {right:4}/{len(results):4} {share:7.1%} {'-' if wanted is None else f'{wanted:.0%}':>7}  "
                  f"{longest:>13}  {what}{'' if good else '   TOO LOW'}", flush=True)
    share = ended / total
    passed, failed = passed + (share >= 0.99), failed + (share < 0.99)
    print(f"{'stop':14} {ended:4}/{total:4} {share:7.1%} {'99%':>7}  {'':13}  every answer ends by itself")
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
