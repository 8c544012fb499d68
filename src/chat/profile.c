/* Profiles and thinking modes: docs/spec/protocol.md, sections 2.1 and 2.6. */
#include "chat/chat.h"

#include "base/c_locale.h"

#include <stdlib.h>
#include <string.h>

static bool mentions(slice text, const char *word)
{
    const size_t n = strlen(word);
    for (size_t i = 0; i + n <= text.size; i++)
        if (c_locale_strncasecmp(text.data + i, word, n) == 0)
            return true;
    return false;
}

chat_profile chat_profile_detect(slice name, slice version, slice finetune, slice file_name)
{
    const slice all[] = { name, version, finetune, file_name };
    for (size_t i = 0; i < 4; i++) {
        if (mentions(all[i], "v4.1"))
            return CHAT_V4_1;
        if (mentions(all[i], "0731"))
            return CHAT_V4_0731;
    }
    return CHAT_V4;
}

const char *chat_profile_name(chat_profile profile)
{
    static const char *const names[] = { "v4", "v4-0731", "v4.1" };
    return names[profile];
}

typedef struct effort_row {
    const char *word;
    chat_mode modes[2]; /* v4, v4-0731 */
    uint32_t number;    /* v4.1 */
} effort_row;

static const effort_row rows[] = {
    { "none", { CHAT_THINK_NONE, CHAT_THINK_NONE }, 0 },    { "off", { CHAT_THINK_NONE, CHAT_THINK_NONE }, 0 },
    { "minimal", { CHAT_THINK_HIGH, CHAT_THINK_LOW }, 25 }, { "low", { CHAT_THINK_HIGH, CHAT_THINK_LOW }, 25 },
    { "medium", { CHAT_THINK_HIGH, CHAT_THINK_LOW }, 50 },  { "high", { CHAT_THINK_HIGH, CHAT_THINK_HIGH }, 50 },
    { "xhigh", { CHAT_THINK_HIGH, CHAT_THINK_HIGH }, 75 },  { "max", { CHAT_THINK_MAX, CHAT_THINK_MAX }, 100 },
    { "", { CHAT_THINK_HIGH, CHAT_THINK_LOW }, 50 }, /* not said */
};

bool chat_mode_of_effort(chat_profile profile, slice effort, chat_mode *mode, uint32_t *number)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!slice_equal(effort, slice_of(rows[i].word)))
            continue;
        *mode = profile == CHAT_V4_1 ? (rows[i].number ? CHAT_THINK_HIGH : CHAT_THINK_NONE) : rows[i].modes[profile];
        *number = rows[i].number;
        return true;
    }
    uint32_t n = 0;
    for (size_t i = 0; i < effort.size; i++) {
        if (effort.data[i] < '0' || effort.data[i] > '9' || effort.size > 3)
            return false;
        n = n * 10 + (uint32_t)(effort.data[i] - '0');
    }
    if (n < 1 || n > 100)
        return false;
    *number = n;
    if (profile == CHAT_V4_1)
        *mode = CHAT_THINK_HIGH;
    else if (n >= 90)
        *mode = CHAT_THINK_MAX;
    else
        *mode = profile == CHAT_V4_0731 && n < 34 ? CHAT_THINK_LOW : CHAT_THINK_HIGH;
    return true;
}
