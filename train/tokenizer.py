"""Byte-level BPE for ds4-mini: training, encoding, and the chat template as token ids.

The split is that of docs/spec/protocol.md, section 1.3 (three passes). Digits are never merged, so every digit is
one token: sums and copies of numbers are then a matter of single symbols. Needs the `regex` package."""
import collections
import json
import pathlib

import regex

SPECIALS = ["<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<\uff5cUser\uff5c>",
            "<\uff5cAssistant\uff5c>", "<think>", "</think>", "\uff5cDSML\uff5c", "<\uff5clatest_reminder\uff5c>",
            "<\uff5cSystem\uff5c>"]
BOS, EOS, USER, ASSISTANT, THINK, END_THINK, DSML = range(7)

PASSES = [regex.compile(r"\p{N}{1,3}"),
          regex.compile(r"[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+"),
          regex.compile(r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
                        r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""")]


def split(text):
    """The pieces of section 1.3, each match and each stretch between matches on its own."""
    pieces = [text]
    for pattern in PASSES:
        out = []
        for piece in pieces:
            at = 0
            for match in pattern.finditer(piece):
                if match.start() > at:
                    out.append(piece[at:match.start()])
                if match.end() > match.start():
                    out.append(match.group())
                at = match.end()
            if at < len(piece):
                out.append(piece[at:])
        pieces = out
    return pieces


def byte_symbols():
    """Printable stand-ins of the 256 bytes."""
    plain = set(range(0x21, 0x7F)) | set(range(0xA1, 0xAD)) | set(range(0xAE, 0x100))
    extra = iter(range(0x100, 0x200))
    return [chr(b) if b in plain else chr(next(extra)) for b in range(256)]


SYMBOLS = byte_symbols()


def train(texts, n_merges):
    """Merges by frequency over the pieces of `texts`; pieces with digits take no part."""
    counts = collections.Counter()
    for text in texts:
        counts.update(split(text))
    words = [([SYMBOLS[b] for b in w.encode()], n) for w, n in counts.items() if not regex.search(r"\p{N}", w)]
    merges = []
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, (w, n) in enumerate(words):
        for p in zip(w, w[1:]):
            pairs[p] += n
            where[p].add(i)
    while len(merges) < n_merges:
        best = max(pairs.items(), key=lambda e: (e[1], e[0]), default=(None, 0))
        if best[1] < 2:
            break
        a, b = best[0]
        merges.append((a, b))
        for i in list(where[(a, b)]):
            w, n = words[i]
            for p in zip(w, w[1:]):
                pairs[p] -= n
            out, k = [], 0
            while k < len(w):
                if k + 1 < len(w) and w[k] == a and w[k + 1] == b:
                    out.append(a + b)
                    k += 2
                else:
                    out.append(w[k])
                    k += 1
            words[i] = (out, n)
            for p in zip(out, out[1:]):
                pairs[p] += n
                where[p].add(i)
        del pairs[(a, b)]
    return merges


class Tokenizer:
    def __init__(self, merges, n_vocab):
        self.merges = [tuple(m) for m in merges]
        self.tokens = SPECIALS + SYMBOLS + ["".join(m) for m in self.merges]
        assert len(set(self.tokens)) == len(self.tokens) <= n_vocab
        self.kinds = [3] * len(SPECIALS) + [1] * (len(self.tokens) - len(SPECIALS))
        while len(self.tokens) < n_vocab:
            self.tokens.append(f"<unused{len(self.tokens)}>")
            self.kinds.append(5)
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        self.rank = {m: i for i, m in enumerate(self.merges)}
        self.cache = {}
        self.bytes_of = [t.encode() if k == 3 or k == 5 else bytes(SYMBOLS.index(c) for c in t)
                         for t, k in zip(self.tokens, self.kinds)]

    @classmethod
    def load(cls, path):
        data = json.loads(pathlib.Path(path).read_text())
        return cls(data["merges"], data["n_vocab"])

    def save(self, path):
        pathlib.Path(path).write_text(json.dumps({"n_vocab": len(self.tokens), "merges": self.merges},
                                                 ensure_ascii=False, indent=0))

    def piece(self, text):
        if text in self.cache:
            return self.cache[text]
        w = [SYMBOLS[b] for b in text.encode()]
        while len(w) > 1:
            rank, at = min((self.rank.get(p, 1 << 30), i) for i, p in enumerate(zip(w, w[1:])))
            if rank == 1 << 30:
                break
            w[at:at + 2] = [w[at] + w[at + 1]]
        ids = [self.ids[s] for s in w]
        if len(self.cache) < 200000:
            self.cache[text] = ids
        return ids

    def encode(self, text):
        return [i for p in split(text) for i in self.piece(p)]

    def decode(self, ids):
        return b"".join(self.bytes_of[i] for i in ids).decode("utf-8", "replace")


# ------------------------------------------------------------------ the chat template, profile v4

TOOLS_HEAD = """## Tools

You have access to a set of tools to help answer the user's question. You can invoke tools by writing a "<{D}tool_calls>" block like the following:

<{D}tool_calls>
<{D}invoke name="$TOOL_NAME">
<{D}parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</{D}parameter>
...
</{D}invoke>
<{D}invoke name="$TOOL_NAME2">
...
</{D}invoke>
</{D}tool_calls>

String parameters should be specified as is and set `string="true"`. For all other types (numbers, booleans, arrays, objects), pass the value in JSON format and set `string="false"`.

If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside <think>...</think> BEFORE any tool calls or final response.

Otherwise, output directly after </think> with tool calls or final response.

### Available Tool Schemas

"""
TOOLS_TAIL = "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n"


def calls_text(calls):
    out = "\n\n<{D}tool_calls>\n"
    for i, (name, arguments) in enumerate(calls):
        out += ("\n" if i else "") + '<{D}invoke name="' + name + '">\n'
        lines = []
        for key, value in arguments.items():
            is_text = isinstance(value, str)
            lines.append('<{D}parameter name="' + key + '" string="' + ("true" if is_text else "false") + '">' +
                         (value if is_text else json.dumps(value)) + "</{D}parameter>")
        out += "\n".join(lines) + "\n</{D}invoke>"
    return out + "\n</{D}tool_calls>"


MARKS = {"{D}": DSML, "<think>": THINK, "</think>": END_THINK}
MARK = regex.compile(r"\{D\}|</?think>")


def template(tok, text):
    """Ids of text written by the template, in which {D} and the thinking marks are control tokens."""
    out, at = [], 0
    for match in MARK.finditer(text):
        out += tok.encode(text[at:match.start()]) + [MARKS[match.group()]]
        at = match.end()
    return out + tok.encode(text[at:])


HEAD_IDS, TAIL_IDS = {}, {}


def tools_block(tok, system, tools):
    """Ids of system text and tools block. The constant parts are cut where the split has a border whatever is beside."""
    if id(tok) not in HEAD_IDS:
        HEAD_IDS[id(tok)] = template(tok, TOOLS_HEAD)
        TAIL_IDS[id(tok)] = template(tok, TOOLS_TAIL[2:])
    schemas = "\n".join(json.dumps(t, ensure_ascii=False) for t in tools)
    return tok.encode(system + "\n\n") + HEAD_IDS[id(tok)] + tok.encode(schemas + "\n\n") + TAIL_IDS[id(tok)]


def render(tok, system, tools, turns, think):
    """(ids, weights): weight 1 where the model speaks. think(i) says how assistant turn i reasons: "yes", "no", or
    "empty" for a past turn whose reasoning the client did not send back."""
    ids, weights = [BOS], [0]

    def add(more, weight):
        ids.extend(more)
        weights.extend([weight] * len(more))

    if tools:
        add(tools_block(tok, system, tools), 0)
    elif system:
        add(tok.encode(system), 0)
    for i, turn in enumerate(turns):
        if turn["role"] == "user":
            add([USER] + tok.encode(turn["text"]), 0)
        elif turn["role"] == "tool":
            add([USER] + tok.encode("<tool_result>" + turn["text"] + "</tool_result>"), 0)
        else:
            add([ASSISTANT], 0)
            how = think(i)
            if how == "yes":
                add([THINK], 0)
                add(tok.encode(turn["reasoning"]) + [END_THINK], 1)
            elif how == "empty":
                add([THINK, END_THINK], 0)
            else:
                add([END_THINK], 0)
            body = turn["text"]
            if turn["calls"]:
                add(template(tok, body + calls_text(turn["calls"])), 1)
                add([EOS], 0)  # generation stops at the closing tag; the end mark is written by the template
            else:
                add(tok.encode(body) + [EOS], 1)
    return ids, weights


def think_plan(dice, tools):
    """A think() for one conversation, as the reasoning drop rule makes them: with tools all turns of a thinking
    conversation keep their reasoning (or lost it to a client that does not send it), without tools the past has none."""
    roll = dice.random()
    if roll < 0.4:
        return lambda i: "no"
    if roll < 0.6:
        return lambda i: "yes"
    if roll < 0.7 and tools:
        return lambda i: "empty" if dice.random() < 0.6 else "yes"
    return lambda i: "yes" if dice.random() < 0.5 else "no"


def main():
    import argparse
    import random
    import tasks
    ap = argparse.ArgumentParser(description="Train the vocabulary on generated conversations")
    ap.add_argument("--out", default="vocabulary.json")
    ap.add_argument("--n-vocab", type=int, default=2048)
    args = ap.parse_args()
    dice = random.Random(20261124)
    texts = []
    for _ in range(3000):
        system, tools, turns = tasks.conversation(dice, [1, 1, 1], 600)
        texts.append(system)
        texts += [t["text"] for t in turns] + [t.get("reasoning", "") for t in turns]
        texts += [json.dumps(t) for t in tools] + [calls_text(t["calls"]) for t in turns if t.get("calls")]
    texts += [TOOLS_HEAD + TOOLS_TAIL] * 300
    merges = train(texts, args.n_vocab - len(SPECIALS) - 256)
    tok = Tokenizer(merges, args.n_vocab)
    tok.save(args.out)
    print(len(tok.tokens), "tokens;", len(template(tok, TOOLS_HEAD + TOOLS_TAIL)), "for the tools block")


if __name__ == "__main__":
    main()
