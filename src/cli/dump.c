#include "cli/dump.h"

#include "base/json.h"
#include "chat/chat.h"
#include "cli/startup.h"
#include "engine/engine.h"
#include "model/model.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char program[] = "ds4";

/* --- tokens ---------------------------------------------------------------------------------------------------------------- */

static void print_piece(slice piece)
{
    buffer shown = { 0 };
    if (json_write_string_inside(&shown, piece) == DS4_OK && shown.size)
        fwrite(shown.data, 1, shown.size, stdout);
    putchar('\n');
    buffer_free(&shown);
}

int dump_tokens(const common_options *c, const char *prompt)
{
    const char *model_path = c->engine.model_path;
    gguf_file *file = NULL;
    text_tokenizer *t = NULL;
    token_list ids = { 0 };
    ds4_error err = { 0 };
    int code = 0;
    ds4_status status = gguf_open(&file, model_path, &err);
    if (status == DS4_OK)
        status = text_tokenizer_open(&t, file, c->engine.tokenizer_pre, &err);
    if (status == DS4_OK)
        status = text_encode_with_specials(t, slice_of(prompt), &ids, &err);
    if (status != DS4_OK) {
        startup_complain(program, model_path, err.text);
        code = 2;
    } else {
        putchar('[');
        for (size_t i = 0; i < ids.n; i++)
            printf("%s%" PRIu32, i ? ", " : "", ids.ids[i]);
        printf("]\n");
        for (size_t i = 0; i < ids.n; i++) {
            printf("%6" PRIu32 "  ", ids.ids[i]);
            print_piece(text_piece(t, ids.ids[i]));
        }
    }
    token_list_free(&ids);
    text_tokenizer_close(t);
    gguf_close(file);
    return code;
}

/* --- the model --------------------------------------------------------------------------------------------------------------- */

int dump_model(const common_options *common)
{
    model *m = NULL;
    ds4_error err = { 0 };
    const char *model_path = common->engine.model_path;
    const model_options options = common_model_options(common);
    if (model_open(&m, model_path, &options, &err) != DS4_OK) {
        startup_complain(program, model_path, err.text);
        return 2;
    }
    const model_config *c = model_config_of(m);
    const gguf_file *file = model_gguf(m);
    uint64_t n_params = 0, bytes_of[64] = { 0 };
    uint32_t n_window = 0, n_csa = 0, n_hca = 0;
    for (uint64_t i = 0; i < gguf_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        n_params += t->n_values;
        if (t->type < 64)
            bytes_of[t->type] += t->n_bytes;
    }
    for (uint32_t i = 0; i < c->n_layers; i++) {
        n_window += c->ratios[i] == 0;
        n_csa += c->kinds[i] == MODEL_LAYER_CSA;
        n_hca += c->kinds[i] == MODEL_LAYER_HCA;
    }
    printf("file        %s (%.1f MiB, %" PRIu64 " tensors", model_path, (double)gguf_file_bytes(file) / 1048576.0,
           gguf_n_tensors(file));
    printf(gguf_n_parts(file) > 1 ? ", %" PRIu32 " parts)\n" : ")\n", gguf_n_parts(file));
    printf("parameters  %.1f M\n", (double)n_params / 1e6);
    printf("layers      %u: %u sliding, %u CSA, %u HCA; %u hash-routed\n", c->n_layers, n_window, n_csa, n_hca,
           c->n_hash_layers);
    printf("width       %u, %u streams; %u heads of %u, %u rotary; window %u\n", c->n_embd, c->n_streams, c->n_heads,
           c->head_dim, c->rope_dim, c->window);
    printf("indexer     %u heads of %u, top %u\n", c->n_index_heads, c->index_dim, c->index_top_k);
    printf("experts     %u of %u, width %u, and a shared one\n", c->n_used, c->n_experts, c->ff_dim);
    printf("vocabulary  %u\ncontext     %u trained\ndraft block %s\n", c->n_vocab, c->n_ctx_trained,
           model_has_draft(m) ? "yes" : "no");
    for (uint32_t type = 0; type < 64; type++)
        if (bytes_of[type])
            printf("%-11s %.1f MiB\n", quant_type_name(type), (double)bytes_of[type] / 1048576.0);
    printf("kernels     %s, %u threads\n", model_kernels(m), model_n_threads(m));
    model_close(m);
    return 0;
}

/* --- log-probabilities --------------------------------------------------------------------------------------------------------- */

typedef struct dump_job {
    engine *e;
    engine_sequence *sequence;
    token_list prompt;
    buffer out;
    uint32_t n_tokens, n_top;
} dump_job;

static ds4_status make_prompt(dump_job *j, const common_options *c, const dump_logprobs_options *o, ds4_error *err)
{
    const text_tokenizer *t = engine_tokenizer(j->e);
    if (o->raw)
        return text_encode_with_specials(t, slice_of(o->prompt), &j->prompt, err);
    const slice texts[2] = { slice_of(o->system), slice_of(o->prompt) };
    const chat_message messages[2] = { { .role = CHAT_SYSTEM, .texts = &texts[0], .n_texts = 1 },
                                       { .role = CHAT_USER, .texts = &texts[1], .n_texts = 1 } };
    const chat_prompt p = { .profile = common_profile(c, j->e),
                            .mode = o->think ? CHAT_THINK_HIGH : CHAT_THINK_NONE,
                            .messages = messages,
                            .n_messages = 2 };
    text_spans spans = { 0 };
    ds4_status status = chat_render(&p, &spans, NULL, err);
    if (status == DS4_OK)
        status = text_spans_seal(&spans);
    if (status == DS4_OK)
        status = text_encode_spans(t, &spans, &j->prompt, err);
    text_spans_free(&spans);
    return status;
}

static void print_token(dump_job *j, uint32_t id, float logprob)
{
    const slice piece = text_piece(engine_tokenizer(j->e), id);
    buffer_printf(&j->out, "{\"id\": %" PRIu32 ", \"token\": ", id);
    json_write_string(&j->out, piece);
    buffer_append_text(&j->out, ", \"bytes\": [");
    for (size_t i = 0; i < piece.size; i++)
        buffer_printf(&j->out, "%s%u", i ? ", " : "", (unsigned)(unsigned char)piece.data[i]);
    buffer_append_text(&j->out, "], \"logprob\": ");
    json_write_double(&j->out, logprob);
}

static ds4_status continue_greedily(dump_job *j, ds4_error *err)
{
    const uint32_t n_vocab = engine_get_about(j->e)->n_vocab, eos = text_special_id(engine_tokenizer(j->e), TEXT_EOS);
    engine_work work = { .sequence = j->sequence,
                         .tokens = j->prompt.ids,
                         .n_tokens = (uint32_t)j->prompt.n,
                         .want_logits = true,
                         .prefill = true };
    uint32_t id;
    for (uint32_t i = 0; i < j->n_tokens; i++) {
        engine_logprob top[32];
        ds4_status status = engine_step(j->e, &work, 1, err);
        if (status == DS4_OK && work.status != DS4_OK)
            status = ds4_fail(err, work.status, "%s", work.error.text);
        if (status != DS4_OK)
            return status;
        const float *logits = engine_sequence_logits(j->sequence);
        engine_logprobs(logits, n_vocab, 0, top, j->n_top ? j->n_top : 1);
        id = top[0].id;
        buffer_append_text(&j->out, i ? ",\n    " : "\n    ");
        print_token(j, id, top[0].logprob);
        buffer_append_text(&j->out, ", \"top\": [");
        for (uint32_t k = 0; k < j->n_top; k++) {
            buffer_append_text(&j->out, k ? ", " : "");
            print_token(j, top[k].id, top[k].logprob);
            buffer_append_byte(&j->out, '}');
        }
        buffer_append_text(&j->out, "]}");
        if (id == eos)
            break;
        work = (engine_work){ .sequence = j->sequence, .tokens = &id, .n_tokens = 1, .want_logits = true };
    }
    return DS4_OK;
}

int dump_logprobs(const common_options *c, const dump_logprobs_options *o)
{
    dump_job j = { .n_tokens = o->n_tokens, .n_top = o->n_top };
    ds4_error err = { 0 };
    FILE *file = NULL;
    int code = 1;
    ds4_status status = engine_open(&j.e, &c->engine, &err);
    if (status == DS4_OK)
        status = engine_sequence_new(&j.sequence, j.e, &err);
    if (status == DS4_OK)
        status = make_prompt(&j, c, o, &err);
    if (status == DS4_OK && j.prompt.n == 0)
        status = ds4_fail(&err, DS4_ERR_ARGUMENT, "the prompt is empty");
    const size_t n_max = j.e ? engine_get_about(j.e)->n_ctx : 0;
    if (status == DS4_OK && j.prompt.n >= n_max)
        status =
            ds4_fail(&err, DS4_ERR_ARGUMENT, "the prompt has %zu tokens, the context holds %zu", j.prompt.n, n_max);
    if (status == DS4_OK) {
        if (j.n_tokens > n_max - j.prompt.n)
            j.n_tokens = (uint32_t)(n_max - j.prompt.n);
        buffer_printf(&j.out, "{\n  \"n_prompt\": %zu,\n  \"prompt\": [", j.prompt.n);
        for (size_t i = 0; i < j.prompt.n; i++)
            buffer_printf(&j.out, "%s%" PRIu32, i ? ", " : "", j.prompt.ids[i]);
        buffer_append_text(&j.out, "],\n  \"tokens\": [");
        status = continue_greedily(&j, &err);
        buffer_append_text(&j.out, "\n  ]\n}\n");
    }
    if (status != DS4_OK) {
        startup_complain(program, NULL, err.text);
    } else {
        file = strcmp(o->out_path, "-") == 0 ? stdout : fopen(o->out_path, "we");
        code = 0;
        if (!file || fwrite(j.out.data, 1, j.out.size, file) != j.out.size || fflush(file) != 0) {
            startup_complain(program, o->out_path, strerror(errno));
            code = 1;
        }
        if (file && file != stdout)
            fclose(file);
    }
    buffer_free(&j.out);
    token_list_free(&j.prompt);
    engine_sequence_free(j.sequence);
    engine_close(j.e);
    return code;
}
