"""The words of which toolbox.py makes tools: parameters, objects, verbs, and how people speak of them. Standard library only."""
import words
from phrase import TALK, say


def pick(dice, options, held):
    """Every fifth option is kept for the held-out generator."""
    kept = [o for i, o in enumerate(options) if (i % 5 == 4) == held]
    return dice.choice(kept or options)


NOUNS = []  # frequent English nouns; the trainer fills it. What can be drawn from thousands must be copied, it cannot be known


def a_noun(dice, held=False):
    """A noun of the half that is for training or of the half that is not; without a lexicon one of our own."""
    found = NOUNS[1::2] if held else NOUNS[::2]
    return dice.choice(found or words.THINGS + words.ANIMALS + words.PLACES)


# ------------------------------------------------------------------ parameters

CITIES = (
    "Rome Paris London Berlin Madrid Tokyo Vienna Oslo Lisbon Dublin Boston Chicago Delhi Cairo Sydney Milan Naples Zurich Prague Munich Athens Warsaw Seoul Lima Quito "
    "Bergen Porto Lyon Turin Ghent Leeds Osaka Hanoi Riga Tallinn Dakar Accra Denver Austin Dallas Toronto Montreal Hamburg Cologne Krakow Split Malaga Bristol"
).split()
PEOPLE = "Anna Peter Maria Tom Julia Max Lena Paul Sara Omar Nina Leo Ruth Ben Ida Yuki Wei Fatima Ivan Olga Pierre Claire Hans Greta Diego Lucia Priya Kofi Sven Amara".split(
)
SURNAMES = "Smith Miller Brown Rossi Keller Novak Tanaka Dubois Schmidt Jones Taylor Walker Young Wright Lopez Green Baker Carter Turner Cooper Reed Kelly Lindqvist Okafor".split(
)
DAYS = "today tomorrow Monday Tuesday Wednesday Thursday Friday Saturday Sunday tonight yesterday".split()
PRODUCTS = "lamp chair desk keyboard monitor backpack kettle blanket notebook headset charger tripod umbrella bicycle helmet printer toaster sofa mirror jacket".split(
)
SUBJECTS = (
    "quarterly report|team lunch|holiday plan|budget draft|new logo|server outage|birthday party|project kickoff|open invoices|travel costs|release notes|training course|office move|safety rules|customer survey|"
    "green energy|solar panels|ancient maps|black cats|jazz music|wild birds|old bridges|city gardens|stone age tools|ocean waves|night trains|free software|paper planes|winter boots|spicy food"
).split("|")
SENTENCES = [
    "The meeting moves to {n} o'clock.", "Please send me the {x} by {d}.", "I will be {n} minutes late.", "The {x} is ready.",
    "Lunch at {n}?", "Don't forget the {x}!", "We need {n} more {x}s.", "Thank you for the {x}.", "The {x} arrives on {d}.",
    "See you on {d}.", "Can you bring the {x}?", "All {n} tests passed.", "The code is {s}.", "Room {n} is free on {d}."
]


def a_name(dice):
    roll = dice.random()
    if roll < 0.5:
        return dice.choice(PEOPLE)
    return dice.choice(PEOPLE) + " " + dice.choice(SURNAMES) if roll < 0.8 else words.name(dice)


def a_city(dice):
    return dice.choice(CITIES) if dice.random() < 0.7 else words.name(dice)


def a_date(dice):
    return f"{dice.randrange(2023, 2031)}-{dice.randrange(1, 13):02}-{dice.randrange(1, 29):02}" if dice.random(
    ) < 0.5 else dice.choice(DAYS)


def an_id(dice):
    roll = dice.randrange(5)
    if roll == 0:
        return f"{dice.choice('ABCDEFGHKLMNPRSTX')}{dice.choice('ABCDEFGHKLMNPRSTX')}-{dice.randrange(100, 10000)}"
    if roll == 1:
        return "".join(dice.choice("0123456789abcdef") for _ in range(dice.choice((6, 8, 8, 12))))
    if roll == 2:
        return f"{words.name(dice, False)}_{dice.randrange(10, 1000)}"
    return str(dice.randrange(100, 100000)) if roll == 3 else f"{words.name(dice, False)}-{words.name(dice, False)}"


def a_sentence(dice):
    return say(dice,
               dice.choice(SENTENCES),
               n=dice.randrange(2, 20),
               x=dice.choice(PRODUCTS),
               d=dice.choice(DAYS[2:9]),
               s=an_id(dice))


def an_email(dice):
    return f"{dice.choice(PEOPLE).lower()}{dice.choice(['', '.' + dice.choice(SURNAMES).lower(), str(dice.randrange(1, 99))])}@{words.name(dice, False)}.{dice.choice(['com', 'org', 'net', 'io', 'de'])}"


def a_path(dice, ext=None):
    folders = [
        "src", "docs", "lib", "data", "tests", "config", "scripts", "app", "notes", "assets", "server", "web", "tools", "etc",
        "home",
        words.name(dice, False),
        words.name(dice, False)
    ]
    parts = [dice.choice(folders) for _ in range(dice.choice((0, 1, 1, 2, 2, 3)))]
    stem = dice.choice([
        "main", "index", "readme", "utils", "config", "settings", "report", "notes", "data", "server", "client", "test_parser",
        "todo", "app", "users", "build",
        words.name(dice, False),
        words.name(dice, False),
        words.name(dice, False)
    ])
    return ("/" if dice.random() < 0.3 else "") + "/".join(
        parts + [stem + "." + (ext or dice.choice("py c h js ts json md txt yaml toml csv log html css sh rs go cfg ini".split()))])


# kind: (parameter names, JSON type, descriptions, value, phrases in a request)
P = {
    "city": ("city location place town city_name where destination".split(), "string",
             ["The city", "Name of the city", "City to use", "Where",
              "The place"], a_city, ["in {v}", "for {v}", "in the city of {v}", "in {v}"]),
    "from": ("from origin start departure from_city source".split(), "string",
             ["Where the trip starts", "The place of departure", "Origin", "Starting point",
              "From where"], a_city, ["from {v}", "starting in {v}", "leaving from {v}", "from {v}", "departing from {v}"]),
    "to": ("to destination target arrival to_city end".split(), "string",
           ["Where the trip ends", "The destination", "Destination", "End point",
            "To where"], a_city, ["to {v}", "going to {v}", "towards {v}", "to {v}", "arriving in {v}"]),
    "date": ("date day when on_date due start_date".split(), "string",
             ["The date", "The day", "Date, as YYYY-MM-DD or a weekday", "When",
              "On which day"], a_date, ["on {v}", "for {v}", "for {v}", "on {v}", "({v})"]),
    "time": ("time at hour start_time clock".split(), "string",
             ["The time of day", "Time as HH:MM", "When it starts", "Clock time",
              "At what time"], lambda d: f"{d.randrange(0, 24):02}:{d.choice((0, 15, 30, 45)):02}",
             ["at {v}", "for {v}", "at {v}", "at {v} o'clock", "starting at {v}"]),
    "person": ("person name user customer employee contact recipient".split(), "string",
               ["The person", "Name of the person", "Full name", "Who",
                "The person's name"], a_name, ["for {v}", "of {v}", "for {v}", "of {v}", "belonging to {v}"]),
    "recipient": ("to recipient receiver send_to addressee".split(), "string",
                  ["Who gets it", "The recipient", "Name or address of the recipient", "To whom",
                   "The receiver"], lambda d: an_email(d)
                  if d.random() < 0.5 else a_name(d), ["to {v}", "to {v}", "for {v}", "to {v}", "addressed to {v}"]),
    "id": ("id number ref code key identifier".split(), "string", ["The id", "Its number", "Identifier", "Reference", "The key"],
           an_id, ["{v}", "number {v}", "with the id {v}", "{v}", "no. {v}"]),
    "text": ("text message body content note".split(), "string",
             ["The text", "What to say", "The content", "Text of the message",
              "The words"], a_sentence, ['saying "{v}"', 'with the text "{v}"', 'that says "{v}"', '"{v}"', 'reading "{v}"']),
    "title": ("title subject heading name label".split(), "string",
              ["The title", "The subject line", "Short title", "Heading", "What it is called"], lambda d: d.choice(SUBJECTS),
              ['called "{v}"', 'titled "{v}"', 'with the title "{v}"', 'named "{v}"', 'under the title "{v}"']),
    "query": ("query q search keywords term phrase".split(), "string",
              ["What to look for", "The search words", "Search query", "Keywords", "The term"], lambda d: d.choice(SUBJECTS)
              if d.random() < 0.7 else words.name(d, False), ["about {v}", "on {v}", 'with "{v}"', "about {v}", "matching {v}"]),
    "count": ("limit count n max_results top number".split(), "integer",
              ["How many", "At most so many", "Number of results", "The limit", "Maximum number"
               ], lambda d: d.randrange(2, 51), ["(only {v})", "at most {v}", "no more than {v}", "the first {v}", "up to {v}"]),
    "people":
    ("people guests persons passengers party_size".split(), "integer",
     ["How many people", "Number of guests", "Number of persons", "Size of the group", "How many persons"
      ], lambda d: d.randrange(2, 13), ["for {v} people", "for {v} persons", "for {v} guests", "for {v}", "for a group of {v}"]),
    "nights": ("nights days duration_days length".split(), "integer",
               ["How many nights", "Length of the stay", "Number of nights", "Duration in days",
                "How long"], lambda d: d.randrange(2, 15),
               ["for {v} nights", "staying {v} nights", "for {v} nights", "{v} nights", "over {v} nights"]),
    "minutes": ("minutes duration duration_minutes length_min".split(), "integer",
                ["Minutes", "How long, in minutes", "Duration in minutes", "Length in minutes",
                 "The minutes"], lambda d: d.randrange(1, 120),
                ["for {v} minutes", "of {v} minutes", "({v} minutes)", "{v} minutes", "lasting {v} minutes"]),
    "amount":
    ("amount value sum price total".split(), "number", ["The amount", "Amount of money", "How much", "The value",
                                                        "The sum"], lambda d: d.randrange(1, 5000)
     if d.random() < 0.6 else round(d.random() * 500, 2), ["of {v}", "over {v}", "for {v}", "of {v}", "worth {v}"]),
    "percent": ("percent level volume brightness value".split(), "integer",
                ["In percent", "0 to 100", "The level", "Percentage", "The new level"
                 ], lambda d: d.randrange(0, 101), ["to {v} percent", "to {v}%", "to {v}", "at {v} percent", "up to {v} percent"]),
    "degrees": ("temperature degrees celsius value target".split(), "integer",
                ["Degrees Celsius", "The temperature", "Target temperature", "How warm", "In degrees"
                 ], lambda d: d.randrange(10, 30), ["to {v} degrees", "to {v}", "at {v} degrees", "to {v} degrees", "to {v} C"]),
    "product": ("product item article product_name goods".split(), "string",
                ["The product", "Name of the item", "Which article", "The goods", "The item"
                 ], lambda d: d.choice(PRODUCTS), ["for the {v}", "of the {v}", "of the {v}", "for the {v}", "on the {v}"]),
    "room": ("room zone area location place".split(), "string", ["The room", "Which room", "Where in the house", "Zone", "Area"],
             lambda d: d.choice("kitchen|bedroom|living room|office|garage|bathroom|hall|garden|attic|cellar".split("|")),
             ["in the {v}", "in the {v}", "for the {v}", "in the {v}", "of the {v}"]),
    "language": ("language lang target_language to_language".split(), "string", [
        "The language", "Target language", "Into which language", "Language to use", "The new language"
    ], lambda d: d.choice("German French Spanish Italian Polish Japanese Chinese Dutch Swedish Turkish Greek Arabic".split()),
                 ["into {v}", "to {v}", "in {v}", "into {v}", "to {v}"]),
    "path": ("path file filename file_path filepath".split(), "string",
             ["Path of the file", "The file", "Where the file is", "File name",
              "The file's path"], a_path, ["{v}", "{v}", "{v}", "at {v}", "{v}"]),
    "url":
    ("url link address uri page".split(), "string", ["The address", "URL of the page", "Web address", "Link",
                                                     "The page's URL"], lambda d:
     f"https://{words.name(d, False)}.{d.choice(['com', 'org', 'net', 'dev'])}/{d.choice(['', words.name(d, False), 'docs/' + words.name(d, False), 'index.html'])}",
     ["{v}", "{v}", "at {v}", "{v}", "under {v}"]),
    "symbol": ("symbol ticker stock company_code".split(), "string",
               ["The ticker", "Stock symbol", "Symbol of the share", "Code of the company",
                "The share"], lambda d: "".join(d.choice("ABCDEFGHIKLMNOPRSTUVX") for _ in range(d.choice(
                    (3, 4, 4)))), ["of {v}", "for {v}", "of {v}", "for {v}", "of the share {v}"]),
    "currency": ("currency unit to_currency code".split(), "string",
                 ["Currency code", "The currency", "Three letters", "Code of the currency",
                  "Target currency"], lambda d: d.choice("EUR USD GBP JPY CHF SEK NOK PLN CZK INR CNY BRL".split()),
                 ["in {v}", "to {v}", "into {v}", "in {v}", "as {v}"]),
    "priority": ("priority urgency level importance severity".split(), ["low", "normal", "high"],
                 ["The priority", "How urgent", "Urgency", "Level", "Importance"
                  ], None, ["with {v} priority", "({v} priority)", "as {v} priority", "priority {v}", "with priority {v}"]),
    "unit": ("unit units scale temperature_unit".split(), ["celsius", "fahrenheit"],
             ["The unit", "Unit of the temperature", "Scale", "Which unit",
              "Degrees in"], None, ["in {v}", "in {v}", "in degrees {v}", "using {v}", "given in {v}"]),
    "status": ("status state filter_status condition".split(), ["open", "closed", "pending"],
               ["The status", "Only with this state", "State", "Which ones",
                "Condition"], None, ["that are {v}", "with status {v}", "in the state {v}", "which are {v}", "being {v}"]),
    "format": ("format output type file_type".split(), ["pdf", "csv", "html"],
               ["The format", "Output format", "File type", "As what",
                "Kind of file"], None, ["as {v}", "in {v} format", "as a {v}", "as {v}", "in the format {v}"]),
    "color": ("color colour tint hue".split(), "string", ["The colour", "Which colour", "Colour name", "Tint", "The new colour"],
              lambda d: d.choice(words.COLORS), ["in {v}", "to {v}", "in {v}", "in {v}", "in the colour {v}"]),
    "flag": ("include_archived all recursive force notify verbose urgent detailed".split(), "boolean",
             ["Whether to do so", "Switch", "True or false", "Optional flag", "On or off"], None, None),
    "names": ("names people attendees members participants users".split(), "array",
              ["The people", "List of names", "Who takes part", "All names",
               "The participants"], lambda d: d.sample(PEOPLE, d.choice(
                   (2, 2, 3, 3, 4))), ["with {v}", "for {v}", "with {v}", "for {v}", "together with {v}"]),
    "tags": ("tags labels keywords categories topics".split(), "array",
             ["Labels", "Tags", "List of tags", "Keywords", "The labels"], lambda d: [
                 words.name(d, False) if d.random() < 0.3 else d.choice(words.COLORS + words.ADJECTIVES)
                 for _ in range(d.choice((1, 2, 2, 3)))
             ], ["tagged {v}", "with the tags {v}", "labelled {v}", "with the labels {v}", "under the tags {v}"]),
    "items": ("items lines positions products order_items".split(), "items",
              ["What is ordered", "The items", "List of items", "Positions", "Things and how many"
               ], lambda d: [{"name": p, "quantity": d.randrange(2, 20)} for p in d.sample(PRODUCTS, d.choice(
                   (1, 2, 2, 3)))], ["with {v}", "for {v}", "of {v}", "containing {v}", "with {v}"]),
}
FLAG_SAYS = {
    "include_archived": "including archived ones", "all": "all of them", "recursive": "recursively", "force": "by force", "notify":
    "and notify everybody", "verbose": "in verbose mode", "urgent": "marked as urgent", "detailed": "in detail"
}

OBJECTS = (TALK / "objects.txt").read_text().strip().split("\n")[1:]

VERBS = {  # verb: (names, descriptions, requests); {o} the object, {a} with article, {s} in the plural
    "get": ("get fetch lookup show retrieve check query find".split(), ["Returns the {o}.", "Get the {o}.", "Looks up the {o}.", "Fetches the {o}", "Retrieve the current {o}.", "Gives the {o}.", "Shows the {o} that is asked for.", "{O} lookup", "Check the {o}.", "Tells the {o}"],
            ["what is the {o} {p}?", "show me the {o} {p}", "get the {o} {p}", "I need the {o} {p}", "look up the {o} {p}", "tell me the {o} {p}", "can you check the {o} {p}?", "please fetch the {o} {p}", "do you know the {o} {p}?", "I would like to see the {o} {p}", "{o} {p}?", "what about the {o} {p}?", "could you find out the {o} {p}?", "how is the {o} {p}?", "give me the {o} {p}, please"]),
    "list": ("list list_all get_all show_all fetch browse".split(), ["Lists {s}.", "List all {s}.", "Returns all {s}.", "Shows the {s}", "Get a list of {s}.", "Gives every {o} there is.", "All {s}", "Fetches the list of {s}."],
             ["list the {s} {p}", "which {s} are there {p}?", "show me all {s} {p}", "what {s} do we have {p}?", "give me a list of the {s} {p}", "I want to see the {s} {p}", "are there any {s} {p}?", "please list all {s} {p}", "get me the {s} {p}", "display every {o} {p}"]),
    "search": ("search find lookup query search_for discover".split(), ["Searches {s}.", "Find {s}.", "Search for {s}.", "Looks for {s} that match.", "Finds matching {s}", "{O} search", "Searches for {a}.", "Discover {s}."],
               ["find {s} {p}", "search for {s} {p}", "look for {s} {p}", "I am looking for {a} {p}", "are there {s} {p}?", "can you find me {a} {p}?", "find me {a} {p}", "please search {s} {p}", "I need {a} {p}", "see if there is {a} {p}"]),
    "create": ("create add new make register insert".split(), ["Creates {a}.", "Add {a}.", "Makes a new {o}.", "Registers {a}", "Create a new {o}.", "Sets up {a}.", "New {o}", "Adds a new {o}."],
               ["create {a} {p}", "add {a} {p}", "make a new {o} {p}", "set up {a} {p}", "please create {a} {p}", "I want a new {o} {p}", "I need a new {o} {p}", "can you add {a} {p}?", "could you set up {a} {p}?", "put in {a} {p}"]),
    "delete": ("delete remove erase drop destroy".split(), ["Deletes {a}.", "Remove {a}.", "Erases {a}", "Delete the {o} for good.", "Gets rid of {a}.", "Removes the {o}."],
               ["delete the {o} {p}", "remove the {o} {p}", "please delete the {o} {p}", "get rid of the {o} {p}", "I no longer need the {o} {p}, delete it", "erase the {o} {p}", "can you remove the {o} {p}?", "throw away the {o} {p}", "the {o} {p} can go, remove it"]),
    "update": ("update set change edit modify adjust".split(), ["Changes {a}.", "Update the {o}.", "Sets the {o}", "Edits {a}.", "Modify the {o}.", "Adjusts the {o}.", "Change the {o}."],
               ["change the {o} {p}", "set the {o} {p}", "update the {o} {p}", "please change the {o} {p}", "adjust the {o} {p}", "can you set the {o} {p}?", "I want the {o} changed {p}", "modify the {o} {p}", "put the {o} {p}"]),
    "send": ("send post deliver dispatch submit".split(), ["Sends {a}.", "Send {a} to somebody.", "Delivers {a}", "Dispatch {a}.", "Sends the {o}.", "Post {a}."],
             ["send {a} {p}", "please send {a} {p}", "write {a} {p}", "can you send {a} {p}?", "I want to send {a} {p}", "send out {a} {p}", "post {a} {p}", "could you deliver {a} {p}?", "get {a} off {p}"]),
    "book": ("book reserve order buy request".split(), ["Books {a}.", "Reserve {a}.", "Makes a reservation of {a}.", "Book {a}", "Reserves {a}.", "Orders {a}."],
             ["book {a} {p}", "reserve {a} {p}", "please book {a} {p}", "I want to reserve {a} {p}", "get me {a} {p}", "can you book {a} {p}?", "I would like to book {a} {p}", "we need {a} {p}, please book it", "make a reservation: {o} {p}"]),
    "cancel": ("cancel revoke abort call_off withdraw".split(), ["Cancels {a}.", "Cancel the {o}.", "Calls off {a}", "Revokes {a}.", "Withdraw the {o}."],
               ["cancel the {o} {p}", "please cancel the {o} {p}", "call off the {o} {p}", "I want to cancel the {o} {p}", "withdraw the {o} {p}", "the {o} {p} has to be cancelled", "can you cancel the {o} {p}?"]),
    "start": ("start turn_on run launch activate begin".split(), ["Starts the {o}.", "Turn on the {o}.", "Launches {a}", "Start {a}.", "Switches the {o} on.", "Activates the {o}."],
              ["start the {o} {p}", "turn on the {o} {p}", "please start the {o} {p}", "switch on the {o} {p}", "launch the {o} {p}", "can you start the {o} {p}?", "get the {o} going {p}", "activate the {o} {p}", "let the {o} run {p}"]),
    "stop": ("stop turn_off halt pause end".split(), ["Stops the {o}.", "Turn off the {o}.", "Halts {a}", "Stop {a}.", "Switches the {o} off."],
             ["stop the {o} {p}", "turn off the {o} {p}", "please stop the {o} {p}", "switch off the {o} {p}", "halt the {o} {p}", "can you stop the {o} {p}?", "shut down the {o} {p}", "end the {o} {p}"]),
    "run": ("run execute perform do".split(), ["Runs {a}.", "Execute {a}.", "Performs {a}", "Run the {o}.", "Executes the {o}."], ["run the {o} {p}", "execute the {o} {p}", "please run the {o} {p}", "can you run the {o} {p}?", "perform the {o} {p}", "do the {o} {p}"]),
    "read": ("read open cat show_content load".split(), ["Reads {a}.", "Returns the content of {a}.", "Read the {o}.", "Loads {a}", "Gives what is in the {o}."], ["read the {o} {p}", "show me the {o} {p}", "what is in the {o} {p}?", "open the {o} {p}", "please read the {o} {p}", "I want to know what the {o} {p} says", "let me see the {o} {p}", "print the {o} {p}"]),
    "play": ("play start_playing put_on listen".split(), ["Plays {a}.", "Start to play {a}.", "Puts {a} on", "Play the {o}.", "Plays the {o}."], ["play {a} {p}", "please play {a} {p}", "put on {a} {p}", "I want to hear {a} {p}", "start {a} {p}", "can you play {a} {p}?"]),
    "close": ("close finish resolve shut".split(), ["Closes {a}.", "Close the {o}.", "Marks {a} as finished", "Shut the {o}.", "Resolves {a}."], ["close the {o} {p}", "please close the {o} {p}", "the {o} {p} is done, close it", "shut the {o} {p}", "finish the {o} {p}", "can you close the {o} {p}?"]),
    "open": ("open raise unfold pull_up".split(), ["Opens the {o}.", "Open {a}.", "Raises the {o}", "Open the {o}.", "Pulls the {o} up."], ["open the {o} {p}", "please open the {o} {p}", "raise the {o} {p}", "can you open the {o} {p}?", "pull up the {o} {p}", "I want the {o} open {p}"]),
    "approve": ("approve accept confirm sign_off".split(), ["Approves {a}.", "Accept {a}.", "Confirms the {o}", "Sign off {a}.", "Approve the {o}."], ["approve the {o} {p}", "accept the {o} {p}", "please approve the {o} {p}", "the {o} {p} looks good, approve it", "sign off the {o} {p}", "confirm the {o} {p}"]),
    "restore": ("restore recover bring_back".split(), ["Restores {a}.", "Recover {a}.", "Brings {a} back", "Restore the {o}.", "Recovers the {o}."], ["restore the {o} {p}", "recover the {o} {p}", "bring back the {o} {p}", "please restore the {o} {p}", "can you recover the {o} {p}?"]),
    "lock": ("lock block secure".split(), ["Locks the {o}.", "Lock {a}.", "Blocks {a}", "Secure the {o}.", "Lock the {o}."], ["lock the {o} {p}", "please lock the {o} {p}", "block the {o} {p}", "secure the {o} {p}", "can you lock the {o} {p}?"]),
    "unlock": ("unlock unblock release".split(), ["Unlocks the {o}.", "Unlock {a}.", "Unblocks {a}", "Release the {o}.", "Unlock the {o}."], ["unlock the {o} {p}", "please unlock the {o} {p}", "unblock the {o} {p}", "release the {o} {p}", "can you unlock the {o} {p}?"]),
}
