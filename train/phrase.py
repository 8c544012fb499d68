"""Sentences from small grammars: (a|b|c) takes one, [x] is there or not, {name} is filled in by the caller.

Standard library only. Everything is drawn from the random.Random that is passed in."""
import functools
import pathlib
import re

TALK = pathlib.Path(__file__).parent / "talk"


def load(name):
    """[(ways to say it, answer)] of a file in talk/."""
    out, forms = [], []
    for line in (TALK / f"{name}.txt").read_text().split("\n"):
        if line.startswith("? "):
            forms.append(line[2:])
        elif line.startswith("= "):
            out.append(("|".join(forms), line[2:].replace("\\n", "\n")))
            forms = []
    return out


def groups(name):
    """The paragraphs of a file in talk/, each one grammar."""
    text = (TALK / f"{name}.txt").read_text().split("\n\n", 1)[1]
    return ["|".join(group.split("\n")) for group in text.strip().split("\n\n")]



@functools.lru_cache(None)
def parsed(text):
    """A tuple of alternatives, each a sequence of strings and of such tuples."""
    at, text = 0, "(" + text + ")"

    def sequence(stops):
        nonlocal at
        out = []
        while at < len(text) and text[at] not in stops:
            if text[at] == "(":
                at += 1
                branches = [sequence("|)")]
                while text[at] == "|":
                    at += 1
                    branches.append(sequence("|)"))
                at += 1
                out.append(tuple(branches))
            elif text[at] == "[":
                at += 1
                branches = [[], sequence("|]")]
                while text[at] == "|":
                    at += 1
                    branches.append(sequence("|]"))
                at += 1
                out.append(tuple(branches))
            else:
                end = re.compile(r"[^()\[\]|]+|.").match(text, at).end()
                out.append(text[at:end])
                at = end
        return out

    return sequence("")[0]


def say(dice, text, **values):
    """One sentence of the grammar `text`, spaces tidied, {names} filled in."""
    def walk(node):
        return "".join(n if isinstance(n, str) else walk(dice.choice(n)) for n in node)

    out = re.sub(r" +", " ", walk([parsed(text)])).strip()
    out = re.sub(r" ([?.,!])", r"\1", out)
    for key, value in values.items():
        out = out.replace("{" + key + "}", str(value))
    return out


def capital(text):
    return text[:1].upper() + text[1:]


BEFORE = ["Hello! ", "Hi, ", "hey, ", "Hey! ", "One question: ", "I have a question. ", "Please tell me: ", "Tell me, ", "By the way, ",
          "So, ", "ds4-mini, ", "ds4, ", "Now: ", "OK. ", "ok, ", "Quick question: ", "Sorry, ", "Could you tell me: ", "I wonder: ",
          "well, ", "Good morning! ", "Just curious: ", "Excuse me, ", "Next: ", "And ", "Also, ", "then ", "do you know: "]
AFTER = [" Thanks!", " Please answer.", " Please.", " I want to know.", " thanks", " pls", " please", " Thank you.", ", please",
         " Can you help?", " I forgot.", " Just asking.", " :)"]
SHORTER = [("What is", "What's"), ("what is", "what's"), ("What is", "whats"), ("Who is", "Who's"), ("Where is", "Where's"),
           ("How is", "How's"), ("I am", "I'm"), ("I am", "im"), ("do not", "don't"), ("does not", "doesn't"), ("cannot", "can't"),
           ("you are", "you're"), (" you ", " u "), (" are ", " r "), ("please", "pls"), ("I would", "I'd"), ("It is", "It's"),
           ("want to", "wanna"), ("What are", "What're"), ("colour", "color"), ("licence", "license"), ("going to", "gonna")]
NEAR = {"a": "s", "e": "r", "i": "o", "o": "p", "n": "m", "t": "r", "s": "d", "r": "t", "l": "k", "c": "v", "u": "y", "d": "f", "m": "n",
        "h": "j", "g": "f", "p": "o", "b": "v", "k": "l", "w": "e", "y": "t", "f": "d", "v": "b"}


def typo(dice, text):
    """A slip of the finger in one of the longer words."""
    words = [m for m in re.finditer(r"[a-z]{5,}", text)]
    if not words:
        return text
    m = dice.choice(words)
    at = dice.randrange(m.start() + 1, m.end() - 1)
    kind = dice.randrange(4)
    if kind == 0:
        return text[:at] + text[at + 1] + text[at] + text[at + 2:]
    if kind == 1:
        return text[:at] + text[at + 1:]
    if kind == 2:
        return text[:at] + text[at] + text[at:]
    return text[:at] + NEAR.get(text[at], "e") + text[at + 1:]


def casual(dice, text, decorate=True):
    """The text as people type it."""
    if dice.random() < 0.6:
        text = capital(text)
    if dice.random() < 0.25:
        old, new = dice.choice(SHORTER)
        text = text.replace(old, new)
    roll = dice.random()
    if roll < 0.22:
        text = text.lower()
    elif roll < 0.235:
        text = text.upper()
    if dice.random() < 0.25:
        text = text.rstrip("?!.")
    elif dice.random() < 0.05:
        text += dice.choice(["?", "!", "??", "...", " ?", "!!"])
    if dice.random() < 0.08:
        text = typo(dice, text)
    if decorate and len(text.split()) > 2:
        if dice.random() < 0.2:
            text = dice.choice(BEFORE) + text
        if dice.random() < 0.1:
            text += dice.choice(AFTER)
    return text
