"""The text that ds4-mini reads besides what the generators make: prose, documentation and code that Debian packages ship
under free licences. Nothing of it is in the repository.

    python corpus.py fetch DIR        downloads the packages (apt-get download) and unpacks them
    python corpus.py build DIR OUT    OUT: corpus.txt.xz, pieces of text with their kind

Sources and licences: SOURCES below; the model card names them too."""
import gzip
import html.parser
import json
import lzma
import pathlib
import re
import subprocess
import sys
import zlib

# package: (what is taken, licence)
SOURCES = {
    "r-cran-janeaustenr": ("six novels by Jane Austen", "public domain"),
    "dict-jargon": ("the Jargon File", "public domain"),
    "dict-devil": ("The Devil's Dictionary by Ambrose Bierce", "public domain"),
    "wordnet-base": ("glosses and examples of WordNet 3.0", "WordNet licence (permissive)"),
    "sqlite3-doc": ("SQLite's documentation", "public domain"),
    "python3.11-doc": ("Python's documentation", "PSF licence"),
    "nodejs-doc": ("Node.js' documentation", "MIT"),
    "rust-doc": ("The Rust Programming Language", "MIT or Apache 2.0"),
    "libcurl4-doc": ("curl's manual pages", "curl licence (MIT-like)"),
    "postgresql-doc-15": ("PostgreSQL's documentation", "PostgreSQL licence (BSD-like)"),
}
SKIP = re.compile(r"genindex|search\.html|py-modindex|changelog|whatsnew/changelog|/src/|release-\d")


class Text(html.parser.HTMLParser):
    """The readable text of a page; <pre> keeps its lines."""
    BLOCKS = {"p", "div", "li", "tr", "h1", "h2", "h3", "h4", "dt", "dd", "pre", "table", "ul", "br"}
    HIDDEN = {"script", "style", "nav", "head", "footer", "svg", "button", "select"}

    def __init__(self):
        super().__init__()
        self.out, self.hidden, self.pre = [], 0, 0

    def handle_starttag(self, tag, attrs):
        self.hidden += tag in self.HIDDEN
        self.pre += tag == "pre"
        if tag in self.BLOCKS:
            self.out.append("\n" + {"h1": "# ", "h2": "## ", "h3": "### ", "li": "- "}.get(tag, ""))

    def handle_endtag(self, tag):
        self.hidden -= tag in self.HIDDEN
        self.pre -= tag == "pre"
        if tag in self.BLOCKS:
            self.out.append("\n")

    def handle_data(self, data):
        if not self.hidden:
            self.out.append(data if self.pre else re.sub(r"\s+", " ", data))


def of_html(text):
    page = Text()
    page.feed(text)
    lines = [line.rstrip().replace("\u00b6", "") for line in "".join(page.out).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def of_roff(text):
    lines = [re.sub(r"\\f.|\\&|\\", "", re.sub(r"\\-", "-", l)) for l in text.split("\n") if not l.startswith((".\\\"", "'\\\""))]
    return "\n".join(re.sub(r"^\.(SH|SS|B|I|BR|IP|TH|TP)\b ?", "", l) for l in lines if l not in (".nf", ".fi", ".PP", ".RS", ".RE"))


def strings_of_r(path):
    """The character vectors of an R data base: zlib pieces of serialised objects, each string with its length before it."""
    data, out, at = path.read_bytes(), [], 0
    while at + 5 < len(data):
        size = int.from_bytes(data[at:at + 4], "big")
        try:
            raw = zlib.decompress(data[at + 4:at + size])
        except zlib.error:
            raw = zlib.decompress(data[at + 5:at + size]) if data[at + 4:at + 5] == b"2" else b""
        lines, i = [], 0
        while i + 8 < len(raw):
            if raw[i + 2:i + 4] == b"\x00\x09":  # CHARSXP
                n = int.from_bytes(raw[i + 4:i + 8], "big")
                if n < 400:
                    lines.append(raw[i + 8:i + 8 + n].decode("utf-8", "replace"))
                    i += 8 + n
                    continue
            i += 1
        if len(lines) > 1000:
            out.append("\n".join(lines))
        at += size
    return out


def pieces(root):
    """(kind, text) of everything."""
    root = pathlib.Path(root)
    share = root / "usr/share"
    for text in strings_of_r(root / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"):
        yield "prose", re.sub(r"(?<=[^\n])\n(?=[^\n])", " ", text)
    for name in ("jargon", "devil"):
        yield "prose", re.sub(r"\n[ \t]+", "\n", gzip.decompress((share / f"dictd/{name}.dict.dz").read_bytes()).decode("utf-8", "replace"))
    for kind in ("noun", "verb", "adj", "adv"):
        lines = [l.split(" | ", 1) for l in (share / f"wordnet/data.{kind}").read_text().split("\n") if " | " in l]
        yield "prose", "\n".join(f"{l[0].split()[4].replace('_', ' ')}: {l[1].strip()}" for l in lines)
    for folder in ("doc/sqlite3", "doc/python3.11/html", "doc/postgresql-doc-15/html", "doc/nodejs", "doc/rust-doc/html/book"):
        for path in sorted((share / folder).rglob("*.html")):
            if SKIP.search(str(path)) or path.stat().st_size > 2_000_000 or path.is_symlink():
                continue
            text = of_html(path.read_text(errors="replace"))
            if len(text) > 800:
                yield "doc", text[:200_000]
    for path in sorted((share / "man/man3").glob("*.gz")):
        text = of_roff(gzip.decompress(path.read_bytes()).decode("utf-8", "replace"))
        if len(text) > 600:
            yield "doc", text
    for path in sorted(pathlib.Path("/usr/lib/python3.11").glob("*.py")) + sorted(pathlib.Path("/usr/lib/python3.11").glob("*/*.py")):
        if "test" not in str(path) and path.stat().st_size < 120_000:
            yield "code", path.read_text(errors="replace")
    here = pathlib.Path(__file__).resolve().parents[1]
    for pattern, kind in (("*.md", "doc"), ("docs/**/*.md", "doc"), ("src/**/*.[ch]", "code"), ("tests/**/*.py", "code")):
        for path in sorted(here.glob(pattern)):
            yield kind, path.read_text(errors="replace")


def lexicon(root, n_nouns=2600, n_glosses=700):
    """Frequent nouns and adjectives of WordNet, and short definitions of the most frequent nouns."""
    base = pathlib.Path(root) / "usr/share/wordnet"
    often = {}
    for line in (base / "cntlist.rev").read_text().split("\n"):
        parts = line.split()
        if len(parts) == 3 and re.fullmatch(r"[a-z]{3,12}%[135]:.*", parts[0]):
            key = parts[0].split("%")[0], parts[0].split("%")[1][0]
            often[key] = often.get(key, 0) + int(parts[2])
    ranked = sorted(often, key=lambda k: -often[k])
    nouns = [w for w, pos in ranked if pos == "1"][:n_nouns]
    adjectives = [w for w, pos in ranked if pos in "35"][:500]
    first = {}
    for line in (base / "index.noun").read_text().split("\n"):
        parts = line.split()
        if not line.startswith(" ") and len(parts) > 6 and parts[0] in set(nouns[:2000]):
            first[parts[0]] = parts[-int(parts[2])]  # the offset of the first sense
    text = {l[:8]: l.split(" | ", 1)[1] for l in (base / "data.noun").read_text().split("\n") if " | " in l}
    glosses = {}
    for noun in nouns[:2000]:
        gloss = re.sub(r"\([^)]*\) ?", "", text.get(first.get(noun, ""), "")).split(";")[0].strip()
        if 12 < len(gloss) < 75 and '"' not in gloss and len(glosses) < n_glosses:
            glosses[noun] = gloss
    return json.dumps({"nouns": nouns, "adjectives": adjectives, "glosses": glosses})


def fetch(directory):
    debs = pathlib.Path(directory) / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", *SOURCES], cwd=debs, check=True)
    for deb in debs.glob("*.deb"):
        subprocess.run(["dpkg", "-x", deb, pathlib.Path(directory) / "x"], check=True)


def build(directory, out, limits={"doc": 22_000_000, "code": 7_000_000, "prose": 12_000_000}):
    import random
    found = {}
    for kind, text in pieces(pathlib.Path(directory) / "x"):
        found.setdefault(kind, []).append(text)
    dice = random.Random(1)
    found["lexicon"], limits = [lexicon(pathlib.Path(directory) / "x")], dict(limits, lexicon=10 ** 7)
    with lzma.open(out, "wt", preset=6) as f:
        for kind, texts in found.items():
            total = sum(map(len, texts))
            dice.shuffle(texts)
            size = 0
            for text in texts:
                if size > limits[kind]:
                    break
                size += len(text)
                f.write(json.dumps([kind, text]) + "\n")
            print(kind, len(texts), "texts", total, "characters, taken", size)


def load(path):
    """{kind: [text]}"""
    out = {}
    with lzma.open(path, "rt") as f:
        for line in f:
            kind, text = json.loads(line)
            out.setdefault(kind, []).append(text)
    return out


if __name__ == "__main__":
    fetch(sys.argv[2]) if sys.argv[1] == "fetch" else build(sys.argv[2], sys.argv[3])
