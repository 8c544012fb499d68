"""Short of memory: idle conversations make room, and no request fails because of them."""
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
        # One arena: what the allocator keeps in reserve would otherwise do for many conversations.
        with harness.Server(flags=["--batched-session", "64"], wrap=["env", "MALLOC_ARENA_MAX=1"]) as server:
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


if __name__ == "__main__":
    unittest.main()
