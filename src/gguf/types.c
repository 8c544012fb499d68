#include "gguf/gguf.h"

/* Weights specification 2.1; the numbers are ggml's. What is listed can be stored and skipped over; what can be computed
 * with is decided by the rooms above. */
static const gguf_type_info known[] = {
    [0] = { "F32", 1, 4 },         [1] = { "F16", 1, 2 },         [2] = { "Q4_0", 32, 18 },
    [3] = { "Q4_1", 32, 20 },      [6] = { "Q5_0", 32, 22 },      [7] = { "Q5_1", 32, 24 },
    [8] = { "Q8_0", 32, 34 },      [9] = { "Q8_1", 32, 36 },      [10] = { "Q2_K", 256, 84 },
    [11] = { "Q3_K", 256, 110 },   [12] = { "Q4_K", 256, 144 },   [13] = { "Q5_K", 256, 176 },
    [14] = { "Q6_K", 256, 210 },   [15] = { "Q8_K", 256, 292 },   [16] = { "IQ2_XXS", 256, 66 },
    [17] = { "IQ2_XS", 256, 74 },  [18] = { "IQ3_XXS", 256, 98 }, [19] = { "IQ1_S", 256, 50 },
    [20] = { "IQ4_NL", 32, 18 },   [21] = { "IQ3_S", 256, 110 },  [22] = { "IQ2_S", 256, 82 },
    [23] = { "IQ4_XS", 256, 136 }, [24] = { "I8", 1, 1 },         [25] = { "I16", 1, 2 },
    [26] = { "I32", 1, 4 },        [27] = { "I64", 1, 8 },        [28] = { "F64", 1, 8 },
    [29] = { "IQ1_M", 256, 56 },   [30] = { "BF16", 1, 2 },       [34] = { "TQ1_0", 256, 54 },
    [35] = { "TQ2_0", 256, 66 },   [39] = { "MXFP4", 32, 17 },    [40] = { "NVFP4", 64, 36 },
    [41] = { "Q1_0", 128, 18 },
};
enum { N_KNOWN = sizeof known / sizeof known[0] };

/* Refused, but people should be told what they have. 42 has two meanings in the wild, so its size is not known either. */
static const struct {
    uint32_t type;
    const char *name;
} refused[] = {
    { 4, "Q4_2, removed" },        { 5, "Q4_3, removed" },        { 31, "Q4_0_4_4, removed" },
    { 32, "Q4_0_4_8, removed" },   { 33, "Q4_0_8_8, removed" },   { 36, "IQ4_NL_4_4, removed" },
    { 37, "IQ4_NL_4_8, removed" }, { 38, "IQ4_NL_8_8, removed" }, { 42, "Q2_0, or F8_E4M3_B128 of a community branch" },
};

const gguf_type_info *gguf_type_about(uint32_t type)
{
    return type < N_KNOWN && known[type].name ? &known[type] : NULL;
}

const char *gguf_type_name(uint32_t type)
{
    const gguf_type_info *info = gguf_type_about(type);
    if (info)
        return info->name;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (refused[i].type == type)
            return refused[i].name;
    return "unknown";
}

const char *gguf_value_type_name(gguf_value_type type)
{
    static const char *const names[] = { "uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
                                         "bool",  "string", "array",  "uint64", "int64",  "float64" };
    return (unsigned)type < sizeof names / sizeof names[0] ? names[type] : "unknown";
}
