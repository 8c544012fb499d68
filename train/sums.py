"""Arithmetic with numbers of up to three digits, in figures and in words. Standard library only.

A tenth of all pairs never occurs in training (held_out)."""
import zlib

from phrase import capital, casual, say

ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen").split()
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
NAMES = "Anna Peter Maria Tom Julia Max Lena Paul Sam Kate Ben Ida Omar Nina Leo Ruth".split()
OBJECTS = "apples eggs books coins pens stamps cards marbles oranges cookies tickets stones flowers balloons bottles chairs".split()


def spoken(n, dash="-"):
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (dash + ONES[n % 10] if n % 10 else "")
    if n < 1000:
        return ONES[n // 100] + " hundred" + (" and " + spoken(n % 100, dash) if n % 100 else "")
    return spoken(n // 1000, dash) + " thousand" + (" " + spoken(n % 1000, dash) if n % 1000 else "")


def held_out(a, op, b):
    return zlib.crc32(f"{a}{op}{b}".encode()) % 10 == 0


def size(dice):
    """A number of one to three digits; small ones are asked more often than their share."""
    return dice.choice(
        (dice.randrange(0, 10), dice.randrange(0, 21), dice.randrange(10, 100), dice.randrange(10, 100), dice.randrange(100, 1000)))


def draw(dice):
    """(a, op, b) of the operations + - * /."""
    op = dice.choice("+++--***/")
    if op == "/":
        b, q = dice.randrange(1, 21), dice.randrange(0, 51)
        return (b * q, op, b) if dice.random() < 0.8 else (dice.randrange(1, 200), op, max(2, b))
    a, b = size(dice), size(dice)
    if op == "-" and a < b and dice.random() < 0.8:
        a, b = b, a
    return a, op, b


def add_steps(a, b):
    """Column by column, the lowest first, as on paper."""
    out, carry, at, total = [], 0, 0, a + b
    places = ["ones", "tens", "hundreds", "thousands", "ten thousands", "hundred thousands"]
    while at < max(len(str(a)), len(str(b))):
        x, y = a // 10**at % 10, b // 10**at % 10
        s = x + y + carry
        out.append(f"{places[at]} {x} + {y}" + (f" + {carry}" if carry else "") + f" = {s}")
        carry, at = s // 10, at + 1
    return "; ".join(out) + f"; together {total}."


def subtract_steps(a, b):
    if a < b:
        return f"{b} is larger: {subtract_steps(b, a)} With the sign {a - b}."
    out, borrow, at = [], 0, 0
    places = ["ones", "tens", "hundreds"]
    while at < len(str(a)):
        x, y = a // 10**at % 10, b // 10**at % 10
        d = x - y - borrow
        out.append(f"{places[at]} {x} - {y}" + (f" - {borrow}" if borrow else "") +
                   (f" + 10 = {d + 10}, borrow 1" if d < 0 else f" = {d}"))
        borrow, at = int(d < 0), at + 1
    return "; ".join(out) + f"; together {a - b}."


def parts(a, b):
    """The factors into which a product is split: (larger, [digits of the smaller with their zeros])."""
    a, b = (a, b) if a >= b else (b, a)
    digits = [int(d) * 10**(len(str(b)) - 1 - i) for i, d in enumerate(str(b)) if d != "0"]
    return a, digits


def product_text(a, b):
    """The partial products where more than one is needed: what the answer itself says."""
    big, digits = parts(a, b)
    if len(digits) < 2 or a * b == 0:
        return f"{a} * {b} = {a * b}."
    products = [big * d for d in digits]
    text = f"{a} * {b} = " + " + ".join(f"{big} * {d}" for d in digits) + " = " + " + ".join(map(str, products))
    if len(products) == 3:
        text += f" = {products[0] + products[1]} + {products[2]}"
    return text + f" = {a * b}."


def reasoning(a, op, b):
    if op == "+":
        return add_steps(a, b)
    if op == "-":
        return subtract_steps(a, b)
    if op == "*":
        big, digits = parts(a, b)
        return "I multiply digit by digit." if len(digits) > 1 else f"{a} times {b} is {a * b}."
    return f"{b} times {a // b} is {a // b * b}" + (f", and {a % b} is left." if a % b else ".")


def answer(a, op, b):
    if op == "+":
        return f"{a} + {b} = {a + b}."
    if op == "-":
        return f"{a} - {b} = {a - b}."
    if op == "*":
        return product_text(a, b)
    return f"{a} / {b} = {a // b}." if a % b == 0 else f"{a} / {b} = {a // b} remainder {a % b}."


SIGNS = {
    "+": ["+"] * 4 + ["plus", "and"], "-": ["-"] * 4 + ["minus", "\u2212"], "*":
    ["*"] * 3 + ["x", "times", "\u00d7", "multiplied by"], "/": ["/"] * 3 + ["divided by", "\u00f7", ":", "over"]
}
ASKS = (
    "what is {s}|{s}|{s} =|{s} = ?|compute {s}|how much is {s}|calculate {s}|tell me {s}|please compute {s}|can you (calculate|compute|work out|solve) {s}|what's {s}|solve {s}|what does {s} (make|give|equal|come to)|"
    "the result of {s}|give me {s}|{s} is|I need {s}|work out {s}|evaluate {s}|do you know (what {s} is|{s})|{s} makes|how many is {s}|quick: {s}|and {s}|result of {s}[, please]|what do you get for {s}|please (work out|tell me) {s}|could you tell me what {s} is|math: {s}|what is the (result|value) of {s}"
)
BY_NAME = {
    "+": [
        "the sum of {a} and {b}", "{a} and {b} together", "{b} added to {a}", "{b} more than {a}", "add {a} and {b}",
        "add {b} to {a}", "{a} increased by {b}", "sum {a} and {b}"
    ], "-": [
        "the difference (of|between) {a} and {b}", "{b} less than {a}", "subtract {b} from {a}", "take {b} (away from|from) {a}",
        "{a} take away {b}", "{a} decreased by {b}", "{b} subtracted from {a}"
    ], "*": ["the product of {a} and {b}", "multiply {a} (by|with|and) {b}", "{a} times {b}", "{a} multiplied by {b}"], "/":
    ["the quotient of {a} and {b}", "divide {a} by {b}", "{a} divided by {b}", "{a} split into {b} parts"]
}
STORIES = {
    "+": [
        "(I have|{n} has|she has|we have) {a} {o} and (gets|get|buys|buy|finds|find|receives) {b} more. How many {o} (are there now|is that|in total|altogether)?",
        "there are {a} {o} in one box and {b} in another. How many {o} are there [in all|altogether|together]?",
        "if I (buy|pick|find) {a} {o} today and {b} tomorrow, how many (do I have|is that)?",
        "{n} has {a} {o}, {m} has {b}. How many do they have together?",
        "{a} {o} on the table, {b} on the floor. How many (is that|are there|in total)?",
        "(yesterday|last week) I counted {a} {o}, (today|this week) {b} more came. What is the total?",
        "{n} (read|wrote|sold|baked) {a} {o} in May and {b} in June. How many in both months?"
    ], "-": [
        "(I have|{n} has|we have) {a} {o} and (loses|lose|eats|eat|sells|sell|gives away|give away) {b}. How many {o} (are left|remain)?",
        "there were {a} {o}, {b} are gone. How many are left?", "if I have {a} {o} and give {b} to {m}, how many do I keep?",
        "{n} had {a} {o} and gave {b} to {m}. How many are left?",
        "I (have|had) {a} {o} and (break|broke|burn|drop|used|spent) {b}, how many are (left|still good|fine)?",
        "of {a} {o} {b} are broken. How many are (good|whole|fine)?", "{n} needs {a} {o} and has {b}. How many are missing?",
        "a box held {a} {o}; {m} took {b}. What is left?"
    ], "*": [
        "{a} boxes hold {b} {o} each. How many {o} (is that|are there)?",
        "there are {a} rows with {b} {o} each. How many {o} in all?", "one {p} costs {b} dollars. How much are {a} {o}?",
        "{n} buys {a} bags with {b} {o} each. How many {o} is that?",
        "{n} has {a} (boxes|bags|packs|crates|shelves) (of|with) {b} {o} [each]. How many {o} (is that|does {n} have|are there)?",
        "each of {a} children gets {b} {o}. How many {o} are needed?", "{a} (days|weeks) with {b} {o} a (day|week): how many?",
        "{b} {o} in every box, {a} boxes. How many in all?"
    ], "/": [
        "{a} {o} are shared by {b} (people|children|friends). How many does each get?",
        "divide {a} {o} among {b} children. How many each?", "{a} {o} in {b} equal boxes: how many in each?"
    ]
}


def written(dice, n):
    return spoken(n, dice.choice("- ")) if n < 1000 and dice.random() < 0.12 else str(n)


def question(dice, a, op, b):
    roll = dice.random()
    if roll < 0.12 and (op != "/" or a % b == 0) and a >= b * (op == "-"):
        n, m = dice.sample(NAMES, 2)
        o = dice.choice(OBJECTS)
        return capital(say(dice, dice.choice(STORIES[op]), a=a, b=b, n=n, m=m, o=o, p=o[:-1]))
    if roll < 0.27:
        text = say(dice, dice.choice(BY_NAME[op]), a=written(dice, a), b=written(dice, b))
        if text.split()[0] not in ("add", "sum", "subtract", "take", "multiply", "divide"):
            text = say(dice,
                       dice.choice(["what is {s}?", "{s}", "calculate {s}", "how much is {s}?", "tell me {s}", "give me {s}"]),
                       s=text)
        return casual(dice, text)
    sign = dice.choice(SIGNS[op])
    text = f"{written(dice, a)} {sign} {written(dice, b)}"
    if len(sign) == 1 and sign != "x" and dice.random() < 0.35:
        text = text.replace(" ", "") if text[0].isdigit() and text[-1].isdigit() else text
    text = say(dice, ASKS, s=text)
    return casual(dice, text + dice.choice(["?", "?", "", ""]) if "=" not in text else text)


def extra(dice):
    """(question, reasoning, answer) of other small sums."""
    kind = dice.randrange(7)
    if kind == 0:
        ns = [dice.randrange(1, 60) for _ in range(3)]
        return say(dice, ASKS, s=" + ".join(map(
            str, ns))), "I add one after the other.", f"{ns[0]} + {ns[1]} + {ns[2]} = {ns[0] + ns[1]} + {ns[2]} = {sum(ns)}."
    if kind == 1:
        a, b = dice.randrange(0, 1000), dice.randrange(0, 1000)
        a += a == b
        which = dice.choice(["larger", "bigger", "greater", "smaller", "less"])
        big = max(a, b) if which in ("larger", "bigger", "greater") else min(a, b)
        word = {"less": "smaller"}.get(which, which)
        return say(dice,
                   "which [number] is {w}, {a} or {b}|what is {w}: {a} or {b}|is {a} or {b} {w}|{a} or {b}, which is {w}",
                   a=a,
                   b=b,
                   w=which) + "?", "I compare the numbers.", f"{big} is {word}."
    if kind == 2:
        a = dice.randrange(0, 200)
        return say(dice, "is {a} (even|odd|an even number|an odd number)|{a}: even or odd|is the number {a} even or odd",
                   a=a) + "?", "The last digit decides.", f"{a} is {'odd' if a % 2 else 'even'}."
    if kind == 3:
        a = dice.randrange(1, 500)
        return say(dice, "(what is|) (double|twice|two times) {a}|double {a}|what is the double of {a}", a=a) + dice.choice(
            ["?", ""]), f"{a} + {a}.", f"Twice {a} is {2 * a}."
    if kind == 4:
        a = dice.randrange(1, 300) * 2
        return say(dice, "(what is|) half of {a}|what is {a} halved|half {a}|the half of {a}", a=a) + dice.choice(
            ["?", ""]), f"{a} / 2.", f"Half of {a} is {a // 2}."
    if kind == 5:
        a = dice.randrange(0, 31)
        return say(
            dice,
            "what is {a} squared|{a} squared|the square of {a}|{a}^2|{a} to the power of 2|square {a}|what is the square of {a}",
            a=a) + dice.choice(["?", ""]), f"{a} * {a}.", f"{a} squared is {a * a}."
    p, a = dice.choice((10, 20, 25, 50, 100)), dice.randrange(1, 41) * 20
    return say(dice, "what is {p}% of {a}|{p} percent of {a}|how much is {p} % of {a}|calculate {p}% of {a}|{p}% of {a}", p=p,
               a=a) + dice.choice(["?", ""]), f"{a} times {p} over 100.", f"{p}% of {a} is {a * p // 100}."


def task(dice, is_held_out=False):
    """(question, reasoning, answer, the number that the answer must hold)"""
    while True:
        a, op, b = draw(dice)
        if held_out(a, op, b) == is_held_out:
            break
    value = {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[op]
    return question(dice, a, op, b), reasoning(a, op, b), answer(a, op, b), value
