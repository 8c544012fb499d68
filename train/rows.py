"""The rows of the score table: held-out prompts for each skill, with the wanted answer and what must hold of an answer.

draw(skill, dice) gives a dict: system, form (response format), tools, turns (the last is the wanted answer), and for answers
in words `must`: texts that an answer must contain (all of them), beside being no call. Standard library only."""
import json
import random

import agents
import reading
import smalltalk
import sums
import tasks
import toolbox

# skill: (wanted share, what it is); None: shown, not judged
SKILLS = {
    "talk": (0.90, "small talk of the published model (as before)"),
    "sum2": (0.95, "sums and differences of two-digit numbers (as before)"),
    "sum2_think": (0.95, "the same with a thinking section"),
    "sum3": (0.90, "+ - * / with up to three digits, in figures and words"),
    "sum3_think": (0.90, "the same with a thinking section"),
    "call": (0.90, "the right tool of 1 to 6, exact arguments (as before)"),
    "call_think": (0.90, "the same with a thinking section"),
    "result": (0.90, "a tool's result used in the answer (as before)"),
    "result_think": (0.90, "the same with a thinking section"),
    "unseen": (0.90, "the right one of 4 to 12 unseen tools, in unseen words"),
    "unseen_args": (None, "the same with every argument exact"),
    "unseen_think": (0.90, "the right unseen tool, with a thinking section"),
    "many": (0.90, "the right one of 30 to 40 unseen tools, nested schemas"),
    "none": (0.90, "no call when no tool fits"),
    "several": (None, "several calls in one turn, all exact"),
    "retry": (None, "one more try after an error"),
    "answer": (0.95, "results as JSON, lists, lines or text, used in the answer"),
    "agent": (0.90, "a step in a folder: list, read, search, edit, run"),
    "agent_think": (None, "the same with a thinking section"),
    "agent_long": (None, "the same behind a system prompt of 4,000 to 10,000 tokens"),
    "schema": (0.90, "an answer that follows a JSON schema"),
    "own": (0.90, "what the user said about himself"),
    "recall_500": (0.90, "a fact from 500 tokens back (as before)"),
    "recall_1500": (0.90, "... 1,500"),
    "recall_4000": (0.90, "... 4,000"),
    "recall_6000": (0.90, "... 6,000"),
    "notes_2000": (0.90, "a fact in mixed text, in free wording, 2,000 back"),
    "notes_6000": (0.90, "... 6,000"),
    "notes_16000": (0.90, "... 16,000"),
    "notes_60000": (0.90, "... 60,000"),
}
AS_BEFORE = [s for s, (_, what) in SKILLS.items() if "as before" in what
             ] + ["sum2_think", "call_think", "result_think", "recall_1500", "recall_4000", "recall_6000"]
SYSTEMS = ["", "You are a helpful assistant", "You are a helpful assistant.", "Be helpful.", "Answer well."]
THINKS = "_think"


def values_of(text):
    """The scalars that an answer made of a result must contain."""
    try:
        data = json.loads(text)
    except ValueError:
        return [text.strip()]
    out = []

    def walk(x):
        if isinstance(x, dict):
            for v in x.values():
                walk(v)
        elif isinstance(x, list):
            for v in x:
                walk(v)
        else:
            out.append(x if isinstance(x, str) else json.dumps(x))

    walk(data)
    return out


def made(system, turns, tools=(), form=None, must=()):
    return {"system": system, "form": form, "tools": list(tools), "turns": turns, "must": list(must)}


def before_call(turns, dice, chance=None):
    """Cut after one of the assistant's turns, any or one that calls."""
    at = [i for i, t in enumerate(turns) if t["role"] == "assistant" and (chance is None or bool(t["calls"]) == chance)]
    return turns[:dice.choice(at) + 1]


def draw(skill, dice):
    kind = skill.replace(THINKS, "").split("_")[0]
    system = dice.choice(SYSTEMS)
    if kind == "talk":
        while True:
            question, answer, kept = smalltalk.talk_question(dice)
            if kept:
                return made(dice.choice(tasks.SYSTEMS), [toolbox.user(question), toolbox.assistant(answer)])
    if kind == "sum2":
        while True:
            a, op, b = dice.randrange(10, 100), dice.choice("+-"), dice.randrange(10, 100)
            if op == "-":
                a, b = max(a, b), min(a, b)
            if sums.held_out(a, op, b):
                break
        question = dice.choice([
            "What is {}?", "Compute {}.", "{} = ?", "How much is {}?", "Calculate {}", "What is {}", "Tell me {}.", "{}",
            "Please compute {}.", "Can you calculate {}?"
        ]).format(dice.choice([f"{a} {op} {b}", f"{a}{op}{b}", f"{a} {'plus' if op == '+' else 'minus'} {b}"]))
        value = a + b if op == "+" else a - b
        return made(system, [toolbox.user(question),
                             toolbox.assistant(f"{a} {op} {b} = {value}.", sums.reasoning(a, op, b))],
                    must=[f"= {value}."])
    if kind == "sum3":
        question, reason, answer, value = sums.task(dice, True)
        return made(system, [toolbox.user(question), toolbox.assistant(answer, reason)], must=[f"= {value}"])
    if kind in ("call", "result"):
        tools = tasks.make_tools(dice)
        turns, _, result = tasks.tool_turns(dice, tools)
        return made(dice.choice(tasks.SYSTEMS),
                    turns[:2] if kind == "call" else turns, [t for t, _ in tools],
                    must=values_of(result) if kind == "result" else ())
    if kind in ("unseen", "many", "several", "retry", "answer", "none"):
        kit = toolbox.kit(dice, dice.randrange(30, 41) if kind == "many" else dice.randrange(4, 13), True)
        tools, tool = [t.schema for t in kit], dice.choice(kit)
        if kind == "none":
            return made(system, toolbox.none_fits(dice, kit, True), tools, must=["None of my tools"])
        if kind == "several":
            return made(system, toolbox.several_calls(dice, tool)[:2], tools)
        if kind == "retry":
            return made(system, toolbox.retry(dice, tool)[:4], tools)
        if kind == "answer":
            turns = toolbox.one_call(dice, tool)
            text = turns[2]["text"]
            return made(system,
                        turns[:4],
                        tools,
                        must=[turns[3]["text"].rstrip(".").split(": ", 1)[-1]] if ": " in turns[3]["text"] and text else
                        ["Done"] if text in ("ok", "OK", "done", "success", "true", "Success.", '{"ok": true}',
                                             "") else [turns[3]["text"]])
        return made(system, toolbox.one_call(dice, tool)[:2], tools)
    if kind == "agent":
        tools, turns, _, _ = agents.work(dice, True)
        if skill.endswith("long"):
            system = reading.system_prompt(dice, dice.randrange(12000, 30000))
        turns = before_call(turns, dice)
        return made(system, turns, tools, must=[] if turns[-1]["calls"] else [turns[-1]["text"]])
    if kind == "schema":
        system, form, turns = reading.schema_answer(dice, True)
        return made(system, turns, form=form, must=[turns[-1]["text"]])
    if kind == "own":
        tell, ask, _ = reading.own(dice, True)
        between = [toolbox.user("What is 3 + 4?"),
                   toolbox.assistant("3 + 4 = 7.", "ones 3 + 4 = 7; together 7.")] if dice.random() < 0.5 else []
        turns = tell + between + ask
        return made(system, turns, must=[turns[-1]["text"].rsplit(" is ", 1)[1].rstrip(".")])
    n = int(skill.split("_")[1])
    if kind == "recall":
        system, turns, secrets = tasks.recall(dice, n // 11 - 8, dice.choice((1, 2, 3, 4)), 1)
        return made(system, turns, must=secrets)
    system, turns, asked = reading.note(dice, int(n * 3.0), dice.choice((2, 3, 4, 5)) + n // 8000, 1, True)
    return made(system, turns, must=[asked[0].value])


def item(skill, seed):
    return draw(skill, random.Random(f"{skill}/{seed}"))
