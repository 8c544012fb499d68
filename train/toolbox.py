"""Tools that no two conversations share: what they are about, what they are called, their schemas, how people ask for them,
what they answer. Standard library only; everything is drawn from the random.Random that is passed in.

With held=True only objects, names, wordings and templates come that training never sees (see `pick` and `objects`)."""
import json
import zlib

import words
from phrase import capital, say


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

CITIES = ("Rome Paris London Berlin Madrid Tokyo Vienna Oslo Lisbon Dublin Boston Chicago Delhi Cairo Sydney Milan Naples Zurich Prague Munich Athens Warsaw Seoul Lima Quito "
          "Bergen Porto Lyon Turin Ghent Leeds Osaka Hanoi Riga Tallinn Dakar Accra Denver Austin Dallas Toronto Montreal Hamburg Cologne Krakow Split Malaga Bristol").split()
PEOPLE = "Anna Peter Maria Tom Julia Max Lena Paul Sara Omar Nina Leo Ruth Ben Ida Yuki Wei Fatima Ivan Olga Pierre Claire Hans Greta Diego Lucia Priya Kofi Sven Amara".split()
SURNAMES = "Smith Miller Brown Rossi Keller Novak Tanaka Dubois Schmidt Jones Taylor Walker Young Wright Lopez Green Baker Carter Turner Cooper Reed Kelly Lindqvist Okafor".split()
DAYS = "today tomorrow Monday Tuesday Wednesday Thursday Friday Saturday Sunday tonight yesterday".split()
PRODUCTS = "lamp chair desk keyboard monitor backpack kettle blanket notebook headset charger tripod umbrella bicycle helmet printer toaster sofa mirror jacket".split()
SUBJECTS = ("quarterly report|team lunch|holiday plan|budget draft|new logo|server outage|birthday party|project kickoff|open invoices|travel costs|release notes|training course|office move|safety rules|customer survey|"
            "green energy|solar panels|ancient maps|black cats|jazz music|wild birds|old bridges|city gardens|stone age tools|ocean waves|night trains|free software|paper planes|winter boots|spicy food").split("|")
SENTENCES = ["The meeting moves to {n} o'clock.", "Please send me the {x} by {d}.", "I will be {n} minutes late.", "The {x} is ready.", "Lunch at {n}?", "Don't forget the {x}!", "We need {n} more {x}s.", "Thank you for the {x}.", "The {x} arrives on {d}.",
             "See you on {d}.", "Can you bring the {x}?", "All {n} tests passed.", "The code is {s}.", "Room {n} is free on {d}."]


def a_name(dice):
    roll = dice.random()
    if roll < 0.5:
        return dice.choice(PEOPLE)
    return dice.choice(PEOPLE) + " " + dice.choice(SURNAMES) if roll < 0.8 else words.name(dice)


def a_city(dice):
    return dice.choice(CITIES) if dice.random() < 0.7 else words.name(dice)


def a_date(dice):
    return f"{dice.randrange(2023, 2031)}-{dice.randrange(1, 13):02}-{dice.randrange(1, 29):02}" if dice.random() < 0.5 else dice.choice(DAYS)


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
    return say(dice, dice.choice(SENTENCES), n=dice.randrange(2, 20), x=dice.choice(PRODUCTS), d=dice.choice(DAYS[2:9]), s=an_id(dice))


def an_email(dice):
    return f"{dice.choice(PEOPLE).lower()}{dice.choice(['', '.' + dice.choice(SURNAMES).lower(), str(dice.randrange(1, 99))])}@{words.name(dice, False)}.{dice.choice(['com', 'org', 'net', 'io', 'de'])}"


def a_path(dice, ext=None):
    folders = ["src", "docs", "lib", "data", "tests", "config", "scripts", "app", "notes", "assets", "server", "web", "tools", "etc", "home", words.name(dice, False), words.name(dice, False)]
    parts = [dice.choice(folders) for _ in range(dice.choice((0, 1, 1, 2, 2, 3)))]
    stem = dice.choice(["main", "index", "readme", "utils", "config", "settings", "report", "notes", "data", "server", "client", "test_parser", "todo", "app", "users", "build", words.name(dice, False), words.name(dice, False), words.name(dice, False)])
    return ("/" if dice.random() < 0.3 else "") + "/".join(parts + [stem + "." + (ext or dice.choice("py c h js ts json md txt yaml toml csv log html css sh rs go cfg ini".split()))])


# kind: (parameter names, JSON type, descriptions, value, phrases in a request)
P = {
    "city": ("city location place town city_name where destination".split(), "string", ["The city", "Name of the city", "City to use", "Where", "The place"], a_city, ["in {v}", "for {v}", "in the city of {v}", "in {v}"]),
    "from": ("from origin start departure from_city source".split(), "string", ["Where the trip starts", "The place of departure", "Origin", "Starting point", "From where"], a_city, ["from {v}", "starting in {v}", "leaving from {v}", "from {v}", "departing from {v}"]),
    "to": ("to destination target arrival to_city end".split(), "string", ["Where the trip ends", "The destination", "Destination", "End point", "To where"], a_city, ["to {v}", "going to {v}", "towards {v}", "to {v}", "arriving in {v}"]),
    "date": ("date day when on_date due start_date".split(), "string", ["The date", "The day", "Date, as YYYY-MM-DD or a weekday", "When", "On which day"], a_date, ["on {v}", "for {v}", "for {v}", "on {v}", "({v})"]),
    "time": ("time at hour start_time clock".split(), "string", ["The time of day", "Time as HH:MM", "When it starts", "Clock time", "At what time"], lambda d: f"{d.randrange(0, 24):02}:{d.choice((0, 15, 30, 45)):02}", ["at {v}", "for {v}", "at {v}", "at {v} o'clock", "starting at {v}"]),
    "person": ("person name user customer employee contact recipient".split(), "string", ["The person", "Name of the person", "Full name", "Who", "The person's name"], a_name, ["for {v}", "of {v}", "for {v}", "of {v}", "belonging to {v}"]),
    "recipient": ("to recipient receiver send_to addressee".split(), "string", ["Who gets it", "The recipient", "Name or address of the recipient", "To whom", "The receiver"], lambda d: an_email(d) if d.random() < 0.5 else a_name(d), ["to {v}", "to {v}", "for {v}", "to {v}", "addressed to {v}"]),
    "id": ("id number ref code key identifier".split(), "string", ["The id", "Its number", "Identifier", "Reference", "The key"], an_id, ["{v}", "number {v}", "with the id {v}", "{v}", "no. {v}"]),
    "text": ("text message body content note".split(), "string", ["The text", "What to say", "The content", "Text of the message", "The words"], a_sentence, ['saying "{v}"', 'with the text "{v}"', 'that says "{v}"', '"{v}"', 'reading "{v}"']),
    "title": ("title subject heading name label".split(), "string", ["The title", "The subject line", "Short title", "Heading", "What it is called"], lambda d: d.choice(SUBJECTS), ['called "{v}"', 'titled "{v}"', 'with the title "{v}"', 'named "{v}"', 'under the title "{v}"']),
    "query": ("query q search keywords term phrase".split(), "string", ["What to look for", "The search words", "Search query", "Keywords", "The term"], lambda d: d.choice(SUBJECTS) if d.random() < 0.7 else words.name(d, False), ["about {v}", "on {v}", 'with "{v}"', "about {v}", "matching {v}"]),
    "count": ("limit count n max_results top number".split(), "integer", ["How many", "At most so many", "Number of results", "The limit", "Maximum number"], lambda d: d.randrange(2, 51), ["(only {v})", "at most {v}", "no more than {v}", "the first {v}", "up to {v}"]),
    "people": ("people guests persons passengers party_size".split(), "integer", ["How many people", "Number of guests", "Number of persons", "Size of the group", "How many persons"], lambda d: d.randrange(2, 13), ["for {v} people", "for {v} persons", "for {v} guests", "for {v}", "for a group of {v}"]),
    "nights": ("nights days duration_days length".split(), "integer", ["How many nights", "Length of the stay", "Number of nights", "Duration in days", "How long"], lambda d: d.randrange(2, 15), ["for {v} nights", "staying {v} nights", "for {v} nights", "{v} nights", "over {v} nights"]),
    "minutes": ("minutes duration duration_minutes length_min".split(), "integer", ["Minutes", "How long, in minutes", "Duration in minutes", "Length in minutes", "The minutes"], lambda d: d.randrange(1, 120), ["for {v} minutes", "of {v} minutes", "({v} minutes)", "{v} minutes", "lasting {v} minutes"]),
    "amount": ("amount value sum price total".split(), "number", ["The amount", "Amount of money", "How much", "The value", "The sum"], lambda d: d.randrange(1, 5000) if d.random() < 0.6 else round(d.random() * 500, 2), ["of {v}", "over {v}", "for {v}", "of {v}", "worth {v}"]),
    "percent": ("percent level volume brightness value".split(), "integer", ["In percent", "0 to 100", "The level", "Percentage", "The new level"], lambda d: d.randrange(0, 101), ["to {v} percent", "to {v}%", "to {v}", "at {v} percent", "up to {v} percent"]),
    "degrees": ("temperature degrees celsius value target".split(), "integer", ["Degrees Celsius", "The temperature", "Target temperature", "How warm", "In degrees"], lambda d: d.randrange(10, 30), ["to {v} degrees", "to {v}", "at {v} degrees", "to {v} degrees", "to {v} C"]),
    "product": ("product item article product_name goods".split(), "string", ["The product", "Name of the item", "Which article", "The goods", "The item"], lambda d: d.choice(PRODUCTS), ["for the {v}", "of the {v}", "of the {v}", "for the {v}", "on the {v}"]),
    "room": ("room zone area location place".split(), "string", ["The room", "Which room", "Where in the house", "Zone", "Area"], lambda d: d.choice("kitchen|bedroom|living room|office|garage|bathroom|hall|garden|attic|cellar".split("|")), ["in the {v}", "in the {v}", "for the {v}", "in the {v}", "of the {v}"]),
    "language": ("language lang target_language to_language".split(), "string", ["The language", "Target language", "Into which language", "Language to use", "The new language"], lambda d: d.choice("German French Spanish Italian Polish Japanese Chinese Dutch Swedish Turkish Greek Arabic".split()), ["into {v}", "to {v}", "in {v}", "into {v}", "to {v}"]),
    "path": ("path file filename file_path filepath".split(), "string", ["Path of the file", "The file", "Where the file is", "File name", "The file's path"], a_path, ["{v}", "{v}", "{v}", "at {v}", "{v}"]),
    "url": ("url link address uri page".split(), "string", ["The address", "URL of the page", "Web address", "Link", "The page's URL"], lambda d: f"https://{words.name(d, False)}.{d.choice(['com', 'org', 'net', 'dev'])}/{d.choice(['', words.name(d, False), 'docs/' + words.name(d, False), 'index.html'])}", ["{v}", "{v}", "at {v}", "{v}", "under {v}"]),
    "symbol": ("symbol ticker stock company_code".split(), "string", ["The ticker", "Stock symbol", "Symbol of the share", "Code of the company", "The share"], lambda d: "".join(d.choice("ABCDEFGHIKLMNOPRSTUVX") for _ in range(d.choice((3, 4, 4)))), ["of {v}", "for {v}", "of {v}", "for {v}", "of the share {v}"]),
    "currency": ("currency unit to_currency code".split(), "string", ["Currency code", "The currency", "Three letters", "Code of the currency", "Target currency"], lambda d: d.choice("EUR USD GBP JPY CHF SEK NOK PLN CZK INR CNY BRL".split()), ["in {v}", "to {v}", "into {v}", "in {v}", "as {v}"]),
    "priority": ("priority urgency level importance severity".split(), ["low", "normal", "high"], ["The priority", "How urgent", "Urgency", "Level", "Importance"], None, ["with {v} priority", "({v} priority)", "as {v} priority", "priority {v}", "with priority {v}"]),
    "unit": ("unit units scale temperature_unit".split(), ["celsius", "fahrenheit"], ["The unit", "Unit of the temperature", "Scale", "Which unit", "Degrees in"], None, ["in {v}", "in {v}", "in degrees {v}", "using {v}", "given in {v}"]),
    "status": ("status state filter_status condition".split(), ["open", "closed", "pending"], ["The status", "Only with this state", "State", "Which ones", "Condition"], None, ["that are {v}", "with status {v}", "in the state {v}", "which are {v}", "being {v}"]),
    "format": ("format output type file_type".split(), ["pdf", "csv", "html"], ["The format", "Output format", "File type", "As what", "Kind of file"], None, ["as {v}", "in {v} format", "as a {v}", "as {v}", "in the format {v}"]),
    "color": ("color colour tint hue".split(), "string", ["The colour", "Which colour", "Colour name", "Tint", "The new colour"], lambda d: d.choice(words.COLORS), ["in {v}", "to {v}", "in {v}", "in {v}", "in the colour {v}"]),
    "flag": ("include_archived all recursive force notify verbose urgent detailed".split(), "boolean", ["Whether to do so", "Switch", "True or false", "Optional flag", "On or off"], None, None),
    "names": ("names people attendees members participants users".split(), "array", ["The people", "List of names", "Who takes part", "All names", "The participants"], lambda d: d.sample(PEOPLE, d.choice((2, 2, 3, 3, 4))), ["with {v}", "for {v}", "with {v}", "for {v}", "together with {v}"]),
    "tags": ("tags labels keywords categories topics".split(), "array", ["Labels", "Tags", "List of tags", "Keywords", "The labels"], lambda d: [words.name(d, False) if d.random() < 0.3 else d.choice(words.COLORS + words.ADJECTIVES) for _ in range(d.choice((1, 2, 2, 3)))], ["tagged {v}", "with the tags {v}", "labelled {v}", "with the labels {v}", "under the tags {v}"]),
    "items": ("items lines positions products order_items".split(), "items", ["What is ordered", "The items", "List of items", "Positions", "Things and how many"], lambda d: [{"name": p, "quantity": d.randrange(2, 20)} for p in d.sample(PRODUCTS, d.choice((1, 2, 2, 3)))], ["with {v}", "for {v}", "of {v}", "containing {v}", "with {v}"]),
}
FLAG_SAYS = {"include_archived": "including archived ones", "all": "all of them", "recursive": "recursively", "force": "by force", "notify": "and notify everybody", "verbose": "in verbose mode", "urgent": "marked as urgent", "detailed": "in detail"}

# object, other words for it; verb: parameters (! needed) ...
OBJECTS = """weather,forecast,weather report;get:city! date unit
air quality,smog level;get:city! date
local time,clock time,time of day;get:city!
exchange rate,conversion rate;get:currency! date
stock price,share price,quote;get:symbol! date
flight,plane,flight connection;search:from! to! date! people|book:from! to! date! people!|cancel:id!
train,rail connection,train connection;search:from! to! date|book:from! to! date! people
hotel,hotel room,place to stay;search:city! date nights people|book:city! date! nights! people
restaurant,place to eat,eatery;search:city! query count|book:city! date! time! people!
taxi,cab,ride;book:from! to! time|cancel:id!
email,mail,e-mail;send:recipient! title text!|search:query! count|list:status count|delete:id!
text message,SMS,short message;send:recipient! text!|list:person count
chat message,channel post;send:recipient! text! priority
calendar event,appointment,calendar entry;create:title! date! time names|list:date! count|delete:id!|update:id! date! time
meeting,conference,team meeting;create:title! date! time! names! minutes|cancel:id!|list:date
reminder,memo;create:text! date time|list:date|delete:id!
alarm,wake-up call;create:time! date|delete:id!|list:
timer,countdown;start:minutes!|stop:id
invoice,bill;create:person! amount! date|get:id!|list:status person|send:id! recipient!
payment,transfer,money transfer;create:recipient! amount! currency|get:id!|list:date count
bank balance,account balance;get:id!
order,purchase;create:person! items! priority|get:id!|cancel:id!|list:status person
parcel,package,shipment;get:id!|send:recipient! items
product price,price of an article;get:product! currency
stock level,inventory,number in stock;get:product!|update:product! count!
discount,price reduction;create:product! percent! date
customer,client;create:person! tags|get:id!|search:query! count|delete:id!|update:id! status!
employee,staff member;get:person!|list:status count|create:person! date
salary,pay;get:person!|update:person! amount!
vacation request,leave request,time off;create:person! date! nights!|list:status
ticket,support ticket,issue;create:title! text priority tags|get:id!|list:status count|close:id!|update:id! priority!
bug report,defect report;create:title! text! priority|list:status
pull request,merge request;list:status count|create:title! text tags|close:id!|approve:id!
commit,change set;list:path count|get:id!
branch,git branch;create:title!|delete:id!|list:flag
build,compile job;start:id! flag|stop:id!|get:id!
deployment,rollout,release;start:id! priority|stop:id!|get:id!
server,machine,host;start:id!|stop:id! flag|get:id!|list:status
database table,table of the database;list:flag|get:id! count
sql query,database query;run:text! count
file,document;read:path!|delete:path! flag|search:query! path count|create:path! text!
folder,directory;list:path! flag|create:path!|delete:path! flag
backup,safety copy;create:path! flag|list:date|restore:id!
report,analysis;create:title! date format|get:id!|send:id! recipient! format
spreadsheet,sheet;create:title! format|read:path!
photo,picture,image;search:query! date count|delete:id!|send:id! recipient!
web page,website,site;get:url!|search:query! count
news article,news,news story;search:query! date count
encyclopedia article,wiki page;search:query!|get:title!
definition,meaning of a word;get:query! language
translation,translated text;create:text! language!
song,music,track;play:query!|search:query! count|stop:
playlist,music list;create:title! tags|play:title!|list:
film,movie;search:query! count|book:title! city! time people
book,novel;search:query! count|book:id! person
recipe,cooking recipe;search:query! count|get:id!
light,lamp;start:room! color|stop:room!|update:room! percent!
heating,thermostat;update:room! degrees!|get:room!
window blind,shutter;open:room!|close:room!
door lock,front door;lock:room|unlock:room
vacuum cleaner,robot cleaner;start:room!|stop:
security camera,surveillance camera;get:room!|start:room!
coffee machine,coffee maker;start:count time
traffic,road traffic,traffic situation;get:from! to! time
route,way,directions;get:from! to! time
distance,length of the way;get:from! to!
parking space,car park;search:city! time|book:city! date! minutes!
electric car charger,charging station;search:city! count
doctor,physician;search:city! query|book:person! date! time
prescription,medicine order;create:person! text!|list:person
blood pressure,vital signs;get:person! date|create:person! text! date
workout,exercise session;create:title! minutes! date|list:date count
diet plan,meal plan;create:person! nights!|get:person!
course,class,lesson;search:query! city count|book:id! person!
exam result,grade;get:person! title
homework,assignment;create:title! date! names|list:date
translator,interpreter;book:language! date! time
contact,address book entry;get:person!|create:person! text|delete:person!
phone number,telephone number;get:person!
note,memo page;create:title text! tags|search:query! count|delete:id!
to-do item,task,chore;create:title! date priority|list:status count|close:id!
shopping list,grocery list;get:|update:items!
vote,poll;create:title! names|get:id!|close:id!
survey,questionnaire;create:title! date|get:id!
subscription,membership;create:person! amount|cancel:id!|list:status
voucher,gift card;create:amount! recipient|get:id!
lottery numbers,lucky numbers;get:date! count
horoscope,star sign forecast;get:person! date
tide,high water;get:city! date
sunrise,time of sunrise;get:city! date
earthquake,seismic event;search:city date count
satellite position,orbit;get:id! time
sensor,measuring device;get:id!|list:status room
machine part,spare part;search:query! count|create:product! count!
warehouse shelf,storage place;get:product!|update:id! product!
truck,delivery van;get:id!|start:id! to!
contract,agreement;create:person! title! date|get:id!|cancel:id!
law,legal text;search:query! count
patent,invention record;search:query! date count
museum,exhibition;search:city! date
concert,live music;search:city! query date|book:id! people!
sports result,match score;get:title! date
game server,multiplayer match;start:title! names|stop:id!
password,secret;create:title! count|get:title!
user account,login;create:person! recipient|delete:id!|list:status|lock:id!|unlock:id!
access right,permission;create:person! path!|delete:person! path!|list:person!
log file,event log;read:path! count|search:query! date count
error message,exception;search:query! count
unit test,test case;run:path! flag|list:path
package,library,dependency;create:title! flag|delete:title!|list:flag|update:title!
container,docker container;start:id! flag|stop:id!|list:flag
cron job,scheduled job;create:title! time!|delete:id!|list:
dns record,domain entry;create:title! url!|get:title!|delete:id!
certificate,TLS certificate;get:url!|create:url! date
feature flag,switch;update:id! status!|list:
dashboard,overview page;get:id!|create:title! tags""".split("\n")

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
        name += " " + (dice.choice("record unit level index file entry value code table plan report signal".split()) if dice.random() < 0.4 else a_noun(dice, held))
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
        self.noun = dice.choice(self.names)          # in the description
        name_verb = pick(dice, VERBS[self.verb][0], held) if held or dice.random() < 0.8 else dice.choice(["do", "handle", "call", words.name(dice, False), a_noun(dice)])
        roll = dice.random()
        named = dice.choice(self.names) if roll < 0.9 else words.name(dice, False)
        self.shown = [self.noun] + [n for n in self.names if n == named]   # what a reader of the schema sees
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
            strange = not held and dice.random() < 0.35   # any word may name a parameter
            if strange:
                key = dice.choice([words.name(dice, False), a_noun(dice), a_noun(dice) + "_" + key, key + "_" + a_noun(dice), key + str(dice.randrange(1, 9)), a_noun(dice) + "_" + a_noun(dice)])
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
        if len(self.params) > 1 and dice.random() < 0.2:   # some of them inside an object
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
            text = text.rstrip(".") + ". " + pick(dice, [f"Use it when the user asks for {with_article(self.names[0])}.", "Fast and free of charge.", "Needs no login.", "Returns JSON.", f"Also known as {self.names[-1]}.", "Prefer this over guessing.", "Returns plain text.", "Call it once per request.", "The result is a short text.", "Do not call it without need."], held)
        self.schema = {"name": self.name, "description": text, "parameters": parameters}

    def property(self, dice, kind, told=False):
        _, type_, texts, _, _ = P[kind]
        if isinstance(type_, list):
            out = {"type": "string", "enum": list(type_)}
        elif type_ == "array":
            out = {"type": "array", "items": {"type": "string"}}
        elif type_ == "items":
            out = {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}, "quantity": {"type": "integer"}}, "required": ["name", "quantity"]}}
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
            text = pick(dice, ["Hi! ", "Please help me: ", "One thing: ", "Use a tool. ", "Next, ", "Now ", "Hello, ", "And ", "OK, ", "Quick one: "], self.held) + text
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

FIELDS = {"count": lambda d: d.randrange(0, 500), "temperature": lambda d: d.randrange(-15, 40), "price": lambda d: round(d.random() * 900, 2), "status": lambda d: d.choice("ok ready open closed pending done active new sold-out late".split()),
          "name": a_name, "city": a_city, "date": a_date, "id": an_id, "code": an_id, "distance_km": lambda d: d.randrange(1, 3000), "minutes": lambda d: d.randrange(1, 300), "humidity": lambda d: d.randrange(10, 100), "available": lambda d: d.random() < 0.5,
          "rating": lambda d: round(d.random() * 5, 1), "owner": a_name, "email": an_email, "title": lambda d: d.choice(SUBJECTS), "color": lambda d: d.choice(words.COLORS), "size": lambda d: d.randrange(1, 10000), "version": lambda d: f"{d.randrange(0, 9)}.{d.randrange(0, 30)}.{d.randrange(0, 30)}",
          "speed": lambda d: d.randrange(1, 200), "level": lambda d: d.choice(["low", "medium", "high"]), "gate": lambda d: f"{d.choice('ABCDEF')}{d.randrange(1, 60)}", "total": lambda d: d.randrange(1, 100000), "wind": lambda d: d.randrange(0, 120), "phone": lambda d: f"+{d.randrange(10, 99)} {d.randrange(100, 999)} {d.randrange(1000, 9999)}"}


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
        items = [{"id": an_id(dice), **{k: v for k, v in record(dice, 1).items() if k != "id"}} if key == "id" else {"name": a_name(dice), "code": an_id(dice)} for _ in range(n)]
        text = json.dumps(items if dice.random() < 0.6 else {"total": n, "results": items}, ensure_ascii=False)
        return text, f"There are no {plural(o)}." if not n else f"There {'is one' if n == 1 else 'are ' + str(n)}: {join([str(i[key]) for i in items])}.", {}
    if form < 0.65 and not acts:
        items = [dice.choice([a_name, an_id, a_city, a_path, lambda d: d.choice(SUBJECTS)])(dice) for _ in range(dice.choice((2, 3, 4, 6)))]
        return "\n".join(dice.choice(["", "- "]) + i for i in items) if dice.random() < 0.7 else json.dumps(items), f"There are {len(items)}: {join(items)}.", {}
    if form < 0.72:
        fields = record(dice, dice.choice((2, 3)))
        return "\n".join(f"{k}: {as_text(v)}" for k, v in fields.items()), f"Done: {listed(fields)}." if acts else f"{article}: {listed(fields)}.", fields
    if form < 0.78:
        fields = record(dice, dice.choice((1, 2)))
        return "".join(f"<{k}>{as_text(v)}</{k}>" for k, v in fields.items()), f"Done: {listed(fields)}." if acts else f"{article}: {listed(fields)}.", fields
    plain = dice.choice([lambda: f"{dice.choice(words.ADJECTIVES)}, {dice.randrange(1, 100)} degrees", lambda: an_id(dice), lambda: a_sentence(dice), lambda: str(dice.randrange(1, 100000)), lambda: words.secret(dice),
                         lambda: f"{dice.choice(words.COLORS)} {dice.choice(words.ANIMALS)} {dice.randrange(1, 99)}", lambda: words.sentence(dice), lambda: f"{a_name(dice)}, {a_city(dice)}, {dice.randrange(1, 500)}"])()
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


WANTS = {"get": "see", "list": "see", "search": "find", "create": "make", "delete": "delete", "update": "change", "send": "send", "book": "book", "cancel": "cancel", "start": "start", "stop": "stop", "run": "run", "read": "read", "play": "play", "close": "close", "open": "open", "approve": "approve", "restore": "restore", "lock": "lock", "unlock": "unlock"}


def why(tool, o, arguments):
    """The reasoning before a call."""
    return f"The user wants to {WANTS[tool.verb]}: {o}. {tool.name} is for that." + (f" Arguments: {listed(flat(arguments))}." if arguments else " It takes no arguments.")


def flat(arguments):
    out = {}
    for k, v in arguments.items():
        out.update(v) if isinstance(v, dict) else out.update({k: v})
    return out


def one_call(dice, tool):
    """Request, call, result, answer; at times a question about the result."""
    request, arguments, o = tool.ask(dice)
    text, answer, fields = result(dice, tool, o)
    turns = [user(request), assistant("", why(tool, o, arguments), [(tool.name, arguments)]), said(dice, text), assistant(answer, f"The tool says: {text[:120]}" if len(text) < 121 else "The tool has answered.")]
    if fields and dice.random() < 0.5:
        key = dice.choice(list(fields))
        shown = key.replace("_", " ")
        turns += [user(capital(pick(dice, [f"what is the {shown}?", f"and the {shown}?", f"tell me the {shown} again", f"which {shown} was it?", f"the {shown}?", f"what was the {shown} again?", f"please repeat the {shown}"], tool.held))),
                  assistant(f"The {shown} is {as_text(fields[key])}.", f"The result above has the {shown}.")]
    return turns


def several_calls(dice, tool):
    """The same tool for several values in one turn."""
    kinds = [(k, kind, need) for k, kind, need in tool.params if kind in ("city", "person", "id", "product", "symbol", "path", "url", "room", "title", "query")]
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
    text = capital(" ".join(fill(pick(dice, VERBS[tool.verb][2], tool.held), o).replace("{p}", " ".join([asked] + phrases)).split()).replace(" ?", "?").replace(" ,", ","))
    calls, results, lines = [], [], []
    for v in several:
        values = sorted(base + [(key, kind, v)], key=lambda x: order.index(x[0]))
        calls.append((tool.name, tool.arguments(values)))
        value = dice.choice([lambda: str(dice.randrange(1, 1000)), lambda: dice.choice(words.ADJECTIVES), lambda: an_id(dice), lambda: json.dumps(record(dice, 1))])()
        results.append(said(dice, value))
        lines.append(f"{v}: {listed(json.loads(value)) if value[0] == '{' else value}")
    return [user(text), assistant("", f"The user wants to {WANTS[tool.verb]}: {o}, {n} times. {tool.name} is for that, one call each.", calls), *results, assistant("\n".join(lines), "All tools have answered.")]


def two_tools(dice, tools):
    """Two wishes in one sentence, two calls."""
    a, b = dice.sample(tools, 2)
    (ra, aa, oa), (rb, ab, ob) = a.ask(dice), b.ask(dice)
    if dice.random() < 0.5:
        ra, rb = ra.rstrip(".?"), rb[:1].lower() + rb[1:]
    turns = [user(ra + dice.choice([" and ", " and then ", ". Also, ", "; "]) + rb), assistant("", f"Two things: {oa} with {a.name}, {ob} with {b.name}.", [(a.name, aa), (b.name, ab)])]
    out, lines = [], []
    for o in (oa, ob):
        value = dice.choice([lambda: str(dice.randrange(1, 1000)), lambda: dice.choice(words.ADJECTIVES), lambda: an_id(dice), lambda: "ok"])()
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
        error = pick(dice, [f"Error: unknown {key} '{wrong}'. Did you mean '{right}'?", f'{{"error": "no {key} {wrong}", "suggestion": "{right}"}}', f"Error: '{wrong}' was renamed to '{right}'", f"{key} '{wrong}' not found; closest match: {right}", f"Invalid {key}. Try '{right}' instead of '{wrong}'."], tool.held)
        values = values[:i] + [(key, kind, right)] + values[i + 1:]
        reason = f"The tool does not know {wrong}, but {right}. I try that."
    elif numbers and roll < 0.6:
        i, (key, kind, wrong) = dice.choice(numbers)
        right = dice.randrange(1, max(2, wrong))
        error = pick(dice, [f"Error: {key} must be at most {right}", f'{{"error": "{key} too large", "max": {right}}}', f"ValueError: {key} > {right}", f"{key} out of range, maximum {right}", f"400: largest {key} is {right}"], tool.held)
        values = values[:i] + [(key, kind, right)] + values[i + 1:]
        reason = f"At most {right} is allowed. I try again with {right}."
    else:
        error = pick(dice, ["Error: timeout, try again", "503 Service Unavailable", '{"error": "temporary failure"}', "Error: connection reset, please retry", "Busy, retry later", "Temporary error 17, call again", "Error: rate limit, try again", "Lock held by another process. Retry."], tool.held)
        reason = "That failed for the moment. I try once more."
    second = assistant("", reason, [(tool.name, tool.arguments(values))])
    if dice.random() < 0.25:
        last = pick(dice, ["Error: not available", "Error: permission denied", '{"error": "internal error"}', "Fatal: no connection", "Error: quota exceeded", "500 Internal Server Error"], tool.held)
        return [user(request), first, said(dice, error), second, said(dice, last), assistant(f"That did not work. The tool says: {last}", "It failed twice. I report the error.")]
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
