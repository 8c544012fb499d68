"""Word material for the generators: plain lists, and made-up names that no list holds.

Standard library only. Everything is drawn from a random.Random that the caller seeded."""

CONSONANTS = "b d f g k l m n p r s t v z br dr gl kr pl st tr sh th".split()
VOWELS = "a e i o u ai ea oo".split()
ENDINGS = ["", "n", "r", "s", "l", "x", "th", "nd", "ck"]

COLORS = "red blue green amber violet silver golden copper white black crimson olive".split()
ANIMALS = "otter falcon heron badger lynx salmon raven tortoise beetle dolphin panther sparrow".split()
PLACES = ("harbour market library station garden museum bakery workshop castle school lighthouse orchard bridge "
          "theatre village forest").split()
THINGS = ("lantern compass ladder kettle mirror violin basket hammer blanket candle map bottle clock ticket "
          "umbrella wheel").split()
ADJECTIVES = "quiet small bright heavy old narrow gentle busy hidden cold warm tall empty curious distant".split()
VERBS_PAST = "found carried repaired painted sold lost borrowed cleaned moved opened watched measured".split()
ADVERBS = "slowly carefully yesterday early quickly again together later twice alone".split()

# What tools are about. The request and the description share the topic; the tool's name need not.
TOPICS = ("weather price distance schedule balance temperature address population translation recipe score rating "
          "inventory calendar invoice playlist humidity timetable status summary definition altitude salary deadline "
          "traffic delivery message reminder photo ticket time forecast").split() + \
         ["exchange rate", "phone number", "opening hours"]
FIELDS = ("city name place day item user country title date account product station street team file language query "
          "location path amount count page level limit year room code days hours size").split()
INT_FIELDS = "amount count page level limit year room code days hours size".split()
REAL_VALUES = ("Rome Paris London Berlin Madrid Tokyo Vienna Oslo Lisbon Dublin Boston Chicago Delhi Cairo Sydney Milan "
               "Naples Zurich Prague Munich Italy France Spain Japan Monday Tuesday Friday Sunday today tomorrow Anna "
               "Peter Maria Tom Julia Max Lena Paul").split()


def name(dice, capital=True):
    """A made-up word of two or three syllables."""
    word = "".join(dice.choice(CONSONANTS) + dice.choice(VOWELS) for _ in range(dice.choice((2, 2, 3))))
    word += dice.choice(ENDINGS)
    return word.capitalize() if capital else word


def secret(dice):
    """Something worth recalling: a word with a number, a bare number, or a made-up word."""
    kind = dice.randrange(4)
    if kind == 0:
        return f"{dice.choice(COLORS)}-{dice.choice(ANIMALS)}-{dice.randrange(10, 1000)}"
    if kind == 1:
        return str(dice.randrange(100, 100000))
    if kind == 2:
        return f"{name(dice, False)}-{dice.randrange(10, 1000)}"
    return name(dice, False)


def sentence(dice):
    """One sentence of filler."""
    kind = dice.randrange(6)
    adjective, thing, place = dice.choice(ADJECTIVES), dice.choice(THINGS), dice.choice(PLACES)
    verb, adverb = dice.choice(VERBS_PAST), dice.choice(ADVERBS)
    if kind == 0:
        return f"{name(dice)} {verb} the {adjective} {thing} near the {place}."
    if kind == 1:
        return f"The {place} was {adjective}, and the {dice.choice(ANIMALS)} {verb} a {thing} {adverb}."
    if kind == 2:
        return f"In the {adjective} {place} somebody {verb} {dice.randrange(2, 90)} {thing}s."
    if kind == 3:
        return f"{adverb.capitalize()} the {dice.choice(COLORS)} {thing} was {verb} by {name(dice)}."
    if kind == 4:
        return f"A {adjective} {dice.choice(ANIMALS)} and a {dice.choice(COLORS)} {dice.choice(ANIMALS)} live in the {place}."
    return f"Nobody at the {place} {verb} the {thing} {adverb}."


def filler(dice, n_sentences):
    return " ".join(sentence(dice) for _ in range(n_sentences))
