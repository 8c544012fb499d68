#include "cli/common.h"

#include "base/log.h"
#include "cli/startup.h"
#include "cli/store_dir.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

common_options common_options_default(void)
{
    return (common_options){ .engine = engine_options_default(), .log_level = LOG_INFO };
}

int common_settle(const char *program, common_options *c)
{
    if (c->verbose)
        c->log_level = c->log_level < LOG_INFO ? LOG_INFO : LOG_DEBUG;
    log_set_level((log_level)c->log_level);
    if (c->change_dir && chdir(c->change_dir) != 0) {
        startup_complain(program, c->change_dir, strerror(errno));
        return 3;
    }
    c->engine.kv_unrounded = c->kv_rounding || c->parity;
    c->engine.index_unrounded = c->index_rounding || c->parity;
    c->engine.kv_rows_f32 = c->kv_rows || c->parity;
    c->engine.act_f32 = c->act || c->parity;
    c->engine.kv_budget_bytes = (uint64_t)c->space_mb << 20;
    if (!c->model && !startup_default_model(program, c->model_path, sizeof c->model_path))
        return 3;
    c->engine.model_path = c->model ? c->model : c->model_path;
    return 0;
}

int common_settle_store(const char *program, common_options *c)
{
    ds4_error err = { 0 };
    if (c->no_store)
        return 0;
    if (c->engine.kv_dir)
        return c->engine.kv_dir[0] ? 0 : options_wrong(program, "%s is empty", "--kv-disk-dir");
    if (store_dir_default(c->store_path, &c->store_is_new, &err) == DS4_OK) {
        c->engine.kv_dir = c->store_path;
        c->store_is_default = true;
        return 0;
    }
    char line[sizeof err.text + 128];
    snprintf(line, sizeof line,
             "conversations are not kept on disk: %s; --kv-disk-dir DIR keeps them in DIR, --no-kv-disk "
             "keeps none and does not say so",
             err.text);
    startup_complain(program, NULL, line);
    return 0;
}

model_options common_model_options(const common_options *c)
{
    return (model_options){ .n_threads = c->engine.n_threads,
                            .kv_rounding = c->engine.kv_unrounded ? MODEL_ROUNDING_NONE : MODEL_ROUNDING_OFFICIAL,
                            .index_rounding = c->engine.index_unrounded ? MODEL_ROUNDING_NONE : MODEL_ROUNDING_OFFICIAL,
                            .rows = c->engine.kv_rows_f32 ? MODEL_ROWS_F32 : MODEL_ROWS_AUTO,
                            .act = c->engine.act_f32 ? MODEL_ACT_F32 : MODEL_ACT_Q8,
                            .kernels = c->engine.kernels };
}

chat_profile common_profile(const common_options *c, const engine *e)
{
    return c->profile > 0 ? (chat_profile)(c->profile - 1) : startup_profile(e);
}
