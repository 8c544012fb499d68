"""Finding things in a text: facts about people and things told in free wording, long system prompts, notes from far back,
answers that follow a JSON schema. Standard library only; everything is drawn from the random.Random that is passed in.

With held=True only wordings come that training never sees (toolbox.pick)."""
import json

import agents
import words
from phrase import capital, casual
from toolbox import assistant, record, user
from toolwords import PEOPLE, PRODUCTS, a_city, a_date, a_name, a_noun, a_path, a_sentence, an_email, an_id, pick

# ------------------------------------------------------------------ facts: attribute, ways to state, ways to ask, answer

A = {
    "code word": (lambda d: words.secret(d), [
        "The code word for {n} is {v}.", "{n}'s code word is {v}.", "Remember: the code word of {n} is {v}.",
        "{n} uses the code word {v}.", "For {n} we agreed on the code word {v}."
    ]),
    "locker number": (lambda d: str(d.randrange(10, 9999)), [
        "The locker number of {n} is {v}.", "{n} has locker number {v}.", "Remember: the locker number of {n} is {v}.",
        "{n}'s locker number: {v}.", "Locker {v} belongs to {n}."
    ]),
    "password": (lambda d: words.secret(d), [
        "The password of {n} is {v}.", "{n}'s password is {v}.", "Note that the password of {n} is {v}.",
        "{n} logs in with the password {v}.", "Password of {n}: {v}."
    ]),
    "key": (lambda d: an_id(d),
            ["The key of {n} is {v}.", "{n}'s key is {v}.", "{n} got the key {v}.", "Key of {n}: {v}.", "For {n} the key is {v}."]),
    "secret": (lambda d: words.secret(d), [
        "The secret of {n} is {v}.", "{n}'s secret is {v}.", "{n} keeps the secret {v}.", "Secret of {n}: {v}.",
        "The secret that {n} knows is {v}."
    ]),
    "room": (lambda d: str(d.randrange(1, 900)) if d.random() < 0.6 else words.name(d, False), [
        "Please remember that the room of {n} is {v}.", "{n} is in room {v}.", "{n}'s room is {v}.", "Room of {n}: {v}.",
        "You find {n} in room {v}."
    ]),
    "phone number": (lambda d: f"{d.randrange(100, 999)}-{d.randrange(1000, 9999)}", [
        "The phone number of {n} is {v}.", "{n}'s phone number is {v}.", "You can call {n} at the phone number {v}.",
        "Phone number of {n}: {v}.", "{n} has the phone number {v}."
    ]),
    "city": (a_city, [
        "{n} lives in the city of {v}.", "The city of {n} is {v}.", "{n}'s city is {v}.", "{n} has moved to the city {v}.",
        "City of {n}: {v}."
    ]),
    "age": (lambda d: str(d.randrange(3, 99)), [
        "{n} is {v} years old.", "The age of {n} is {v}.", "{n}'s age is {v}.", "{n} has reached the age of {v}.",
        "Age of {n}: {v}."
    ]),
    "job": (lambda d: d.choice(
        "baker carpenter teacher nurse driver painter engineer farmer lawyer cook pilot tailor gardener librarian plumber dentist judge sailor"
        .split()), [
            "{n} works as a {v}.", "The job of {n} is {v}.", "{n} is a {v} by trade; that is the job.", "{n}'s job is {v}.",
            "Job of {n}: {v}."
        ]),
    "favourite colour": (lambda d: d.choice(words.COLORS), [
        "{n}'s favourite colour is {v}.", "The favourite colour of {n} is {v}.", "{n} likes {v} best; it is the favourite colour.",
        "Favourite colour of {n}: {v}.", "For {n} the favourite colour is {v}."
    ]),
    "pet": (lambda d: f"a {d.choice(words.ANIMALS)} called {words.name(d)}", [
        "{n}'s pet is {v}.", "The pet of {n} is {v}.", "{n} has {v} as a pet.", "Pet of {n}: {v}.",
        "At home {n} keeps {v} as a pet."
    ]),
    "birthday":
    (lambda d:
     f"{d.choice('January February March April May June July August September October November December'.split())} {d.randrange(1, 29)}",
     [
         "{n}'s birthday is {v}.", "The birthday of {n} is {v}.", "{n} has a birthday on {v}.", "Birthday of {n}: {v}.",
         "{n} celebrates the birthday on {v}."
     ]),
    "email": (an_email, [
        "The email of {n} is {v}.", "{n}'s email is {v}.", "Write to {n} at the email {v}.", "Email of {n}: {v}.",
        "{n} reads the email {v}."
    ]),
    "seat":
    (lambda d: f"{d.randrange(1, 60)}{d.choice('ABCDEF')}",
     ["{n} sits in seat {v}.", "The seat of {n} is {v}.", "{n}'s seat is {v}.", "Seat of {n}: {v}.", "{n} has booked seat {v}."]),
    "budget": (lambda d: f"{d.randrange(1, 99) * 100} euros", [
        "The budget of {n} is {v}.", "{n}'s budget is {v}.", "{n} may spend a budget of {v}.", "Budget of {n}: {v}.",
        "For {n} there is a budget of {v}."
    ]),
    "deadline": (a_date, [
        "The deadline of {n} is {v}.", "{n}'s deadline is {v}.", "{n} must meet the deadline {v}.", "Deadline of {n}: {v}.",
        "For {n} the deadline is {v}."
    ]),
    "car": (lambda d: f"{d.choice(words.COLORS)} {words.name(d)}", [
        "{n} drives a {v}; that is the car.", "The car of {n} is a {v}.", "{n}'s car is a {v}.", "Car of {n}: {v}.",
        "{n} has bought a {v} as a car."
    ]),
    "address": (lambda d: f"{d.randrange(1, 200)} {words.name(d)} Street", [
        "The address of {n} is {v}.", "{n}'s address is {v}.", "{n} lives at the address {v}.", "Address of {n}: {v}.",
        "Send it to {n}, address {v}."
    ]),
    "team": (lambda d: words.name(d), [
        "{n} plays in the team {v}.", "The team of {n} is {v}.", "{n}'s team is {v}.", "{n} has joined the team {v}.",
        "Team of {n}: {v}."
    ]),
}
QUESTIONS = [
    "what is the {k} of {n}?", "what is {n}'s {k}?", "do you remember the {k} of {n}?", "which {k} does {n} have?",
    "which {k} belongs to {n}?", "tell me the {k} of {n}", "what was {n}'s {k} again?", "{n}'s {k}?",
    "I forgot the {k} of {n}, what is it?", "look above: which {k} has {n}?", "please give me {n}'s {k}",
    "what did the text say about the {k} of {n}?", "the {k} of {n}?", "according to the text, what is the {k} of {n}?",
    "can you find {n}'s {k}?", "what {k} was mentioned for {n}?", "find the {k} of {n} in the text", "which one is the {k} of {n}?",
    "I need {n}'s {k}", "remind me of the {k} of {n}"
]
ANY = ["The {k} of {n} is {v}.", "{n}'s {k} is {v}.", "{k} of {n}: {v}.", "For {n} the {k} is {v}.", "Note: {n} has {v} as {k}."]
ABSENT = "The text does not say that."


class Fact:

    def __init__(self, dice, held, name=None, kind=None):
        self.held = held
        self.kind = kind or (dice.choice(list(A)) if held or dice.random() < 0.6 else
                             a_noun(dice) if dice.random() < 0.7 else a_noun(dice) + " " + a_noun(dice))
        self.name = name or (words.name(dice) if dice.random() < 0.5 else a_name(dice) if dice.random() < 0.7 else "the " +
                             a_noun(dice, held))
        make, forms = A.get(self.kind) or (A[dice.choice(list(A))][0], [f.replace("{k}", self.kind) for f in ANY])
        self.value = make(dice)
        self.statement = pick(dice, forms, held).replace("{n}", self.name).replace("{v}", self.value)
        self.answer = f"The {self.kind} of {self.name} is {self.value}."

    def question(self, dice):
        text = pick(dice, QUESTIONS, self.held).replace("{n}", self.name).replace("{k}", self.kind)
        return capital(text) if dice.random() < 0.8 else text

    def asked(self, dice, before=""):
        return [user(before + self.question(dice)), assistant(self.answer, "I look it up in the text above. " + self.answer)]


def facts(dice, n, held):
    out, taken = [], set()
    while len(out) < n:
        f = Fact(dice, held, name=dice.choice(out).name if out and dice.random() < 0.3 else None)
        if (f.kind, f.name) not in taken:
            taken.add((f.kind, f.name))
            out.append(f)
    return out


def absent(dice, told, held):
    """A question whose answer the text does not hold."""
    names = {f.name for f in told}
    while True:
        f = Fact(dice, held, name=dice.choice(sorted(names)) if names and dice.random() < 0.5 else None)
        if (f.kind, f.name) not in {(t.kind, t.name) for t in told}:
            return [user(f.question(dice)), assistant(ABSENT, f"The text says nothing about the {f.kind} of {f.name}.")]


# ------------------------------------------------------------------ filler


def corpus_text(dice, n_chars, kinds=("prose", "doc", "code")):
    have = [k for k in kinds if k in agents.CORPUS]
    if not have:
        return " ".join(words.sentence(dice) for _ in range(n_chars // 60))
    text = dice.choice(agents.CORPUS[dice.choice(have)])
    at = dice.randrange(max(1, len(text) - n_chars))
    return text[at:at + n_chars]


def paragraphs(dice, n_chars):
    """Pieces of text of about n_chars in all, of several sorts."""
    out, size = [], 0
    plain = dice.random() < 0.35
    while size < n_chars:
        if plain:
            text = " ".join(words.sentence(dice) for _ in range(dice.choice((1, 3, 6))))
        elif dice.random() < 0.2:
            text = dice.choice([
                lambda: json.dumps(record(dice, 4)), lambda: a_sentence(dice),
                lambda: " ".join(words.sentence(dice) for _ in range(4)), lambda: agents.File(dice).text()
            ])()
        else:
            text = corpus_text(dice, dice.choice((200, 600, 1500)))
        out.append(text)
        size += len(text) + 1
    return out


def woven(dice, parts, statements, joint):
    parts = list(parts)
    for s in statements:
        parts.insert(dice.randrange(len(parts) + 1), s)
    return joint.join(parts)


NOTES = ["Noted.", "All right, I will remember it."]
OPENINGS = [
    "Read this: ", "Here is a text. ", "", "Keep these notes: ", "Please read: ", "Text:\n", "Here are my notes:\n\n",
    "I paste a document:\n", "Document:\n\n", "This is what I have: "
]


def note(dice, n_chars, n_facts, n_questions, held):
    """(system, turns, facts asked for): facts somewhere in a text of n_chars, then questions."""
    told = facts(dice, n_facts, held)
    joint = dice.choice([" ", "\n", "\n\n"])
    text = woven(dice, paragraphs(dice, n_chars) if n_chars > 60 else [], [f.statement for f in told], joint)
    asked = dice.sample(told, min(n_questions, n_facts))
    form, system, turns = dice.random(), "", []
    opening = pick(dice, OPENINGS, held)
    if form < 0.25:
        system = dice.choice(["", "You are a helpful assistant. ", "You answer from the notes below.\n\n", "Context:\n"]) + text
        turns += asked[0].asked(dice)
    elif form < 0.55:
        turns += asked[0].asked(dice, opening + text + dice.choice(["\n\n", " ", "\n", "\n\nQuestion: "]))
    else:
        turns += [user(opening + text), assistant(NOTES[0], "The user gives me a text.")]
        turns += asked[0].asked(dice)
    for f in asked[1:]:
        turns += f.asked(dice)
    if dice.random() < 0.25 and not held:
        turns += absent(dice, told, held)
    return system, turns, asked


# ------------------------------------------------------------------ what the user says about himself

OWN = {
    "name": (lambda d: d.choice(PEOPLE) if d.random() < 0.6 else words.name(d),
             ["my name is {v}", "I am called {v}", "call me {v}", "I'm {v}", "hi, {v} here", "you can call me {v}"], [
                 "what is my name?", "do you remember my name?", "who am I?", "what am I called?", "say my name",
                 "do you know what I am called?"
             ]), "city": (a_city, ["I live in {v}", "I am from {v}", "my city is {v}", "my home is in {v}",
                                   "I have moved to {v}"], [
                                       "where do I live?", "which city do I live in?", "what is my city?",
                                       "do you remember where I live?", "in which city am I at home?"
                                   ]), "age":
    (lambda d: str(d.randrange(5, 95)),
     ["I am {v} years old", "my age is {v}", "I'm {v}", "I turned {v} this year", "I just became {v} years old"
      ], ["how old am I?", "what is my age?", "do you remember my age?", "which age did I tell you?",
          "how many years old am I?"]), "favourite colour": (lambda d: d.choice(words.COLORS), [
              "my favourite colour is {v}", "I like {v} best of all colours", "my favorite color is {v}",
              "{v} is my favourite colour", "of the colours I prefer {v}"
          ], [
              "what is my favourite colour?", "which colour do I like best?", "do you remember my favourite colour?",
              "what's my favorite color?", "which colour did I say I prefer?"
          ]), "dog's name":
    (lambda d: words.name(d),
     ["my dog is called {v}", "my dog's name is {v}", "I have a dog named {v}", "{v} is my dog", "my dog {v} says hello"], [
         "what is my dog's name?", "how is my dog called?", "do you remember the name of my dog?", "my dog's name?",
         "what do I call my dog?"
     ]), "job": (lambda d: d.choice(
         "baker carpenter teacher nurse driver painter engineer farmer lawyer cook pilot tailor gardener librarian".split()),
                 ["I work as a {v}", "I am a {v}", "my job is {v}", "I'm a {v} by profession", "I earn my money as a {v}"], [
                     "what is my job?", "what do I do for a living?", "what do I work as?", "do you remember my job?",
                     "which profession do I have?"
                 ])
}


def own(dice, held):
    kind = dice.choice(list(OWN)) if held or dice.random() < 0.5 else a_noun(dice)
    make, tells, asks = OWN.get(kind) or (A[dice.choice(list(A))][0], [
        f"my {kind} is {{v}}", f"the {kind} I use is {{v}}", f"I have a {kind}: {{v}}", f"{{v}} is my {kind}",
        f"remember that my {kind} is {{v}}"
    ], [f"what is my {kind}?", f"which {kind} do I have?", f"do you remember my {kind}?", f"my {kind}?", f"tell me my {kind}"])
    v = make(dice)
    tell = casual(dice, pick(dice, tells, held).replace("{v}", v), False)
    tell = tell if v.lower() in tell.lower() else pick(dice, tells, held).replace("{v}", v)
    v = v if v in tell else v.lower() if v.lower() in tell else v.upper()
    return [user(tell),
            assistant(f"Nice to meet you, {v}!" if kind == "name" else NOTES[1], "The user tells me something.")
            ], [user(casual(dice, pick(dice, asks, held))),
                assistant(f"Your {kind} is {v}.", "The user has told me.")], kind


def unasked(dice, held):
    kind = dice.choice(list(OWN))
    return [
        user(casual(dice, pick(dice, OWN[kind][2], held))),
        assistant("You have not told me that.", "The user has not told me.")
    ]


# ------------------------------------------------------------------ system prompts of agents

RULES = [
    "Be concise.", "Do not add comments unless asked.", "Never guess file names.", "Prefer the tools over your memory.",
    "Answer in plain text.", "Do not commit changes unless the user asks.", "Use absolute paths where you can.",
    "Never reveal secrets.", "Keep answers under four lines.", "Read a file before you edit it.",
    "Follow the conventions of the code around you.", "When you do not know, say so.", "Ask before you delete anything.",
    "Run the tests after a change.", "Stop when the task is done.", "Report errors as they are.", "Do not use emojis.",
    "Use the edit tool for small changes.", "Make several independent calls at once.", "Mark finished tasks at once.",
    "Write code that reads well.", "Check the result of each command.", "Avoid needless explanations.",
    "Keep the user's formatting.", "Never invent URLs.", "Respect the license of the project.", "Prefer small steps.",
    "Quote file paths with spaces.", "Do not run long commands without a timeout.", "Explain dangerous commands first."
]
WHO = [
    "You are an interactive CLI agent that helps users with software engineering tasks.",
    "You are a coding agent running in a terminal.", "You are a helpful assistant with access to tools.",
    "You are {n}, an assistant that works in the user's project.", "You are an expert coding assistant.",
    "You help the user of this computer with files and programs.", "You are an AI programming assistant.",
    "You are a careful agent. You use the tools below."
]
HEADS = [
    "# Tone and style", "## Guidelines", "# Rules", "## How you work", "# Doing tasks", "## Editing files", "# Code style",
    "## Tool usage policy", "# Security", "## Output", "# Environment", "## Notes", "# Project documentation", "## AGENTS.md",
    "# Background", "## Conventions"
]


def listing(dice, n):
    lines = []
    for _ in range(n):
        lines.append(
            dice.choice([
                a_path(dice),
                a_path(dice), f"-rw-r--r-- 1 {words.name(dice, False)} {dice.randrange(100, 99999)} {a_path(dice)}",
                "  " * dice.randrange(4) + "- " + a_path(dice).split("/")[-1]
            ]))
    return "\n".join(lines)


def system_prompt(dice, n_chars, told=()):
    """Instructions, environment, listings and documents of about n_chars, with the statements `told` somewhere in it."""
    parts = [dice.choice(WHO).replace("{n}", words.name(dice))]
    size = 0
    while size < n_chars:
        kind = dice.random()
        head = dice.choice(HEADS) + "\n\n" if dice.random() < 0.7 else ""
        if kind < 0.3:
            text = head + "\n".join("- " + r for r in dice.sample(RULES, dice.choice((3, 5, 8))))
        elif kind < 0.45:
            text = head + " ".join(dice.sample(RULES, dice.choice((2, 4))))
        elif kind < 0.6:
            text = head + listing(dice, dice.choice((4, 10, 30)) if n_chars > 2000 else 3)
        elif kind < 0.7:
            text = f"<env>\nWorking directory: /home/{words.name(dice, False)}/{words.name(dice, False)}\nPlatform: {dice.choice(['linux', 'darwin'])}\nToday's date: {dice.randrange(2024, 2031)}-{dice.randrange(1, 13):02}-{dice.randrange(1, 29):02}\n</env>"
        elif kind < 0.75:
            text = f"<example>\nuser: {a_sentence(dice)}\nassistant: {a_sentence(dice)}\n</example>"
        else:
            text = head + corpus_text(dice, min(dice.choice((400, 1500, 4000)), max(200, n_chars - size)), ("doc", "code", "doc"))
        parts.append(text)
        size += len(text) + 2
    return parts[0] + "\n\n" + woven(dice, parts[1:], told, "\n\n")


# ------------------------------------------------------------------ answers that follow a schema

SCHEMA_ASKS = [
    "give me {x} as JSON", "return {x} in the required format", "extract the data: {x}", "{x}", "put this into JSON: {x}",
    "read it and fill in the schema: {x}", "answer as JSON. {x}", "convert to the schema: {x}", "here is the text: {x}",
    "structure this: {x}"
]


def schema_answer(dice, held):
    """(system, response format, turns): a text with values, and a JSON object of them."""
    fields, texts, props = {}, [], {}
    name = a_name(dice)
    for kind in dice.sample(list(A), dice.choice((1, 2, 2, 3, 4))):
        f = Fact(dice, held, name, kind)
        key = kind.replace(" ", "_")
        number = f.value.isdigit() and dice.random() < 0.7
        fields[key] = int(f.value) if number else f.value
        props[key] = {"type": "integer" if number else "string"}
        texts.append(f.statement)
    if dice.random() < 0.6:
        fields = {"name": name, **fields}
        props = {"name": {"type": "string"}, **props}
    if dice.random() < 0.2:
        tags = dice.sample(words.COLORS, 2)
        fields["tags"], props["tags"] = tags, {"type": "array", "items": {"type": "string"}}
        texts.append(f"Tags: {tags[0]}, {tags[1]}.")
    dice.shuffle(texts)
    schema = {"type": "object", "properties": props, "required": list(props)}
    if dice.random() < 0.5:
        schema["additionalProperties"] = False
    text = pick(dice, SCHEMA_ASKS, held).replace("{x}", " ".join(texts))
    form = {
        "type": "json_schema", "json_schema":
        {"name": dice.choice(["answer", "result", "data", "person", words.name(dice, False)]), "schema": schema}
    }
    answer = json.dumps(fields, ensure_ascii=False)
    if dice.random() < 0.3:  # the schema stands in the message
        return "", None, [
            user(text + dice.choice(["\nSchema: ", "\n\nFollow this JSON schema:\n", "\nAnswer with JSON like this schema: "]) +
                 json.dumps(schema)),
            assistant(answer, "I fill in the schema.")
        ]
    return dice.choice(["", "", "You are a helpful assistant.",
                        "You extract data."]), form, [user(capital(text)),
                                                      assistant(answer, "I fill in the schema.")]


# ------------------------------------------------------------------ small services


def echo(dice, held):
    """(question, answer): repeat, count, first and last of what is given."""
    kind = dice.randrange(6)
    text = dice.choice(
        [a_sentence, an_id, lambda d: words.secret(d), lambda d: words.name(d) + " " + words.name(d), words.sentence])(dice)
    if kind < 2:
        return pick(dice, [
            f"repeat after me: {text}", f"say {text}", f"repeat: {text}", f'please write "{text}"', f"echo {text}",
            f"Say exactly this: {text}", f'say "{text}"', f"Write this down: {text}", f"print {text}", f"copy this: {text}"
        ], held), text
    items = dice.sample(words.THINGS + words.ANIMALS + words.COLORS + PRODUCTS, dice.choice((3, 4, 5, 6)))
    shown = ", ".join(items)
    if kind == 2:
        return pick(dice, [
            f"what is the first word of this list: {shown}?", f"{shown}: which comes first?", f"give me the first of {shown}",
            f"first item of: {shown}"
        ], held), f"The first is {items[0]}."
    if kind == 3:
        return pick(dice, [
            f"what is the last word of this list: {shown}?", f"{shown}: which comes last?", f"give me the last of {shown}",
            f"last item of: {shown}"
        ], held), f"The last is {items[-1]}."
    if kind == 4:
        return pick(dice, [
            f"how many words are in this list: {shown}?", f"count these: {shown}", f"how many things are these: {shown}?",
            f"{shown}: how many are that?"
        ], held), f"There are {len(items)}."
    return pick(dice, [
        f"sort these words: {shown}", f"put in alphabetical order: {shown}", f"sort alphabetically: {shown}",
        f"order these by the alphabet: {shown}"
    ], held), ", ".join(sorted(items)) + "."
