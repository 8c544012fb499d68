"""Byte-level BPE for ds4-mini: training, encoding, and the chat template as token ids.

The split is that of docs/spec/protocol.md, section 1.3 (three passes). Digits are never merged, so every digit is
one token: sums and copies of numbers are then a matter of single symbols. Needs the `regex` package."""
import collections
import heapq
import json
import pathlib

import regex

SPECIALS = [
    "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<\uff5cUser\uff5c>",
    "<\uff5cAssistant\uff5c>", "<think>", "</think>", "\uff5cDSML\uff5c", "<\uff5clatest_reminder\uff5c>", "<\uff5cSystem\uff5c>"
]
BOS, EOS, USER, ASSISTANT, THINK, END_THINK, DSML = range(7)

PASSES = [
    regex.compile(r"\p{N}{1,3}"),
    regex.compile(r"[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+"),
    regex.compile(r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
                  r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""")
]


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
    heap = [(-n, p) for p, n in pairs.items()]
    heapq.heapify(heap)
    while len(merges) < n_merges and heap:
        n, best = heapq.heappop(heap)
        if pairs.get(best, 0) != -n:  # counted anew since
            if pairs.get(best, 0) > 1:
                heapq.heappush(heap, (-pairs[best], best))
            continue
        a, b = best
        if n > -2 or len(a + b) > 24:
            continue
        merges.append((a, b))
        changed = set()
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
                changed.add(p)
        del pairs[(a, b)]
        for p in changed:
            heapq.heappush(heap, (-pairs[p], p))
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
        self.bytes_of = [
            t.encode() if k == 3 or k == 5 else bytes(SYMBOLS.index(c) for c in t) for t, k in zip(self.tokens, self.kinds)
        ]

    @classmethod
    def load(cls, path):
        data = json.loads(pathlib.Path(path).read_text())
        return cls(data["merges"], data["n_vocab"])

    def save(self, path):
        pathlib.Path(path).write_text(json.dumps({"n_vocab": len(self.tokens), "merges": self.merges}, ensure_ascii=False,
                                                 indent=0))

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
FORMAT_HEAD = "## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n"
EFFORT_MAX = (  # what the template says for effort max, directly after the first token
    "Reasoning Effort: Absolute maximum with no shortcuts permitted.\n"
    "You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the root cause, rigorously "
    "stress-testing your logic against all potential paths, edge cases, and adversarial scenarios.\n"
    "Explicitly write out your entire deliberation process, documenting every intermediate step, considered alternative, and rejected "
    "hypothesis to ensure absolutely no assumption is left unchecked.\n\n")
AGAIN = " I check it once more. "
TOOLS_TAIL = "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n"


def call_parts(calls):
    """The tool block as alternating text and the control token (None)."""

    def tag(text):
        before, after = text.split("{D}", 1)
        return [before, None, after]

    out = ["\n\n<", None, "tool_calls>\n"]
    for i, (name, arguments) in enumerate(calls):
        out += tag(("\n" if i else "") + "<{D}invoke name=\"") + [name + '">\n']
        for k, (key, value) in enumerate(arguments.items()):
            is_text = isinstance(value, str)
            out += tag(("\n" if k else "") + "<{D}parameter name=\"") + [
                key + '" string="' + ("true" if is_text else "false") + '">' +
                (value if is_text else json.dumps(value, ensure_ascii=False))
            ]
            out += tag("</{D}parameter>")
        out += tag("\n</{D}invoke>")
    return out + tag("\n</{D}tool_calls>")


def call_ids(tok, body, calls):
    """Adjacent texts are joined before they are cut into tokens; only the control token cuts."""
    ids, text = [], body
    for part in call_parts(calls):
        if part is None:
            ids += tok.encode(text) + [DSML]
            text = ""
        else:
            text += part
    return ids + tok.encode(text)


def calls_text(calls):
    return "".join("{D}" if p is None else p for p in call_parts(calls))


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


def system_block(tok, system, tools, form):
    """Ids of the system text, the tools block and the response format."""
    if not tools and not form:
        return tok.encode(system) if system else []
    text = FORMAT_HEAD + json.dumps(form, ensure_ascii=False) if form else ""
    if tools:
        return tools_block(tok, system, tools) + (tok.encode("\n\n" + text) if form else [])
    return tok.encode(system + "\n\n" + text if form else system)


def render(tok, system, tools, turns, think, form=None, effort=None):
    """(ids, weights): weight 1 where the model speaks. think(i) says how assistant turn i reasons: "yes", "no", or
    "empty" for a past turn whose reasoning the client did not send back. effort "max" opens with its text."""
    ids, weights = [BOS], [0]

    def add(more, weight):
        ids.extend(more)
        weights.extend([weight] * len(more))

    if effort == "max":
        add(tok.encode(EFFORT_MAX), 0)
    add(system_block(tok, system, tools, form), 0)
    said = []  # blocks of one user turn
    for i, turn in enumerate(turns):
        if turn["role"] != "assistant":
            said.append(turn["text"] if turn["role"] == "user" else "<tool_result>" +
                        turn["text"].replace("</tool_result>", "&lt;/tool_result>") + "</tool_result>")
            if i + 1 == len(turns) or turns[i + 1]["role"] == "assistant":
                add([USER] + tok.encode("\n\n".join(said)), 0)
                said = []
            continue
        add([ASSISTANT], 0)
        how = think(i)
        if how == "yes":
            add([THINK], 0)
            add(tok.encode(turn["reasoning"] + (AGAIN + turn["reasoning"] if effort == "max" else "")) + [END_THINK], 1)
        elif how == "empty":
            add([THINK, END_THINK], 0)
        else:
            add([END_THINK], 0)
        body = turn["text"]
        if turn["calls"]:
            add(call_ids(tok, body, turn["calls"]), 1)
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
    import agents
    import corpus
    import mixture
    ap = argparse.ArgumentParser(description="Train the vocabulary on generated conversations and on the corpus")
    ap.add_argument("corpus", help="what corpus.py built")
    ap.add_argument("--out", default="vocabulary.json")
    ap.add_argument("--n-vocab", type=int, default=6144)
    args = ap.parse_args()
    dice = random.Random(20261127)
    agents.CORPUS.update(corpus.load(args.corpus))
    texts = []
    shares = {k: v[0] for k, v in mixture.SHARES.items() if k not in ("text", "long")}
    for kind, share in shares.items():
        size = 0
        while size < share * 9_000_000:
            system, form, tools, turns = mixture.conversation(dice, kind, 4000)
            new = [system] + [t["text"] for t in turns] + [t.get("reasoning", "") for t in turns] + [json.dumps(t) for t in tools]
            new += [calls_text(t["calls"]) for t in turns if t.get("calls")]
            size += sum(map(len, new))
            texts += new
    for kind, share in (("prose", 3_000_000), ("doc", 2_500_000), ("code", 1_500_000)):
        size = 0
        while size < share:
            text = dice.choice(agents.CORPUS[kind])
            at = dice.randrange(max(1, len(text) - 20000))
            texts.append(text[at:at + 20000])
            size += len(texts[-1])
    texts += [TOOLS_HEAD + TOOLS_TAIL + FORMAT_HEAD + EFFORT_MAX] * 300
    merges = train(texts, args.n_vocab - len(SPECIALS) - 256)
    tok = Tokenizer(merges, args.n_vocab)
    tok.save(args.out)
    print(len(tok.tokens), "tokens;", len(template(tok, TOOLS_HEAD + TOOLS_TAIL)), "for the tools block")


if __name__ == "__main__":
    main()
