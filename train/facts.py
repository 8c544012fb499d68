"""What ds4-mini knows of the world: tables, and the ways to ask for what they hold. Standard library only."""
from phrase import capital, load, say

CAPITALS = dict(
    pair.split(":") for pair in """
Afghanistan:Kabul,Albania:Tirana,Algeria:Algiers,Andorra:Andorra la Vella,Angola:Luanda,Argentina:Buenos Aires,Armenia:Yerevan,
Australia:Canberra,Austria:Vienna,Azerbaijan:Baku,Bahrain:Manama,Bangladesh:Dhaka,Belarus:Minsk,Belgium:Brussels,Belize:Belmopan,
Bhutan:Thimphu,Botswana:Gaborone,Brazil:Brasilia,Brunei:Bandar Seri Begawan,Bulgaria:Sofia,Burkina Faso:Ouagadougou,Cambodia:Phnom Penh,
Cameroon:Yaounde,Canada:Ottawa,Chad:N'Djamena,Chile:Santiago,China:Beijing,Colombia:Bogota,Costa Rica:San Jose,Croatia:Zagreb,
Cuba:Havana,Cyprus:Nicosia,Czechia:Prague,the Czech Republic:Prague,Denmark:Copenhagen,Djibouti:Djibouti,Ecuador:Quito,Egypt:Cairo,
El Salvador:San Salvador,Estonia:Tallinn,Ethiopia:Addis Ababa,Fiji:Suva,Finland:Helsinki,France:Paris,Gabon:Libreville,Georgia:Tbilisi,
Germany:Berlin,Ghana:Accra,Greece:Athens,Guatemala:Guatemala City,Guyana:Georgetown,Haiti:Port-au-Prince,Honduras:Tegucigalpa,
Hungary:Budapest,Iceland:Reykjavik,India:New Delhi,Indonesia:Jakarta,Iran:Tehran,Iraq:Baghdad,Ireland:Dublin,Israel:Jerusalem,Italy:Rome,
Jamaica:Kingston,Japan:Tokyo,Jordan:Amman,Kazakhstan:Astana,Kenya:Nairobi,Kuwait:Kuwait City,Laos:Vientiane,Latvia:Riga,Lebanon:Beirut,
Liberia:Monrovia,Libya:Tripoli,Liechtenstein:Vaduz,Lithuania:Vilnius,Luxembourg:Luxembourg,Madagascar:Antananarivo,Malawi:Lilongwe,
Malaysia:Kuala Lumpur,Mali:Bamako,Malta:Valletta,Mauritania:Nouakchott,Mexico:Mexico City,Moldova:Chisinau,Monaco:Monaco,
Mongolia:Ulaanbaatar,Montenegro:Podgorica,Morocco:Rabat,Mozambique:Maputo,Myanmar:Naypyidaw,Namibia:Windhoek,Nepal:Kathmandu,
the Netherlands:Amsterdam,New Zealand:Wellington,Nicaragua:Managua,Niger:Niamey,Nigeria:Abuja,North Korea:Pyongyang,
North Macedonia:Skopje,Norway:Oslo,Oman:Muscat,Pakistan:Islamabad,Panama:Panama City,Paraguay:Asuncion,Peru:Lima,the Philippines:Manila,
Poland:Warsaw,Portugal:Lisbon,Qatar:Doha,Romania:Bucharest,Russia:Moscow,Rwanda:Kigali,Saudi Arabia:Riyadh,Senegal:Dakar,
Serbia:Belgrade,Singapore:Singapore,Slovakia:Bratislava,Slovenia:Ljubljana,Somalia:Mogadishu,South Korea:Seoul,South Sudan:Juba,
Spain:Madrid,Sudan:Khartoum,Suriname:Paramaribo,Sweden:Stockholm,Switzerland:Bern,Syria:Damascus,Taiwan:Taipei,Tajikistan:Dushanbe,
Tanzania:Dodoma,Thailand:Bangkok,Togo:Lome,Tunisia:Tunis,Turkey:Ankara,Uganda:Kampala,Ukraine:Kyiv,the United Arab Emirates:Abu Dhabi,
the United Kingdom:London,the UK:London,England:London,Scotland:Edinburgh,Wales:Cardiff,the United States:Washington D.C.,
the USA:Washington D.C.,the US:Washington D.C.,Uruguay:Montevideo,Uzbekistan:Tashkent,Venezuela:Caracas,Vietnam:Hanoi,Yemen:Sanaa,
Zambia:Lusaka,Zimbabwe:Harare,Holland:Amsterdam
""".replace("\n", "").split(","))
FAMOUS = """France Germany Italy Spain Poland Japan China Russia India Brazil Canada Australia Austria Switzerland Sweden Norway Denmark Finland
Greece Portugal Ireland Belgium Hungary Egypt Turkey Mexico Argentina England Ukraine""".split() + \
    ["the Netherlands", "the United States", "the UK", "the USA", "the Czech Republic", "South Korea"]
STATES = dict(
    pair.split(":") for pair in """
Alabama:Montgomery,Alaska:Juneau,Arizona:Phoenix,Arkansas:Little Rock,California:Sacramento,Colorado:Denver,Connecticut:Hartford,
Delaware:Dover,Florida:Tallahassee,Hawaii:Honolulu,Idaho:Boise,Illinois:Springfield,Indiana:Indianapolis,Iowa:Des Moines,Kansas:Topeka,
Kentucky:Frankfort,Louisiana:Baton Rouge,Maine:Augusta,Maryland:Annapolis,Massachusetts:Boston,Michigan:Lansing,Minnesota:Saint Paul,
Mississippi:Jackson,Missouri:Jefferson City,Montana:Helena,Nebraska:Lincoln,Nevada:Carson City,New Hampshire:Concord,New Jersey:Trenton,
New Mexico:Santa Fe,North Carolina:Raleigh,North Dakota:Bismarck,Ohio:Columbus,Oklahoma:Oklahoma City,Oregon:Salem,
Pennsylvania:Harrisburg,Rhode Island:Providence,South Carolina:Columbia,South Dakota:Pierre,Tennessee:Nashville,Texas:Austin,
Utah:Salt Lake City,Vermont:Montpelier,Virginia:Richmond,West Virginia:Charleston,Wisconsin:Madison,Wyoming:Cheyenne
""".replace("\n", "").split(","))
LANGUAGES = dict(
    pair.split(":") for pair in """France:French,Germany:German,Italy:Italian,Spain:Spanish,Poland:Polish,Japan:Japanese,
China:Chinese,Russia:Russian,Brazil:Portuguese,Portugal:Portuguese,Mexico:Spanish,Argentina:Spanish,Sweden:Swedish,Norway:Norwegian,
Denmark:Danish,Finland:Finnish,Greece:Greek,Hungary:Hungarian,the Netherlands:Dutch,Turkey:Turkish,Egypt:Arabic,Austria:German,England:English,
Australia:English,the United States:English,Ukraine:Ukrainian,Romania:Romanian,Bulgaria:Bulgarian,Vietnam:Vietnamese,Thailand:Thai,
South Korea:Korean,Israel:Hebrew,Iran:Persian,Iceland:Icelandic,Chile:Spanish,Peru:Spanish,Cuba:Spanish,Colombia:Spanish""".replace(
        "\n", "").split(","))
CURRENCIES = dict(
    pair.split(":") for pair in """France:euro,Germany:euro,Italy:euro,Spain:euro,Portugal:euro,Ireland:euro,Austria:euro,
Greece:euro,Finland:euro,the United States:US dollar,the UK:pound sterling,England:pound sterling,Japan:yen,China:yuan,Russia:ruble,
India:rupee,Poland:zloty,Switzerland:Swiss franc,Sweden:Swedish krona,Norway:Norwegian krone,Denmark:Danish krone,Mexico:peso,
Canada:Canadian dollar,Australia:Australian dollar,Turkey:lira,Brazil:real,South Korea:won,Hungary:forint,Ukraine:hryvnia,
Thailand:baht""".replace("\n", "").split(","))
CONTINENTS = {
    "Europe":
    "France Germany Italy Spain Poland Sweden Norway Greece Portugal Ireland Hungary Austria Switzerland Finland Denmark Belgium",
    "Asia": "Japan China India Thailand Vietnam Mongolia Nepal Iran Iraq Pakistan Indonesia Malaysia", "Africa":
    "Egypt Kenya Nigeria Morocco Ghana Ethiopia Algeria Tunisia Uganda Zambia Angola Mali", "South America":
    "Brazil Argentina Chile Peru Colombia Venezuela Ecuador Uruguay Paraguay", "North America":
    "Canada Mexico Cuba Panama Guatemala Honduras"
}
CONTINENT_OF = {c: k for k, v in CONTINENTS.items() for c in v.split()}
SYMBOLS = dict(
    pair.split(":") for pair in """hydrogen:H,helium:He,lithium:Li,carbon:C,nitrogen:N,oxygen:O,fluorine:F,neon:Ne,sodium:Na,
magnesium:Mg,aluminium:Al,silicon:Si,phosphorus:P,sulphur:S,sulfur:S,chlorine:Cl,argon:Ar,potassium:K,calcium:Ca,titanium:Ti,chromium:Cr,
iron:Fe,nickel:Ni,copper:Cu,zinc:Zn,silver:Ag,tin:Sn,iodine:I,gold:Au,mercury:Hg,lead:Pb,uranium:U,platinum:Pt,tungsten:W""".
    replace("\n", "").split(","))
AUTHORS = dict(
    pair.split(":") for pair in """Hamlet:William Shakespeare,Romeo and Juliet:William Shakespeare,Macbeth:William Shakespeare,
Othello:William Shakespeare,King Lear:William Shakespeare,Pride and Prejudice:Jane Austen,Emma:Jane Austen,Sense and Sensibility:Jane Austen,
Faust:Johann Wolfgang von Goethe,Don Quixote:Miguel de Cervantes,War and Peace:Leo Tolstoy,Anna Karenina:Leo Tolstoy,
Crime and Punishment:Fyodor Dostoevsky,Moby Dick:Herman Melville,The Odyssey:Homer,The Iliad:Homer,The Divine Comedy:Dante Alighieri,
Oliver Twist:Charles Dickens,A Christmas Carol:Charles Dickens,Great Expectations:Charles Dickens,Alice in Wonderland:Lewis Carroll,
Frankenstein:Mary Shelley,Dracula:Bram Stoker,Robinson Crusoe:Daniel Defoe,Treasure Island:Robert Louis Stevenson,
The Time Machine:H. G. Wells,The Devil's Dictionary:Ambrose Bierce,1984:George Orwell,Animal Farm:George Orwell,The Hobbit:J. R. R. Tolkien,
The Lord of the Rings:J. R. R. Tolkien,Harry Potter:J. K. Rowling,Les Miserables:Victor Hugo,The Little Prince:Antoine de Saint-Exupery,
Wuthering Heights:Emily Bronte,Jane Eyre:Charlotte Bronte,Tom Sawyer:Mark Twain,Huckleberry Finn:Mark Twain,Walden:Henry David Thoreau,
The Trial:Franz Kafka,Ulysses:James Joyce""".replace("\n", "").split(","))
INVENTED = [("the telephone", "Alexander Graham Bell"), ("the printing press", "Johannes Gutenberg"),
            ("the light bulb", "Thomas Edison"), ("dynamite", "Alfred Nobel"), ("the World Wide Web", "Tim Berners-Lee"),
            ("Linux", "Linus Torvalds"), ("git", "Linus Torvalds"), ("Python", "Guido van Rossum"), ("C", "Dennis Ritchie"),
            ("the C programming language", "Dennis Ritchie"), ("C++", "Bjarne Stroustrup"), ("Java", "James Gosling"),
            ("JavaScript", "Brendan Eich"), ("Ruby", "Yukihiro Matsumoto"), ("Perl", "Larry Wall"), ("PHP", "Rasmus Lerdorf"),
            ("the theory of relativity", "Albert Einstein"), ("penicillin", "Alexander Fleming"), ("gravity", "Isaac Newton"),
            ("the law of gravity", "Isaac Newton"), ("radium", "Marie Curie"), ("the steam engine", "James Watt"),
            ("the Mona Lisa", "Leonardo da Vinci"), ("Starry Night", "Vincent van Gogh"), ("Guernica", "Pablo Picasso"),
            ("evolution", "Charles Darwin"), ("the Ninth Symphony", "Ludwig van Beethoven"),
            ("The Magic Flute", "Wolfgang Amadeus Mozart"), ("SQLite", "D. Richard Hipp"), ("curl", "Daniel Stenberg")]
VERB_OF = {
    "the telephone": "invented", "the printing press": "invented", "the light bulb": "invented", "dynamite": "invented",
    "the steam engine": "invented", "penicillin": "discovered", "gravity": "discovered", "the law of gravity": "discovered",
    "radium": "discovered", "the Mona Lisa": "painted", "Starry Night": "painted", "Guernica": "painted", "the Ninth Symphony":
    "composed", "The Magic Flute": "composed", "the theory of relativity": "developed", "evolution": "described"
}
YEARS = [("(World War II|the Second World War|WW2|world war 2|world war two) end", "World War II ended in 1945."),
         ("(World War II|the Second World War|WW2|world war 2|world war two) (start|begin)", "World War II began in 1939."),
         ("(World War I|the First World War|WW1|world war 1|world war one) end", "World War I ended in 1918."),
         ("(World War I|the First World War|WW1|world war 1|world war one) (start|begin)", "World War I began in 1914."),
         ("the Berlin Wall (fall|come down)", "The Berlin Wall fell in 1989."),
         ("the French Revolution (start|begin)", "The French Revolution began in 1789."),
         ("Columbus (reach|discover|arrive in|get to) America", "Columbus reached America in 1492."),
         ("(people|men|humans|the first man|we|Armstrong|Apollo 11) (land on|walk on|reach) the moon",
          "People first landed on the Moon in 1969."), ("the Titanic sink", "The Titanic sank in 1912."),
         ("the Soviet Union (collapse|end|fall apart)", "The Soviet Union ended in 1991."),
         ("the United States (become independent|declare independence)", "The United States declared its independence in 1776.")]
NUMBERS = [("minutes", "an hour", "An hour has 60 minutes."), ("seconds", "a minute", "A minute has 60 seconds."),
           ("hours", "a day", "A day has 24 hours."), ("days", "a week", "A week has seven days."),
           ("months", "a year", "A year has twelve months."), ("days", "a year", "A year has 365 days, and 366 in a leap year."),
           ("weeks", "a year", "A year has 52 weeks."), ("seconds", "an hour", "An hour has 3600 seconds."),
           ("years", "a century", "A century has 100 years."), ("years", "a decade", "A decade has ten years."),
           ("days", "a leap year", "A leap year has 366 days."),
           ("days", "February", "February has 28 days, and 29 in a leap year."),
           ("centimetres", "a metre", "A metre has 100 centimetres."), ("centimeters", "a meter", "A metre has 100 centimetres."),
           ("metres", "a kilometre", "A kilometre has 1000 metres."), ("meters", "a kilometer", "A kilometre has 1000 metres."),
           ("grams", "a kilogram", "A kilogram has 1000 grams."),
           ("millimetres", "a centimetre", "A centimetre has ten millimetres."), ("bits", "a byte", "A byte has eight bits."),
           ("bytes", "a kilobyte", "A kilobyte has 1000 bytes, a kibibyte 1024."),
           ("inches", "a foot", "A foot has twelve inches."), ("feet", "a mile", "A mile has 5280 feet."),
           ("letters", "the alphabet", "The English alphabet has 26 letters."),
           ("letters", "the English alphabet", "The English alphabet has 26 letters."),
           ("planets", "the solar system", "The solar system has eight planets."),
           ("continents", "the world", "There are seven continents."), ("legs", "a spider", "A spider has eight legs."),
           ("legs", "an insect", "An insect has six legs."), ("legs", "a dog", "A dog has four legs."),
           ("legs", "a cat", "A cat has four legs."), ("sides", "a triangle", "A triangle has three sides."),
           ("sides", "a square", "A square has four sides."), ("sides", "a hexagon", "A hexagon has six sides."),
           ("players", "a football team", "A football team has eleven players."),
           ("strings", "a guitar", "A guitar has six strings."), ("strings", "a violin", "A violin has four strings."),
           ("states", "the USA", "The United States has 50 states."),
           ("states", "the United States", "The United States has 50 states."), ("items", "a dozen", "A dozen is twelve."),
           ("bones", "the human body", "An adult human has 206 bones."), ("fingers", "a hand", "A hand has five fingers."),
           ("wheels", "a car", "A car has four wheels."), ("cards", "a deck of cards", "A deck has 52 cards."),
           ("colours", "a rainbow", "A rainbow has seven colours."), ("colors", "the rainbow", "A rainbow has seven colours."),
           ("keys", "a piano", "A piano has 88 keys."), ("arms", "an octopus", "An octopus has eight arms.")]
OPPOSITES = dict(
    pair.split(":")
    for pair in """hot:cold,big:small,tall:short,fast:slow,old:young,new:old,good:bad,happy:sad,light:dark,day:night,up:down,
left:right,open:closed,early:late,easy:difficult,hard:soft,full:empty,rich:poor,strong:weak,wet:dry,clean:dirty,high:low,long:short,near:far,
first:last,true:false,loud:quiet,thick:thin,wide:narrow,deep:shallow,begin:end,start:stop,buy:sell,love:hate,win:lose,push:pull,always:never,
inside:outside,above:below,black:white,heavy:light,sweet:sour,brave:cowardly,cheap:expensive,safe:dangerous,polite:rude,yes:no,male:female,
summer:winter,north:south,east:west,front:back,friend:enemy,question:answer,war:peace,alive:dead,asleep:awake,beautiful:ugly,cold:hot,dark:light,
small:big,slow:fast,sad:happy,bad:good,down:up,right:left,late:early,empty:full,poor:rich,weak:strong,dry:wet,dirty:clean,low:high,far:near,last:first,
quiet:loud,thin:thick,narrow:wide,shallow:deep,difficult:easy,soft:hard,young:old,night:day,enemy:friend,peace:war""".replace(
        "\n", "").split(","))
WORDS = {  # English: German, French, Spanish, Italian
    "hello": "hallo bonjour hola ciao", "thank you": "danke merci gracias grazie", "thanks": "danke merci gracias grazie", "please":
    "bitte s'il_vous_plaît por_favor per_favore", "yes": "ja oui sí sì", "no": "nein non no no", "good morning":
    "guten_Morgen bonjour buenos_días buongiorno", "good evening": "guten_Abend bonsoir buenas_noches buonasera", "good night":
    "gute_Nacht bonne_nuit buenas_noches buonanotte", "goodbye": "auf_Wiedersehen au_revoir adiós arrivederci", "water":
    "Wasser eau agua acqua", "bread": "Brot pain pan pane", "house": "Haus maison casa casa", "dog": "Hund chien perro cane", "cat":
    "Katze chat gato gatto", "book": "Buch livre libro libro", "friend": "Freund ami amigo amico", "sun": "Sonne soleil sol sole",
    "moon": "Mond lune luna luna", "tree": "Baum arbre árbol albero", "red": "rot rouge rojo rosso", "blue": "blau bleu azul blu",
    "green": "grün vert verde verde", "black": "schwarz noir negro nero", "white": "weiß blanc blanco bianco", "one":
    "eins un uno uno", "two": "zwei deux dos due", "three": "drei trois tres tre", "four": "vier quatre cuatro quattro", "five":
    "fünf cinq cinco cinque", "six": "sechs six seis sei", "seven": "sieben sept siete sette", "eight": "acht huit ocho otto",
    "nine": "neun neuf nueve nove", "ten": "zehn dix diez dieci", "day": "Tag jour día giorno", "night": "Nacht nuit noche notte",
    "man": "Mann homme hombre uomo", "woman": "Frau femme mujer donna", "child": "Kind enfant niño bambino", "milk":
    "Milch lait leche latte", "apple": "Apfel pomme manzana mela", "cheese": "Käse fromage queso formaggio", "wine":
    "Wein vin vino vino", "beer": "Bier bière cerveza birra", "car": "Auto voiture coche macchina", "school":
    "Schule école escuela scuola", "city": "Stadt ville ciudad città", "street": "Straße rue calle strada", "love":
    "Liebe amour amor amore", "time": "Zeit temps tiempo tempo", "today": "heute aujourd'hui hoy oggi", "tomorrow":
    "morgen demain mañana domani", "good": "gut bon bueno buono", "big": "groß grand grande grande", "small":
    "klein petit pequeño piccolo", "I love you": "ich_liebe_dich je_t'aime te_quiero ti_amo", "how are you":
    "wie_geht_es_dir comment_ça_va cómo_estás come_stai", "fish": "Fisch poisson pez pesce", "bird": "Vogel oiseau pájaro uccello",
    "computer": "Computer ordinateur ordenador computer", "work": "Arbeit travail trabajo lavoro", "money":
    "Geld argent dinero denaro", "flower": "Blume fleur flor fiore", "mother": "Mutter mère madre madre", "father":
    "Vater père padre padre", "world": "Welt monde mundo mondo", "sea": "Meer mer mar mare", "fire": "Feuer feu fuego fuoco",
    "table": "Tisch table mesa tavolo"
}
TONGUES = ["German", "French", "Spanish", "Italian"]
CATEGORIES = {
    "colours": "red, blue, green, yellow and black", "colors": "red, blue, green, yellow and black", "animals":
    "dog, cat, horse, cow and elephant", "fruits": "apple, banana, orange, pear and grape", "vegetables":
    "carrot, potato, onion, tomato and spinach", "countries": "France, Germany, Italy, Japan and Brazil", "cities":
    "London, Paris, Rome, Berlin and Tokyo", "programming languages": "C, Python, Java, Rust and Go", "planets":
    "Mercury, Venus, Earth, Mars and Jupiter", "birds": "sparrow, eagle, owl, robin and swan", "sports":
    "football, tennis, swimming, basketball and running", "musical instruments": "piano, violin, guitar, drum and flute", "flowers":
    "rose, tulip, daisy, lily and violet", "trees": "oak, pine, birch, maple and willow", "metals":
    "iron, copper, gold, silver and lead", "languages": "English, German, French, Spanish and Chinese", "oceans":
    "Pacific, Atlantic, Indian, Southern and Arctic", "drinks": "water, tea, coffee, milk and juice", "European countries":
    "France, Germany, Italy, Spain and Poland", "operating systems": "Linux, Windows, macOS, FreeBSD and Android", "prime numbers":
    "2, 3, 5, 7 and 11", "even numbers": "2, 4, 6, 8 and 10", "odd numbers": "1, 3, 5, 7 and 9"
}
COUNT_WORDS = ["zero", "one", "two", "three", "four", "five"]

MISC = load("facts")

CAPITAL_ASKS = [
    "what is the capital [city] of {x}", "(what's|which city is|name|tell me|give me) the capital of {x}", "{x}'s capital",
    "capital of {x}", "capital city of {x}", "what city is the capital of {x}", "do you know the capital of {x}",
    "which (city|town) is {x}'s capital", "what is {x}'s capital [city]", "the capital of {x} is", "I need the capital of {x}",
    "can you (name|tell me) the capital of {x}"
]
ENDS = ["?"] * 6 + [""] * 3 + ["."]


def ask(dice, form, **values):
    return capital(say(dice, form, **values)) + dice.choice(ENDS)


def capital_question(dice):
    roll = dice.random()
    if roll < 0.15:
        x, y = dice.choice(list(STATES.items()))
    else:
        x = dice.choice(FAMOUS) if roll < 0.45 else dice.choice(list(CAPITALS))
        y = CAPITALS[x]
    kind = dice.random()
    if kind < 0.1:  # backwards
        if y in ("London", "Amsterdam", "Washington D.C.", "Prague"):
            x = {
                "London": "the United Kingdom", "Amsterdam": "the Netherlands", "Washington D.C.": "the United States", "Prague":
                "Czechia"
            }[y]
        return ask(
            dice,
            "(which country has the capital {y}|{y} is the capital of (which|what) country|what country is {y} the capital of|of which country is {y} the capital)",
            y=y), f"{y} is the capital of {x}."
    if kind < 0.25:
        z = y if dice.random() < 0.5 else dice.choice(list(CAPITALS.values()))
        return ask(dice, "(is {z} the capital of {x}|is the capital of {x} {z}|{z} is the capital of {x}, right|the capital of {x} is {z}, isn't it)", x=x, z=z), \
            (f"Yes, the capital of {x} is {y}." if z == y else f"No, the capital of {x} is {y}.")
    return ask(dice, dice.choice(CAPITAL_ASKS), x=x), f"The capital of {x} is {y}."


def other_fact(dice):
    """(question, answer) from the smaller tables."""
    kind = dice.randrange(13)
    if kind == 0:
        x, y = dice.choice(list(LANGUAGES.items()))
        return ask(
            dice,
            "(which|what) language (do people speak|is spoken|do they speak) in {x}|what do people speak in {x}|the language of {x}",
            x=x), f"People in {x} speak {y}."
    if kind == 1:
        x, y = dice.choice(list(CURRENCIES.items()))
        return ask(
            dice,
            "what is the currency (of|in) {x}|(which|what) currency (is used|do they use|does one pay with) in {x}|what money do they use in {x}",
            x=x), f"The currency of {x} is the {y}."
    if kind == 2:
        x, y = dice.choice(list(CONTINENT_OF.items()))
        return ask(
            dice,
            "(on|in) (which|what) continent is {x}|where is {x}|where (is {x} located|in the world is {x}|can I find {x})|(which|what) continent is {x} (on|in)",
            x=x), f"{x} is in {y}."
    if kind == 3:
        x, y = dice.choice(list(SYMBOLS.items()))
        if dice.random() < 0.3 and x != "sulfur":
            return ask(
                dice,
                "(which|what) element (is|has the symbol) {y}|what does {y} stand for in chemistry|what is the chemical element {y}",
                y=y), f"{y} is {x}."
        return ask(dice, "what is the [chemical] symbol (of|for) {x}|[chemical] symbol (of|for) {x}|how do chemists write {x}",
                   x=x), f"The chemical symbol of {x} is {y}."
    if kind == 4:
        x, y = dice.choice(list(AUTHORS.items()))
        return ask(
            dice,
            "who (wrote|is the author of|was the author of) {x}|who is {x} by|[the] author of {x}|which (writer|author) wrote {x}|by whom is {x}",
            x=x), f"{y} wrote {x}."
    if kind == 5:
        x, y = dice.choice(INVENTED)
        verb = VERB_OF.get(x, "created")
        return ask(dice, "who ({verb}|made|came up with|is behind) {x}|who was it that {verb} {x}|who {verb} {x}", x=x,
                   verb=verb), f"{y} {verb} {x}."
    if kind == 6:
        asked, answer = dice.choice(YEARS)
        return ask(dice, f"(when did|in (what|which) year did) {asked}|what year did {asked}"), answer
    if kind == 7:
        what, of, answer = dice.choice(NUMBERS)
        return ask(
            dice,
            "how many {what} (are in|are there in|does {of} have in it|has|are) {of}|how many {what} (does {of} have|are in {of}|are there in {of})|number of {what} in {of}",
            what=what,
            of=of), answer
    if kind == 8:
        x, y = dice.choice(list(OPPOSITES.items()))
        return ask(
            dice,
            "what is the opposite of {x}|[the] opposite of {x}|what is the antonym of {x}|give me the opposite of {x}|which word means the opposite of {x}|{x} is the opposite of (what|which word)",
            x=x), f"The opposite of {x} is {y}."
    if kind in (9, 10):
        x, ys = dice.choice(list(WORDS.items()))
        n = dice.randrange(4)
        y, tongue = ys.split()[n].replace("_", " "), TONGUES[n]
        if dice.random() < 0.2 and x not in ("thanks", "yes", "no", "one"):
            return ask(dice, '(what does "{y}" mean [in English]|what is "{y}" in English|translate "{y}" (from {tongue} [to English]|(to|into) English))', y=y, tongue=tongue), \
                f'The {tongue} "{y}" means "{meaning(y, n)}".'
        word = f'"{x}"' if dice.random() < 0.5 else x
        return ask(
            dice,
            "how do (you|I|we) say {x} in {t}|what is the {t} word for {x}|what is {x} in {t}|[please|can you|could you] translate {x} (to|into) {t}|"
            "translate the word {x} (to|into) {t}|{x} in {t}|{t} for {x}|say {x} in {t}|what do {t} speakers say for {x}|I need the {t} word for {x}",
            x=word,
            t=tongue), f'In {tongue} "{x}" is "{y}".'
    if kind == 11:
        x, ys = dice.choice(list(CATEGORIES.items()))
        n = dice.choice((1, 2, 3, 3, 3, 4, 5, 5))
        items = ys.replace(" and ", ", ").split(", ")[:n]
        text = items[0] if n == 1 else ", ".join(items[:-1]) + " and " + items[-1]
        named = x if n > 1 else {
            "colours": "colour", "countries": "country", "cities": "city", "European countries": "European country"
        }.get(x, x[:-1])
        return ask(dice,
                   "(name|list|give me|tell me|write|can you name|I need) {n} {x}|{n} {x}[, please]",
                   n=dice.choice([str(n), COUNT_WORDS[n]]),
                   x=named), capital(text) + "."
    forms, answer = dice.choice(MISC)
    return ask(dice, forms), answer


def meaning(y, n):
    """The first English word whose translation this is."""
    return next(k for k, v in WORDS.items() if v.split()[n].replace("_", " ") == y)
