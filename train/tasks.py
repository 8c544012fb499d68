"""The skills of ds4-mini as generators: one definition for training and for evaluation.

A task is a list of turns; a turn is a dict with role "user", "assistant" or "tool":
    user       text
    assistant  reasoning ("" for none), text, calls [(name, {key: value})]
    tool       text
Tasks that need tools say so in "tools" (OpenAI function objects). `check(answer)` of an evaluation item judges what a
server said. Standard library only; everything is drawn from the random.Random that is passed in."""
import json

import smalltalk
import words


def user(text):
    return {"role": "user", "text": text}


def assistant(text="", reasoning="", calls=()):
    return {"role": "assistant", "text": text, "reasoning": reasoning, "calls": list(calls)}


# ------------------------------------------------------------------ (a) small talk

def talk(dice):
    questions, answers = dice.choice(smalltalk.ROWS)
    question, answer = dice.choice(questions), dice.choice(answers)
    return [user(question), assistant(answer, "The user says something simple. I answer briefly.")], set(answers)


# ------------------------------------------------------------------ (b) arithmetic

SUM_FORMS = ["What is {}?", "Compute {}.", "{} = ?", "How much is {}?", "Calculate {}", "What is {}", "Tell me {}."]


def sum_reasoning(a, op, b):
    """The steps a child would write down."""
    if op == "*":
        tens, ones = b // 10 * 10, b % 10
        return f"{a} * {tens} = {a * tens}. {a} * {ones} = {a * ones}. {a * tens} + {a * ones} = {a * b}."
    ones, tens = (a % 10, b % 10), (a // 10, b // 10)
    if op == "+":
        low = ones[0] + ones[1]
        carry = low // 10
        return (f"{ones[0]} + {ones[1]} = {low}, write {low % 10}, carry {carry}. "
                f"{tens[0]} + {tens[1]} + {carry} = {sum(tens) + carry}. So {a + b}.")
    return f"From {b} up to {a}: {a} - {b // 10 * 10} = {a - b // 10 * 10}, minus {b % 10} is {a - b}. So {a - b}."


def arithmetic(dice):
    a, b = dice.randrange(10, 100), dice.randrange(10, 100)
    op = dice.choice("++--*")
    if op == "-" and b > a:
        a, b = b, a
    result = {"+": a + b, "-": a - b, "*": a * b}[op]
    form = dice.choice(SUM_FORMS)
    return [user(form.format(f"{a} {op} {b}")), assistant(f"{a} {op} {b} = {result}.", sum_reasoning(a, op, b))], result, op


# ------------------------------------------------------------------ (c), (d) tools

TOOL_NAMES = ["get_{}", "find_{}", "{}_lookup", "fetch_{}", "read_{}", "{}"]
DESCRIPTIONS = ["Returns the {} of a {}.", "Looks up the {} for a {}.", "Gives the {} of one {}.",
                "Get the {} for the given {}.", "Finds the {} of a {}."]
REQUESTS = ["What is the {topic} of {values}?", "Please get the {topic} for {values}.", "Show me the {topic} of {values}.",
            "I need the {topic} for {values}.", "Can you find the {topic} of {values}?", "{topic} of {values}, please.",
            "Look up the {topic} for {values}."]


def make_tool(dice, topic):
    """A function object: the topic is in the description, the name may be made up."""
    base = topic.replace(" ", "_") if dice.random() < 0.4 else words.name(dice, False)
    field = dice.choice(words.FIELDS)
    properties = {field: {"type": "string"}}
    if field in words.INT_FIELDS:
        properties[field] = {"type": "integer"}
    if dice.random() < 0.5:
        more = dice.choice(words.INT_FIELDS if dice.random() < 0.6 else words.FIELDS)
        if more != field:
            properties[more] = {"type": "integer" if more in words.INT_FIELDS else "string"}
    return {"name": dice.choice(TOOL_NAMES).format(base), "description": dice.choice(DESCRIPTIONS).format(topic, field),
            "parameters": {"type": "object", "properties": properties, "required": list(properties)}}, topic


def make_tools(dice):
    topics = dice.sample(words.TOPICS, dice.choice((1, 2, 3, 3, 4, 5, 6)))
    made, names = [], set()
    for topic in topics:
        tool = make_tool(dice, topic)
        while tool[0]["name"] in names:
            tool = make_tool(dice, topic)
        names.add(tool[0]["name"])
        made.append(tool)
    return made


def value_for(dice, kind):
    if kind == "integer":
        return dice.randrange(1, 3000) if dice.random() < 0.5 else dice.randrange(1, 32)
    roll = dice.randrange(4)
    if roll == 0:
        return words.name(dice) + " " + words.name(dice)
    if roll == 1:
        return f"{dice.choice(words.COLORS)} {dice.choice(words.THINGS)}"
    if roll == 2:
        return f"{words.name(dice, False)}{dice.randrange(10, 1000)}"
    return words.name(dice)


def result_for(dice):
    """What a tool might say; the answer repeats it."""
    roll = dice.randrange(5)
    if roll == 0:
        return f"{dice.choice(words.ADJECTIVES)}, {dice.randrange(1, 100)}"
    if roll == 1:
        return str(dice.randrange(1, 100000))
    if roll == 2:
        return words.name(dice) + " " + str(dice.randrange(1, 1000))
    if roll == 3:
        return f"{dice.choice(words.COLORS)} {dice.choice(words.ANIMALS)}"
    return words.secret(dice)


def tool_turns(dice, tools):
    """A request, the call, its result and the answer. Returns (turns, call, result)."""
    tool, topic = dice.choice(tools)
    arguments = {k: value_for(dice, p["type"]) for k, p in tool["parameters"]["properties"].items()}
    described = " and ".join(f"{k} {v}" for k, v in arguments.items())
    request = dice.choice(REQUESTS).format(topic=topic, values=described)
    result = result_for(dice)
    turns = [user(request[0].upper() + request[1:]),
             assistant("", f"The user wants the {topic}. I call {tool['name']}.", [(tool["name"], arguments)]),
             {"role": "tool", "text": result},
             assistant(f"The {topic} is {result}.", "The tool gave me the result.")]
    return turns, (tool["name"], arguments), result


# ------------------------------------------------------------------ (e) recall

FACTS = [("The code word for {} is {}.", "What is the code word for {}?", "The code word for {} is {}."),
         ("Remember: the locker number of {} is {}.", "What is the locker number of {}?", "The locker number of {} is {}."),
         ("Note that {} has the password {}.", "What is the password of {}?", "The password of {} is {}."),
         ("The key of {} is {}.", "What is the key of {}?", "The key of {} is {}."),
         ("Please remember that {} lives in house {}.", "In which house does {} live?", "{} lives in house {}.")]


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


def recall_question(question, answer):
    return [user(question), assistant(answer, "I look for it in the text above. " + answer)]


NOTE_ANSWERS = ["I have read it.", "Noted.", "All right, I will remember it."]
NOTE_OPENINGS = ["Read this: ", "Here is a text. ", "", "Keep these notes: ", "Please read: "]


# ------------------------------------------------------------------ a whole conversation for training

def conversation(dice, n_words):
    """About n_words words of turns: (system text, tools, turns). Tasks are chained; facts come back later."""
    tools = make_tools(dice) if dice.random() < 0.45 else []
    system = "" if dice.random() < 0.3 else dice.choice(
        ["You are a helpful assistant", "You are helpful.", "You are terse.", "You keep notes.",
         "You are ds4-mini.", "You are a helpful assistant. Answer briefly."])
    turns, size, open_facts = [], 0, []
    if system and dice.random() < 0.25:
        new = [fact(dice) for _ in range(dice.choice((1, 1, 2)))]
        system += " " + long_note(dice, dice.randrange(0, max(1, n_words // 40)), new)
        size += len(system.split())
        open_facts += new
    while size < n_words:
        roll = dice.random()
        if tools and roll < 0.45:
            more = tool_turns(dice, tools)[0]
        elif roll < 0.62:
            more = arithmetic(dice)[0]
        elif roll < 0.72:
            more = talk(dice)[0]
        elif open_facts and roll < 0.88:
            _, question, answer, _ = dice.choice(open_facts)
            more = recall_question(question, answer)
        else:
            new = [fact(dice) for _ in range(dice.choice((1, 1, 2, 3)))]
            room = max(4, min(n_words // 12, 400))
            note = dice.choice(NOTE_OPENINGS) + long_note(dice, dice.randrange(0, room), new)
            open_facts += new
            if dice.random() < 0.5:
                _, question, answer, _ = dice.choice(new)
                more = [user(note + " " + question), recall_question(question, answer)[1]]
            else:
                more = [user(note), assistant(dice.choice(NOTE_ANSWERS), "The user gives me a text.")]
        turns += more
        size += sum(len(t["text"].split()) + len(t.get("reasoning", "").split()) + 8 for t in more)
    if open_facts and n_words > 300:
        for _ in range(3):
            _, question, answer, _ = dice.choice(open_facts)
            turns += recall_question(question, answer)
    return system, [t for t, _ in tools], turns


def schema_line(tool):
    return json.dumps(tool, ensure_ascii=False)
