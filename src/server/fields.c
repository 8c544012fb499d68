#include "server/fields.h"

static bool wrong_type(const json_value *value, const char *name, const char *wanted, http_error *e)
{
    return refuse(e, 400, "invalid_type", name, "%s must be %s (got %s)", name, wanted,
                  json_kind_name(json_kind_of(value)));
}

bool field_bool(const json_value *object, const char *name, bool *out, http_error *e)
{
    const json_value *value = json_member(object, name);
    return json_is_null(value) || json_bool(value, out) || wrong_type(value, name, "true or false", e);
}

bool field_int(const json_value *object, const char *name, int64_t min, int64_t max, int64_t *out, http_error *e)
{
    const json_value *value = json_member(object, name);
    int64_t n;
    if (json_is_null(value))
        return true;
    if (json_kind_of(value) != JSON_NUMBER)
        return wrong_type(value, name, "an integer", e);
    if (!json_int64(value, &n) || n < min || n > max) {
        const slice text = json_number_text(value);
        return refuse(e, 400, "invalid_value", name, "%s must be an integer between %lld and %lld (got %.*s)", name,
                      (long long)min, (long long)max, (int)(text.size < 40 ? text.size : 40), text.data);
    }
    *out = n;
    return true;
}

bool field_real(const json_value *object, const char *name, double min, double max, float *out, http_error *e)
{
    const json_value *value = json_member(object, name);
    double x;
    if (json_is_null(value))
        return true;
    if (json_kind_of(value) != JSON_NUMBER)
        return wrong_type(value, name, "a number", e);
    if (!json_double(value, &x) || !(x >= min && x <= max)) {
        const slice text = json_number_text(value);
        return refuse(e, 400, "invalid_value", name, "%s must be a number between %g and %g (got %.*s)", name, min, max,
                      (int)(text.size < 40 ? text.size : 40), text.data);
    }
    *out = (float)x;
    return true;
}

bool field_string(const json_value *object, const char *name, slice *out, http_error *e)
{
    const json_value *value = json_member(object, name);
    return json_is_null(value) || json_string(value, out) || wrong_type(value, name, "a string", e);
}

bool field_array(const json_value *object, const char *name, const json_value **out, http_error *e)
{
    const json_value *value = json_member(object, name);
    *out = json_is_null(value) ? NULL : value;
    return !*out || json_kind_of(value) == JSON_ARRAY || wrong_type(value, name, "an array", e);
}

bool field_object(const json_value *object, const char *name, const json_value **out, http_error *e)
{
    const json_value *value = json_member(object, name);
    *out = json_is_null(value) ? NULL : value;
    return !*out || json_kind_of(value) == JSON_OBJECT || wrong_type(value, name, "an object", e);
}
