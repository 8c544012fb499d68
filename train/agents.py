"""Work in a folder, as coding agents do it: list, read, search, edit, run, report. A small file system is made up for each
conversation and the tools behave. Standard library only; everything is drawn from the random.Random that is passed in.

With held=True only wordings, parameter names and tool names come that training never sees (toolbox.pick)."""
import words
from phrase import capital
from toolbox import assistant, join, said, user
from toolwords import PEOPLE, PRODUCTS, a_city, a_name, a_noun, a_path, a_sentence, an_email, an_id, pick

CORPUS = {}  # kind: [text]; the trainer fills it

# ------------------------------------------------------------------ files


def a_value(dice):
    return dice.choice([
        lambda: str(dice.randrange(1, 10000)), lambda: dice.choice(["true", "false", "on", "off", "yes"]),
        lambda: words.name(dice, False), lambda: an_id(dice), lambda: an_email(dice), lambda: a_city(dice),
        lambda: f"{dice.randrange(0, 9)}.{dice.randrange(0, 30)}.{dice.randrange(0, 20)}",
        lambda: f"/{words.name(dice, False)}/{words.name(dice, False)}",
        lambda: f"{dice.randrange(1, 255)}.{dice.randrange(0, 255)}.{dice.randrange(0, 255)}.{dice.randrange(1, 255)}"
    ])()


KEYS = (
    "port host name timeout retries level user path mode color size version debug owner limit theme language region threads cache url title token_count max_users log_file backup interval threshold "
    "width height volume currency city email password key_id batch_size workers output input encoding").split()


def a_key(dice):
    roll = dice.random()
    return dice.choice(KEYS) if roll < 0.4 else words.name(
        dice, False) if roll < 0.6 else a_noun(dice) if roll < 0.8 else a_noun(dice) + "_" + a_noun(dice)


class File:
    """lines, and facts: (what it is called, its value, its line, how the line is written with another value)."""

    def __init__(self, dice, n=None):
        self.facts = []
        kind = dice.choice(["ini", "json", "yaml", "env", "toml", "notes", "notes", "python", "c", "log", "list", "csv", "corpus"])
        if kind == "corpus" and not CORPUS:
            kind = "notes"
        self.kind, n = kind, n or dice.choice((1, 2, 3, 4, 5, 6, 8, 12, 20))
        self.ext = {
            "notes": dice.choice(["txt", "md"]), "python": "py", "c": dice.choice(["c", "h"]), "list": dice.choice(["txt", "md"]),
            "corpus": dice.choice(["txt", "md", "rst"]), "env": dice.choice(["env", "conf", "sh"])
        }.get(kind, kind)
        keys = []
        while len(keys) < n:
            k = a_key(dice)
            if k not in keys:
                keys.append(k)
            elif len(keys) > 12:
                break
        values = [a_value(dice) for _ in keys]
        self.lines = []
        if kind in ("ini", "yaml", "env", "toml", "json", "python", "c"):
            form = {
                "ini": "{k} = {v}", "yaml": "{k}: {v}", "env": "{K}={v}", "toml": '{k} = "{v}"', "json": '  "{k}": "{v}"', "python":
                dice.choice(['{K} = "{v}"',
                             '{k} = "{v}"']), "c": dice.choice(['#define {K} "{v}"', 'static const char *{k} = "{v}";'])
            }[kind]
            head = {
                "ini": [f"[{words.name(dice, False)}]"], "toml": [f"[{words.name(dice, False)}]"], "json": ["{"], "python":
                [dice.choice([f'"""{a_sentence(dice)}"""', "import os",
                              f"# {a_sentence(dice)}"])], "c": [dice.choice(["#include <stdio.h>", f"/* {a_sentence(dice)} */"])]
            }.get(kind, [])
            self.lines = head
            for i, (k, v) in enumerate(zip(keys, values)):
                write = (lambda f, k: lambda v: f.replace("{k}", k).replace("{K}", k.upper()).replace("{v}", v))(form, k)
                end = "," if kind == "json" and i + 1 < len(keys) else ""
                self.facts.append((k, v, write(v) + end, (lambda w, e: lambda v: w(v) + e)(write, end)))
                self.lines.append(write(v) + end)
            self.lines += ["}"] if kind == "json" else []
            if kind in ("python", "c") and dice.random() < 0.5:
                f = words.name(dice, False)
                self.lines += ["", f"def {f}(x):", f"    return x + {dice.randrange(1, 99)}"] if kind == "python" else [
                    "", f"int {f}(int x)", "{", f"    return x + {dice.randrange(1, 99)};", "}"
                ]
        elif kind == "log":
            self.lines = [
                f"{dice.randrange(2024, 2030)}-{dice.randrange(1, 13):02}-{dice.randrange(1, 29):02} {dice.randrange(24):02}:{dice.randrange(60):02} {dice.choice(['INFO', 'WARN', 'ERROR', 'DEBUG'])} {words.name(dice, False)}: {a_sentence(dice)}"
                for _ in range(n)
            ]
        elif kind == "list":
            self.lines = [
                dice.choice(["- ", "* ", ""]) +
                dice.choice([a_name(dice), dice.choice(PRODUCTS),
                             a_sentence(dice), an_id(dice)]) for _ in range(n)
            ]
        elif kind == "csv":
            self.lines = ["name,city,amount"] + [f"{a_name(dice)},{a_city(dice)},{dice.randrange(1, 999)}" for _ in range(n)]
        elif kind == "corpus":
            text = dice.choice(CORPUS[dice.choice(list(CORPUS))])
            at = dice.randrange(max(1, len(text) - 3000))
            self.lines = [l for l in text[at:at + 3000].split("\n")[1:] if len(l) < 300][:n] or [a_sentence(dice)]
        else:
            self.lines = [dice.choice([words.sentence, a_sentence])(dice) for _ in range(n)]
            for k, v in list(zip(keys, values))[:dice.choice((0, 1, 1, 2))]:
                form = dice.choice(["The {k} is {v}.", "{k}: {v}", "Remember: the {k} is {v}.",
                                    "We set the {k} to {v}."]).replace("{k}", k.replace("_", " "))
                self.facts.append((k, v, form.replace("{v}", v), (lambda f: lambda v: f.replace("{v}", v))(form)))
                self.lines.insert(dice.randrange(len(self.lines) + 1), form.replace("{v}", v))
        self.lines = self.lines or ["(empty)"]

    def text(self):
        return "\n".join(self.lines)


class Folder:

    def __init__(self, dice, n):
        self.files = {}
        base = dice.choice([
            "", "", "/home/" + words.name(dice, False) + "/" + words.name(dice, False) + "/",
            "/tmp/" + words.name(dice, False) + "/", "/workspace/", "./"
        ])
        self.base = base
        for _ in range(n):
            f = File(dice)
            path = base + a_path(dice, f.ext).lstrip("/")
            self.files[path] = f

    def entries(self, directory=""):
        """Names directly in a directory, folders with a slash."""
        d = directory.rstrip("/") + "/" if directory.rstrip("/") not in ("", ".") else (self.base if self.base != "./" else "./")
        out = []
        for p in self.files:
            if p.startswith(d):
                name = p[len(d):].split("/")
                out.append(name[0] + ("/" if len(name) > 1 else ""))
        return sorted(set(out))


# ------------------------------------------------------------------ the agent's tools

NAMES = {
    "read": "read_file read Read view readFile open_file cat_file get_file_contents show_file fetch_file".split(),
    "list": "list_dir ls list LS list_files list_directory listDir dir show_folder browse".split(),
    "grep": "grep search grep_search search_files Grep ripgrep find_in_files code_search search_text rg".split(),
    "edit": "edit edit_file str_replace replace Edit replace_in_file update_file modify_file change_file patch_file".split(),
    "write": "write_file write Write create_file save_file put_file writeFile new_file store_file".split(),
    "bash": "bash shell run_command exec run Bash terminal execute_command run_shell cmd".split(),
}
TEXTS = {
    "read": [
        "Reads a file.", "Read the contents of a file.", "Returns the content of the file at the given path.",
        "Show a file with line numbers.",
        "Reads a file from the local filesystem. You can access any file directly by using this tool.",
        "Open a text file and return it.", "Fetch a file's text."
    ],
    "list": [
        "Lists the files of a directory.", "List directory contents.", "Returns the entries of a folder.",
        "Shows what is in a directory.", "Lists files and directories in a given path.", "Names of all files in a folder."
    ],
    "grep": [
        "Searches files for a pattern.", "Fast content search with regular expressions.", "Find lines that match.",
        "Search file contents.", "Searches for text in the project.", "Look for a pattern in all files."
    ],
    "edit": [
        "Replaces text in a file.", "Performs exact string replacements in files.",
        "Edit a file by replacing old text with new text.", "Change part of a file; the old text must match exactly.",
        "Exchange one string in a file for another.", "Modify a file in place."
    ],
    "write": [
        "Writes a file.", "Create or overwrite a file.", "Saves text to a path.",
        "Write content to a file, replacing what was there.", "Stores a new file.", "Put text into a file."
    ],
    "bash": [
        "Runs a shell command.", "Executes a given bash command.", "Run a command in the terminal and return its output.",
        "Execute shell commands; returns stdout and stderr.", "Runs a command line.", "Start a program and show what it prints."
    ],
}
PATHS = "path file_path filePath filename file target_file absolute_path pathname file_name location".split()
FOLDERS = "path dir directory folder dir_path target_directory root where".split()
EDITS = [("old_string", "new_string"), ("oldString", "newString"), ("oldText", "newText"), ("old_str", "new_str"),
         ("before", "after"), ("old", "new"), ("search", "replace"), ("old_text", "new_text"), ("find", "replace_with"),
         ("original", "replacement")]
COMMANDS = "command cmd command script line commandline".split()
OTHERS = [
    {
        "name": "todo_write", "description": "Keeps a list of tasks.", "parameters": {
            "type": "object", "properties": {
                "todos": {
                    "type": "array", "items": {
                        "type": "object", "properties": {
                            "content": {"type": "string"}, "status":
                            {"type": "string", "enum": ["pending", "in_progress", "completed"]}
                        }
                    }
                }
            }, "required": ["todos"]
        }
    },
    {
        "name": "web_fetch", "description": "Fetches a web page and returns its text.", "parameters": {
            "type": "object", "properties":
            {"url": {"type": "string"}, "format": {"type": "string", "enum": ["text", "markdown", "html"]}}, "required": ["url"]
        }
    },
    {
        "name": "task", "description": "Launch a new agent to handle complex tasks.", "parameters": {
            "type": "object", "properties": {"description": {"type": "string"}, "prompt": {"type": "string"}}, "required":
            ["description", "prompt"]
        }
    },
    {
        "name": "update_plan", "description": "Updates the task plan.", "parameters": {
            "type": "object", "properties": {
                "explanation": {"type": "string"}, "plan": {
                    "type": "array", "items":
                    {"type": "object", "properties": {"step": {"type": "string"}, "status": {"type": "string"}}}
                }
            }, "required": ["plan"]
        }
    },
    {
        "name": "glob", "description": "Finds files by name pattern.", "parameters":
        {"type": "object", "properties": {"pattern": {"type": "string"}, "path": {"type": "string"}}, "required": ["pattern"]}
    },
    {
        "name": "web_search", "description": "Searches the web.", "parameters":
        {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
    },
    {
        "name": "ask_user", "description": "Asks the user a question.", "parameters": {
            "type": "object", "properties":
            {"question": {"type": "string"}, "options": {"type": "array", "items": {"type": "string"}}}, "required": ["question"]
        }
    },
    {
        "name": "apply_patch", "description": "Applies a patch to files.", "parameters": {
            "type": "object", "properties": {"input": {"type": "string", "description": "The entire contents of the patch"}},
            "required": ["input"]
        }
    },
    {
        "name": "view_image", "description": "Attach a local image.", "parameters":
        {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    },
    {
        "name": "delete_file", "description": "Deletes a file.", "parameters":
        {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    },
    {
        "name": "move_file", "description": "Moves or renames a file.", "parameters":
        {"type": "object", "properties": {"from": {"type": "string"}, "to": {"type": "string"}}, "required": ["from", "to"]}
    },
    {
        "name": "kill_shell", "description": "Ends a background shell.", "parameters":
        {"type": "object", "properties": {"shell_id": {"type": "string"}}, "required": ["shell_id"]}
    },
]


class Kit:
    """The tools of one agent: their schemas, and calls by what they do."""

    def __init__(self, dice, held):
        self.dice, self.held = dice, held
        roll = dice.random()
        self.has = ["bash"] if roll < 0.2 else ["read", "bash", "edit", "write"
                                                ] if roll < 0.45 else ["read", "list", "grep", "edit", "write", "bash"
                                                                       ] if roll < 0.8 else ["read", "list", "edit", "write"]
        if dice.random() < 0.1 and len(self.has) > 4:
            self.has.remove(dice.choice(["list", "grep", "bash"]))
        strange = lambda usual, p: usual if held or dice.random() > p else dice.choice([
            words.name(dice, False),
            a_noun(dice),
            a_noun(dice) + "_" + usual, usual + "_" + a_noun(dice),
            a_noun(dice) + usual.capitalize()
        ])
        self.names = {k: strange(pick(dice, NAMES[k], held), 0.3) for k in self.has}
        self.path, self.folder = strange(pick(dice, PATHS, held), 0.3), strange(pick(dice, FOLDERS, held), 0.3)
        self.old, self.new = pick(dice, EDITS, held)
        if not held and dice.random() < 0.3:
            extra = dice.choice([a_noun(dice), words.name(dice, False)])
            self.old, self.new = dice.choice([(self.old + "_" + extra, self.new + "_" + extra),
                                              (extra + "_" + self.old, extra + "_" + self.new), ("from_" + extra, "to_" + extra)])
        self.command = strange(pick(dice, COMMANDS, held), 0.3)
        self.array = "bash" in self.has and dice.random() < 0.25
        self.describe = "bash" in self.has and dice.random() < 0.25
        self.numbered = dice.choice(["", "", "tab", "colon", "bar", "tag"])
        self.pattern = strange(pick(dice, ["pattern", "query", "regex", "text", "needle", "expression"], held), 0.3)
        self.content = strange(pick(dice, ["content", "text", "contents", "data", "body", "file_text"], held), 0.3)
        if len({self.path, self.old, self.new, self.content, self.folder if "grep" in self.has else ""
                }) < 5 or self.pattern == self.folder:
            self.path, self.folder, self.content, self.pattern = "path", "directory", "content", "pattern"

    def schemas(self):
        d, out = self.dice, []
        string = lambda t: {"type": "string", "description": t} if d.random() < 0.6 else {"type": "string"}
        for k in self.has:
            if k == "read":
                p = {self.path: string("The file to read")}
                if d.random() < 0.5:
                    p.update(offset={"type": "integer", "description": "First line"},
                             limit={"type": "integer", "description": "How many lines"})
                need = [self.path]
            elif k == "list":
                p, need = {self.folder: string("The folder to list")}, [self.folder]
            elif k == "grep":
                p, need = {self.pattern: string("What to look for"), self.folder: string("Where to look")}, [self.pattern]
            elif k == "edit":
                p, need = {
                    self.path: string("The file to change"), self.old: string("The text to replace"), self.new:
                    string("The text to put in its place")
                }, [self.path, self.old, self.new]
                if d.random() < 0.4:
                    p["replace_all"] = {"type": "boolean", "description": "Replace every occurrence"}
            elif k == "write":
                p, need = {self.path: string("Where to write"), self.content: string("What to write")}, [self.path, self.content]
            else:
                p, need = {
                    self.command: {"type": "array", "items": {"type": "string"}, "description": "The command as a list of words"}
                    if self.array else string("The command to run")
                }, [self.command]
                if d.random() < 0.4:
                    p["timeout"] = {"type": "integer", "description": "Milliseconds"}
                if self.describe:
                    p["description"] = string("What the command does, in five to ten words")
                    need.append("description")
            out.append({
                "name": self.names[k], "description": pick(d, TEXTS[k], self.held), "parameters":
                {"type": "object", "properties": p, "required": need}
            })
        taken = {s["name"] for s in out}
        out += [o for o in d.sample(OTHERS, d.choice((0, 0, 1, 2, 3, 5))) if o["name"] not in taken]
        d.shuffle(out)
        return out

    def shell(self, command, what):
        args = {self.command: ["bash", "-lc", command] if self.array else command}
        if self.describe:
            args["description"] = what
        return self.names["bash"], args

    def read(self, path):
        if "read" in self.names:
            return self.names["read"], {self.path: path}
        return self.shell(f"cat {path}", f"Shows {path}")

    def list(self, path):
        if "list" in self.names:
            return self.names["list"], {self.folder: path}
        if "bash" in self.names:
            return self.shell(f"ls {path}" if path != "." else "ls", "Lists the files")
        return None

    def grep(self, text):
        if "grep" in self.names:
            return self.names["grep"], {self.pattern: text}
        return self.shell(f"grep -rn '{text}' .", f"Searches for {text}") if "bash" in self.names else None

    def edit(self, path, old, new):
        if "edit" in self.names:
            return self.names["edit"], {self.path: path, self.old: old, self.new: new}
        quote = lambda t: t.replace("/", "\\/")
        return self.shell(f"sed -i 's/{quote(old)}/{quote(new)}/' {path}", f"Changes {path}")

    def write(self, path, text):
        if "write" in self.names:
            return self.names["write"], {self.path: path, self.content: text}
        return self.shell(f"cat > {path} <<'EOF'\n{text}\nEOF", f"Writes {path}")

    def shown(self, f):
        """What reading gives."""
        if "read" not in self.names:
            return f.text()
        form = {
            "tab": lambda i, l: f"{i:6}\t{l}", "colon": lambda i, l: f"{i}: {l}", "bar": lambda i, l: f"{i:05}| {l}", "tag":
            lambda i, l: l
        }.get(self.numbered)
        text = "\n".join(form(i + 1, l) for i, l in enumerate(f.lines)) if form else f.text()
        return f"<file>\n{text}\n</file>" if self.numbered == "tag" else text


def step(reason, *calls):
    return assistant("", reason, calls)


def says(path, f):
    return f"{path} says:\n{f.text()}"


# ------------------------------------------------------------------ tasks; each returns turns


def some_file(dice, folder, wanted=lambda f: True):
    found = [p for p, f in folder.files.items() if wanted(f)]
    return dice.choice(found) if found else None


def short(f):
    return len(f.lines) <= 8 and len(f.text()) < 600


def task_read(dice, kit, folder):
    path = some_file(dice, folder, short)
    if not path:
        return None
    f = folder.files[path]
    ask = pick(dice, [
        "what does {p} say?", "read {p} and tell me what it says", "show me {p}", "read the file {p} and report its content",
        "what is in {p}?", "please open {p} and tell me what is in it", "print the contents of {p}",
        "look at {p} and tell me what it says", "I want to know what {p} contains", "cat {p}", "tell me what's in the file {p}",
        "can you read {p} to me?", "use your tool to read {p} and report what it says", "give me the text of {p}"
    ], kit.held)
    return [
        user(capital(ask.replace("{p}", path)) if dice.random() < 0.7 else ask.replace("{p}", path)),
        step(f"I read {path}.", kit.read(path)),
        said(dice, kit.shown(f)),
        assistant(says(path, f), "I have the content. I report it.")
    ]


def task_value(dice, kit, folder):
    path = some_file(dice, folder, lambda f: f.facts)
    if not path:
        return None
    f = folder.files[path]
    k, v, line, _ = dice.choice(f.facts)
    named = k.replace("_", " ")
    ask = pick(dice, [
        "what is the {k} in {p}?", "which {k} does {p} have?", "look up the {k} in {p}", "read {p} and tell me the {k}",
        "what {k} is set in {p}?", "find the {k} in {p}", "tell me the {k} from {p}", "I need the value of {k} in {p}",
        "check {p}: what is the {k}?", "{p}: {k}?"
    ], kit.held)
    return [
        user(capital(ask.replace("{k}", named if dice.random() < 0.6 else k).replace("{p}", path))),
        step(f"I read {path}.", kit.read(path)),
        said(dice, kit.shown(f)),
        assistant(f"The {named} is {v}.", f"The line is: {line.strip()}")
    ]


def task_list(dice, kit, folder):
    call = kit.list(".")
    if not call:
        return None
    entries = folder.entries()
    ask = pick(dice, [
        "list the files", "what files are here?", "which files are in this folder?", "show me the folder", "ls",
        "what is in the current directory?", "list the directory", "which files do we have?", "give me a list of the files here",
        "what's here?"
    ], kit.held)
    return [
        user(capital(ask)),
        step("I list the folder.", call),
        said(dice, "\n".join(entries)),
        assistant(f"There {'is one entry' if len(entries) == 1 else 'are ' + str(len(entries)) + ' entries'}: {join(entries)}.",
                  "I report the names.")
    ]


def task_list_read(dice, kit, folder):
    call = kit.list(".")
    flat = [p for p in folder.files if "/" not in p[len(folder.base):] and short(folder.files[p])]
    if not call or not flat:
        return None
    path = dice.choice(flat)
    name, f = path[len(folder.base):], folder.files[path]
    stem, ext = name.rsplit(".", 1)
    kinds = [p for p in folder.entries() if p.endswith("." + ext)]
    ask = pick(dice, [
        "there is a file called {s} something here: what does it say?", "find the {s} file and tell me what it says",
        "read the {s} file in this folder", "look for {s} here and report its content",
        "what does the file that begins with {s} say?", "open the one named {s} and show it to me"
    ] if len(kinds) != 1 or dice.random() < 0.4 else [
        "there is one .{e} file here: what does it say?", "read the .{e} file in this folder and report what it says",
        "find the {e} file and show me its content", "what is in the only {e} file here?", "list the folder, then read the {e} file"
    ], kit.held)
    return [
        user(capital(ask.replace("{s}", stem).replace("{e}", ext))),
        step("I do not know the exact name, so I list the folder.", call),
        said(dice, "\n".join(folder.entries())),
        step(f"It is {path}. I read it.", kit.read(path)),
        said(dice, kit.shown(f)),
        assistant(says(path, f), "I have the content. I report it.")
    ]


def task_edit(dice, kit, folder):
    path = some_file(dice, folder, lambda f: f.facts)
    if not path:
        return None
    f = folder.files[path]
    k, v, line, again = dice.choice(f.facts)
    if line.strip() != line or f.lines.count(line) != 1 or "'" in line:
        return None
    new = a_value(dice)
    named = k.replace("_", " ")
    ask = pick(dice, [
        "change the {k} in {p} to {v}", "set {k} to {v} in {p}", "in {p}, set the {k} to {v}", "edit {p}: the {k} should be {v}",
        "please update {p} so that {k} is {v}", "make the {k} in {p} {v}", "open {p} and change {k} to {v}",
        "the {k} in {p} must be {v}, fix it", "replace the value of {k} in {p} with {v}", "I want {k} = {v} in {p}",
        "read {p}, then change its {k} to {v}", "{p} has the wrong {k}; it should be {v}"
    ], kit.held)
    turns = [
        user(capital(ask.replace("{k}", named if dice.random() < 0.5 else k).replace("{p}", path).replace("{v}", new))),
        step(f"I read {path} first.", kit.read(path)),
        said(dice, kit.shown(f))
    ]
    to = again(new)
    if dice.random() < 0.12 and "edit" in kit.names:  # a first try that does not match
        wrong = line.replace(v, v + " ") if dice.random() < 0.5 else " " + line
        turns += [
            step(f"The line is {line}. I replace it.", kit.edit(path, wrong, to)),
            said(
                dice,
                pick(dice, [
                    "Error: old text not found in file", "String to replace not found in file.", "no match", "Error: 0 occurrences",
                    "The text to replace does not occur."
                ], kit.held)),
            step("It must match exactly. I try again.", kit.edit(path, line, to))
        ]
    else:
        turns += [step(f"The line is {line}. I replace it.", kit.edit(path, line, to))]
    f.lines[f.lines.index(line)] = to
    f.facts[f.facts.index((k, v, line, again))] = (k, new, to, again)
    ok = "" if "edit" not in kit.names else pick(dice, [
        "The file has been updated.", "ok", f"Edited {path}", "1 replacement made", "Success",
        f"Successfully replaced text in {path}.", '{"success": true}', "Done"
    ], kit.held)
    turns += [said(dice, ok)]
    if dice.random() < 0.25:
        turns += [step("I check the result.", kit.read(path)), said(dice, kit.shown(f))]
    return turns + [assistant(f"Done: {path} now has the line {to}", "The edit worked. I report it.")]


def task_replace(dice, kit, folder):
    """Old and new text are given."""
    path = some_file(dice, folder, lambda f: f.kind in ("notes", "log", "list", "csv"))
    if not path:
        return None
    f = folder.files[path]
    line = dice.choice(f.lines)
    long = [w for w in line.split() if len(w) > 3 and w.isalpha() and line.count(w) == 1]
    if not long or f.lines.count(line) != 1 or "'" in line:
        return None
    old, new = dice.choice(long), dice.choice(
        [words.name(dice, False), dice.choice(PRODUCTS),
         dice.choice(PEOPLE), str(dice.randrange(10, 999))])
    ask = pick(dice, [
        "replace {o} by {n} in {p}", "in {p}, change {o} to {n}", 'change "{o}" to "{n}" in {p}', "edit {p}: {o} should read {n}",
        "{p} says {o} where it should say {n}; correct it", "please write {n} instead of {o} in {p}", "swap {o} for {n} in {p}"
    ], kit.held)
    to = line.replace(old, new)
    turns = [
        user(capital(ask.replace("{o}", old).replace("{n}", new).replace("{p}", path))),
        step(f"I read {path} first.", kit.read(path)),
        said(dice, kit.shown(f)),
        step(f"The line is {line}. I replace it.", kit.edit(path, line, to))
    ]
    f.lines[f.lines.index(line)] = to
    return turns + [
        said(
            dice, "" if "edit" not in kit.names else
            pick(dice, ["The file has been updated.", "ok", f"Edited {path}", "1 replacement made", "Success", '{"success": true}'],
                 kit.held)),
        assistant(f"Done: {path} now has the line {to}", "The edit worked. I report it.")
    ]


def task_write(dice, kit, folder):
    path, text = folder.base + a_path(dice).lstrip("/"), dice.choice(
        [a_sentence, words.sentence, lambda d: " ".join(words.sentence(d) for _ in range(2)), a_value])(dice)
    if "'" in text:
        return None
    ask = pick(dice, [
        'create the file {p} with the text "{t}"', 'write "{t}" to {p}', 'make a new file {p} that says "{t}"',
        'please save "{t}" in {p}', 'put "{t}" into the file {p}', 'I need a file {p} with this content: {t}',
        'write a file {p}: {t}', 'store "{t}" as {p}'
    ], kit.held)
    return [
        user(capital(ask.replace("{p}", path).replace("{t}", text))),
        step(f"I write {path}.", kit.write(path, text)),
        said(
            dice, "" if "write" not in kit.names else
            pick(dice, ["File written.", "ok", f"Wrote {len(text)} bytes to {path}", f"Created {path}", "success", '{"ok": true}'],
                 kit.held)),
        assistant(f"Done: {path} is written.", "The file is there. I report it.")
    ]


def task_run(dice, kit, folder):
    if "bash" not in kit.names:
        return None
    kind = dice.randrange(5)
    if kind == 0:
        command = pick(dice, [
            "make test", "pytest", "npm test", "cargo test", "go test ./...", "make check", "ctest", "python -m unittest",
            "./run_tests.sh", "tox"
        ], kit.held)
        good, bad = dice.randrange(1, 200), dice.choice((0, 0, 0, 1, 2, 7))
        broken = [f"test_{words.name(dice, False)}" for _ in range(bad)]
        lines = [f"{dice.choice(['ok', 'PASS', '.'])} test_{words.name(dice, False)}"
                 for _ in range(dice.choice((0, 2, 4)))] + [f"FAIL {b}" for b in broken] + [
                     pick(dice, [
                         f"{good} passed, {bad} failed", f"Tests: {good} passed, {bad} failed, {good + bad} total",
                         f"==== {bad} failed, {good} passed in {dice.randrange(1, 60)}.{dice.randrange(10, 99)}s ====",
                         f"Ran {good + bad} tests: {good} ok, {bad} failed", f"{good} of {good + bad} tests passed"
                     ], kit.held)
                 ]
        ask = pick(dice, [
            "run {c} and tell me the result", "run the tests with {c}", "do the tests pass? use {c}", "execute {c} and report",
            "please run {c}", "start the test suite ({c}) and say what failed", "{c}", "check the tests: {c}",
            "how do the tests look? run {c}"
        ], kit.held)
        return [
            user(capital(ask.replace("{c}", command)) if dice.random() < 0.6 else ask.replace("{c}", command)),
            step(f"I run {command}.", kit.shell(command, "Runs the tests")),
            said(dice, "\n".join(lines)),
            assistant(f"All {good} tests passed." if not bad else f"{good} tests passed and {bad} failed: {join(broken)}.",
                      f"The output says {good} passed, {bad} failed.")
        ]
    if kind == 1 and folder.files:
        path = dice.choice(list(folder.files))
        n = len(folder.files[path].lines)
        ask = pick(dice, [
            "how many lines does {p} have?", "count the lines of {p}", "number of lines in {p}?",
            "what is the length of {p} in lines?", "tell me how long {p} is", "lines in {p}?"
        ], kit.held)
        return [
            user(capital(ask.replace("{p}", path))),
            step(f"I count the lines of {path}.", kit.shell(f"wc -l {path}", "Counts the lines")),
            said(dice, f"{n} {path}"),
            assistant(f"{path} has {n} {'line' if n == 1 else 'lines'}.", "The number comes first.")
        ]
    command, what, out = dice.choice([(
        "date", "date",
        f"{dice.choice(['Mon', 'Tue', 'Wed', 'Thu', 'Fri'])} {dice.choice(['Jan', 'Mar', 'Jul', 'Nov'])} {dice.randrange(1, 29)} {dice.randrange(24):02}:{dice.randrange(60):02}:{dice.randrange(60):02} UTC {dice.randrange(2024, 2031)}"
    ), ("whoami", "user", words.name(dice, False)),
                                      ("hostname", "host name", words.name(dice, False) + "-" + str(dice.randrange(1, 99))),
                                      ("pwd", "current directory", f"/home/{words.name(dice, False)}/{words.name(dice, False)}"),
                                      ("nproc", "number of cores", str(dice.choice((2, 4, 8, 16, 64)))),
                                      ("git branch --show-current", "current branch",
                                       words.name(dice, False) + "-" + str(dice.randrange(1, 300))),
                                      ("git rev-parse --short HEAD", "current commit",
                                       "".join(dice.choice("0123456789abcdef") for _ in range(7))),
                                      ("python3 --version", "Python version",
                                       f"Python 3.{dice.randrange(8, 15)}.{dice.randrange(0, 12)}"),
                                      ("uname -r", "kernel version",
                                       f"{dice.randrange(5, 8)}.{dice.randrange(0, 20)}.{dice.randrange(0, 90)}"),
                                      ("node --version", "Node version", f"v{dice.randrange(16, 26)}.{dice.randrange(0, 20)}.0")])
    ask = pick(dice, [
        "what is the {w}? use the shell", "run {c} and tell me what it prints", "find out the {w}", "execute {c}",
        "which {w} is this? run {c}", "tell me the {w}", "please run {c}", "use {c} to get the {w}"
    ], kit.held)
    return [
        user(capital(ask.replace("{c}", command).replace("{w}", what))),
        step(f"I run {command}.", kit.shell(command, f"Prints the {what}")),
        said(dice, out),
        assistant(f"The {what} is {out}.", "The output is the answer.")
    ]


def task_grep(dice, kit, folder):
    path = some_file(dice, folder, lambda f: f.facts)
    if not path:
        return None
    f = folder.files[path]
    k, v, line, _ = dice.choice(f.facts)
    text = dice.choice([v, k])
    hits = [(p, i + 1, l) for p, g in folder.files.items() for i, l in enumerate(g.lines) if text in l]
    call = kit.grep(text)
    if not call or not 0 < len(hits) < 5 or "'" in text:
        return None
    ask = pick(dice, [
        "where is {t} used?", "in which file is {t}?", "find {t} in the project", "search for {t}", "which file contains {t}?",
        "grep for {t}", "where does {t} occur?", "look for {t} in all files", "find the line with {t}"
    ], kit.held)
    if dice.random() < 0.15:
        text = words.name(dice, False) + "_" + words.name(dice, False)
        return [
            user(capital(ask.replace("{t}", text))),
            step(f"I search for {text}.", kit.grep(text)),
            said(dice, pick(dice, ["", "No matches found", "no results", "0 matches", "[]", "nothing found"], kit.held)),
            assistant(f"{text} occurs nowhere.", "There is no match.")
        ]
    out = "\n".join(f"{p}:{i}:{l}" for p, i, l in hits)
    where = join([f"{p}, line {i}" for p, i, _ in hits])
    return [
        user(capital(ask.replace("{t}", text))),
        step(f"I search for {text}.", call),
        said(dice, out),
        assistant(f"{text} is in {where}.", "I report file and line.")
    ]


def task_missing(dice, kit, folder):
    """The file that the user names is not there; its neighbour is."""
    call = kit.list(".")
    flat = [p for p in folder.files if "/" not in p[len(folder.base):] and short(folder.files[p])]
    if not call or not flat:
        return None
    path = dice.choice(flat)
    f = folder.files[path]
    name = path[len(folder.base):]
    wrong = folder.base + dice.choice([
        name.rsplit(".", 1)[0] + "." + dice.choice(["txt", "md", "cfg", "old"]),
        name[:-5] + name[-4:] if len(name) > 7 else "x" + name,
        name.capitalize()
    ])
    if wrong in folder.files:
        return None
    error = pick(dice, [
        f"Error: {wrong}: no such file", f"ENOENT: no such file or directory, open '{wrong}'",
        f"cat: {wrong}: No such file or directory", "File not found.", f'{{"error": "not found", "path": "{wrong}"}}',
        f"File does not exist: {wrong}"
    ], kit.held)
    ask = pick(dice, [
        "what does {p} say?", "read {p} and tell me what it says", "show me {p}", "please read {p}", "what is in {p}?",
        "open {p} and report"
    ], kit.held)
    return [
        user(capital(ask.replace("{p}", wrong))),
        step(f"I read {wrong}.", kit.read(wrong)),
        said(dice, error),
        step("It is not there. I look what is.", call),
        said(dice, "\n".join(folder.entries())),
        step(f"{path} must be meant. I read it.", kit.read(path)),
        said(dice, kit.shown(f)),
        assistant(f"There is no {wrong}, but {says(path, f)}", "I say which file it was.")
    ]


def task_two(dice, kit, folder):
    """Two files in one turn."""
    small = [p for p, f in folder.files.items() if short(f) and len(f.lines) < 5]
    if len(small) < 2:
        return None
    a, b = dice.sample(small, 2)
    ask = pick(dice, [
        "read {a} and {b}", "what do {a} and {b} say?", "show me {a} and {b}", "please read {a} and {b} and report both",
        "open both {a} and {b}", "compare {a} with {b}: show me both"
    ], kit.held)
    return [
        user(capital(ask.replace("{a}", a).replace("{b}", b))),
        step("I read both.", kit.read(a), kit.read(b)),
        said(dice, kit.shown(folder.files[a])),
        said(dice, kit.shown(folder.files[b])),
        assistant(says(a, folder.files[a]) + "\n\n" + says(b, folder.files[b]), "I report both.")
    ]


TASKS = [
    task_read, task_read, task_read, task_value, task_value, task_list, task_list_read, task_list_read, task_edit, task_edit,
    task_edit, task_edit, task_replace, task_write, task_run, task_run, task_grep, task_missing, task_two
]


def work(dice, held, n_tasks=1):
    """(schemas, turns, kit, folder)"""
    kit, folder = Kit(dice, held), Folder(dice, dice.choice((1, 2, 3, 4, 5, 8)))
    schemas, turns = kit.schemas(), []
    for _ in range(n_tasks):
        for _ in range(30):
            more = dice.choice(TASKS)(dice, kit, folder)
            if more:
                turns += more
                break
    return (schemas, turns, kit, folder) if turns else work(dice, held, n_tasks)
