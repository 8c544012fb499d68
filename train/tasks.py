"""The skills of ds4-mini as generators: one definition for training and for evaluation.

A task is a list of turns; a turn is a dict with role "user", "assistant" or "tool":
    user       text
    assistant  text, reasoning, calls [(name, {key: value})]
    tool       text
Everything is drawn from the random.Random that is passed in. What `held_out` marks never occurs in training: one sum in
ten, and one decorated small-talk question in eight; names, values and filler are new with every seed anyway.
Standard library only."""
import json

import toolbox
import words
from toolbox import assistant, user


def until(make, wanted):
    """The first draw for which wanted() holds."""
    while True:
        drawn = make()
        if wanted(drawn):
            return drawn


# ------------------------------------------------------------------ (c), (d) tools

TOOL_NAMES = ["get_{}", "find_{}", "{}_lookup", "fetch_{}", "read_{}", "{}", "search_{}", "{}_info"]
DESCRIPTIONS = ["Returns the {} of a {}.", "Looks up the {} for a {}.", "Gives the {} of one {}.",
                "Get the {} for the given {}.", "Finds the {} of a {}.", "{} for a {}", "Get the current {} of a {}",
                "The {} by {}."]
REQUESTS = ["What is the {topic} {of} {values}?", "Please get the {topic} {of} {values}.", "Show me the {topic} {of} {values}.",
            "I need the {topic} {of} {values}.", "Can you find the {topic} {of} {values}?", "{topic} {of} {values}, please.",
            "Look up the {topic} {of} {values}.", "{topic} {of} {values}?", "Tell me the {topic} {of} {values}.",
            "Use a tool: the {topic} {of} {values}.", "How is the {topic} {of} {values}?"]
BARE_REQUESTS = ["What is the {topic}?", "Please get the {topic}.", "Show me the {topic}.", "Tell me the {topic}."]


def schema(dice, field):
    kind = "integer" if field in words.INT_FIELDS else "string"
    if dice.random() < 0.3:
        return {"type": kind, "description": dice.choice(["The {}", "{}", "The {} to use", "Name of the {}"]).format(field)}
    return {"type": kind}


def make_tool(dice, topic):
    """(function object, topic): the topic is in the description, the name may be made up."""
    base = topic.replace(" ", "_") if dice.random() < 0.5 else words.name(dice, False)
    if dice.random() < 0.1:
        base += "_" + words.name(dice, False)
    field = dice.choice(words.FIELDS)
    fields = [field]
    if dice.random() < 0.45:
        more = dice.choice(words.INT_FIELDS if dice.random() < 0.6 else words.FIELDS)
        if more != field:
            fields.append(more)
    if dice.random() < 0.05:
        fields = []
    parameters = {"type": "object", "properties": {f: schema(dice, f) for f in fields}}
    if dice.random() < 0.75:
        parameters["required"] = fields
    text = dice.choice(DESCRIPTIONS).format(topic, field)
    return {"name": dice.choice(TOOL_NAMES).format(base), "description": text[0].upper() + text[1:],
            "parameters": parameters}, topic


def make_tools(dice):
    n = dice.choice((1, 1, 2, 2, 3, 3, 4, 5, 6))
    topics = dice.sample(words.TOPICS, n)
    topics = [words.name(dice, False) if dice.random() < 0.15 else t for t in topics]
    made, names = [], set()
    for topic in topics:
        tool = until(lambda: make_tool(dice, topic), lambda t: t[0]["name"] not in names)
        names.add(tool[0]["name"])
        made.append(tool)
    return made


def value_for(dice, kind):
    if kind == "integer":
        return dice.randrange(1, 3000) if dice.random() < 0.4 else dice.randrange(1, 32)
    roll = dice.randrange(6)
    if roll == 0:
        return words.name(dice) + " " + words.name(dice)
    if roll == 1:
        return f"{dice.choice(words.COLORS)} {dice.choice(words.THINGS)}"
    if roll == 2:
        return f"{words.name(dice, False)}{dice.randrange(10, 1000)}"
    if roll == 3:
        return dice.choice(words.REAL_VALUES)
    return words.name(dice)


def result_for(dice):
    """What a tool might say; the answer repeats it."""
    roll = dice.randrange(7)
    if roll == 0:
        return f"{dice.choice(words.ADJECTIVES)}, {dice.randrange(1, 100)}"
    if roll == 1:
        return str(dice.randrange(1, 100000))
    if roll == 2:
        return words.name(dice) + " " + str(dice.randrange(1, 1000))
    if roll == 3:
        return f"{dice.choice(words.COLORS)} {dice.choice(words.ANIMALS)}"
    if roll == 4:
        return json.dumps({dice.choice(words.FIELDS): value_for(dice, dice.choice(["integer", "string"]))})
    if roll == 5:
        return f"{dice.choice(words.ADJECTIVES)} and {dice.choice(words.ADJECTIVES)}, {dice.randrange(1, 100)} {dice.choice(words.THINGS)}s"
    return words.secret(dice)


def described(dice, arguments):
    """How a person says the arguments: with the names of the fields, or without where that is clear."""
    parts = list(arguments.items())
    texts = [k for k, v in parts if isinstance(v, str)]
    if len(texts) <= 1 and len(parts) - len(texts) <= 1 and dice.random() < 0.6:
        out = " ".join(str(v) for _, v in parts if isinstance(v, str))
        for k, v in parts:
            if not isinstance(v, str):
                said = f"{v} {k}" if k.endswith("s") else f"{k} {v}"
                out = f"{out} {dice.choice(['for', 'with', 'and'])} {said}" if out else said
        return out
    return " and ".join(f"{k} {v}" for k, v in parts)


def tool_turns(dice, tools):
    """A request, the call, its result and the answer. Returns (turns, call, result)."""
    tool, topic = dice.choice(tools)
    arguments = {k: value_for(dice, p["type"]) for k, p in tool["parameters"]["properties"].items()}
    if arguments:
        request = dice.choice(REQUESTS).format(topic=topic, of=dice.choice(["of", "for", "for", "in"]),
                                               values=described(dice, arguments))
    else:
        request = dice.choice(BARE_REQUESTS).format(topic=topic)
    result = result_for(dice)
    turns = [user(request[0].upper() + request[1:]),
             assistant("", f"The user wants the {topic}. I call {tool['name']}.", [(tool["name"], arguments)]),
             {"role": "tool", "text": result},
             assistant(f"The {topic}: {toolbox.listed(json.loads(result))}." if result[0] == "{" else f"The {topic} is: {result}", f"The tool says: {result}")]
    return turns, (tool["name"], arguments), result


# ------------------------------------------------------------------ (e) recall

FACTS = [("The code word for {} is {}.", "What is the code word for {}?", "The code word of {} is {}."),
         ("Remember: the locker number of {} is {}.", "What is the locker number of {}?", "The locker number of {} is {}."),
         ("Note that the password of {} is {}.", "What is the password of {}?", "The password of {} is {}."),
         ("The key of {} is {}.", "What is the key of {}?", "The key of {} is {}."),
         ("The secret of {} is {}.", "Do you remember the secret of {}?", "The secret of {} is {}."),
         ("Please remember that the room of {} is {}.", "Which one is the room of {}?", "The room of {} is {}.")]


def fact(dice):
    """(statement, question, answer, secret)"""
    who, what = words.name(dice), words.secret(dice)
    statement, question, answer = dice.choice(FACTS)
    return statement.format(who, what), question.format(who), answer.format(who, what), what


def long_note(dice, n_sentences, facts):
    """Filler with the facts at random places."""
    parts = [words.sentence(dice) for _ in range(n_sentences)]
    for statement, *_ in facts:
        parts.insert(dice.randrange(len(parts) + 1), statement)
    return " ".join(parts)


def recall_turns(question, answer, before=""):
    return [user(before + question), assistant(answer, "I look it up in the text above. " + answer)]


NOTE_ANSWERS = ["Noted.", "All right, I will remember it."]
NOTE_OPENINGS = ["Read this: ", "Here is a text. ", "", "Keep these notes: ", "Please read: "]


def recall(dice, n_sentences, n_facts, n_questions):
    """(system text or "", turns, the secrets asked for): facts in filler, then questions about them."""
    facts = [fact(dice) for _ in range(n_facts)]
    note = long_note(dice, n_sentences, facts)
    asked = [dice.choice(facts) for _ in range(n_questions - n_facts)] if n_questions > n_facts else []
    asked = dice.sample(facts, min(n_questions, n_facts)) + asked
    system, turns = "", []
    form = dice.random()
    if form < 0.2:
        system = dice.choice(SYSTEMS[1:]) + " " + note
        turns += recall_turns(asked[0][1], asked[0][2])
    elif form < 0.6:
        turns += recall_turns(asked[0][1], asked[0][2], dice.choice(NOTE_OPENINGS) + note + " ")
    else:
        turns += [user(dice.choice(NOTE_OPENINGS) + note), assistant(dice.choice(NOTE_ANSWERS), "The user gives me a text.")]
        turns += recall_turns(asked[0][1], asked[0][2])
    for _, question, answer, _ in asked[1:]:
        turns += recall_turns(question, answer)
    return system, turns, [f[3] for f in asked]


SYSTEMS = ["", "You are a helpful assistant", "You are helpful.", "You are terse.", "You keep notes.", "You are ds4-mini.",
           "You are a helpful assistant.", "You are a helpful assistant. Answer briefly.", "Be brief.", "S"]

SENTENCE_TOKENS = 12  # measured mean: 11.3
