"""The first minute with ds4-mini: what people type first, with true answers, and one honest sentence for the rest.

Standard library only. Everything is drawn from the random.Random that is passed in."""
import words
from facts import ask, capital_question, other_fact
from phrase import capital, casual, groups, load, say

ME = ("I am ds4-mini, the small model that comes with ds4, made for small talk, sums, tools and finding things in a text; "
      "a real model is loaded with ds4 -m FILE.")
UNKNOWN = "I do not know that: " + ME

CHAT = load("chat")

ODD = [
    "", " ", "?", "!", "...", ".", "??", "???", "asdf", "qwerty", "aaaa", "asdfghjkl", "123", "42", "0", "lorem ipsum", "foo",
    "foo bar", "x", "abc", "1", "blah blah", "lol", "haha", "hahaha", ":)", ":(", ";)", "<3", "/help", "\\", "-", "--", "#", "$",
    "%", "&", "undefined", "null", "None", "NaN", "{}", "[]", "<html>", "\n", "hm?", "eh", "ugh", "zzz", "bla", "tets", "jkl",
    "dfgdfg", "wfwef", "kjhkjh", "ooo", "€", "@", "a", "b", "q", "😀", "👍", "❤️", "🙂", "ok?", "......", "!!!", "uh", "brb", "xyz",
    "test123", "foobar", "hjkl"
]
ODD_ANSWER = "I did not understand that. What can I do for you?"

DS4 = load("ds4")  # what its README and --help say

CODE = [
    ("C", '#include <stdio.h>\n\nint main(void)\n{\n    printf("Hello, world!\\n");\n    return 0;\n}'),
    ("C++", '#include <iostream>\n\nint main()\n{\n    std::cout << "Hello, world!\\n";\n}'),
    ("Python", 'print("Hello, world!")'),
    ("Java",
     'public class Hello {\n    public static void main(String[] args) {\n        System.out.println("Hello, world!");\n    }\n}'),
    ("JavaScript", 'console.log("Hello, world!");'),
    ("Go", 'package main\n\nimport "fmt"\n\nfunc main() {\n    fmt.Println("Hello, world!")\n}'),
    ("Rust", 'fn main() {\n    println!("Hello, world!");\n}'),
    ("Ruby", 'puts "Hello, world!"'),
    ("Bash", 'echo "Hello, world!"'),
    ("Perl", 'print "Hello, world!\\n";'),
    ("PHP", '<?php echo "Hello, world!\\n";'),
    ("Lua", 'print("Hello, world!")'),
    ("C#", 'System.Console.WriteLine("Hello, world!");'),
    ("Kotlin", 'fun main() {\n    println("Hello, world!")\n}'),
    ("Swift", 'print("Hello, world!")'),
    ("HTML", "<p>Hello, world!</p>"),
    ("SQL", "SELECT 'Hello, world!';"),
    ("Haskell", 'main = putStrLn "Hello, world!"'),
]
SNIPPETS = [
    ("(a function that adds two numbers|a function to add two numbers|add two numbers|an add function)", {
        "Python": "def add(a, b):\n    return a + b", "C": "int add(int a, int b)\n{\n    return a + b;\n}", "JavaScript":
        "function add(a, b) {\n    return a + b;\n}"
    }),
    ("(a loop from 1 to 10|a for loop from 1 to 10|a loop that prints 1 to 10|code that counts to ten|a loop|a for loop|a program that counts from 1 to 10)",
     {
         "Python": "for i in range(1, 11):\n    print(i)", "C": 'for (int i = 1; i <= 10; i++)\n    printf("%d\\n", i);',
         "JavaScript": "for (let i = 1; i <= 10; i++)\n    console.log(i);", "Bash": "for i in $(seq 10); do echo $i; done"
     }),
    ("(fizzbuzz|FizzBuzz|the fizzbuzz program)", {
        "Python":
        'for i in range(1, 101):\n    print("FizzBuzz" if i % 15 == 0 else "Fizz" if i % 3 == 0 else "Buzz" if i % 5 == 0 else i)'
    }),
    ("(factorial|a factorial function|a function that computes the factorial)", {
        "Python": "def factorial(n):\n    return 1 if n < 2 else n * factorial(n - 1)", "C":
        "int factorial(int n)\n{\n    return n < 2 ? 1 : n * factorial(n - 1);\n}"
    }),
    ("(reverse a string|a function that reverses a string|code to reverse a string|string reversal)",
     {"Python": "def reverse(s):\n    return s[::-1]", "JavaScript": 'const reverse = s => [...s].reverse().join("");'}),
    ("(read a file|code that reads a file|reading a file|open and print a file)",
     {"Python": 'with open("file.txt") as f:\n    print(f.read())', "Bash": "cat file.txt"}),
    ("(fibonacci|the fibonacci numbers|a fibonacci function)",
     {"Python": "def fibonacci(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a"}),
    ("(check if a number is even|an is_even function|a function that tests for even numbers)",
     {"Python": "def is_even(n):\n    return n % 2 == 0", "C": "bool is_even(int n)\n{\n    return n % 2 == 0;\n}"}),
    ("(the maximum of a list|find the largest number in a list|the sum of a list|sum a list)",
     {"Python": "print(max(numbers), sum(numbers))"}),
]


def row(dice, rows):
    forms, answer = dice.choice(rows)
    return say(dice, forms), answer


def code(dice):
    if dice.random() < 0.6:
        language, text = dice.choice(CODE)
        return say(
            dice,
            "[please] (write|show me|give me|print|can you write|I need|how do I write) (hello world|a hello world program|a hello world|\"hello world\") in {l}|hello world in {l}|{l} hello world|what does hello world look like in {l}|a {l} program that says hello world",
            l=language), text
    forms, texts = dice.choice(SNIPPETS)
    language = dice.choice(list(texts))
    return say(
        dice,
        f"[please] (write|show me|give me|can you write|I need|how do I write) {forms} in {{l}}|{forms} in {{l}}|(write|show me) {{l}} code for {forms}",
        l=language), texts[language]


# ------------------------------------------------------------------ what it does not know

NOW = load("now")  # each answer goes on with ME
PEOPLE = "Anna Peter Maria Tom Julia Max Lena Paul John Mary James Linda Robert Emma Olivia Liam Noah Sofia Lucas Carlos Yuki Wei Fatima Ahmed Ivan Olga Pierre Claire Hans Greta Bruno Silvia Raj Priya Kofi Amara Sven Ingrid Diego Lucia".split(
)
LAST = "Smith Miller Brown Garcia Rossi Keller Novak Tanaka Ivanov Dubois Schmidt Jones Wilson Taylor Moore Martin Lee Walker Hall Young King Wright Lopez Hill Green Baker Adams Nelson Carter Turner Parker Collins Murphy Rivera Cooper Reed Bailey Kelly".split(
)
ORGS = "Apple Google Microsoft Amazon Tesla IBM Intel NVIDIA Toyota Siemens Samsung Sony Netflix NASA Volkswagen BMW Nestle Airbus Boeing Oracle Adobe Spotify Uber Nokia Ford".split(
)
ASKS = groups("unknown")

FOREIGN = load("foreign")


class Lexicon:
    """Nouns, adjectives and short definitions, from WordNet if the corpus has it (the trainer gives it), else a few of our own."""

    def __init__(self, nouns=None, adjectives=None, glosses=None):
        self.nouns = nouns or words.THINGS + words.ANIMALS + words.PLACES
        self.adjectives = adjectives or words.ADJECTIVES
        self.glosses = glosses or {}
        self.known = list(self.glosses)


LEXICON = Lexicon()
ABROAD = (
    "Bavaria Texas London Rome Tokyo Sicily Tuscany Siberia Manhattan Paris Berlin Boston Lyon Hamburg Kyoto Naples Seville Oxford Brooklyn Normandy Cornwall "
    "Catalonia Brittany Provence Bali Mumbai Sydney Chicago Munich Porto Geneva Mars Narnia Atlantis Greenland Crete Cologne Dallas Miami Osaka"
).split()


def unknown(dice):
    """(question, answer): one honest sentence."""
    roll = dice.random()
    place, place2 = dice.sample(ABROAD, 2)
    if roll < 0.22:
        forms, why = dice.choice(NOW)
        text = say(dice,
                   forms,
                   place=place,
                   country=dice.choice(
                       ["France", "the US", "Germany", "Italy", "Russia", "China", "the USA", "Spain", "Poland", "Brazil"]),
                   org=dice.choice(ORGS),
                   thing=dice.choice(["dollar", "euro", "yen"]))
        return text + dice.choice("?? "), why + ME
    if roll < 0.30:
        forms, answer = dice.choice(FOREIGN)
        return say(dice, forms) + dice.choice(["?", "", "", "!"]), answer
    noun, noun2 = dice.choice(LEXICON.nouns), dice.choice(LEXICON.nouns)
    made = words.name(dice) if dice.random() < 0.6 else words.name(dice, False) + dice.choice(["", "-", ""]) + words.name(
        dice, False)
    person = f"{dice.choice(PEOPLE)} {dice.choice(LAST)}" if dice.random() < 0.6 else words.name(dice) + " " + words.name(dice)
    form = dice.choice(ASKS)
    text = say(dice,
               form,
               person=person,
               place=place,
               place2=place2,
               adj=dice.choice(LEXICON.adjectives),
               noun=noun,
               noun2=noun2,
               made=made,
               year=dice.randrange(1200, 2026),
               org=dice.choice(ORGS),
               name=dice.choice(PEOPLE),
               n=dice.randrange(2, 60))
    text = text.replace(" a a", " an a").replace(" a e", " an e").replace(" a i", " an i").replace(" a o", " an o")
    asks = text.split()[0] in ("who", "what", "when", "where", "why", "how", "which", "is", "are", "do", "does", "can", "will",
                               "should", "did")
    return text + (dice.choice("??? ") if asks else dice.choice(["", ".", ""])), UNKNOWN


def definition(dice):
    x = dice.choice(LEXICON.known)
    gloss = LEXICON.glosses[x]
    an = "an" if x[0] in "aeiou" else "a"
    question = ask(
        dice,
        "what is {an} {x}|what is {x}|define {x}|what does {x} mean|what does the word {x} mean|explain the word {x}|definition of {x}|the meaning of {x}|what do you call {an} {x}|tell me what {an} {x} is|{x} means what|do you know what {an} {x} is",
        an=an,
        x=x)
    return question, f"{capital(x)}: {gloss}."


def question(dice):
    """(text, answer) of one first-minute question."""
    roll = dice.random()
    if roll < 0.24:
        text, answer = row(dice, CHAT)
        if any(ord(c) > 0x2000 for c in text):
            return text + dice.choice(["", "", "！", "？", "。"]), answer
        return casual(dice, text + dice.choice(["", "", "", "!", "?", "."]), len(text.split()) > 2), answer
    if roll < 0.26:
        return dice.choice(ODD), ODD_ANSWER
    if roll < 0.50:
        text, answer = row(dice, DS4)
        return casual(dice, text + dice.choice(["?", "?", "", "."])), answer
    if roll < 0.58:
        text, answer = capital_question(dice)
        return casual(dice, text), answer
    if roll < 0.70:
        text, answer = other_fact(dice)
        return casual(dice, text), answer
    if roll < 0.73:
        text, answer = code(dice)
        return casual(dice, text + dice.choice(["", ".", "?"])), answer
    if roll < 0.78 and LEXICON.known:
        text, answer = definition(dice)
        return casual(dice, text), answer
    text, answer = unknown(dice)
    return casual(dice, text), answer
