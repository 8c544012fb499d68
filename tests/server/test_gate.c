/* Who may ask: hosts, origins, keys. */
#include "server/gate.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const allowed[] = { "chat.example.com", "box" };

static server_options options(const char *host)
{
    server_options o = server_options_default();
    o.host = host;
    o.allowed_hosts = allowed;
    o.n_allowed_hosts = 2;
    return o;
}

static const listener on_loopback = { .fd = -1, .port = 8000, .loopback = true },
                      on_network = { .fd = -1, .port = 8000, .loopback = false };

static void a_loopback_server_answers_to_its_own_names_only(void **state)
{
    static const struct {
        const char *host;
        bool good;
    } cases[] = { { NULL, true },
                  { "localhost", true },
                  { "LocalHost:8000", true },
                  { "127.0.0.1:1", true },
                  { "[::1]", true },
                  { "[::1]:8000", true },
                  { "127.0.0.7:8000", true },
                  { "chat.example.com", true },
                  { "BOX:80", true },
                  { "", false },
                  { ":8000", false },
                  { "0.0.0.0:8000", false },
                  { "localhost.evil.example", false },
                  { "evil.example:8000", false },
                  { "xlocalhost", false },
                  { "localhos", false },
                  { "[::1].evil.example", false },
                  { "box.chat.example.com", false } };
    const server_options o = options("127.0.0.7");
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        http_error e = { 0 };
        if (gate_host(&o, &on_loopback, cases[i].host, &e) != cases[i].good || (!cases[i].good && e.status != 403))
            fail_msg("'%s': %d %s", cases[i].host, e.status, e.message);
        assert_true(gate_host(&o, &on_network, cases[i].host, &e));
    }
}

static void pages_of_other_sites_are_refused(void **state)
{
    char own[300], own_local[320];
    char name[256] = "";
    assert_int_equal(gethostname(name, sizeof name - 1), 0);
    snprintf(own, sizeof own, "http://%s:8000", name);
    snprintf(own_local, sizeof own_local, "http://%s.local:8000", name);
    const struct {
        const char *origin, *host;
        const listener *l;
        bool good;
    } cases[] = {
        /* a program, not a page */
        { NULL, "localhost:8000", &on_loopback, true },
        { NULL, "evil.example", &on_network, true },
        /* pages of this server */
        { "http://localhost:8000", "127.0.0.1:8000", &on_loopback, true },
        { "HTTP://LOCALHOST:8000", "127.0.0.1:8000", &on_loopback, true },
        { "http://[::1]:8000", "localhost:8000", &on_loopback, true },
        { "https://localhost:8000", "localhost:8000", &on_loopback, true },
        { "http://192.168.1.5:8000", "192.168.1.5:8000", &on_network, true },
        { "http://[fe80::1]:8000", "[fe80::1]:8000", &on_network, true },
        { "http://server.lan:8000", "server.lan:8000", &on_network, true },
        { own, own + 7, &on_network, true },
        { own_local, own_local + 7, &on_network, true },
        /* a proxy before it */
        { "https://chat.example.com", "127.0.0.1:8000", &on_loopback, true },
        { "https://chat.example.com:444", "chat.example.com", &on_network, true },
        /* strangers */
        { "https://evil.example", "localhost:8000", &on_loopback, false },
        { "http://localhost:3000", "localhost:8000", &on_loopback, false },
        { "http://localhost", "localhost:8000", &on_loopback, false },
        { "http://localhost:80001", "localhost:8000", &on_loopback, false },
        { "http://localhost:8000.evil.example", "localhost:8000", &on_loopback, false },
        { "http://localhost:8000@evil.example", "localhost:8000", &on_loopback, false },
        { "http://evil.example#localhost:8000", "localhost:8000", &on_loopback, false },
        { "null", "localhost:8000", &on_loopback, false },
        { "", "localhost:8000", &on_loopback, false },
        { "http://", "localhost:8000", &on_loopback, false },
        { "file://", "localhost:8000", &on_loopback, false },
        { "http://chat.example.com.evil.example", "localhost:8000", &on_loopback, false },
        { "http://192.168.1.6:8000", "192.168.1.5:8000", &on_network, false },
        { "http://192.168.1.5", "192.168.1.5:8000", &on_network, false },
        { "http://192.168.1.5:8000", NULL, &on_network, false },
        /* DNS rebinding: the page's own name leads here */
        { "http://evil.example:8000", "evil.example:8000", &on_network, false },
        { "http://1.2.3.4.evil.example:8000", "1.2.3.4.evil.example:8000", &on_network, false },
    };
    server_options o = options("server.lan");
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        http_error e = { 0 };
        o.cors = false;
        const bool good = gate_origin(&o, cases[i].l, cases[i].origin, cases[i].host, &e);
        if (good != cases[i].good || (!good && (e.status != 403 || strcmp(e.code, "invalid_origin") != 0)))
            fail_msg("origin '%s' host '%s': %d %s", cases[i].origin, cases[i].host, e.status, e.message);
        o.cors = true;
        assert_true(gate_origin(&o, cases[i].l, cases[i].origin, cases[i].host, &e));
    }
}

static void keys_are_compared_whole(void **state)
{
    static const char *const keys[] = { "first", "second-key" };
    server_options o = options("127.0.0.1");
    http_error e = { 0 };
    (void)state;
    assert_true(gate_key(&o, NULL, NULL, &e));
    o.api_keys = keys;
    o.n_api_keys = 2;
    assert_true(gate_key(&o, "Bearer first", NULL, &e));
    assert_true(gate_key(&o, "bearer second-key", NULL, &e));
    assert_true(gate_key(&o, NULL, "second-key", &e));
    assert_true(gate_key(&o, "Bearer wrong", "first", &e));
    static const char *const wrong[] = {
        "",      "Bearer",      "Bearer ",       "Bearer firs",  "Bearer firstx", "Bearer first ",
        "first", "Basic first", "Bearer second", "Bearer  first"
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        e = (http_error){ 0 };
        assert_false(gate_key(&o, wrong[i], NULL, &e));
        assert_int_equal(e.status, 401);
        assert_string_equal(e.code, "invalid_api_key");
    }
    assert_false(gate_key(&o, NULL, "", &e));
    assert_false(gate_key(&o, NULL, NULL, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_loopback_server_answers_to_its_own_names_only),
                                        cmocka_unit_test(pages_of_other_sites_are_refused),
                                        cmocka_unit_test(keys_are_compared_whole) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
