"""Short of memory: idle conversations make room, no request fails because of them, and what still has no room is told what to do."""
import json
import re
import resource
import unittest

import harness


def address_space(server):
    """Bytes of address space that the server uses now."""
    with open(f"/proc/{server.child.pid}/status") as status:
        return int(re.search(r"VmSize:\s+([0-9]+) kB", status.read()).group(1)) * 1024


class Memory(unittest.TestCase):
    def test_idle_conversations_make_room(self):
        """Room for a few resident conversations, slots for many: each request is served all the same."""
        with harness.Server(flags=["--batched-session", "64"]) as server:
            sizes = []
            for i in range(4):  # the first brings scratch memory and threads
                server.chat(harness.opening(i, 60), max_tokens=4)
                sizes.append(address_space(server))
            per_conversation = (sizes[-1] - sizes[0]) // 3
            self.assertGreater(per_conversation, 0)
            limit = sizes[-1] + 2 * per_conversation
            resource.prlimit(server.child.pid, resource.RLIMIT_AS, (limit, limit))
            for i in range(4, 60):
                server.chat(harness.opening(i, 60), max_tokens=4)  # fails unless the status is 200
                if server.metric("ds4_idle_states_given_up_total") >= 3:
                    break
            else:
                self.fail("memory did not become short")
            self.assertIn("idle state given up why=no-memory", server.log())
            # The newest conversation is still there.
            _, usage = server.chat(harness.opening(i, 60), max_tokens=4)
            self.assertGreater(usage["prompt_tokens_details"]["cached_tokens"], 0)

    def test_what_has_no_room_is_told_what_to_do(self):
        """A limit just above what the server has: no long prompt fits. It gets 503, whole and streamed, and the server lives."""
        with harness.Server() as server:
            server.chat(harness.opening(0, 60), max_tokens=4)
            limit = address_space(server) + (1 << 20)
            resource.prlimit(server.child.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
            body = {"messages": harness.opening(1, 3000), "max_tokens": 4, "thinking": False}
            with server.ask(body) as answer:
                self.assertEqual(answer.status, 503)
                self.assertGreater(int(answer.getheader("Retry-After")), 0)
                error = json.loads(answer.read())["error"]
            with server.ask(body | {"stream": True}) as answer:
                if answer.status == 200:  # else it did not even begin
                    self.assertEqual(json.loads(answer.read().decode().strip().splitlines()[-1].removeprefix("data: "))["error"], error)
                else:
                    self.assertEqual((answer.status, json.loads(answer.read())["error"]), (503, error))
            self.assertEqual(error["code"], "overloaded")
            self.assertIn("--ctx", error["message"])
            resource.prlimit(server.child.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            server.chat(harness.opening(0, 60), max_tokens=4)

    def test_threads_reserve_no_addresses(self):
        """An arena of the allocator takes 64 MiB of addresses for each thread, which a limit of the address space counts."""
        sizes = []
        for wrap in ((), ("env", "MALLOC_ARENA_MAX=1")):
            with harness.Server(wrap=wrap) as server:
                for i in range(2):
                    server.chat(harness.opening(i, 60), max_tokens=4)
                sizes.append(address_space(server))
        self.assertLess(sizes[0] - sizes[1], 32 << 20)


if __name__ == "__main__":
    unittest.main()
