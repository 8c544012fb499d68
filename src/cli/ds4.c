/* ds4: one question, or a conversation, in the terminal. */
#include "base/log.h"
#include "cli/dump.h"
#include "cli/options.h"
#include "cli/startup.h"
#include "cli/talk.h"
#include "cli/text_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char program[] = "ds4";
static const char usage[] = "usage: ds4 [options]\n"
                            "Talks with a DeepSeek V4 model. With -p it answers once; without, it is a conversation.\n"
                            "Without -m it uses ds4-mini, a small model that comes with ds4.\n";

typedef struct settings {
    const char *model, *prompt, *prompt_file, *system, *logprobs_path, *kv_dir, *backend;
    uint32_t n_ctx, n_tokens, n_threads, n_top, space_mb;
    uint64_t seed;
    double temperature, top_p, min_p;
    bool think, think_max, cpu, raw, dump_tokens, inspect, verbose;
} settings;

static int read_options(settings *s, int argc, char **argv)
{
    const option_spec specs[] = {
        { OPTION_TEXT, "--model", "-m", "FILE", "GGUF file (default: ds4-mini)", &s->model, 0, 0 },
        { OPTION_TEXT, "--prompt", "-p", "TEXT", "answer this and end", &s->prompt, 0, 0 },
        { OPTION_TEXT, "--prompt-file", NULL, "FILE", "the same from a file", &s->prompt_file, 0, 0 },
        { OPTION_TEXT, "--system", "-sys", "TEXT", "system text; empty: none (You are a helpful assistant)", &s->system,
          0, 0 },
        { OPTION_U32, "--ctx", "-c", "N", "context in tokens (32768, or the trained context)", &s->n_ctx, 16, 1 << 30 },
        { OPTION_U32, "--tokens", "-n", "N", "longest answer (50000; 64 with --dump-logprobs)", &s->n_tokens, 1,
          1 << 30 },
        { OPTION_REAL, "--temp", NULL, "F", "temperature; 0: the most likely token (1)", &s->temperature, 0, 100 },
        { OPTION_REAL, "--top-p", NULL, "F", "nucleus (1)", &s->top_p, 0, 1 },
        { OPTION_REAL, "--min-p", NULL, "F", "least probability, relative to the best (0.05)", &s->min_p, 0, 1 },
        { OPTION_U64, "--seed", NULL, "N", "seed of the sampler (the time)", &s->seed, 1, 0 },
        { OPTION_FLAG, "--think", NULL, NULL, "reason before answering (default)", &s->think, 0, 0 },
        { OPTION_UNFLAG, "--nothink", NULL, NULL, "answer at once", &s->think, 0, 0 },
        { OPTION_FLAG, "--think-max", NULL, NULL, NULL, &s->think_max, 0, 0 },
        { OPTION_TEXT, "--kv-disk-dir", "--kv-dir", "DIR", "keep checkpoints of conversations here (off)", &s->kv_dir,
          0, 0 },
        { OPTION_U32, "--kv-disk-space-mb", NULL, "N", "their budget in MiB", &s->space_mb, 1, 1 << 30 },
        { OPTION_U32, "--threads", "-t", "N", "kernel threads (one per physical core)", &s->n_threads, 1, 64 },
        { OPTION_FLAG, "--inspect", NULL, NULL, "describe the model and end", &s->inspect, 0, 0 },
        { OPTION_FLAG, "--dump-tokens", NULL, NULL, "print the tokens of the prompt, specials recognised, and end",
          &s->dump_tokens, 0, 0 },
        { OPTION_TEXT, "--dump-logprobs", NULL, "FILE",
          "write a greedy continuation with alternatives as JSON; -: stdout", &s->logprobs_path, 0, 0 },
        { OPTION_U32, "--logprobs-top-k", NULL, "N", "alternatives of each token (20)", &s->n_top, 0, 20 },
        { OPTION_FLAG, "--raw-prompt", NULL, NULL, "no chat template around the prompt (with --dump-logprobs)", &s->raw,
          0, 0 },
        { OPTION_FLAG, "--verbose", "-v", NULL, "show the engine's log", &s->verbose, 0, 0 },
        { OPTION_TEXT, "--backend", NULL, "NAME", "cpu (the only one of this build)", &s->backend, 0, 0 },
        { OPTION_FLAG, "--cpu", NULL, NULL, NULL, &s->cpu, 0, 0 },
        { 0 },
    };
    return options_parse(program, usage, specs, argc, argv);
}

static int converse(const settings *s, const char *model, const char *prompt)
{
    ds4_options options = ds4_options_default();
    ds4_error err = { 0 };
    ds4 *d = NULL;
    options.model_path = model;
    options.n_ctx = s->n_ctx;
    options.n_threads = s->n_threads;
    options.n_sequences = 1;
    options.kv_disk_dir = s->kv_dir;
    options.kv_disk_bytes = (uint64_t)s->space_mb << 20;
    /* The threads that start here inherit the mask: Ctrl-C must interrupt this thread, which waits for the keyboard. */
    talk_block_interrupts(true);
    const ds4_status opened = ds4_open(&d, &options, &err);
    talk_block_interrupts(false);
    if (opened != DS4_OK) {
        startup_complain(program, NULL, err.text);
        return err.status == DS4_ERR_NO_MEMORY || err.status == DS4_ERR_IO ? 1 : 2;
    }
    talk_options talk = { .system = s->system, .generation = ds4_generation_default() };
    talk.generation.think = s->think;
    talk.generation.max_tokens = s->n_tokens ? s->n_tokens : 50000;
    talk.generation.temperature = (float)s->temperature;
    talk.generation.top_p = (float)s->top_p;
    talk.generation.min_p = (float)s->min_p;
    talk.generation.seed = s->seed ? s->seed : (uint64_t)time(NULL);
    const int code = prompt ? talk_once(d, &talk, prompt) : talk_interactively(d, &talk);
    ds4_close(d);
    return code;
}

int main(int argc, char **argv)
{
    char path[4096], *text = NULL;
    ds4_error err = { 0 };
    settings s = {
        .system = "You are a helpful assistant", .n_top = 20, .temperature = 1, .top_p = 1, .min_p = 0.05, .think = true
    };
    int code = read_options(&s, argc, argv);
    if (code == 0 && s.backend && strcmp(s.backend, "cpu") != 0)
        code = options_wrong(program, "--backend %s: this build has only cpu", s.backend);
    if (code == 0 && s.prompt && s.prompt_file)
        code = options_wrong(program, "%s and --prompt are two prompts; give one", "--prompt-file");
    if (code == 0 && (s.dump_tokens || s.logprobs_path) && !s.prompt && !s.prompt_file)
        code = options_wrong(program, "%s needs a prompt (-p)", s.dump_tokens ? "--dump-tokens" : "--dump-logprobs");
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
    log_set_level(s.verbose ? LOG_INFO : LOG_ERROR);
    if (s.prompt_file && !(text = text_file_read(program, s.prompt_file)))
        return 2;
    const char *prompt = text ? text : s.prompt, *model = s.model ? s.model : startup_default_model(path, sizeof path);
    if (s.inspect)
        code = dump_model(model);
    else if (s.dump_tokens)
        code = dump_tokens(model, prompt);
    else if (s.logprobs_path)
        code = dump_logprobs(model, s.n_ctx, s.n_threads, s.system, prompt, s.think, s.raw,
                             s.n_tokens ? s.n_tokens : 64, s.n_top, s.logprobs_path);
    else
        code = converse(&s, model, prompt);
    free(text);
    return code;
}
