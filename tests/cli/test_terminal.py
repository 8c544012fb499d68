"""ds4 as a person meets it: in a terminal, with line editing, history, Ctrl-C and Ctrl-D. The terminal is a pseudo one."""
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import termios
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("DS4_BUILD", ROOT / "build")) / "bin" / "ds4"
UP, CTRL_C, CTRL_D, CTRL_U = b"\x1b[A", b"\x03", b"\x04", b"\x15"
GREEDY = ("--nothink", "--temp", "0")


class Terminal:
    def __init__(self, home, *arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(HOME=home, XDG_CACHE_HOME=os.path.join(home, "cache"), TERM="xterm", LC_ALL="C")
            os.execv(PROGRAM, [str(PROGRAM), *arguments])
        self.text = b""

    def expect(self, pattern):
        """Reads until the pattern has come, and returns what came since the last call."""
        end = time.monotonic() + 60
        while not (match := re.search(pattern, self.text)):
            assert time.monotonic() < end, f"{pattern} did not come, but {self.text[-500:]}"
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    data = os.read(self.fd, 1 << 16)
                except OSError:
                    data = b""
                assert data, f"ended without {pattern}: {self.text[-500:]}"
                self.text += data
        said, self.text = self.text[:match.end()], self.text[match.end():]
        return said

    def wait_for_editor(self):
        """Until the line editor reads keys: before, the terminal itself would make something else of Ctrl-D, and echo the rest."""
        end = time.monotonic() + 60
        while termios.tcgetattr(self.fd)[3] & termios.ECHO:
            assert time.monotonic() < end, "the terminal stays in its cooked mode"
            time.sleep(0.01)

    def type(self, keys):
        os.write(self.fd, keys)

    def end(self):
        """The exit code; what is still printed is thrown away, so that the program never waits for us."""
        end = time.monotonic() + 60
        try:
            while not select.select([self.fd], [], [], 1)[0] or os.read(self.fd, 1 << 16):
                if time.monotonic() > end:
                    os.kill(self.pid, 9)
        except OSError:
            pass
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return code


class Interactive(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp(prefix="ds4-home-")
        self.addCleanup(shutil.rmtree, self.home)

    def test_commands_answers_and_the_end(self):
        t = Terminal(self.home, *GREEDY)
        opening = t.expect(b"ds4> $")
        self.assertIn(b"/help lists commands", opening)
        self.assertIn(b"This is ds4-mini, a small model that comes with ds4; -m FILE loads another.", opening)
        t.type(b"/help\n")
        self.assertIn(b"/read FILE", t.expect(b"ds4> $"))
        t.type(b"/nope\n")
        self.assertIn(b"there is no command /nope", t.expect(b"ds4> $"))
        t.type(b"/read /nonexistent\n")
        self.assertIn(b"/nonexistent: No such file", t.expect(b"ds4> $"))
        t.type(b"What is 23 + 48?\n")
        self.assertIn(b"71", t.expect(b"ds4> $"))
        t.wait_for_editor()
        t.type(CTRL_D)
        self.assertEqual(t.end(), 0)

    def test_what_is_typed_is_utf_8_whatever_the_environment_says(self):
        t = Terminal(self.home, *GREEDY)
        t.expect(b"ds4> $")
        t.wait_for_editor()
        t.type("/na\u00efve \u4f60\u597d\n".encode())
        self.assertIn("there is no command /na\u00efve \u4f60\u597d;".encode(), t.expect(b"ds4> $"))
        t.type(b"/quit\n")
        self.assertEqual(t.end(), 0)

    def test_ctrl_c_at_the_prompt_drops_the_line_and_nothing_else(self):
        t = Terminal(self.home, *GREEDY)
        t.expect(b"ds4> $")
        for _ in range(3):
            t.wait_for_editor()
            t.type(b"half a thou")
            t.expect(b"half a thou")
            t.type(CTRL_C)
            t.expect(b"ds4> $")
        t.type(b"What is 23 + 48?\n")
        self.assertIn(b"71", t.expect(b"ds4> $"))
        t.type(b"/quit\n")
        self.assertEqual(t.end(), 0)

    def test_ctrl_c_stops_an_answer_and_the_conversation_goes_on(self):
        path = pathlib.Path(self.home) / "long"
        path.write_text("word lantern harbour " * 1500)
        t = Terminal(self.home, *GREEDY, "-c", "8192")
        t.expect(b"ds4> $")
        t.type(f"/read {path}\n".encode())
        t.expect(b"reading the prompt")
        t.type(CTRL_C)
        self.assertIn(b"(stopped)", t.expect(b"ds4> $"))
        t.type(b"What is 23 + 48?\n")
        self.assertIn(b"71", t.expect(b"ds4> $"))
        t.wait_for_editor()
        t.type(CTRL_D)  # an interrupted answer must not make the end of input look like a Ctrl-C
        self.assertEqual(t.end(), 0)

    def test_history_is_kept_at_once_and_for_its_owner_alone(self):
        t = Terminal(self.home, *GREEDY)
        t.expect(b"ds4> $")
        t.type(b"/help\n")
        t.expect(b"ds4> $")
        os.kill(t.pid, 9)
        self.assertEqual(t.end(), -9)
        self.assertEqual(os.stat(os.path.join(self.home, ".ds4_history")).st_mode & 0o777, 0o600)
        t = Terminal(self.home, *GREEDY)
        t.expect(b"ds4> $")
        t.type(UP)
        t.expect(b"/help")
        t.type(CTRL_U + b"/quit\n")
        self.assertEqual(t.end(), 0)


    def history(self):
        """The messages of the history file, in which libedit writes newlines and spaces as \\012 and \\040."""
        lines = pathlib.Path(self.home, ".ds4_history").read_text().splitlines()[1:]
        return [re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), line) for line in lines]

    def talk(self, *keys, flags=()):
        """Types each of `keys` at a prompt of its own, ends, and returns all that came."""
        t = Terminal(self.home, *GREEDY, "-n", "8", "--no-kv-disk", *flags)
        said = t.expect(b"ds4> $")
        for typed in keys:
            t.wait_for_editor()
            t.type(typed)
            said += t.expect(b"ds4> $")
        t.wait_for_editor()
        t.type(CTRL_D)
        self.assertEqual(t.end(), 0)
        return said

    def test_pasted_text_is_one_message(self):
        self.talk(b"Read: \x1b[200~first line\rsecond\tline\n\x1b[31mthird\x1b[0m\x07\x1b[201~ end\r")
        self.assertEqual(self.history(), ["Read: first line\nsecond\tline\n[31mthird[0m end"])

    def test_a_paste_is_edited_like_what_was_typed(self):
        self.talk(b"\x1b[200~one\rtwo\x1b[201~\x7fx\x1b[D\x1b[D!\r")
        self.assertEqual(self.history(), ["one\nt!wx"])

    def test_a_newline_can_be_typed(self):
        said = self.talk(b"one\x1b\rtwo\\\rthree\r", b"/help\r")
        self.assertEqual(self.history(), ["one\ntwo\nthree", "/help"])
        self.assertIn(b"Alt-Enter", said)

    def test_a_message_may_begin_with_a_comment_or_a_path(self):
        messages = ["// what is this?", "/usr/bin/env: what is it?", "/help\nis a command", " /nope with a space before it"]
        said = self.talk(*(m.replace("\n", "\x1b\r").encode() + b"\r" for m in messages))
        self.assertNotIn(b"no command", said)
        self.assertEqual(self.history(), messages)
        self.assertIn(b"a space before it makes it a message", self.talk(b"/tmp\r"))

    def test_read_without_a_name_says_what_is_missing(self):
        said = self.talk(b"/read\r", b"/read  \r", b"/quit \x15/reader\r")
        self.assertEqual(said.count(b"/read needs the name of a file: /read FILE"), 2)
        self.assertIn(b"there is no command /reader", said)
        pathlib.Path(self.home, "notes").write_text("Hello")
        self.assertNotIn(b"No such file", self.talk(b"/read ~/notes\r"))

    def test_verbose_shows_the_log(self):
        self.assertRegex(self.talk(b"Hi\r", flags=["-v"]), rb"info answer prompt=\d+ cached=0 generated=\d+")
        self.assertNotIn(b" info ", self.talk(b"Hi\r"))

    def test_sigterm_and_a_terminal_that_closes_end_it_with_everything_saved(self):
        store = pathlib.Path(self.home, "store")
        for number in (signal.SIGTERM, signal.SIGHUP):
            t = Terminal(self.home, *GREEDY, "-n", "8", "--kv-disk-dir", str(store), "--kv-min-free", "1", "-v")
            t.expect(b"ds4> ")
            t.wait_for_editor()
            t.type(b"Remember: " + b"the harbour is quiet and the lantern is lit. " * 80 + str(number).encode() + b"\r")
            t.expect(b"answer prompt=.*\n")
            os.kill(t.pid, number)
            self.assertEqual(t.end(), 128 + number)
        self.assertTrue(list(store.glob("o/*/*.f")))


class Piped(unittest.TestCase):
    def test_piped_input_leaves_no_history_and_no_prompt(self):
        with tempfile.TemporaryDirectory() as home:
            done = subprocess.run([str(PROGRAM), *GREEDY, "--no-kv-disk", "-v"], input="What is 23 + 48?\n/nope\nends with \\\nHello\n",
                                  capture_output=True, text=True, env=dict(os.environ, HOME=home))
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(os.listdir(home), [])
        self.assertIn("71", done.stdout)
        self.assertNotIn("ds4>", done.stdout)
        self.assertNotIn("/help", done.stdout)
        self.assertEqual(done.stderr.count("answer prompt="), 3, "a line is a message")


class OneShot(unittest.TestCase):
    def test_progress_is_shown_while_a_long_prompt_is_read_and_ctrl_c_ends_it(self):
        t = Terminal("/nonexistent", *GREEDY, "--no-kv-disk", "-c", "8192", "-p", "word lantern harbour " * 1500)
        t.expect(rb"reading the prompt: \d+ of 4\d\d\d tokens \(\d+ %\), \d+ tokens/s")
        t.type(CTRL_C)
        t.expect(rb"\(stopped\)")
        self.assertEqual(t.end(), 130)


if __name__ == "__main__":
    unittest.main()
