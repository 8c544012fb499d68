/* Paths. */
#include "server/routes.h"
#include "support/support.h"

static void paths_name_endpoints(void **state)
{
    static const struct {
        const char *path;
        endpoint where;
        const char *id;
    } cases[] = {
        { "/", ENDPOINT_ROOT, "" },
        { "//", ENDPOINT_ROOT, "" },
        { "/v1/chat/completions", ENDPOINT_CHAT, "" },
        { "/chat/completions", ENDPOINT_CHAT, "" },
        { "/v1/chat/completions/", ENDPOINT_CHAT, "" },
        { "//v1//chat///completions//", ENDPOINT_CHAT, "" },
        { "/v1/models", ENDPOINT_MODELS, "" },
        { "/models/", ENDPOINT_MODELS, "" },
        { "/v1/models/a", ENDPOINT_MODEL, "a" },
        { "/v1/models//org/name/", ENDPOINT_MODEL, "org/name" },
        { "/health", ENDPOINT_HEALTH, "" },
        { "/health/", ENDPOINT_HEALTH, "" },
        { "/v1/metrics", ENDPOINT_METRICS, "" },
        { "", ENDPOINT_NONE, "" },
        { "health", ENDPOINT_NONE, "" },
        { "*", ENDPOINT_NONE, "" },
        { "/v1", ENDPOINT_NONE, "" },
        { "/v1/", ENDPOINT_NONE, "" },
        { "/v1/v1/models", ENDPOINT_NONE, "" },
        { "/healthx", ENDPOINT_NONE, "" },
        { "/health/x", ENDPOINT_NONE, "" },
        { "/heal", ENDPOINT_NONE, "" },
        { "/chat", ENDPOINT_NONE, "" },
        { "/chat/completions/x", ENDPOINT_NONE, "" },
        { "/chat/completionsx", ENDPOINT_NONE, "" },
        { "/completions", ENDPOINT_NONE, "" },
        { "/modelsx", ENDPOINT_NONE, "" },
        { "/Health", ENDPOINT_NONE, "" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        slice id = { "", 0 };
        const endpoint where = route(slice_of(cases[i].path), &id);
        if (where != cases[i].where || (where == ENDPOINT_MODEL && !slice_equal(id, slice_of(cases[i].id))))
            fail_msg("'%s' gives %d '%.*s'", cases[i].path, (int)where, (int)id.size, id.data);
    }
    for (int e = 0; e < ENDPOINTS; e++)
        assert_non_null(route_name((endpoint)e));
    assert_string_equal(route_methods(ENDPOINT_CHAT), "POST, OPTIONS");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(paths_name_endpoints) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
