"""ds4 as a person meets it: in a terminal, with line editing, history, Ctrl-C and Ctrl-D. The terminal is a pseudo one."""
import os
import pathlib
import pty
import re
import select
import shutil
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
        self.assertIn(b"/help lists commands", t.expect(b"ds4> $"))
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


class OneShot(unittest.TestCase):
    def test_progress_is_shown_while_a_long_prompt_is_read_and_ctrl_c_ends_it(self):
        t = Terminal("/nonexistent", *GREEDY, "--no-kv-disk", "-c", "8192", "-p", "word lantern harbour " * 1500)
        t.expect(rb"reading the prompt: \d+ of 4\d\d\d tokens \(\d+ %\), \d+ tokens/s")
        t.type(CTRL_C)
        t.expect(rb"\(stopped\)")
        self.assertEqual(t.end(), 130)


if __name__ == "__main__":
    unittest.main()
