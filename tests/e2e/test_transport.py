"""The wire: bytes that are not HTTP, clients that stall, leave or flood, long bodies, an end in the middle of answers; and that
none of it costs memory, descriptors or other people's time."""
import http.client
import json
import os
import re
import signal
import socket
import threading
import time
import unittest

import harness

SHORT = {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "max_tokens": 3, "thinking": False}
# Without the end mark, and the token of tool calls, which would end it, too, it goes on.
LONG = {"messages": [{"role": "user", "content": harness.story(5, 100)}], "temperature": 0, "max_tokens": 4000,
        "thinking": False, "logit_bias": harness.NO_END}


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def request(body, headers="", path="/v1/chat/completions", method="POST"):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def read_all(s):
    """Until the server closes; a reset counts as closed."""
    out = b""
    try:
        while data := s.recv(1 << 16):
            out += data
    except ConnectionResetError:
        pass
    return out


def read_until(s, mark):
    out = b""
    while mark not in out:
        data = s.recv(1 << 16)
        assert data, f"closed before {mark}: {out[-500:]}"
        out += data
    return out


class Wire(unittest.TestCase):
    def serve(self, *flags, **more):
        server = harness.Server(flags=flags, **more)
        self.addCleanup(server.kill)
        server.wait_ready()
        return server

    def connect(self, server):
        s = socket.create_connection(("127.0.0.1", server.port))
        self.addCleanup(s.close)
        return s

    def send(self, server, data):
        s = self.connect(server)
        s.sendall(data)
        return s

    def wait(self, server, condition):
        end = time.monotonic() + 60
        while not condition():
            self.assertLess(time.monotonic(), end, server.log())
            time.sleep(0.01)


class Requests(Wire):
    def test_what_is_not_http_is_refused_and_the_server_lives(self):
        server = self.serve()
        for head, status in ((b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n", b" 400 "),
                             (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", b" 400 "),
                             (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n", b" 413 "),
                             (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200000 + b"\r\n\r\n", b" 431 "),
                             (b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n", b" 505 "),
                             (b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
                              b"2\r\n{}\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b" 400 "),
                             (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"")):
            answer = read_all(self.send(server, head))
            self.assertIn(status, answer[:40], head[:80])
            self.assertNotIn(b'"status":"ok"', answer, "the rest is not a second request")
        self.assertEqual(server.get("/health")[0], 200)

    def test_a_head_that_the_library_refuses_has_one_answer(self):
        server = self.serve()
        cases = [(f"Content-Length: {value}\r\n", 413 if value.isdigit() else 400)
                 for value in ("0, 0", "+0", "-1", "0x0", "", "9" * 20)] + [("Cookie: " + "a" * 60000 + "\r\n", 431)]
        for split in (False, True):
            for line, status in cases:
                s = self.connect(server)
                head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{line}"
                if split:  # other requests come between the parts
                    s.sendall(head.encode())
                    self.assertEqual(server.get("/health")[0], 200)
                    self.assertIn(b" 431 ", read_all(self.send(server, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200000 + b"\r\n\r\n"))[:20])
                    head = ""
                s.sendall(f"{head}\r\n{{}}".encode())
                answer = read_all(s)
                self.assertEqual(answer.count(b"HTTP/1.1"), 1, (line[:40], answer))
                self.assertIn(f"HTTP/1.1 {status} ".encode(), answer[:20], line[:40])
                self.assertEqual(set(json.loads(answer.split(b"\r\n\r\n", 1)[1])), {"error"})
        self.assertEqual(server.get("/health")[0], 200)

    def test_when_a_refusal_is_said(self):
        server = self.serve("--api-key", "secret")
        for line, waits in (("", True), ("Expect: 100-continue\r\n", False), ("Content-Length: 3\r\n", False)):
            s = self.send(server, f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                                  f"Content-Length: 3\r\n{line}\r\n".encode())
            if waits:
                s.setblocking(False)
                self.assertEqual(server.get("/health")[0], 200)  # the head was read before this
                self.assertRaises(BlockingIOError, s.recv, 1)
                s.setblocking(True)
                s.sendall(b"abc")
            self.assertIn(b" 40", read_all(s)[:20], line)

    def test_a_nul_hides_the_rest_and_ends_the_connection(self):
        server = self.serve()
        for head, status in ((b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\0b", 200), (b"GET /health\0x HTTP/1.1\r\nHost: localhost", 200),
                             (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX\0Y: b", 400), (b"GET /health HTTP/1.1\0\r\nHost: localhost", 400)):
            answer = read_all(self.send(server, head + b"\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            self.assertIn(f" {status} ".encode(), answer[:20], head)
            self.assertEqual(answer.count(b"HTTP/1.1 "), 1, head)

    def test_host_names_have_no_case(self):
        server = self.serve()
        for host, status in (("LOCALHOST:1", 200), ("[::1]", 200), ("127.0.0.1:99", 200), ("localhost.evil.example", 403), ("", 403)):
            s = self.send(server, f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            self.assertIn(f" {status} ".encode(), read_all(s)[:20], host)

    def test_a_refused_head_spares_the_body(self):
        server = self.serve("--api-key", "secret", "--max-body-mb", "8")
        expect = "Expect: 100-continue\r\n"
        for headers, path, status in ((expect, "/v1/chat/completions", 401), (expect + "x-api-key: secret\r\n", "/v1/chat/completions", 413),
                                      (expect, "/nope", 404)):
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n{headers}\r\n"
            answer = read_all(self.send(server, head.encode()))  # not a byte of the body is sent
            self.assertIn(f"HTTP/1.1 {status} ".encode(), answer[:20])
            self.assertNotIn(b"100 Continue", answer)
            self.assertEqual(set(json.loads(answer.split(b"\r\n\r\n", 1)[1])), {"error"})
        # The same without waiting: read to its end, and kept nowhere.
        before = resident_kib(server.child.pid)
        s = self.send(server, request(b" " * 100_000_000, "Connection: close\r\n"))
        self.assertIn(b" 401 ", read_all(s)[:20])
        self.assertLess(resident_kib(server.child.pid) - before, 8 << 10)

    def test_expect_100_continue(self):
        server = self.serve()
        body = json.dumps(SHORT).encode()
        s = self.send(server, f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                              f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        self.assertIn(b"100 Continue", read_until(s, b"\r\n\r\n"))
        s.sendall(body)
        self.assertIn(b" 200 ", read_all(s)[:20])

    def test_a_chunked_body_of_any_length_takes_no_memory(self):
        server = self.serve("--max-body-mb", "8")
        before = resident_kib(server.child.pid)
        s = self.send(server, b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        block = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        for _ in range(256):
            s.sendall(block)
        s.sendall(b"0\r\n\r\n")
        answer = read_all(s)
        self.assertIn(b" 413 ", answer[:20])
        self.assertIn(b"8 MiB (--max-body-mb)", answer)
        self.assertLess(resident_kib(server.child.pid) - before, 32 << 10)

    def test_pipelined_requests_are_answered_in_order(self):
        server = self.serve()
        answers = read_all(self.send(server, request(SHORT) * 2 + request(b"", "Connection: close\r\n", "/health", "GET")))
        self.assertEqual(answers.count(b"HTTP/1.1 200 "), 3)
        self.assertLess(answers.rindex(b"chat.completion"), answers.index(b'"status":"ok"'))

    def test_a_client_that_stalls_is_cut_off(self):
        server = self.serve("--write-timeout", "1")
        for start in (b"GET /health HTTP/1.1\r\nHost", b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"):
            self.assertEqual(read_all(self.send(server, start)), b"")

    def test_a_long_body_is_read_beside_other_requests(self):
        """Only a thread that does not read the body can say that one is being read."""
        server = self.serve()
        messages = b'{"role":"user","content":""},' * 1_000_000
        s = self.send(server, request(b'{"messages":[' + messages[:-1] + b'],"max_tokens":1}', "Connection: close\r\n"))
        seen = 0
        s.setblocking(False)
        answer = b""
        while not answer:
            seen += server.metric("ds4_reading_requests") == 1
            try:
                answer = s.recv(1 << 16)
            except BlockingIOError:
                pass
        self.assertIn(b" 400 ", answer[:20])
        self.assertGreater(seen, 0)
        self.wait(server, lambda: server.metric("ds4_reading_requests") == 0)

    def test_a_client_that_leaves_while_its_request_is_read(self):
        server = self.serve()
        messages = b'{"role":"user","content":""},' * 1_000_000
        s = self.send(server, request(b'{"messages":[' + messages[:-1] + b'],"max_tokens":1}'))
        self.wait(server, lambda: server.metric("ds4_reading_requests") == 1)
        s.close()
        self.wait(server, lambda: server.metric("ds4_reading_requests") == 0 and server.metric("ds4_disconnected_total") == 1)
        self.assertEqual(server.chat(SHORT["messages"])[1]["prompt_tokens"], 5)


class Clients(Wire):
    def test_every_way_to_leave_frees_the_sequence_and_is_counted(self):
        server = self.serve()
        gone = 0
        for stream in (False, True):
            for leave in ("close", "half-close", "reset"):
                s = self.send(server, request(dict(LONG, stream=stream)))
                self.wait(server, lambda: server.metric("ds4_active_requests") == 1)
                if stream:
                    read_until(s, b"data: ")
                if leave == "half-close":
                    s.shutdown(socket.SHUT_WR)
                if leave == "reset":
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                if leave != "half-close":
                    s.close()
                gone += 1
                self.wait(server, lambda: server.metric("ds4_active_requests") == 0)
                self.wait(server, lambda: server.metric("ds4_disconnected_total") == gone)
        self.assertIn(f'ds4_requests_finished_total{{reason="cancelled"}} {gone}\n', server.get("/metrics")[1])

    def test_a_flood_is_answered_to_the_last_one(self):
        server = self.serve("--batched-session", "2", "--max-queue", "4")
        answers, lock = [], threading.Lock()

        def ask(i):
            connection = http.client.HTTPConnection("127.0.0.1", server.port)
            connection.request("POST", "/v1/chat/completions", json.dumps(dict(SHORT, max_tokens=20, stream=i % 2 == 0)))
            answer = connection.getresponse()
            body = answer.read()
            with lock:
                answers.append((answer.status, answer.getheader("Retry-After"), body))
            connection.close()

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(100)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(len(answers), 100)
        for status, retry_after, body in answers:
            if status == 200:
                self.assertTrue(body.endswith(b"data: [DONE]\n\n") or json.loads(body)["choices"])
            else:
                self.assertEqual((status, retry_after, json.loads(body)["error"]["code"]), (503, "1", "queue_full"))
        self.assertGreaterEqual(sum(a[0] == 200 for a in answers), 6)
        self.assertEqual(server.metric("ds4_active_requests") + server.metric("ds4_queued_requests"), 0)

    def test_answers_go_on_while_a_long_prompt_is_read(self):
        server = self.serve("--prefill-chunk", "128", "--mixed-prefill-quantum", "64")
        s = self.send(server, request(dict(LONG, stream=True)))
        read_until(s, b'"content":"')
        prompt = [{"role": "user", "content": harness.story(9, 900)}]
        before = server.metric("ds4_tokens_total")
        usage = server.chat(prompt, max_tokens=1)[1]
        n_chunks = usage["prompt_tokens"] // 64
        page = server.get("/metrics")[1]
        self.assertGreater(usage["prompt_tokens"], 1000)
        # Each step of the long prompt carried a token of the stream.
        decoded = int(re.search(r'ds4_tokens_total\{phase="decode"\} (\d+)', page).group(1))
        self.assertGreater(decoded, n_chunks // 2, (before, page))

    def test_nothing_piles_up(self):
        server = self.serve()
        pid = server.child.pid
        connection = http.client.HTTPConnection("127.0.0.1", server.port)

        def ask(n):
            for i in range(n):
                body = dict(SHORT, max_tokens=1, stream=i % 2 == 0, tools=[{"type": "function", "function": {"name": f"f{i}"}}] * (i % 3 == 0))
                connection.request("POST", "/v1/chat/completions", json.dumps(body if i % 5 else {"messages": []}))
                connection.getresponse().read()

        ask(60)
        before = resident_kib(pid), descriptors(pid)
        ask(300)
        self.assertLess(resident_kib(pid) - before[0], 4 << 10)
        self.assertEqual(descriptors(pid), before[1])
        connection.close()


class End(Wire):
    def test_grace_is_given_then_streams_are_cut_with_an_error_and_no_end_mark(self):
        server = self.serve("--shutdown-grace", "1")
        streamed, whole = self.send(server, request(dict(LONG, stream=True))), self.send(server, request(LONG))
        kept = self.send(server, request(b"", "", "/health", "GET"))
        read_until(kept, b"}")
        self.wait(server, lambda: server.metric("ds4_active_requests") == 2)
        server.child.send_signal(signal.SIGTERM)
        self.wait(server, lambda: "shutdown signal=SIGTERM" in server.log())
        kept.sendall(request(SHORT))
        self.assertIn(b"Retry-After", read_until(kept, b"shutting_down"))
        end = read_all(streamed)
        self.assertIn(b'data: {"error":{"message":"the request was cut off', end)
        self.assertNotIn(b"[DONE]", end)
        self.assertNotIn(b'"finish_reason":"', end)
        self.assertIn(b" 503 ", read_all(whole)[:20])
        self.assertEqual(server.child.wait(30), 0)
        self.assertIn("bye", server.log())

    def test_a_second_signal_ends_it_at_once(self):
        server = self.serve("--shutdown-grace", "600")
        self.send(server, request(dict(LONG, stream=True)))
        self.wait(server, lambda: server.metric("ds4_active_requests") == 1)
        server.child.send_signal(signal.SIGTERM)
        self.wait(server, lambda: "shutdown signal=SIGTERM" in server.log())
        server.child.send_signal(signal.SIGTERM)
        self.assertEqual(server.child.wait(30), -signal.SIGTERM)

    def test_idle_connections_do_not_delay_the_end(self):
        server = self.serve("--shutdown-grace", "600")
        kept = self.send(server, request(b"", "", "/health", "GET"))
        read_until(kept, b"}")
        server.child.send_signal(signal.SIGINT)
        self.assertEqual(server.child.wait(30), 0)
        self.assertEqual(read_all(kept), b"")


class Metrics(Wire):
    def test_the_page_is_prometheus_text(self):
        store = harness.new_store()
        self.addCleanup(harness.drop_store, store)
        with harness.Server(store=store) as server:
            server.chat(SHORT["messages"])
            server.post({})
            connection = http.client.HTTPConnection("127.0.0.1", server.port)
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            self.assertEqual(answer.getheader("Content-Type"), "text/plain; version=0.0.4")
            page = answer.read().decode()
            connection.close()
        heads, seen, current = {}, set(), None
        lines = page.splitlines()
        for i, line in enumerate(lines):
            if line.startswith("# HELP "):
                name = line.split()[2]
                self.assertNotIn(name, heads, "a metric's samples stand together")
                match = re.match(rf"# TYPE {name} (counter|gauge|summary)$", lines[i + 1])
                self.assertTrue(match, lines[i + 1])
                heads[name], current = match.group(1), name
            elif not line.startswith("# TYPE "):
                match = re.match(r'(ds4_\w+)(\{\w+="[^"\\]+"(,\w+="[^"\\]+")*\})? ([0-9.]+(e[-+]\d+)?)$', line)
                self.assertTrue(match, line)
                self.assertIn(match.group(1), (current, current + "_sum", current + "_count"))
                self.assertNotIn(line.split()[0], seen)
                seen.add(line.split()[0])
        for name, kind in heads.items():
            self.assertEqual(kind == "counter", name.endswith("_total"), name)
        self.assertIn('ds4_requests_total{endpoint="/v1/chat/completions",status="200"} 1', lines)
        self.assertIn('ds4_requests_total{endpoint="/v1/chat/completions",status="400"} 1', lines)
        for name in ("lookup_total", "restore_seconds", "restore_bytes_total", "restored_tokens_total", "saved_prefill_seconds_total",
                     "object_rejected_total", "retry_clean_total", "poisoned_total", "write_bytes_total", "write_dropped_total",
                     "queue_bytes", "store_bytes", "store_objects", "evicted_total", "free_bytes", "foreign_bytes", "breaker_open"):
            self.assertIn("ds4_kv_" + name, heads)


if __name__ == "__main__":
    unittest.main()
