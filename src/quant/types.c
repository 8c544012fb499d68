/* quant/types.c - every tensor type: its sizes, and how a row of it is read. The one table that the file reader and the
 * kernels share, so that a type that was forgotten somewhere cannot be read as another. */
#include "quant/quant.h"

#include <string.h>

static uint16_t load16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static void f32_to_f32(const uint8_t *row, float *out, size_t n)
{
    memcpy(out, row, n * sizeof *out);
}

static void f16_to_f32(const uint8_t *row, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = quant_f16_to_f32(load16(row + 2 * i));
}

static void bf16_to_f32(const uint8_t *row, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = quant_bf16_to_f32(load16(row + 2 * i));
}

static void q8_0_to_f32(const uint8_t *row, float *out, size_t n)
{
    for (size_t b = 0; b < n / QUANT_Q8_BLOCK; b++, row += QUANT_Q8_BYTES) {
        const float d = quant_f16_to_f32(load16(row));
        for (size_t i = 0; i < QUANT_Q8_BLOCK; i++)
            out[b * QUANT_Q8_BLOCK + i] = d * (float)(int8_t)row[2 + i];
    }
}

/* By number; the numbers are the file format's (ggml's). A type without a reader can be stored and skipped over. */
static const quant_type known[] = {
    [0] = { "F32", 1, 4, f32_to_f32 },     [1] = { "F16", 1, 2, f16_to_f32 },    [2] = { "Q4_0", 32, 18, NULL },
    [3] = { "Q4_1", 32, 20, NULL },        [6] = { "Q5_0", 32, 22, NULL },       [7] = { "Q5_1", 32, 24, NULL },
    [8] = { "Q8_0", 32, 34, q8_0_to_f32 }, [9] = { "Q8_1", 32, 36, NULL },       [10] = { "Q2_K", 256, 84, NULL },
    [11] = { "Q3_K", 256, 110, NULL },     [12] = { "Q4_K", 256, 144, NULL },    [13] = { "Q5_K", 256, 176, NULL },
    [14] = { "Q6_K", 256, 210, NULL },     [15] = { "Q8_K", 256, 292, NULL },    [16] = { "IQ2_XXS", 256, 66, NULL },
    [17] = { "IQ2_XS", 256, 74, NULL },    [18] = { "IQ3_XXS", 256, 98, NULL },  [19] = { "IQ1_S", 256, 50, NULL },
    [20] = { "IQ4_NL", 32, 18, NULL },     [21] = { "IQ3_S", 256, 110, NULL },   [22] = { "IQ2_S", 256, 82, NULL },
    [23] = { "IQ4_XS", 256, 136, NULL },   [24] = { "I8", 1, 1, NULL },          [25] = { "I16", 1, 2, NULL },
    [26] = { "I32", 1, 4, NULL },          [27] = { "I64", 1, 8, NULL },         [28] = { "F64", 1, 8, NULL },
    [29] = { "IQ1_M", 256, 56, NULL },     [30] = { "BF16", 1, 2, bf16_to_f32 }, [34] = { "TQ1_0", 256, 54, NULL },
    [35] = { "TQ2_0", 256, 66, NULL },     [39] = { "MXFP4", 32, 17, NULL },     [40] = { "NVFP4", 64, 36, NULL },
    [41] = { "Q1_0", 128, 18, NULL },
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

const quant_type *quant_type_about(uint32_t number)
{
    return number < N_KNOWN && known[number].name ? &known[number] : NULL;
}

const char *quant_type_name(uint32_t number)
{
    const quant_type *type = quant_type_about(number);
    if (type)
        return type->name;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (refused[i].type == number)
            return refused[i].name;
    return "unknown";
}

bool quant_type_supported(uint32_t number)
{
    const quant_type *type = quant_type_about(number);
    return type && type->to_f32;
}

size_t quant_row_bytes(uint32_t number, size_t n)
{
    const quant_type *type = quant_type_about(number);
    return type ? n / type->block_values * type->block_bytes : 0;
}

void quant_row_to_f32(uint32_t number, const uint8_t *row, float *out, size_t n)
{
    const quant_type *type = quant_type_about(number);
    if (type && type->to_f32)
        type->to_f32(row, out, n);
}
