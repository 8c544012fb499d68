/* ds4: one question, or a conversation, in the terminal. */
#include "base/log.h"
#include "cli/common.h"
#include "cli/dump.h"
#include "cli/keyboard.h"
#include "cli/options.h"
#include "cli/startup.h"
#include "cli/talk.h"
#include "cli/text_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char program[] = "ds4";
static const char usage[] = "usage: ds4 [options]\n"
                            "Talks with a DeepSeek V4 model. With -p it answers once; without, it is a conversation.\n"
                            "Without -m it uses ds4-mini, a small model that comes with ds4.\n";

typedef struct settings {
    common_options common;
    const char *prompt, *prompt_file, *system, *logprobs_path;
    uint32_t n_tokens, n_top, think_budget;
    uint64_t seed;
    double temperature, top_p, min_p;
    bool think, think_max, raw, dump_tokens, inspect;
} settings;

static int read_options(settings *s, int argc, char **argv)
{
    common_options *c = &s->common;
    const option_spec specs[] = {
        { OPTION_HEADING, "Conversation", NULL, NULL, NULL, NULL, 0, 0 },
        { OPTION_TEXT, "--prompt", "-p", "TEXT", "answer this and end", &s->prompt, 0, 0 },
        { OPTION_TEXT, "--prompt-file", NULL, "FILE", "the same from a file", &s->prompt_file, 0, 0 },
        { OPTION_TEXT, "--system", "-sys", "TEXT", "system text; empty: none (You are a helpful assistant)", &s->system,
          0, 0 },
        { OPTION_U32, "--tokens", "-n", "N", "longest answer (50000; 64 with --dump-logprobs)", &s->n_tokens, 1,
          1 << 30 },
        { OPTION_REAL, "--temp", NULL, "F", "temperature; 0: the most likely token (1)", &s->temperature, 0,
          ENGINE_TEMPERATURE_MAX },
        { OPTION_REAL, "--top-p", NULL, "F", "nucleus (1)", &s->top_p, 0, 1 },
        { OPTION_REAL, "--min-p", NULL, "F", "least probability, relative to the best (0.05)", &s->min_p, 0, 1 },
        { OPTION_U64, "--seed", NULL, "N", "seed of the sampler (a new one each time)", &s->seed, 0, 0 },
        { OPTION_FLAG, "--think", NULL, NULL, "reason before answering (default)", &s->think, 0, 0 },
        { OPTION_UNFLAG, "--nothink", NULL, NULL, "answer at once", &s->think, 0, 0 },
        { OPTION_LIMIT, "--think-budget", NULL, "N|none",
          "reasoning ends after N tokens, where it can (half of the context, at most 32768)", &s->think_budget, 1,
          1 << 30 },
        { OPTION_FLAG, "--think-max", NULL, NULL, NULL, &s->think_max, 0, 0 },
        { OPTION_HEADING, "Model", NULL, NULL, NULL, NULL, 0, 0 },
        COMMON_MODEL_OPTIONS(c),
        COMMON_TEXT_OPTIONS(c),
        COMMON_STORE_OPTIONS(c),
        { OPTION_HEADING, "Other", NULL, NULL, NULL, NULL, 0, 0 },
        { OPTION_FLAG, "--inspect", NULL, NULL, "describe the model and end", &s->inspect, 0, 0 },
        { OPTION_FLAG, "--dump-tokens", NULL, NULL, "print the tokens of the prompt, specials recognised, and end",
          &s->dump_tokens, 0, 0 },
        { OPTION_TEXT, "--dump-logprobs", NULL, "FILE",
          "write a greedy continuation with alternatives as JSON; -: stdout", &s->logprobs_path, 0, 0 },
        { OPTION_U32, "--logprobs-top-k", NULL, "N", "alternatives of each token (20)", &s->n_top, 0, 20 },
        { OPTION_FLAG, "--raw-prompt", NULL, NULL, "no chat template around the prompt (with --dump-logprobs)", &s->raw,
          0, 0 },
        COMMON_LOG_OPTIONS(c, "what of the log is shown (warning)"),
        { 0 },
    };
    const option_rule rules[] = { COMMON_STORE_RULES,
                                  { "--prompt-file", RULE_EXCLUDES, "--prompt" },
                                  { "--raw-prompt", RULE_NEEDS, "--dump-logprobs" },
                                  { "--logprobs-top-k", RULE_NEEDS, "--dump-logprobs" },
                                  { "--dump-tokens", RULE_EXCLUDES, "--dump-logprobs" },
                                  { "--inspect", RULE_EXCLUDES, "--dump-tokens" },
                                  { "--inspect", RULE_EXCLUDES, "--dump-logprobs" },
                                  { "--inspect", RULE_EXCLUDES, "--prompt" },
                                  { "--inspect", RULE_EXCLUDES, "--prompt-file" },
                                  { "--kv-disk-dir", RULE_EXCLUDES, "--dump-logprobs" },
                                  { 0 } };
    int code = options_parse(program, usage, specs, argc, argv);
    if (code == 0)
        code = options_check(program, specs, rules, argc, argv);
    if (code == 0 && (s->dump_tokens || s->logprobs_path) && !s->prompt && !s->prompt_file)
        code = options_wrong(program, "%s needs a prompt (-p)", s->dump_tokens ? "--dump-tokens" : "--dump-logprobs");
    return code;
}

static ds4_options api_options(const common_options *c)
{
    static const char *const profiles[] = { NULL, "v4", "v4-0731", "v4.1" };
    ds4_options o = ds4_options_default();
    o.model_path = c->engine.model_path;
    o.n_ctx = c->engine.n_ctx;
    o.n_threads = c->engine.n_threads;
    o.n_sequences = 1;
    o.prefill_chunk = c->prefill_chunk;
    o.loop_tokens = c->loop_tokens;
    o.kernels = c->engine.kernels;
    o.tokenizer_pre = c->engine.tokenizer_pre;
    o.prompt_profile = profiles[c->profile];
    o.kv_unrounded = c->engine.kv_unrounded;
    o.index_unrounded = c->engine.index_unrounded;
    o.act_f32 = c->engine.act_f32;
    o.kv_rows_f32 = c->engine.kv_rows_f32;
    o.kv_disk_dir = c->engine.kv_dir;
    o.kv_disk_bytes = c->engine.kv_budget_bytes;
    o.kv_min_free_bytes = c->engine.kv_min_free_bytes;
    o.kv_segment_tokens = c->engine.kv_segment_tokens;
    o.kv_min_tokens = c->min_cached_tokens;
    o.kv_crash_strikes = c->engine.kv_crash_strikes;
    o.kv_shutdown_ms = c->engine.kv_shutdown_ms;
    o.kv_read_only = c->engine.kv_read_only;
    return o;
}

/* What became of the options, said to the person. `interactive`: also what is as it should be. */
static void announce(const common_options *c, const ds4 *d, bool interactive)
{
    const char *dir = c->engine.kv_dir;
    ds4_about about;
    ds4_get_about(d, &about);
    if (interactive && !c->model)
        fputs("This is ds4-mini, a small model that comes with ds4; -m FILE loads another.\n", stderr);
    if (c->engine.n_ctx > about.n_ctx)
        fprintf(stderr, "%s: the model was trained for a context of %u tokens: %u are used, not %u\n", program,
                about.n_ctx_trained, about.n_ctx, c->engine.n_ctx);
    if (about.kv_in_use && (interactive || c->store_is_new))
        fprintf(stderr, "Conversations are %s %s (private data; --no-kv-disk keeps none).\n",
                about.kv_read_only ? "looked up, not kept, in" : "kept in", dir);
    else if (!about.kv_in_use && dir)
        fprintf(stderr, "%s: %s cannot be used; conversations are not kept (-v shows why)\n", program, dir);
    else if (!about.kv_in_use && interactive)
        fputs("Conversations are not kept on disk, and often read again from their start; --kv-disk-dir DIR keeps "
              "them.\n",
              stderr);
}

static int converse(settings *s, const char *prompt)
{
    ds4_error err = { 0 };
    ds4 *d = NULL;
    int code = common_settle_store(program, &s->common);
    if (code != 0)
        return code - 1;
    const ds4_options options = api_options(&s->common);
    /* Until it has been opened: what is worth a warning then is said by announce(). */
    if (s->common.log_level == LOG_WARNING)
        log_set_level(LOG_ERROR);
    /* The threads that start here inherit the mask: Ctrl-C must interrupt this thread, which waits for the keyboard. */
    keyboard_block_signals(true);
    const ds4_status opened = ds4_open(&d, &options, &err);
    keyboard_block_signals(false);
    log_set_level((log_level)s->common.log_level);
    if (opened != DS4_OK) {
        startup_complain(program, NULL, err.text);
        return err.status == DS4_ERR_NO_MEMORY || err.status == DS4_ERR_IO ? 1 : 2;
    }
    announce(&s->common, d, !prompt && isatty(STDIN_FILENO));
    talk_options talk = { .system = s->system, .generation = ds4_generation_default() };
    talk.generation.think = s->think;
    talk.generation.think_budget = s->think_budget;
    talk.generation.max_tokens = s->n_tokens ? s->n_tokens : 50000;
    talk.generation.temperature = (float)s->temperature;
    talk.generation.top_p = (float)s->top_p;
    talk.generation.min_p = (float)s->min_p;
    talk.generation.seed = s->seed;
    code = prompt ? talk_once(d, &talk, prompt) : talk_interactively(d, &talk);
    ds4_close(d);
    return code;
}

int main(int argc, char **argv)
{
    startup_open_streams();
    char *text = NULL;
    ds4_error err = { 0 };
    settings s = { .common = common_options_default(),
                   .system = "You are a helpful assistant",
                   .n_top = 20,
                   .seed = ds4_generation_default().seed,
                   .temperature = 1,
                   .top_p = 1,
                   .min_p = 0.05,
                   .think = true };
    s.common.log_level = LOG_WARNING;
    int code = read_options(&s, argc, argv);
    if (code == 0)
        code = common_settle(program, &s.common);
    if (code == 0 && startup(&err) != DS4_OK) {
        startup_complain(program, NULL, err.text);
        code = 2;
    }
    if (code != 0)
        return code - 1;
    if (s.think_max) {
        s.think = true;
        fputs("ds4: --think-max needs a context of 393216 tokens; reasoning as with --think\n", stderr);
    }
    if (s.prompt_file && !(text = text_file_read(program, s.prompt_file)))
        return 2;
    const char *prompt = text ? text : s.prompt;
    const dump_logprobs_options dump = { s.system, prompt, s.logprobs_path,
                                         s.think,  s.raw,  s.n_tokens ? s.n_tokens : 64,
                                         s.n_top };
    if (s.inspect)
        code = dump_model(&s.common);
    else if (s.dump_tokens)
        code = dump_tokens(&s.common, prompt);
    else if (s.logprobs_path)
        code = dump_logprobs(&s.common, &dump);
    else
        code = converse(&s, prompt);
    free(text);
    return code;
}
