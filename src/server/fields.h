/* server/fields.h - typed members of a JSON object, each with the refusal that a client can act on.
 * All: absent or null leaves *out alone and is fine; another type or a value out of range refuses and answers false. */
#ifndef SERVER_FIELDS_H
#define SERVER_FIELDS_H

#include "base/json.h"
#include "server/errors.h"

bool field_bool(const json_value *object, const char *name, bool *out, http_error *e);
bool field_int(const json_value *object, const char *name, int64_t min, int64_t max, int64_t *out, http_error *e);
bool field_real(const json_value *object, const char *name, double min, double max, float *out, http_error *e);
bool field_string(const json_value *object, const char *name, slice *out, http_error *e);
/* The member if it is an array; NULL if absent. */
bool field_array(const json_value *object, const char *name, const json_value **out, http_error *e);
bool field_object(const json_value *object, const char *name, const json_value **out, http_error *e);

#endif
