"""Tools that no two conversations share: what they are about, what they are called, their schemas, how people ask for them,
what they answer. Standard library only; everything is drawn from the random.Random that is passed in.

With held=True only objects, names, wordings and templates come that training never sees (see `pick` and `objects`)."""
import json
import zlib

import words
from phrase import capital
from toolwords import (FLAG_SAYS, OBJECTS, P, SUBJECTS, VERBS, a_city, a_date, a_name, a_noun, a_path,
                       a_sentence, an_email, an_id, pick)


def parse_objects():
    out = []
    for line in OBJECTS:
        names, verbs = line.split(";")
        out.append((names.split(","), {v.split(":")[0]: v.split(":")[1].split() for v in verbs.split("|")}))
    return out


ALL = parse_objects()
TRAIN = [o for o in ALL if zlib.crc32(o[0][0].encode()) % 7 != 3]
HELD = [o for o in ALL if zlib.crc32(o[0][0].encode()) % 7 == 3]


def made_up(dice, held=False):
    """An object that no list holds: a made-up word, or one or two nouns."""
    name = words.name(dice, False) if dice.random() < 0.4 else a_noun(dice, held)
    if dice.random() < 0.45:
        name += " " + (dice.choice("record unit level index file entry value code table plan report signal".split())
                       if dice.random() < 0.4 else a_noun(dice, held))
    verbs = {}
    for verb in dice.sample(list(VERBS), dice.choice((1, 2, 3))):
        kinds = dice.sample([k for k in P if k not in ("flag", "items")], dice.choice((1, 1, 2, 3)))
        verbs[verb] = [kinds[0] + "!"] + [k + dice.choice(["!", "", ""]) for k in kinds[1:]]
    return [name], verbs


def objects(dice, held):
    return made_up(dice, held) if dice.random() < (0.25 if held else 0.55) else dice.choice(HELD if held else TRAIN)


def plural(o):
    first = o.split(" of ")[0]
    if first.endswith(("s", "ch", "sh", "x")):
        many = first + ("" if first.endswith("ss") is False and first.endswith("s") else "es")
    else:
        many = first[:-1] + "ies" if first.endswith("y") and first[-2] not in "aeiou" else first + "s"
    return many + o[len(first):]


def with_article(o):
    return ("an " if o[0].lower() in "aeiou" else "a ") + o


def fill(text, o):
    return text.replace("{o}", o).replace("{O}", capital(o)).replace("{a}", with_article(o)).replace("{s}", plural(o))


def styled(dice, verb, noun, held):
    """A tool's name in one of the usual styles."""
    parts = verb.split("_") + noun.replace("-", " ").replace("'", "").split()
    style = dice.choice(["snake", "snake", "camel", "snake", "kebab", "prefix", "pascal", "noun_first", "server"])
    if style == "camel":
        return parts[0] + "".join(p.capitalize() for p in parts[1:])
    if style == "pascal":
        return "".join(p.capitalize() for p in parts)
    if style == "kebab":
        return "-".join(parts)
    if style == "noun_first":
        return "_".join(parts[len(verb.split("_")):] + verb.split("_"))
    if style == "prefix":
        return words.name(dice, False) + "_" + "_".join(parts)
    if style == "server":
        return f"mcp__{words.name(dice, False)}__" + "_".join(parts)
    return "_".join(parts)


class Tool:
    """One tool: .schema for the model, .ask(dice) for a request with its arguments."""

    def __init__(self, dice, held, entry=None, verb=None):
        self.held = held
        (self.names, verbs) = entry or objects(dice, held)
        self.verb = verb or dice.choice(list(verbs))
        self.noun = dice.choice(self.names)  # in the description
        name_verb = pick(dice, VERBS[self.verb][0], held) if held or dice.random() < 0.8 else dice.choice(
            ["do", "handle", "call", words.name(dice, False), a_noun(dice)])
        roll = dice.random()
        named = dice.choice(self.names) if roll < 0.9 else words.name(dice, False)
        self.shown = [self.noun] + [n for n in self.names if n == named]  # what a reader of the schema sees
        self.name = styled(dice, name_verb, named, held) if roll < 0.94 else \
            words.name(dice, False) + dice.choice(["", "_" + words.name(dice, False), str(dice.randrange(1, 20))])
        self.name = self.name.replace(" ", "_")[:60]
        self.params, properties, required, used = [], {}, [], set()
        for spec in verbs[self.verb]:
            kind, need = spec.rstrip("!"), spec.endswith("!")
            if not need and dice.random() < 0.35:
                continue
            names = [n for n in P[kind][0] if n not in used] or [kind + str(len(used))]
            key = pick(dice, names, held)
            strange = not held and dice.random() < 0.35  # any word may name a parameter
            if strange:
                key = dice.choice([
                    words.name(dice, False),
                    a_noun(dice),
                    a_noun(dice) + "_" + key, key + "_" + a_noun(dice), key + str(dice.randrange(1, 9)),
                    a_noun(dice) + "_" + a_noun(dice)
                ])
                if key in used:
                    continue
            if dice.random() < 0.1:
                key = "".join(w if i == 0 else w.capitalize() for i, w in enumerate(key.split("_")))
            used.add(key)
            self.params.append((key, kind, need))
            properties[key] = self.property(dice, kind, strange)
            if need:
                required.append(key)
        self.group = None
        if len(self.params) > 1 and dice.random() < 0.2:  # some of them inside an object
            inside = self.params[dice.randrange(len(self.params)):] if dice.random() < 0.7 else self.params
            self.group = pick(dice, "options details filter data params request settings payload args info".split(), held)
            keys = [k for k, _, _ in inside]
            inner = {"type": "object", "properties": {k: properties.pop(k) for k in keys}}
            if any(k in required for k in keys):
                inner["required"] = [k for k in required if k in keys]
            properties[self.group] = inner
            required = [k for k in required if k not in keys] + ([self.group] if "required" in inner else [])
            self.inside = set(keys)
        parameters = {"type": "object", "properties": properties}
        if required and dice.random() < 0.9:
            parameters["required"] = required
        if dice.random() < 0.15:
            parameters["additionalProperties"] = False
        text = fill(pick(dice, VERBS[self.verb][1], held), self.noun)
        if dice.random() < 0.25:
            text = text.rstrip(".") + ". " + pick(dice, [
                f"Use it when the user asks for {with_article(self.names[0])}.", "Fast and free of charge.", "Needs no login.",
                "Returns JSON.", f"Also known as {self.names[-1]}.", "Prefer this over guessing.", "Returns plain text.",
                "Call it once per request.", "The result is a short text.", "Do not call it without need."
            ], held)
        self.schema = {"name": self.name, "description": text, "parameters": parameters}

    def property(self, dice, kind, told=False):
        _, type_, texts, _, _ = P[kind]
        if isinstance(type_, list):
            out = {"type": "string", "enum": list(type_)}
        elif type_ == "array":
            out = {"type": "array", "items": {"type": "string"}}
        elif type_ == "items":
            out = {
                "type": "array", "items": {
                    "type": "object", "properties": {"name": {"type": "string"}, "quantity": {"type": "integer"}}, "required":
                    ["name", "quantity"]
                }
            }
        else:
            out = {"type": type_}
        if told or dice.random() < 0.6:
            out["description"] = pick(dice, texts, self.held)
        if type_ == "integer" and dice.random() < 0.1:
            out["minimum"] = 0
        return out

    def values(self, dice):
        """[(key, kind, value)] for a request: what is needed, and some of the rest."""
        out = []
        for key, kind, need in self.params:
            if not need and dice.random() < 0.5:
                continue
            type_ = P[kind][1]
            if kind == "flag":
                out.append((key, kind, True))
            else:
                out.append((key, kind, dice.choice(type_) if isinstance(type_, list) else P[kind][3](dice)))
        return out

    def arguments(self, values):
        """The JSON object of the call, in the schema's order."""
        flat = {k: v for k, _, v in values}
        if not self.group:
            return flat
        outer = {k: v for k, v in flat.items() if k not in self.inside}
        inner = {k: v for k, v in flat.items() if k in self.inside}
        out = {}
        for key in self.schema["parameters"]["properties"]:
            if key == self.group:
                if inner:
                    out[key] = inner
            elif key in outer:
                out[key] = outer[key]
        return out

    def phrase(self, dice, key, kind, value):
        if kind == "flag":
            return FLAG_SAYS.get(key, key.replace("_", " "))
        if kind == "items":
            value = join([f"{i['quantity']} {i['name']}s" for i in value])
        elif isinstance(value, list):
            value = join(value)
        return pick(dice, P[kind][4], self.held).replace("{v}", str(value))

    def ask(self, dice, values=None):
        """(request, arguments, what it is about)"""
        values = self.values(dice) if values is None else values
        o = dice.choice(self.shown if self.held or dice.random() < 0.7 else self.names)
        said = [self.phrase(dice, *v) for v in values]
        if len(said) > 2 and dice.random() < 0.3:
            last = said[1:]
            dice.shuffle(last)
            said = said[:1] + last
        text = fill(pick(dice, VERBS[self.verb][2], self.held), o).replace("{p}", " ".join(said))
        text = " ".join(text.split()).replace(" ?", "?").replace(" ,", ",")
        if dice.random() < 0.75:
            text = capital(text)
        if text[-1] not in "?." and dice.random() < 0.5:
            text += "."
        if dice.random() < 0.15:
            text = pick(dice, [
                "Hi! ", "Please help me: ", "One thing: ", "Use a tool. ", "Next, ", "Now ", "Hello, ", "And ", "OK, ",
                "Quick one: "
            ], self.held) + text
        return text, self.arguments(values), o


def join(items):
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def kit(dice, n, held):
    """n tools with different names, some of them close relatives: the same object with another verb, the same verb."""
    out, names = [], set()
    while len(out) < n:
        entry = verb = None
        if out and dice.random() < 0.35:
            near = dice.choice(out)
            found = [(o, v) for o in (HELD if held else TRAIN) for v in o[1] if (o[0] == near.names) != (v == near.verb)]
            if found:
                entry, verb = dice.choice(found)
        tool = Tool(dice, held, entry, verb)
        if tool.name not in names and not any(t.names == tool.names and t.verb == tool.verb for t in out):
            names.add(tool.name)
            out.append(tool)
    return out


# ------------------------------------------------------------------ results

FIELDS = {
    "count": lambda d: d.randrange(0, 500), "temperature": lambda d: d.randrange(-15, 40), "price":
    lambda d: round(d.random() * 900, 2), "status":
    lambda d: d.choice("ok ready open closed pending done active new sold-out late".split()), "name": a_name, "city": a_city,
    "date": a_date, "id": an_id, "code": an_id, "distance_km": lambda d: d.randrange(1, 3000), "minutes":
    lambda d: d.randrange(1, 300), "humidity": lambda d: d.randrange(10, 100), "available": lambda d: d.random() < 0.5, "rating":
    lambda d: round(d.random() * 5, 1), "owner": a_name, "email": an_email, "title": lambda d: d.choice(SUBJECTS), "color":
    lambda d: d.choice(words.COLORS), "size": lambda d: d.randrange(1, 10000), "version":
    lambda d: f"{d.randrange(0, 9)}.{d.randrange(0, 30)}.{d.randrange(0, 30)}", "speed": lambda d: d.randrange(1, 200), "level":
    lambda d: d.choice(["low", "medium", "high"]), "gate": lambda d: f"{d.choice('ABCDEF')}{d.randrange(1, 60)}", "total":
    lambda d: d.randrange(1, 100000), "wind": lambda d: d.randrange(0, 120), "phone":
    lambda d: f"+{d.randrange(10, 99)} {d.randrange(100, 999)} {d.randrange(1000, 9999)}"
}


def as_text(value):
    return value if isinstance(value, str) else json.dumps(value)


def record(dice, n):
    """An object of n fields, some with made-up names."""
    out = {}
    while len(out) < n:
        key = dice.choice(list(FIELDS))
        out[words.name(dice, False) if dice.random() < 0.12 else key] = FIELDS[key](dice)
    return out


def listed(fields):
    return join([f"{k.replace('_', ' ')} {as_text(v)}" for k, v in fields.items()])


def result(dice, tool, o):
    """(result text, the answer made of it, fields that may be asked for)"""
    article = "The " + o
    form = dice.random()
    acts = tool.verb not in ("get", "list", "search", "read")
    if form < 0.4:
        fields = record(dice, dice.choice((1, 1, 2, 2, 3, 4)))
        text = json.dumps(fields, indent=dice.choice([None, None, None, 2]), ensure_ascii=False)
        return text, f"Done: {listed(fields)}." if acts else f"{article}: {listed(fields)}.", fields
    if form < 0.55 and not acts:
        n = dice.choice((0, 1, 2, 3, 3, 4, 5))
        key = dice.choice(["id", "name"])
        items = [{"id": an_id(dice), **{k: v
                                        for k, v in record(dice, 1).items()
                                        if k != "id"}} if key == "id" else {"name": a_name(dice), "code": an_id(dice)}
                 for _ in range(n)]
        text = json.dumps(items if dice.random() < 0.6 else {"total": n, "results": items}, ensure_ascii=False)
        return text, f"There are no {plural(o)}." if not n else f"There {'is one' if n == 1 else 'are ' + str(n)}: {join([str(i[key]) for i in items])}.", {}
    if form < 0.65 and not acts:
        items = [
            dice.choice([a_name, an_id, a_city, a_path, lambda d: d.choice(SUBJECTS)])(dice)
            for _ in range(dice.choice((2, 3, 4, 6)))
        ]
        return "\n".join(
            dice.choice(["", "- "]) + i
            for i in items) if dice.random() < 0.7 else json.dumps(items), f"There are {len(items)}: {join(items)}.", {}
    if form < 0.72:
        fields = record(dice, dice.choice((2, 3)))
        return "\n".join(
            f"{k}: {as_text(v)}"
            for k, v in fields.items()), f"Done: {listed(fields)}." if acts else f"{article}: {listed(fields)}.", fields
    if form < 0.78:
        fields = record(dice, dice.choice((1, 2)))
        return "".join(f"<{k}>{as_text(v)}</{k}>"
                       for k, v in fields.items()), f"Done: {listed(fields)}." if acts else f"{article}: {listed(fields)}.", fields
    plain = dice.choice([
        lambda: f"{dice.choice(words.ADJECTIVES)}, {dice.randrange(1, 100)} degrees", lambda: an_id(dice), lambda: a_sentence(dice),
        lambda: str(dice.randrange(1, 100000)), lambda: words.secret(dice),
        lambda: f"{dice.choice(words.COLORS)} {dice.choice(words.ANIMALS)} {dice.randrange(1, 99)}", lambda: words.sentence(dice),
        lambda: f"{a_name(dice)}, {a_city(dice)}, {dice.randrange(1, 500)}"
    ])()
    if acts and dice.random() < 0.5:
        return dice.choice(["ok", "OK", "done", "success", "true", "Success.", '{"ok": true}', ""]), "Done.", {}
    return plain, f"Done: {plain}" if acts else f"{article} is: {plain}", {}


# ------------------------------------------------------------------ turns


def user(text):
    return {"role": "user", "text": text}


def assistant(text="", reasoning="", calls=()):
    return {"role": "assistant", "text": text, "reasoning": reasoning, "calls": list(calls)}


def said(dice, text):
    return {"role": "tool", "text": text}


WANTS = {
    "get": "see", "list": "see", "search": "find", "create": "make", "delete": "delete", "update": "change", "send": "send", "book":
    "book", "cancel": "cancel", "start": "start", "stop": "stop", "run": "run", "read": "read", "play": "play", "close": "close",
    "open": "open", "approve": "approve", "restore": "restore", "lock": "lock", "unlock": "unlock"
}


def why(tool, o, arguments):
    """The reasoning before a call."""
    return f"The user wants to {WANTS[tool.verb]}: {o}. {tool.name} is for that." + (f" Arguments: {listed(flat(arguments))}."
                                                                                     if arguments else " It takes no arguments.")


def flat(arguments):
    out = {}
    for k, v in arguments.items():
        out.update(v) if isinstance(v, dict) else out.update({k: v})
    return out


def one_call(dice, tool):
    """Request, call, result, answer; at times a question about the result."""
    request, arguments, o = tool.ask(dice)
    text, answer, fields = result(dice, tool, o)
    turns = [
        user(request),
        assistant("", why(tool, o, arguments), [(tool.name, arguments)]),
        said(dice, text),
        assistant(answer, f"The tool says: {text[:120]}" if len(text) < 121 else "The tool has answered.")
    ]
    if fields and dice.random() < 0.5:
        key = dice.choice(list(fields))
        shown = key.replace("_", " ")
        turns += [
            user(
                capital(
                    pick(dice, [
                        f"what is the {shown}?", f"and the {shown}?", f"tell me the {shown} again", f"which {shown} was it?",
                        f"the {shown}?", f"what was the {shown} again?", f"please repeat the {shown}"
                    ], tool.held))),
            assistant(f"The {shown} is {as_text(fields[key])}.", f"The result above has the {shown}.")
        ]
    return turns


def several_calls(dice, tool):
    """The same tool for several values in one turn."""
    kinds = [(k, kind, need) for k, kind, need in tool.params
             if kind in ("city", "person", "id", "product", "symbol", "path", "url", "room", "title", "query")]
    if not kinds:
        return one_call(dice, tool)
    key, kind, _ = dice.choice(kinds)
    n = dice.choice((2, 2, 3, 3, 4))
    several = []
    while len(several) < n:
        v = P[kind][3](dice)
        if v not in several:
            several.append(v)
    base = [v for v in tool.values(dice) if v[0] != key]
    order = [p[0] for p in tool.params]
    o = dice.choice(tool.shown)
    phrases = [tool.phrase(dice, *v) for v in base]
    asked = pick(dice, P[kind][4], tool.held).replace("{v}", join([str(v) for v in several]))
    text = capital(" ".join(
        fill(pick(dice, VERBS[tool.verb][2], tool.held),
             o).replace("{p}", " ".join([asked] + phrases)).split()).replace(" ?", "?").replace(" ,", ","))
    calls, results, lines = [], [], []
    for v in several:
        values = sorted(base + [(key, kind, v)], key=lambda x: order.index(x[0]))
        calls.append((tool.name, tool.arguments(values)))
        value = dice.choice([
            lambda: str(dice.randrange(1, 1000)), lambda: dice.choice(words.ADJECTIVES), lambda: an_id(dice),
            lambda: json.dumps(record(dice, 1))
        ])()
        results.append(said(dice, value))
        lines.append(f"{v}: {listed(json.loads(value)) if value[0] == '{' else value}")
    return [
        user(text),
        assistant("", f"The user wants to {WANTS[tool.verb]}: {o}, {n} times. {tool.name} is for that, one call each.", calls),
        *results,
        assistant("\n".join(lines), "All tools have answered.")
    ]


def two_tools(dice, tools):
    """Two wishes in one sentence, two calls."""
    a, b = dice.sample(tools, 2)
    (ra, aa, oa), (rb, ab, ob) = a.ask(dice), b.ask(dice)
    if dice.random() < 0.5:
        ra, rb = ra.rstrip(".?"), rb[:1].lower() + rb[1:]
    turns = [
        user(ra + dice.choice([" and ", " and then ", ". Also, ", "; "]) + rb),
        assistant("", f"Two things: {oa} with {a.name}, {ob} with {b.name}.", [(a.name, aa), (b.name, ab)])
    ]
    out, lines = [], []
    for o in (oa, ob):
        value = dice.choice(
            [lambda: str(dice.randrange(1, 1000)), lambda: dice.choice(words.ADJECTIVES), lambda: an_id(dice), lambda: "ok"])()
        out.append(said(dice, value))
        lines.append(f"{capital(o)}: {value}")
    return turns + out + [assistant("\n".join(lines), "Both tools have answered.")]


def retry(dice, tool):
    """An error, one more try, and the answer; or the error is reported."""
    values = tool.values(dice)
    request, arguments, o = tool.ask(dice, values)
    first = assistant("", why(tool, o, arguments), [(tool.name, arguments)])
    texts = [(i, v) for i, v in enumerate(values) if v[1] in ("city", "person", "product", "from", "to", "id", "title")]
    numbers = [(i, v) for i, v in enumerate(values) if v[1] in ("count", "people", "minutes")]
    roll = dice.random()
    if texts and roll < 0.4:
        i, (key, kind, wrong) = dice.choice(texts)
        right = P[kind][3](dice)
        error = pick(dice, [
            f"Error: unknown {key} '{wrong}'. Did you mean '{right}'?", f'{{"error": "no {key} {wrong}", "suggestion": "{right}"}}',
            f"Error: '{wrong}' was renamed to '{right}'", f"{key} '{wrong}' not found; closest match: {right}",
            f"Invalid {key}. Try '{right}' instead of '{wrong}'."
        ], tool.held)
        values = values[:i] + [(key, kind, right)] + values[i + 1:]
        reason = f"The tool does not know {wrong}, but {right}. I try that."
    elif numbers and roll < 0.6:
        i, (key, kind, wrong) = dice.choice(numbers)
        right = dice.randrange(1, max(2, wrong))
        error = pick(dice, [
            f"Error: {key} must be at most {right}", f'{{"error": "{key} too large", "max": {right}}}',
            f"ValueError: {key} > {right}", f"{key} out of range, maximum {right}", f"400: largest {key} is {right}"
        ], tool.held)
        values = values[:i] + [(key, kind, right)] + values[i + 1:]
        reason = f"At most {right} is allowed. I try again with {right}."
    else:
        error = pick(dice, [
            "Error: timeout, try again", "503 Service Unavailable", '{"error": "temporary failure"}',
            "Error: connection reset, please retry", "Busy, retry later", "Temporary error 17, call again",
            "Error: rate limit, try again", "Lock held by another process. Retry."
        ], tool.held)
        reason = "That failed for the moment. I try once more."
    second = assistant("", reason, [(tool.name, tool.arguments(values))])
    if dice.random() < 0.25:
        last = pick(dice, [
            "Error: not available", "Error: permission denied", '{"error": "internal error"}', "Fatal: no connection",
            "Error: quota exceeded", "500 Internal Server Error"
        ], tool.held)
        return [
            user(request), first,
            said(dice, error), second,
            said(dice, last),
            assistant(f"That did not work. The tool says: {last}", "It failed twice. I report the error.")
        ]
    text, answer, _ = result(dice, tool, o)
    return [user(request), first, said(dice, error), second, said(dice, text), assistant(answer, "Now it worked.")]


NONE = "None of my tools can do that."


def none_fits(dice, tools, held):
    """A request that no tool here is for."""
    while True:
        stranger = Tool(dice, held)
        if not any(set(t.names) & set(stranger.names) for t in tools):
            break
    request, _, o = stranger.ask(dice)
    return [user(request), assistant(NONE, f"The user wants to {WANTS[stranger.verb]}: {o}. No tool here is for that.")]
