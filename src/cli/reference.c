/* cli/reference.c - flags of the reference system that its users have in their scripts and that do nothing here
 * (docs/spec/protocol.md, section 8). What would change the result is refused; the rest is accepted with a warning. */
#include "cli/options.h"

#define IGNORED(name)                                                                                                  \
    {                                                                                                                  \
        OPTION_IGNORED, name, NULL, NULL, NULL, NULL, 0, 0                                                             \
    }
#define IGNORED_VALUE(name)                                                                                            \
    {                                                                                                                  \
        OPTION_IGNORED_VALUE, name, NULL, "VALUE", NULL, NULL, 0, 0                                                    \
    }
#define IGNORED_MAYBE(name)                                                                                            \
    {                                                                                                                  \
        OPTION_IGNORED_MAYBE, name, NULL, NULL, NULL, NULL, 0, 0                                                       \
    }
#define UNAVAILABLE(name, why)                                                                                         \
    {                                                                                                                  \
        OPTION_UNAVAILABLE, name, NULL, NULL, why, NULL, 0, 0                                                          \
    }

#define ONE_BACKEND "this build has only the cpu backend"
#define NOT_HERE    "not available in this build"

const option_spec options_of_the_reference[] = {
    IGNORED("--quality"),
    IGNORED("--warm-weights"),
    IGNORED_VALUE("--power"),
    IGNORED_VALUE("--gpu-vram"),
    IGNORED_VALUE("--gpu-devices"),
    IGNORED("--cuda-tensor-parallel"),
    IGNORED("--ssd-streaming"),
    IGNORED("--ssd-streaming-cold"),
    IGNORED_VALUE("--ssd-streaming-cache-experts"),
    IGNORED_VALUE("--ssd-streaming-full-layers"),
    IGNORED_VALUE("--ssd-streaming-preload-experts"),
    IGNORED_VALUE("--simulate-used-memory"),
    /* Drafts make an answer faster, not another. */
    IGNORED_MAYBE("--mtp"), /* --mtp FILE in older versions */
    IGNORED_VALUE("--mtp-model"),
    IGNORED_VALUE("--mtp-draft"),
    IGNORED_VALUE("--mtp-margin"),
    IGNORED("--dspark"),
    IGNORED_VALUE("--dspark-confidence"),
    IGNORED("--dspark-strict"),
    IGNORED("--glm-mtp"),
    IGNORED("--glm-mtp-timing"),
    /* Of ds4-server. */
    IGNORED_VALUE("--trace"),
    IGNORED("--kv-cache-reject-different-quant"),
    IGNORED("--kv-exact"), /* of earlier versions; segments are always compared */
    IGNORED("--disable-exact-dsml-tool-replay"),
    IGNORED_VALUE("--kv-cache-cold-max-tokens"),
    IGNORED_VALUE("--kv-cache-continued-interval-tokens"),
    IGNORED_VALUE("--kv-cache-boundary-trim-tokens"),
    IGNORED_VALUE("--kv-cache-boundary-align-tokens"),
    IGNORED_VALUE("--tool-memory-max-ids"),
    UNAVAILABLE("--metal", ONE_BACKEND),
    UNAVAILABLE("--cuda", ONE_BACKEND),
    UNAVAILABLE("--rocm", ONE_BACKEND),
    UNAVAILABLE("--vision", NOT_HERE),
    UNAVAILABLE("--role", NOT_HERE),
    UNAVAILABLE("--layers", NOT_HERE),
    UNAVAILABLE("--listen", NOT_HERE),
    UNAVAILABLE("--coordinator", NOT_HERE),
    UNAVAILABLE("--tensor-parallel", NOT_HERE),
    UNAVAILABLE("--dir-steering-file", NOT_HERE),
    UNAVAILABLE("--dir-steering-ffn", NOT_HERE),
    UNAVAILABLE("--dir-steering-attn", NOT_HERE),
    UNAVAILABLE("--dir-steering-policy", NOT_HERE),
    /* Of ds4. */
    UNAVAILABLE("--dump-logits", "ds4-logits writes them"),
    UNAVAILABLE("--decode-consistency", NOT_HERE),
    UNAVAILABLE("--perplexity-file", NOT_HERE),
    UNAVAILABLE("--imatrix-dataset", NOT_HERE),
    UNAVAILABLE("--imatrix-out", NOT_HERE),
    UNAVAILABLE("--imatrix-max-prompts", NOT_HERE),
    UNAVAILABLE("--imatrix-max-tokens", NOT_HERE),
    UNAVAILABLE("--expert-profile", NOT_HERE),
    UNAVAILABLE("--head-test", NOT_HERE),
    UNAVAILABLE("--first-token-test", NOT_HERE),
    UNAVAILABLE("--metal-graph-test", NOT_HERE),
    UNAVAILABLE("--metal-graph-full-test", NOT_HERE),
    UNAVAILABLE("--metal-graph-prompt-test", NOT_HERE),
    UNAVAILABLE("--metal-graph-generate", "it was removed"),
    UNAVAILABLE("--server", "it was removed: ds4-server is a program of its own"),
    { 0 },
};
