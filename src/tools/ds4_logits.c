/* ds4-logits: raw logits of a token sequence, for comparing ds4 with any other implementation. */
#include "base/tokens.h"
#include "cli/startup.h"
#include "model/model.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: ds4-logits -m FILE --ids 1,2,3 --out FILE [options]\n"
    "Evaluates the tokens and writes logits as raw little-endian float32: [n_vocab], or [n_tokens, n_vocab] with "
    "--all.\n"
    "  -m, --model FILE      GGUF file\n"
    "      --ids LIST        token ids separated by commas; @FILE reads them from a file\n"
    "      --out FILE        where the logits go; - is stdout\n"
    "      --all             logits of every position, not only of the last\n"
    "      --draft           logits of the MTP block: [n_tokens - 1, n_vocab]\n"
    "      --parity          no roundings of the state, float32 activations: for comparing with references\n"
    "      --act q8|f32      activations alone\n"
    "      --kv-rounding, --index-rounding official|none\n"
    "      --chunk N         evaluate N tokens at a time (default: all)\n"
    "      --backend B       cpu\n"
    "      --kernels K       scalar, avx2, avx512, neon; default: the best this machine runs\n"
    "      --threads N       default: one per physical core\n";

typedef struct arguments {
    const char *model, *ids, *out;
    model_options options;
    uint32_t chunk;
    bool all, draft;
} arguments;

static int wrong(const char *format, const char *what)
{
    fprintf(stderr, "ds4-logits: ");
    fprintf(stderr, format, what);
    fprintf(stderr, "\n%s", usage);
    return 2;
}

static bool number(const char *text, uint32_t *out)
{
    char *end;
    errno = 0;
    const unsigned long value = strtoul(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || value > UINT32_MAX)
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool rounding(const char *text, model_rounding *out)
{
    *out = strcmp(text, "none") == 0 ? MODEL_ROUNDING_NONE : MODEL_ROUNDING_OFFICIAL;
    return strcmp(text, "none") == 0 || strcmp(text, "official") == 0;
}

static int parse(arguments *a, int argc, char **argv)
{
    a->options = model_options_default();
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--all") == 0) {
            a->all = true;
        } else if (strcmp(name, "--draft") == 0) {
            a->draft = true;
        } else if (strcmp(name, "--parity") == 0) {
            const model_options parity = model_options_parity();
            a->options.kv_rounding = parity.kv_rounding;
            a->options.index_rounding = parity.index_rounding;
            a->options.act = parity.act;
        } else if (strcmp(name, "--version") == 0) {
            printf("ds4-logits %s\n", DS4_VERSION);
            return -1;
        } else if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
            fputs(usage, stdout);
            return -1;
        } else if (i + 1 == argc) {
            return wrong("%s: unknown option, or its value is missing", name);
        } else {
            const char *value = argv[++i];
            bool good = true;
            if (strcmp(name, "-m") == 0 || strcmp(name, "--model") == 0)
                a->model = value;
            else if (strcmp(name, "--ids") == 0)
                a->ids = value;
            else if (strcmp(name, "--out") == 0)
                a->out = value;
            else if (strcmp(name, "--chunk") == 0)
                good = number(value, &a->chunk);
            else if (strcmp(name, "--threads") == 0)
                good = number(value, &a->options.n_threads);
            else if (strcmp(name, "--kernels") == 0)
                a->options.kernels = value;
            else if (strcmp(name, "--backend") == 0)
                good = strcmp(value, "cpu") == 0;
            else if (strcmp(name, "--kv-rounding") == 0)
                good = rounding(value, &a->options.kv_rounding);
            else if (strcmp(name, "--index-rounding") == 0)
                good = rounding(value, &a->options.index_rounding);
            else if (strcmp(name, "--act") == 0) {
                good = strcmp(value, "q8") == 0 || strcmp(value, "f32") == 0;
                a->options.act = strcmp(value, "f32") == 0 ? MODEL_ACT_F32 : MODEL_ACT_Q8;
            } else
                return wrong("%s: unknown option", name);
            if (!good)
                return wrong("%s: not a value that this option takes", name);
        }
    }
    if (!a->model || !a->ids || !a->out)
        return wrong("%s needs a value", !a->model ? "--model" : !a->ids ? "--ids" : "--out");
    return 0;
}

static bool read_ids(const char *text, token_list *out)
{
    text += strspn(text, " \t\r\n");
    while (*text) {
        char *end;
        const unsigned long id = strtoul(text, &end, 10);
        if (end == text || text[0] == '-' || id > UINT32_MAX || token_list_append(out, (uint32_t)id) != DS4_OK)
            return false;
        text = end + strspn(end, ", \t\r\n");
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
    int status = parse(&a, argc, argv);
    if (status != 0)
        return status < 0 ? 0 : status;
    if (!(a.ids[0] == '@' ? read_id_file(a.ids + 1, &ids) : read_ids(a.ids, &ids))) {
        status = wrong("%s: not a list of token ids", a.ids);
        goto out;
    }
    status = 2;
    if (startup(&err) != DS4_OK || model_open(&m, a.model, &a.options, &err) != DS4_OK) {
        startup_complain("ds4-logits", a.model, err.text);
        goto out;
    }
    if (gguf_warning(model_gguf(m)))
        startup_complain("ds4-logits", a.model, gguf_warning(model_gguf(m)));
    const size_t n_rows = a.draft ? ids.n - 1 : a.all ? ids.n : 1, V = model_config_of(m)->n_vocab;
    logits = malloc((n_rows + 1) * V * sizeof *logits);
    if (!logits || evaluate(&a, m, &ids, logits, &err) != DS4_OK) {
        fprintf(stderr, "ds4-logits: %s\n", logits ? err.text : "not enough memory");
        goto out;
    }
    out = strcmp(a.out, "-") == 0 ? stdout : fopen(a.out, "wb");
    status = 0;
    if (!out || fwrite(logits, sizeof *logits, n_rows * V, out) != n_rows * V || fflush(out) != 0) {
        startup_complain("ds4-logits", a.out, strerror(errno));
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
