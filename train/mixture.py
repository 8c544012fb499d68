"""What ds4-mini is trained on: conversations of every kind, in shares of the tokens, and plain text.

Standard library only. Everything is drawn from the random.Random that is passed in; nothing here is held out data."""
import json
import pathlib
import re

import agents
import minute
import reading
import sums
import tasks
import toolbox
import words
from phrase import capital
from toolbox import assistant, user

SYSTEMS = [
    "", "", "", "You are a helpful assistant", "You are a helpful assistant", "You are a helpful assistant.", "You are helpful.",
    "You are terse.", "You are ds4-mini.", "You are a helpful assistant. Answer briefly.", "Be brief.", "S",
    "You answer questions.", "You are a friendly assistant.", "Answer in one sentence.", "You are an assistant with tools.",
    "You keep notes."
]

GREETING = "This is small talk. I answer briefly."
REASONS = [(minute.UNKNOWN, "I do not know this. I say so."), ("I do not know", "I cannot know this. I say so."),
           ("I cannot see", "I cannot know this. I say so.")]


def reasoned(text):
    for start, reason in REASONS:
        if text.startswith(start):
            return reason
    return "This is about ds4. I know it." if "ds4" in text or "--" in text else "I know this. I answer briefly."


def plain(text):
    return re.sub(r"\W+", " ", text.lower()).strip()


KEPT = pathlib.Path(__file__).resolve().parents[1] / "tests/data/first_minute.jsonl"
HAND = {plain(json.loads(line)["q"]) for line in KEPT.read_text().splitlines()} if KEPT.exists() else set()
HAND.discard("")  # never in training


def minute_turns(dice):
    question, answer = minute.question(dice)
    while plain(question) in HAND:
        question, answer = minute.question(dice)
    return [user(question), assistant(answer, reasoned(answer))]


def sum_turns(dice):
    if dice.random() < 0.15:
        question, reason, answer = sums.extra(dice)
    else:
        question, reason, answer, _ = sums.task(dice)
    return [user(question), assistant(answer, reason)]


def echo_turns(dice):
    question, answer = reading.echo(dice, False)
    return [user(capital(question) if dice.random() < 0.7 else question), assistant(answer, "I do what is asked.")]


def chat(dice):
    """Small talk, sums, facts, what the user told about himself."""
    turns, told, open_ = [], set(), []
    kind = dice.random()
    weights = (0.9, 0.06, 0.02, 0.02) if kind < 0.45 else (0.1, 0.85, 0.03, 0.02) if kind < 0.65 else (0.3, 0.15, 0.2, 0.35)
    for _ in range(dice.choice((1, 1, 1, 1, 2, 2, 3, 4))):
        what = dice.choices(("minute", "sum", "echo", "own"), weights)[0]
        if what == "minute":
            turns += minute_turns(dice)
        elif what == "sum":
            turns += sum_turns(dice)
        elif what == "echo":
            turns += echo_turns(dice)
        elif open_ and dice.random() < 0.6:
            turns += dice.choice(open_)
        else:
            tell, ask, k = reading.own(dice, False)
            if k in told:
                continue
            if dice.random() < 0.15 and not told:
                turns += reading.unasked(dice, False)
                told.update(reading.OWN)  # tell nothing after that: the answers would have to change
                continue
            told.add(k)
            open_.append(ask)
            turns += tell + (ask if dice.random() < 0.4 else [])
    return dice.choice(SYSTEMS), None, [], turns or minute_turns(dice)


def tool_session(dice, room):
    """One to forty tools, wishes for them, errors, wishes for which there is none, and talk."""
    most = max(1, min(40, (room - 400) // 110))
    n = min(most, dice.choice((1, 2, 2, 3, 3, 4, 4, 5, 6, 6, 8, 8, 10, 10, 12, 14, 20, 30, 40)))
    kit = toolbox.kit(dice, n, False)
    turns, size, many = [], 300 + n * 100, dice.choice((2, 3, 4, 6, 8, 10)) if n < 15 else dice.choice((6, 9, 12))
    for _ in range(many):
        tool, roll = dice.choice(kit), dice.random()
        if roll < 0.60:
            more = toolbox.one_call(dice, tool)
        elif roll < 0.70:
            more = toolbox.several_calls(dice, tool)
        elif roll < 0.75 and n > 1:
            more = toolbox.two_tools(dice, kit)
        elif roll < 0.83:
            more = toolbox.retry(dice, tool)
        elif roll < 0.90:
            more = toolbox.none_fits(dice, kit, False)
        else:
            more = dice.choice((minute_turns, minute_turns, sum_turns, echo_turns))(dice)
        turns += more
        size += 120
        if size > room:
            break
    system = dice.choice(SYSTEMS)
    spare = room - size
    if dice.random() < 0.25 and spare > 300:
        system = reading.system_prompt(dice, dice.randrange(200, min(spare * 3, 30000)))
    return system, None, [t.schema for t in kit], turns


def old_tools(dice):
    made = tasks.make_tools(dice)
    turns = []
    for _ in range(dice.choice((1, 2, 3, 4, 6))):
        turns += tasks.tool_turns(dice, made)[0]
    return dice.choice(SYSTEMS), None, [t for t, _ in made], turns


def agent_session(dice, room):
    """Work in a folder, with a system prompt as agents have it."""
    schemas, turns, kit, folder = agents.work(dice, False, dice.choice((1, 1, 2, 3)))
    told = reading.facts(dice, 1, False) if dice.random() < 0.2 else []
    spare = room - 1500
    system = dice.choice(SYSTEMS)
    if spare > 300 and dice.random() < 0.75:
        system = reading.system_prompt(dice, dice.randrange(300, min(spare * 3, 100000)), [f.statement for f in told])
        for f in told:
            turns += f.asked(dice)
    if dice.random() < 0.1:
        turns += dice.choice((minute_turns, sum_turns))(dice)
    if room > 3500 and dice.random() < 0.5:  # tools of another kind beside them
        schemas = schemas + [
            t.schema for t in toolbox.kit(dice, dice.choice((2, 4, 8)), False) if t.name not in {s["name"]
                                                                                                 for s in schemas}
        ]
        dice.shuffle(schemas)
    return system, None, schemas, turns


def note_session(dice, room):
    n = int(max(0, room - 300) * dice.random()**1.2 * 3.2)
    n_facts = dice.choice((1, 2, 3, 4, 6)) + n // 2500
    system, turns, _ = reading.note(dice, n, n_facts, min(n_facts, dice.choice((1, 2, 3, 4)) + n // 4000), False)
    tools = [t.schema for t in toolbox.kit(dice, dice.choice((1, 3)), False)] if dice.random() < 0.06 and room > 1500 else []
    return system, None, tools, turns


def old_notes(dice, room):
    n = int(max(40, min(room - 300, 7000)) * dice.random() / tasks.SENTENCE_TOKENS)
    n_facts = dice.choice((1, 2, 3, 4)) + n // 40
    system, turns, _ = tasks.recall(dice, n, n_facts, dice.randrange(0, 2) + n_facts)
    return system, None, [], turns


def long_session(dice, room):
    """A long session: notes, tools, work and talk, in which facts come back much later."""
    schemas, _, kit, folder = agents.work(dice, False)
    kit_tools = toolbox.kit(dice, dice.choice((3, 8, 15)), False)
    names = {s["name"] for s in schemas}
    kit_tools = [t for t in kit_tools if t.name not in names]
    system = reading.system_prompt(dice, dice.randrange(500, max(600, room)))
    turns, size, told = [], len(system) // 3 + 1500, []
    while size < room * 0.9:
        roll = dice.random()
        if roll < 0.3:
            more = None
            while not more:
                more = dice.choice(agents.TASKS)(dice, kit, folder)
        elif roll < 0.5:
            more = toolbox.one_call(dice, dice.choice(kit_tools))
        elif roll < 0.6:
            more = dice.choice((minute_turns, sum_turns))(dice)
        elif told and roll < 0.85:
            more = dice.choice(told).asked(dice)
        else:
            new = reading.facts(dice, dice.choice((1, 2, 3, 5)), False)
            told += new
            more = [
                user(
                    dice.choice(reading.OPENINGS) + reading.woven(
                        dice, reading.paragraphs(dice, dice.randrange(100, max(200, min(12000, room)))), [f.statement
                                                                                                          for f in new], "\n")),
                assistant(reading.NOTES[0], "The user gives me a text.")
            ]
        turns += more
        size += sum(len(t["text"]) + len(t.get("reasoning", "")) for t in more) // 3 + 10 * len(more)
    for f in dice.sample(told, min(len(told), 8)):
        turns += f.asked(dice)
    return system, None, schemas + [t.schema for t in kit_tools], turns


def schema_session(dice):
    system, form, turns = reading.schema_answer(dice, False)
    return system, form, [], turns


# kind: share of the tokens, in short rows and in long ones
SHARES = {
    "chat": (0.24, 0.06), "tools": (0.33, 0.20), "old_tools": (0.06, 0.01), "agent": (0.16, 0.22), "note": (0.07, 0.22),
    "old_notes": (0.05, 0.03), "schema": (0.04, 0.01), "long": (0.0, 0.17), "text": (0.05, 0.08)
}


def conversation(dice, kind, room):
    """(system, response format, tools, turns) of about `room` tokens at most."""
    if kind == "chat":
        return chat(dice)
    if kind == "tools":
        return tool_session(dice, room)
    if kind == "old_tools":
        return old_tools(dice)
    if kind == "agent":
        return agent_session(dice, room)
    if kind == "note":
        return note_session(dice, room)
    if kind == "old_notes":
        return old_notes(dice, room)
    if kind == "schema":
        return schema_session(dice)
    return long_session(dice, room)


def plain_text(dice, room):
    """A stretch of the corpus, as text to be continued."""
    kind = dice.choices(("prose", "doc", "code"), (0.5, 0.35, 0.15))[0]
    text = dice.choice(agents.CORPUS.get(kind) or [words.filler(dice, 100)])
    n = min(room, 1500) * 3
    at = dice.randrange(max(1, len(text) - n))
    return text[at:at + n]
