/* The kernels in avx2: 8 lanes, 16 registers, so tiles of 2 rows and 4 vectors. */
#include "backend/cpu/kernels.h"

#if defined(__x86_64__)
#include "quant/quant.h"

#include <immintrin.h>

#define ISA    __attribute__((target("avx2,fma,f16c")))
#define INLINE ISA static inline __attribute__((always_inline))

enum { LANES = 8, TILE_ROWS = 2, TILE_X = 4 };
typedef __m256 lanes;

INLINE lanes v_load(const float *x)
{
    return _mm256_loadu_ps(x);
}

INLINE void v_store(float *x, lanes v)
{
    _mm256_storeu_ps(x, v);
}

INLINE lanes v_set(float x)
{
    return _mm256_set1_ps(x);
}

INLINE lanes v_zero(void)
{
    return _mm256_setzero_ps();
}

INLINE lanes v_add(lanes a, lanes b)
{
    return _mm256_add_ps(a, b);
}

INLINE lanes v_sub(lanes a, lanes b)
{
    return _mm256_sub_ps(a, b);
}

INLINE lanes v_mul(lanes a, lanes b)
{
    return _mm256_mul_ps(a, b);
}

INLINE lanes v_div(lanes a, lanes b)
{
    return _mm256_div_ps(a, b);
}

INLINE lanes v_min(lanes a, lanes b)
{
    return _mm256_min_ps(a, b);
}

INLINE lanes v_max(lanes a, lanes b)
{
    return _mm256_max_ps(a, b);
}

INLINE lanes v_fma(lanes a, lanes b, lanes c)
{
    return _mm256_fmadd_ps(a, b, c);
}

INLINE lanes v_fnma(lanes a, lanes b, lanes c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

INLINE lanes v_round(lanes x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* Fixed tree: halves, quarters, pairs. */
INLINE float sum_8(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

INLINE float sum_lanes(lanes v)
{
    return sum_8(v);
}

INLINE float max_lanes(lanes v)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

/* The first n lanes, n < LANES. No array stands between the vector and memory: nothing is read or written beyond n. */
INLINE __m256i first_lanes(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* The last n values, fewer than a vector; `fill` in the other lanes. */
INLINE lanes load_last(const float *x, size_t n, float fill)
{
    const __m256i first = first_lanes(n);
    return _mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(x, first), _mm256_castsi256_ps(first));
}

INLINE void store_last(float *out, size_t n, lanes v)
{
    _mm256_maskstore_ps(out, first_lanes(n), v);
}

INLINE lanes v_exp2(lanes sum, lanes k, lanes x, lanes least)
{
    const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(k), _mm256_set1_epi32(127)), 23);
    return _mm256_andnot_ps(_mm256_cmp_ps(x, least, _CMP_LT_OQ), _mm256_mul_ps(sum, _mm256_castsi256_ps(power)));
}

/* --- weights ------------------------------------------------------------------------------------------------------- */

INLINE __m128i load_halves(const uint8_t *row, size_t i)
{
    return _mm_loadu_si128((const __m128i *)(const void *)(row + 2 * i));
}

INLINE float half(uint16_t bits)
{
    return _cvtsh_ss(bits);
}

INLINE lanes load_f16(const uint8_t *row, size_t i)
{
    return _mm256_cvtph_ps(load_halves(row, i));
}

INLINE lanes load_bf16(const uint8_t *row, size_t i)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_halves(row, i)), 16));
}

/* The scale by the hardware's conversion: exact, so it is the reference's value. */
INLINE lanes load_q8_0(const uint8_t *row, size_t i)
{
    const uint8_t *block = row + i / QUANT_Q8_BLOCK * QUANT_Q8_BYTES;
    const __m256i q =
        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(block + 2 + i % QUANT_Q8_BLOCK)));
    return _mm256_mul_ps(v_set(half((uint16_t)(block[0] | block[1] << 8))), _mm256_cvtepi32_ps(q));
}

/* --- Q8_0 blocks --------------------------------------------------------------------------------------------------- */

typedef __m256i block;
typedef __m256 sums;

INLINE block load_block(const int8_t *q)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)q);
}

INLINE block block_extra(block x)
{
    return x; /* none is needed */
}

/* Eight sums of four products. maddubs wants one side unsigned: |w|, and x with w's sign. Pair sums stay within 16 bits
 * because x is never -128 (quant_activation_q8). */
INLINE __m256i dot4(block w, block x, block unused)
{
    (void)unused;
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_sign_epi8(w, w), _mm256_sign_epi8(x, w));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

INLINE sums zero_sums(void)
{
    return _mm256_setzero_ps();
}

INLINE sums add_block(sums acc, block w, block x, block extra, float scale)
{
    return _mm256_fmadd_ps(_mm256_set1_ps(scale), _mm256_cvtepi32_ps(dot4(w, x, extra)), acc);
}

INLINE float total(sums acc)
{
    return sum_8(acc);
}

#include "backend/cpu/kernels_lanes.h"

/* --- quantising, sums of squares ----------------------------------------------------------------------------------- */

/* Nearest, ties away from zero: the largest number below 1/2 is added in v's direction, and the fraction dropped. Exact for
 * |v| < 2^22, where roundf() is the reference. */
INLINE __m256i round_bounded(lanes v)
{
    const lanes most = _mm256_set1_ps(127.0f), no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    v = _mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q)); /* a NaN becomes 0 */
    v = _mm256_max_ps(_mm256_min_ps(v, most), _mm256_sub_ps(_mm256_setzero_ps(), most));
    return _mm256_cvttps_epi32(
        _mm256_add_ps(v, _mm256_or_ps(_mm256_andnot_ps(no_sign, v), _mm256_set1_ps(0x1.fffffep-2f))));
}

ISA static void quantise(const float *x, size_t n, int8_t *q, float *d)
{
    const lanes no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    for (size_t b = 0; b < n / QUANT_Q8_BLOCK; b++, x += QUANT_Q8_BLOCK, q += QUANT_Q8_BLOCK) {
        lanes v[4], top = _mm256_setzero_ps();
        __m256i r[4];
        for (size_t k = 0; k < 4; k++) {
            v[k] = _mm256_loadu_ps(x + k * LANES);
            top = _mm256_max_ps(_mm256_and_ps(v[k], no_sign), top); /* a NaN leaves top */
        }
        d[b] = max_lanes(top) / 127.0f;
        const lanes inverse = _mm256_set1_ps(d[b] != 0.0f ? 1.0f / d[b] : 0.0f);
        for (size_t k = 0; k < 4; k++)
            r[k] = round_bounded(_mm256_mul_ps(v[k], inverse));
        /* Packing works within halves of 16 bytes: the permutation brings the groups of four back in order. */
        const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(r[0], r[1]), _mm256_packs_epi32(r[2], r[3]));
        _mm256_storeu_si256((__m256i *)(void *)q,
                            _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
    }
}

ISA static double sum_squares(const float *x, size_t n)
{
    __m256d acc = _mm256_setzero_pd();
    size_t i = 0;
    for (; i + LANES / 2 <= n; i += LANES / 2) {
        const __m256d v = _mm256_cvtps_pd(_mm_loadu_ps(x + i));
        acc = _mm256_fmadd_pd(v, v, acc);
    }
    __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(acc), _mm256_extractf128_pd(acc, 1));
    double sum = _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
    for (; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

/* --- packed rows --------------------------------------------------------------------------------------------------- */

/* Eight E4M3 codes as f16 with an exponent that is 8 too small; NaN codes as NaN. */
INLINE lanes widen_e4m3(__m128i codes)
{
    const __m128i c = _mm_cvtepu8_epi16(codes), low = _mm_and_si128(c, _mm_set1_epi16(0x7f));
    const __m128i sign = _mm_slli_epi16(_mm_and_si128(c, _mm_set1_epi16(0x80)), 8);
    const __m128i nan = _mm_cmpeq_epi16(low, _mm_set1_epi16(0x7f));
    return _mm256_cvtph_ps(_mm_or_si128(_mm_or_si128(sign, _mm_slli_epi16(low, 7)), nan));
}

ISA static void unpack_kv(const uint8_t *in, size_t n, size_t n_rot, float *x)
{
    const size_t plain = n - n_rot;
    const uint8_t *scales = in + plain, *tail = in + quant_packed_kv_bytes(n, n_rot) - 2 * n_rot;
    for (size_t b = 0; b < plain / QUANT_KV_BLOCK; b++) {
        const lanes s = _mm256_set1_ps(quant_e8m0_to_f32(scales[b]) * 256.0f);
        for (size_t i = b * QUANT_KV_BLOCK; i < (b + 1) * QUANT_KV_BLOCK; i += LANES)
            _mm256_storeu_ps(x + i,
                             _mm256_mul_ps(widen_e4m3(_mm_loadl_epi64((const __m128i *)(const void *)(in + i))), s));
    }
    size_t i = 0;
    for (; i + LANES <= n_rot; i += LANES)
        _mm256_storeu_ps(x + plain + i, load_bf16(tail, i));
    for (; i < n_rot; i++)
        x[plain + i] = one_bf16(tail, i);
}

ISA static void unpack_index(const uint8_t *in, size_t n, float *x)
{
    const __m128i doubled = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    const uint8_t *scales = in + n / 2;
    for (size_t b = 0; b < n / QUANT_INDEX_BLOCK; b++, in += QUANT_INDEX_BLOCK / 2, x += QUANT_INDEX_BLOCK) {
        const lanes s = _mm256_set1_ps(quant_e8m0_to_f32(scales[b])), half = _mm256_set1_ps(0.5f);
        const __m128i codes = _mm_loadu_si128((const __m128i *)(const void *)in), mask = _mm_set1_epi8(0xf);
        const __m128i even = _mm_and_si128(codes, mask), odd = _mm_and_si128(_mm_srli_epi16(codes, 4), mask);
        const __m128i first = _mm_shuffle_epi8(doubled, _mm_unpacklo_epi8(even, odd)),
                      second = _mm_shuffle_epi8(doubled, _mm_unpackhi_epi8(even, odd));
        const __m128i parts[4] = { first, _mm_srli_si128(first, 8), second, _mm_srli_si128(second, 8) };
        for (size_t k = 0; k < 4; k++)
            _mm256_storeu_ps(x + k * LANES,
                             _mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(parts[k])), half), s));
    }
}

const cpu_kernels cpu_kernels_avx2 = {
    "avx2",       CPU_AVX2, tile_f32, tile_f16, tile_bf16,   tile_q8_0, tile_q8_0_q8,
    weighted_sum, quantise, softmax,  swiglu,   sum_squares, unpack_kv, unpack_index,
};
#endif
