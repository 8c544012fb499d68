/* ds4-logits: raw logits of a token sequence, for comparing ds4 with any other implementation. */
#include "base/tokens.h"
#include "cli/common.h"
#include "cli/startup.h"
#include "model/model.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char program[] = "ds4-logits";
static const char usage[] =
    "usage: ds4-logits --ids 1,2,3 --out FILE [options]\n"
    "Evaluates the tokens and writes logits as raw little-endian float32: [n_vocab], or [n_tokens, n_vocab] with "
    "--all.\n"
    "Without -m it uses ds4-mini, a small model that comes with ds4.\n\n";

typedef struct arguments {
    common_options common;
    const char *ids, *out;
    uint32_t chunk;
    bool all, draft;
} arguments;

static int parse(arguments *a, int argc, char **argv)
{
    const option_spec specs[] = {
        { OPTION_TEXT, "--ids", NULL, "LIST", "token ids separated by commas; @FILE reads them from a file", &a->ids, 0,
          0 },
        { OPTION_TEXT, "--out", NULL, "FILE", "where the logits go; - is stdout", &a->out, 0, 0 },
        { OPTION_FLAG, "--all", NULL, NULL, "logits of every position, not only of the last", &a->all, 0, 0 },
        { OPTION_FLAG, "--draft", NULL, NULL, "logits of the MTP block: [n_tokens - 1, n_vocab]", &a->draft, 0, 0 },
        { OPTION_U32, "--chunk", NULL, "N", "evaluate N tokens at a time (all)", &a->chunk, 1, 1 << 30 },
        COMMON_MODEL_OPTIONS(&a->common),
        { 0 },
    };
    const option_rule rules[] = { { "--draft", RULE_EXCLUDES, "--all" },
                                  { "--draft", RULE_EXCLUDES, "--chunk" },
                                  { 0 } };
    a->common = common_options_default();
    int code = options_parse(program, usage, specs, argc, argv);
    if (code == 0)
        code = options_check(program, specs, rules, argc, argv);
    if (code == 0 && (!a->ids || !a->out))
        code = options_wrong(program, "%s is missing", a->ids ? "--out" : "--ids");
    return code ? code : common_settle(program, &a->common);
}

static bool read_ids(const char *text, token_list *out)
{
    static const char blanks[] = " \t\r\n";
    text += strspn(text, blanks);
    while (*text) {
        char *end;
        const unsigned long id = strtoul(text, &end, 10);
        if (end == text || !isdigit((unsigned char)text[0]) || id > UINT32_MAX ||
            token_list_append(out, (uint32_t)id) != DS4_OK)
            return false;
        text = end + strspn(end, blanks);
        if (*text == ',') {
            text += 1 + strspn(text + 1, blanks);
            if (!*text)
                return false; /* nothing follows it */
        }
    }
    return out->n > 0;
}

static bool read_id_file(const char *path, token_list *out)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t room = 0;
    const ssize_t n = file ? getdelim(&text, &room, '\0', file) : -1;
    const bool good = n > 0 && text[n - 1] && read_ids(text, out); /* it ends at a byte 0, which no list holds */
    if (file)
        fclose(file);
    free(text);
    return good;
}

static ds4_status evaluate(const arguments *a, model *m, const token_list *ids, float *logits, ds4_error *err)
{
    const uint32_t V = model_config_of(m)->n_vocab, chunk = a->chunk ? a->chunk : (uint32_t)ids->n;
    model_state *state;
    if (a->draft)
        return model_draft_logits(m, ids->ids, (uint32_t)ids->n, logits, err);
    ds4_status status = model_state_new(&state, m, (uint32_t)ids->n, err);
    for (uint32_t at = 0; status == DS4_OK && at < ids->n; at += chunk) {
        model_slice chunk_of = { .state = state,
                                 .tokens = ids->ids + at,
                                 .n_tokens = ids->n - at < chunk ? (uint32_t)ids->n - at : chunk,
                                 .want = a->all ? MODEL_LOGITS_ALL : MODEL_LOGITS_LAST,
                                 .logits = a->all ? logits + (size_t)at * V : logits };
        status = model_forward(m, &chunk_of, 1, err);
        if (status == DS4_OK && chunk_of.status != DS4_OK)
            status = ds4_fail(err, chunk_of.status, "the network produced values that are not finite");
    }
    model_state_free(state);
    return status;
}

int main(int argc, char **argv)
{
    arguments a = { 0 };
    token_list ids = { 0 };
    ds4_error err = { 0 };
    model *m = NULL;
    float *logits = NULL;
    FILE *out = NULL;
    startup_process();
    int status = parse(&a, argc, argv);
    if (status != 0)
        return status - 1;
    const char *path = a.common.engine.model_path;
    const model_options options = common_model_options(&a.common);
    if (!(a.ids[0] == '@' ? read_id_file(a.ids + 1, &ids) : read_ids(a.ids, &ids))) {
        status = options_wrong(program, "%s: not a list of token ids", a.ids) - 1;
        goto out;
    }
    status = 2;
    if (startup(&err) != DS4_OK || model_open(&m, path, &options, &err) != DS4_OK) {
        startup_complain(program, path, err.text);
        goto out;
    }
    if (gguf_warning(model_gguf(m)))
        startup_complain(program, path, gguf_warning(model_gguf(m)));
    const size_t n_rows = a.draft ? ids.n - 1 : a.all ? ids.n : 1, V = model_config_of(m)->n_vocab;
    logits = malloc((n_rows + 1) * V * sizeof *logits);
    if (!logits || evaluate(&a, m, &ids, logits, &err) != DS4_OK) {
        fprintf(stderr, "%s: %s\n", program, logits ? err.text : "not enough memory");
        goto out;
    }
    out = strcmp(a.out, "-") == 0 ? stdout : fopen(a.out, "wb");
    status = 0;
    if (!out || fwrite(logits, sizeof *logits, n_rows * V, out) != n_rows * V || fflush(out) != 0) {
        startup_complain(program, a.out, strerror(errno));
        status = 1;
        goto out;
    }
    fprintf(stderr, "%zu tokens, %zu rows of %zu logits, %s, %" PRIu32 " threads\n", ids.n, n_rows, V, model_kernels(m),
            model_n_threads(m));
out:
    if (out && out != stdout && fclose(out) != 0)
        status = 1;
    free(logits);
    model_close(m);
    token_list_free(&ids);
    return status;
}
