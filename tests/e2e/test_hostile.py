"""Hostile clients, on raw sockets: requests that two readers would cut differently, connections that never finish a request, pages
of other sites, bodies and names that are only meant to take memory."""
import json
import os
import re
import resource
import signal
import socket
import subprocess
import time
import unittest

import harness
from test_transport import SHORT, Wire, descriptors, read_all, read_until, request, resident_kib

SECOND = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"  # hidden in what another reader takes for a body


def chat(*headers, body=b"{}", path="/v1/chat/completions", method="POST", version="1.1"):
    """A request with exactly these header lines."""
    lines = [f"{method} {path} HTTP/{version}".encode(), b"Host: localhost"]
    lines += [h if isinstance(h, bytes) else h.encode() for h in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Framing(Wire):
    """Where a request ends must not be a matter of opinion: a proxy before this server may have another."""

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server(flags=["--api-key", "secret"], model=harness.tiny_model())
        cls.addClassCleanup(cls.server.kill)
        cls.server.wait_ready()

    def answers(self, data):
        out = read_all(self.send(self.server, data))
        return re.findall(rb"HTTP/1\.[01] (\d+) ", out), out

    def test_two_opinions_about_the_end_of_a_body_are_refused_before_anything_else(self):
        chunked = b"0\r\n\r\n"
        bad = {
            "both": (("Content-Length: 5", "Transfer-Encoding: chunked"), chunked),
            "both, the other way round": (("Transfer-Encoding: chunked", "Content-Length: 5"), chunked),
            "two lengths": (("Content-Length: 0", f"Content-Length: {len(SECOND)}"), b""),
            "two lengths, the other way round": (("Content-Length: 2", "Content-Length: 0"), b"{}"),
            "the same length twice": (("Content-Length: 2", "content-length: 2"), b"{}"),
            "a blank before the colon": (("Content-Length : 2",), b"{}"),
            "a tab before the colon": (("Content-Length\t: 2",), b"{}"),
            "a blank before the colon of the coding": (("Transfer-Encoding : chunked",), chunked),
            "two codings in a line": (("Transfer-Encoding: gzip, chunked",), chunked),
            "two codings in two lines": (("Transfer-Encoding: gzip", "Transfer-Encoding: chunked"), chunked),
            "chunked twice": (("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), chunked),
            "an unknown coding": (("Transfer-Encoding: xchunked",), chunked),
            "the identity coding": (("Transfer-Encoding: identity",), b""),
            "an empty coding": (("Transfer-Encoding:",), b""),
            "a name that is no name": (("Content-Length: 2", "X(Y): 1"), b"{}"),
            "a control character in a value": (("Content-Length: 2", b"X-Y: a\x01b"), b"{}"),
            "a bare CR in a value": (("Content-Length: 2", b"X-Y: a\rTransfer-Encoding: chunked"), b"{}"),
            "two hosts": (("Host: evil.example", "Content-Length: 2"), b"{}"),
        }
        for path, method in (("/v1/chat/completions", "POST"), ("/nope", "POST"), ("/health", "GET"), ("/v1/models", "DELETE"), ("/", "OPTIONS"),
                             ("/", "HEAD")):
            for why, (headers, body) in bad.items():
                with self.subTest(why, path=path, method=method):
                    codes, out = self.answers(chat(*headers, body=body + SECOND, path=path, method=method))
                    self.assertEqual(codes, [b"400"], out)
        codes, out = self.answers(chat("Transfer-Encoding: chunked", body=chunked + SECOND, version="1.0"))
        self.assertEqual(codes, [b"400"], out)

    def test_a_head_that_is_not_written_plainly_is_the_last_of_its_connection(self):
        """A folded line, a NUL or a stray blank hides a part of the head from one of two readers. What follows is not read."""
        for why, headers, body in (("a folded length", (f"Content-Length:\r\n {len(SECOND)}",), b""),
                                   ("a folded coding", ("Transfer-Encoding: chunked\r\n x", "Content-Length: 5"), b"0\r\n\r\n"),
                                   ("a NUL in a value", ("Content-Length: 2", b"X-Y: a\0b"), b"{}"),
                                   ("a NUL in the length", (b"Content-Length: 2\0000",), b"{}"),
                                   ("an empty name", ("Content-Length: 2", ": 1"), b"{}"),
                                   ("blanks after a colon", ("Content-Length:   2",), b"{}"),
                                   ("no blank after a colon", ("Content-Length:2",), b"{}"),
                                   ("chunks", ("Transfer-Encoding: chunked",), b"2\r\n{}\r\n0\r\n\r\n"),
                                   ("chunks with an extension", ("Transfer-Encoding: chunked",), b"2;\nxx\r\n{}\r\n0\r\n\r\n")):
            with self.subTest(why):
                codes, out = self.answers(chat("x-api-key: secret", *headers, body=body + SECOND))
                self.assertEqual(len(codes), 1, out)
                self.assertIn(codes[0], (b"400", b"401"), out)
        for why, data in (("bare line feeds", b"GET /health HTTP/1.1\nHost: localhost\n\n"),
                          ("two blanks in the first line", b"GET  /health HTTP/1.1\r\nHost: localhost\r\n\r\n"),
                          ("a NUL in the path", b"GET /health\0x HTTP/1.1\r\nHost: localhost\r\n\r\n")):
            with self.subTest(why):
                codes, out = self.answers(data + SECOND)
                self.assertEqual(len(codes), 1, out)

    def test_plain_requests_keep_their_connection(self):
        many = chat("Content-Length: 2", "x-api-key: secret", "Accept: */*", "User-Agent: x  (a; b)", "Cookie: a=b; c=d") + chat(
            "X-Empty: ", path="/health?beta=true&x=%20y", method="GET", body=b"") + request(b"", "Connection: close\r\n", "/nope", "GET")
        self.assertEqual(self.answers(many)[0], [b"400", b"200", b"404"])

    def test_a_refused_request_is_read_to_its_end_and_the_next_one_answered(self):
        for path, method, code in (("/nope", "POST", b"404"), ("/health", "POST", b"405"), ("/v1/chat/completions", "POST", b"401")):
            codes, out = self.answers(chat(f"Content-Length: {len(SECOND)}", body=SECOND, path=path, method=method)
                                      + request(b"", "Connection: close\r\n", "/", "GET"))
            self.assertEqual(codes, [code, b"200"], out)
            self.assertNotIn(b'"status":"ok"', out, "the body is not a second request")

    def test_an_escaped_nul_does_not_cut_a_path(self):
        for path in ("/health%00x", "/v1/models/x%00y", "/%00"):
            self.assertEqual(self.answers(chat("Connection: close", path=path, method="GET", body=b""))[0], [b"400"], path)


if __name__ == "__main__":
    unittest.main()
