"""Hostile clients, on raw sockets: requests that two readers would cut differently, connections that never finish a request, pages
of other sites, bodies and names that are only meant to take memory."""
import json
import re
import resource
import signal
import socket
import time
import unittest

import harness
from test_transport import LONG, SHORT, Wire, descriptors, read_all, read_until, request, resident_kib

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
        for path, code in (("/health%00x", b"400"), ("/v1/models/x%00y", b"400"), ("/%00", b"400"), ("/health?x=%00", b"200")):
            self.assertEqual(self.answers(chat("Connection: close", path=path, method="GET", body=b""))[0], [code], path)


class Connections(Wire):
    """Clients that never finish a request."""

    HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Drip: "

    def open_files(self, n):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.assertGreaterEqual(hard, n + 100)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, n + 100), hard))

    def test_any_number_of_unfinished_heads_keeps_nobody_out(self):
        server = self.serve("--max-connections", "32", model=harness.tiny_model())
        drips = []
        for _ in range(100):
            drips.append(self.send(server, self.HEAD))
            if len(drips) % 20 == 0:
                self.assertEqual(server.get("/health")[0], 200)
                self.assertEqual(server.post(SHORT)[0], 200)
        self.assertGreaterEqual(server.metric("ds4_connections_cut_total"), 100 - 32 - 16)
        self.assertLessEqual(server.metric("ds4_connections"), 32 + 16)
        self.assertEqual(read_all(drips[0]), b"")  # the oldest went first
        drips[-1].sendall(b"x\r\nConnection: close\r\n\r\n")  # the youngest may still end its head
        self.assertIn(b" 200 ", read_all(drips[-1])[:20])
        self.wait(server, lambda: "connections cut " in server.log())

    def test_a_thousand_drips_with_the_default_limits(self):
        self.open_files(1300)
        server = self.serve(model=harness.tiny_model())
        drips = [self.send(server, self.HEAD) for _ in range(1200)]
        self.assertEqual(server.get("/health")[0], 200)
        self.assertEqual(server.post(SHORT)[0], 200)
        self.assertLessEqual(server.metric("ds4_connections"), 1024 + 16)
        del drips

    def test_pages_that_nobody_reads_keep_nobody_out(self):
        server = self.serve("--max-connections", "4", model=harness.tiny_model())
        ask = (request(b"", "", "/metrics", "GET") + request(b"", "", "/nope", "POST") + request(b"{}")) * 200
        for _ in range(40):
            s = socket.socket()
            self.addCleanup(s.close)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", server.port))
            s.setblocking(False)
            try:
                for _ in range(100):  # until the server takes no more, because it cannot answer
                    s.send(ask)
            except OSError:
                pass
        self.assertEqual(server.get("/health")[0], 200)
        self.wait(server, lambda: server.post(SHORT)[0] == 200)

    def test_few_open_files_mean_few_connections(self):
        server = self.serve(model=harness.tiny_model(), wrap=["prlimit", "--nofile=500:500"])
        self.assertIn("warning connections max=100 wanted=1024 ", server.log())
        drips = [self.send(server, self.HEAD) for _ in range(600)]
        self.assertEqual(server.get("/health")[0], 200)
        self.assertEqual(server.post(SHORT)[0], 200)
        self.assertLess(descriptors(server.child.pid), 500)
        del drips

    def test_bytes_do_not_put_off_the_end_of_a_head_or_a_body(self):
        server = self.serve("--write-timeout", "2", model=harness.tiny_model())
        whole = request(b"", "", "/health", "GET")
        drips = [self.send(server, self.HEAD), self.send(server, chat("Content-Length: 100000", body=b"{")), self.send(server, whole)]
        self.assertIn(b'"ok"', read_until(drips[2], b"}"))
        drips[2].sendall(self.HEAD)
        open_ones = set(drips)
        end = time.monotonic() + 60
        while open_ones:  # each gets bytes faster than any timeout for silence
            self.assertLess(time.monotonic(), end, server.log())
            for s in list(open_ones):
                try:
                    s.sendall(b"x")
                    s.setblocking(False)
                    if s.recv(100) == b"":
                        open_ones.discard(s)
                except BlockingIOError:
                    pass
                except OSError:
                    open_ones.discard(s)
                finally:
                    s.setblocking(True)
            time.sleep(0.1)
        page = server.get("/metrics")[1]
        for why in ("head", "body", "idle"):
            self.assertIn(f'ds4_connections_cut_total{{why="{why}"}} 1\n', page)

    def test_when_all_are_answered_completions_are_refused_and_pages_served(self):
        server = self.serve("--max-connections", "2", "--batched-session", "1")
        held = []
        for n in (1, 2):
            held.append(self.send(server, request(dict(LONG, stream=True))))
            if n == 1:
                read_until(held[0], b"data: ")
            else:
                self.wait(server, lambda: server.metric("ds4_queued_requests") == 1)
        status, answer = server.post(SHORT)
        self.assertEqual((status, answer["error"]["code"]), (503, "overloaded"))
        self.assertEqual(server.get("/health")[0], 200)
        held.pop().close()
        self.wait(server, lambda: server.post(dict(SHORT, max_tokens=0))[0] == 200)


    def test_bodies_that_become_complete_at_once_leave_the_reserve(self):
        server = self.serve("--max-connections", "2", "--batched-session", "1")
        body = json.dumps(dict(LONG, stream=True)).encode()
        held = [self.send(server, chat(f"Content-Length: {len(body)}", body=body[:-1])) for _ in range(2 + 15)]
        self.wait(server, lambda: server.metric("ds4_connections") == 2 + 16)  # with the one that asks
        for s in held:  # no head was refused: nothing was being answered then
            s.sendall(body[-1:])
            s.setblocking(False)

        def is_refused(s):
            try:
                return b" 503 " in s.recv(20, socket.MSG_PEEK)
            except BlockingIOError:
                return False

        self.wait(server, lambda: sum(map(is_refused, held)) == 15)
        self.assertEqual(server.get("/health")[0], 200)


class Memory(Wire):
    """What a client without a key, or with one, can make the server keep."""

    def serve(self, *flags, **more):
        if b"__asan_init" in harness.SERVER.read_bytes():
            self.skipTest("a sanitizer's allocator keeps what was freed")
        return super().serve(*flags, **more)

    def test_only_completions_keep_their_body(self):
        server = self.serve("--api-key", "secret", model=harness.tiny_model())
        before = resident_kib(server.child.pid)
        size = 24 << 20
        held = []
        for path, method in (("/health", "GET"), ("/", "GET"), ("/v1/chat/completions", "OPTIONS"), ("/nope", "POST"), ("/v1/models", "GET"),
                             ("/v1/chat/completions", "POST"), ("/v1/chat/completions", "PUT")):
            s = self.send(server, chat(f"Content-Length: {size}", body=b"", path=path, method=method))
            s.sendall(b" " * (size - 1))
            held.append(s)
        s.sendall(b" ")
        self.assertIn(b" 405 ", read_until(s, b"\r\n\r\n")[:20])  # so all that was sent before has been read, or nearly
        self.assertLess(resident_kib(server.child.pid) - before, 20 << 10)
        for s, code in zip(held, (b"200", b"200", b"204", b"404", b"401", b"401")):
            s.sendall(b" ")
            self.assertIn(b" " + code + b" ", read_until(s, b"\r\n\r\n")[:20])

    def test_long_bodies_share_a_limit_and_short_ones_are_served_beside_them(self):
        server = self.serve("--max-body-mb", "1", model=harness.tiny_model())
        size = (1 << 20) - 1
        held = []
        for _ in range(4):
            s = self.send(server, chat(f"Content-Length: {size}", body=b""))
            s.sendall(b" " * (size - 1))
            held.append(s)
        self.wait(server, lambda: server.metric("ds4_long_body_bytes") == 4 * (size - 1))
        refused = read_all(self.send(server, request(b" " * size, "Connection: close\r\n")))
        self.assertIn(b" 503 ", refused[:20])
        self.assertIn(b"Retry-After", refused)
        self.assertIn(b'"overloaded"', refused)
        self.assertEqual(server.post(SHORT)[0], 200)
        held[0].sendall(b" ")
        self.assertIn(b" 400 ", read_until(held[0], b"\r\n\r\n")[:20])
        for s in held[1:]:
            s.close()
        self.wait(server, lambda: server.metric("ds4_long_body_bytes") == 0)

    def test_waiting_requests_do_not_keep_their_bodies(self):
        server = self.serve("--batched-session", "1", "--max-body-mb", "16")
        self.send(server, request(LONG))
        self.wait(server, lambda: server.metric("ds4_active_requests") == 1)
        before = resident_kib(server.child.pid)
        body = json.dumps(dict(LONG, metadata=[])).encode()
        body = body.replace(b'"metadata": []', b'"metadata": [' + b"[0]," * 500_000 + b"0]")
        held = []
        for n in range(1, 7):
            held.append(self.send(server, request(body)))
            self.wait(server, lambda n=n: server.metric("ds4_queued_requests") == n)
        # One tree of this body has 70 MB; one at a time is all there ever was, and it goes back to the system.
        self.wait(server, lambda: resident_kib(server.child.pid) - before < 40 << 10)

    def test_short_of_memory_a_body_is_503_and_not_too_long(self):
        server = self.serve(model=harness.tiny_model())
        with open(f"/proc/{server.child.pid}/status") as status:
            size = int(re.search(r"VmSize:\s+(\d+)", status.read()).group(1)) << 10
        unlimited = resource.prlimit(server.child.pid, resource.RLIMIT_AS, (size + (8 << 20), resource.RLIM_INFINITY))
        answer = read_all(self.send(server, request(b" " * (40 << 20), "Connection: close\r\n")))
        self.assertIn(b" 503 ", answer[:20])
        self.assertIn(b"not enough memory", answer)
        self.assertIn(b"Retry-After", answer)
        resource.prlimit(server.child.pid, resource.RLIMIT_AS, unlimited)
        self.assertEqual(server.post(SHORT)[0], 200)


class Pages(Wire):
    """Requests that pages of other sites make a browser send."""

    def ask(self, server, *headers, path="/v1/chat/completions", method="POST", body=json.dumps(SHORT).encode()):
        head = [f"Content-Length: {len(body)}", "Connection: close", *headers]
        return read_all(self.send(server, chat(*head, path=path, method=method, body=body)))

    def test_foreign_origins_are_refused(self):
        server = self.serve("--allow-host", "chat.example.com", model=harness.tiny_model())
        for origin in ("https://evil.example", "null", f"http://localhost:{server.port + 1}", "file://"):
            for path, method in (("/v1/chat/completions", "POST"), ("/v1/models", "GET"), ("/v1/chat/completions", "OPTIONS")):
                out = self.ask(server, f"Origin: {origin}", "Content-Type: text/plain", path=path, method=method)
                self.assertIn(b" 403 ", out[:20], origin)
                self.assertIn(b"--cors", out)
                self.assertNotIn(b"Access-Control", out)
        for origin in (f"http://localhost:{server.port}", f"http://127.0.0.1:{server.port}", "https://chat.example.com"):
            self.assertIn(b" 200 ", self.ask(server, f"Origin: {origin}")[:20], origin)
        self.assertEqual(server.metric("ds4_tokens_total") > 0, True)

    def test_cors_lets_all_ask(self):
        server = self.serve("--cors", model=harness.tiny_model())
        out = self.ask(server, "Origin: https://any.example")
        self.assertIn(b" 200 ", out[:20])
        self.assertIn(b"Access-Control-Allow-Origin: *", out)

    def test_a_server_on_all_addresses_is_no_target_of_dns_rebinding(self):
        server = self.serve("--host", "0.0.0.0", model=harness.tiny_model())
        body = json.dumps(SHORT).encode()
        for host, status in ((f"127.0.0.1:{server.port}", b"200"), (f"evil.example:{server.port}", b"403"),
                             (f"{socket.gethostname()}:{server.port}", b"200")):
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nConnection: close\r\n"
            out = read_all(self.send(server, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body))
            self.assertIn(b" " + status + b" ", out[:20], host)


class Oddities(Wire):
    """Legal but rare requests, and lengths nobody needs."""

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server(model=harness.tiny_model())
        cls.addClassCleanup(cls.server.kill)
        cls.server.wait_ready()

    def status(self, data):
        out = read_all(self.send(self.server, data))
        return [int(code) for code in re.findall(rb"HTTP/1\.[01] (\d+) ", out)], out

    def test_paths_methods_and_versions(self):
        close = "Connection: close"
        for data, codes in ((chat(close, path="/v1//models/", method="GET", body=b""), [200]),
                            (chat(close, path="/%76%31/models", method="GET", body=b""), [200]),
                            (chat(close, path="/v1%2Fmodels", method="GET", body=b""), [200]),
                            (chat(close, path="/../health", method="GET", body=b""), [404]),
                            (chat(close, path="/health?" + "&".join(f"a{i}=b" for i in range(500)), method="GET", body=b""), [200]),
                            (chat(close, path="/" + "a" * 60000, method="GET", body=b""), [404]),
                            (chat(close, path="/" + "a" * 100000, method="GET", body=b""), [414]),
                            (chat(close, *(f"X-{i}: 1" for i in range(300)), path="/health", method="GET", body=b""), [200]),
                            (chat(close, *(f"X-{i}: 1" for i in range(30000)), path="/health", method="GET", body=b""), [431]),
                            (chat(close, path="*", method="OPTIONS", body=b""), [204]),
                            (chat(close, path="localhost:443", method="CONNECT", body=b""), [404]),
                            (chat(close, path="/health", method="TRACE", body=b""), [405]),
                            (chat(close, path="/health", method="G\x00T", body=b""), None),
                            (chat(close, path="/metrics", method="HEAD", body=b""), [200]),
                            (b"GET /health HTTP/1.0\r\n\r\n" + SECOND, [200]),
                            (b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /health HTTP/1.0\r\n\r\n", [200, 200]),
                            (b"\r\n\r\nGET /health HTTP/1.0\r\n\r\n", [200])):
            got, out = self.status(data)
            if codes is not None:
                self.assertEqual(got, codes, (data[:80], out[:300]))
        out = self.status(chat(close, path="/v1/completion", method="GET", body=b""))[1]
        self.assertIn(b"POST /v1/chat/completions", out, "a 404 names the endpoints")
        self.assertEqual(self.server.get("/health")[0], 200)

    def test_a_reader_that_stops_costs_its_connection_only(self):
        server = self.serve("--write-timeout", "2", "--batched-session", "1", model=harness.tiny_model())
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", server.port))
        self.addCleanup(s.close)
        s.sendall(request(dict(SHORT, max_tokens=7000, stream=True, logprobs=True, top_logprobs=20, logit_bias=harness.NO_END)))
        self.wait(server, lambda: server.metric("ds4_active_requests") == 1)
        self.wait(server, lambda: server.metric("ds4_active_requests") == 0)
        self.wait(server, lambda: server.metric("ds4_connections") <= 1)
        self.assertEqual(server.post(SHORT)[0], 200)

    def test_a_reader_that_drips_is_cut_off(self):
        server = self.serve("--write-timeout", "2", model=harness.tiny_model())
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.settimeout(60)
            s.connect(("127.0.0.1", server.port))
            # More than the system takes for a connection: several answers of some megabytes.
            s.sendall(request(dict(SHORT, max_tokens=1900, stream=True, logprobs=True, top_logprobs=20, logit_bias=harness.NO_END)) * 4)
            end = time.monotonic() + 60
            while server.metric("ds4_disconnected_total") == 0:
                self.assertLess(time.monotonic(), end, server.log())
                self.assertTrue(s.recv(512))  # enough to be no silence
                time.sleep(0.1)
            self.wait(server, lambda: server.metric("ds4_connections") <= 1)

    def test_a_client_that_leaves_at_any_byte(self):
        server = self.serve("--batched-session", "2", "--write-timeout", "2", model=harness.tiny_model())
        server.post(SHORT)
        before = descriptors(server.child.pid)
        for data in (request(dict(SHORT, stream=True)), chat("Transfer-Encoding: chunked", "Expect: 100-continue", body=b"2\r\n{}\r\n0\r\n\r\n")):
            for n in range(0, len(data) + 1, 4):
                for how in ("close", "half-close", "reset"):
                    s = socket.create_connection(("127.0.0.1", server.port), timeout=60)
                    s.sendall(data[:n])
                    if how == "reset":
                        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    if how == "half-close":
                        s.shutdown(socket.SHUT_WR)
                    s.close()
        self.wait(server, lambda: server.metric("ds4_active_requests") + server.metric("ds4_queued_requests") == 0)
        self.wait(server, lambda: descriptors(server.child.pid) <= before)
        self.assertEqual(server.post(SHORT)[0], 200)


class Log(Wire):
    def test_refused_and_finished_requests_are_found_by_their_id(self):
        server = self.serve("--api-key", "secret", model=harness.tiny_model())
        wanted = []
        for headers, path, method, body, line in (
                ((), "/v1/chat/completions", "POST", b"{}", "method=POST endpoint=/v1/chat/completions status=401 code=invalid_api_key"),
                (("x-api-key: secret",), "/v1/chat/completions", "POST", b"[", "status=400 code=invalid_json"),
                (("x-api-key: secret",), "/v1/chat/completions", "POST", b'{"messages":[{"role":"user","content":"x"}],"n":3}',
                 "status=400 code=unsupported_parameter param=n"),
                ((), "/nope", "BREW", b"", "method=other endpoint=other status=404 code=not_found"),
                (("Transfer-Encoding: chunked",), "/health", "GET", b"0\r\n\r\n", "method=GET endpoint=/health status=400 code=invalid_request"),
                (("x-api-key: secret",), "/v1/models/x\u0441", "GET", b"", "endpoint=/v1/models/{id} status=404 code=model_not_found")):
            data = chat(f"Content-Length: {len(body)}", "Connection: close", *headers, path=path, method=method, body=body)
            identity = re.search(rb"x-request-id: (\S+)", read_all(self.send(server, data))).group(1).decode()
            wanted.append(rf"info request refused request={identity} from=127\.0\.0\.1 .*{re.escape(line)}\n")
        data = request(SHORT, "x-api-key: secret\r\nConnection: close\r\n")
        identity = re.search(rb"x-request-id: (\S+)", read_all(self.send(server, data))).group(1).decode()
        wanted.append(rf"info request done request={identity} id=[0-9a-f]{{24}} finish=")
        read_all(self.send(server, b"GET /health HTTP/9.9\r\n\r\n"))
        read_all(self.send(server, b"GET /health HTTP/1.1\r\nno colon\r\n\r\n"))
        for status in (505, 400):
            wanted.append(rf"info request refused request=none .*status={status} code=not_http\n")
        for pattern in wanted:
            self.wait(server, lambda p=pattern: re.search(p, server.log()))
        for line in server.log().splitlines():
            self.assertRegex(line, r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (info|warning) ")

    def test_a_flood_of_refusals_does_not_flood_the_log(self):
        server = self.serve(model=harness.tiny_model())
        n = 3000
        read_all(self.send(server, request(b"", "", "/nope", "GET") * n + request(b"", "Connection: close\r\n", "/nope", "GET")))
        time.sleep(1)  # the next second gets its line
        server.get("/nope")
        lines = len(re.findall("request refused ", server.log()))
        self.assertLess(lines, n / 2)
        self.wait(server, lambda: lines + sum(map(int, re.findall(r"without a line of their own n=(\d+)", server.log()))) >= n)

    def test_a_long_prompt_shows_its_progress(self):
        server = self.serve("--prefill-chunk", "16")
        body = {"messages": [{"role": "user", "content": harness.story(3, 4500)}], "max_tokens": 1, "thinking": False, "stream": True}
        s = self.send(server, request(body, "Connection: close\r\n"))
        identity = re.search(rb"x-request-id: (\S+)", read_until(s, b"data: ")).group(1).decode()
        server.child.send_signal(signal.SIGSTOP)
        time.sleep(5.1)  # a line every five seconds
        server.child.send_signal(signal.SIGCONT)
        self.wait(server, lambda: f" info request prefill request={identity} done=" in server.log())

    def test_the_address_of_ipv6_is_in_brackets(self):
        for host in ("::1", "[::1]"):
            try:
                server = harness.Server(flags=["--host", host], model=harness.tiny_model())
                self.addCleanup(server.kill)
                self.wait(server, lambda s=server: "listening" in s.log() or s.child.poll() is not None)
                if "Address family not supported" in server.log() or "no such address" in server.log():
                    self.skipTest("no IPv6 here")
                port = re.search(r"listening http://\[::1\]:(\d+) ready", server.log()).group(1)
                with socket.create_connection(("::1", int(port)), timeout=60) as s:
                    s.sendall(f"GET /health HTTP/1.1\r\nHost: [::1]:{port}\r\nConnection: close\r\n\r\n".encode())
                    self.assertIn(b" 200 ", read_all(s)[:20])
            finally:
                server.kill()


if __name__ == "__main__":
    unittest.main()
