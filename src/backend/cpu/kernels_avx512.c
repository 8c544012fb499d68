/* The kernels in avx512: 16 lanes, 32 registers, tiles of 4 rows and 4 vectors; VNNI for 8-bit weights. */
#include "backend/cpu/kernels.h"

#if defined(__x86_64__)
#include "quant/quant.h"

#include <immintrin.h>

#define ISA    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")))
#define INLINE ISA static inline __attribute__((always_inline))

enum { LANES = 16, TILE_ROWS = 4, TILE_X = 4 };
typedef __m512 lanes;

INLINE lanes v_load(const float *x)
{
    return _mm512_loadu_ps(x);
}

INLINE void v_store(float *x, lanes v)
{
    _mm512_storeu_ps(x, v);
}

INLINE lanes v_set(float x)
{
    return _mm512_set1_ps(x);
}

INLINE lanes v_zero(void)
{
    return _mm512_setzero_ps();
}

INLINE lanes v_add(lanes a, lanes b)
{
    return _mm512_add_ps(a, b);
}

INLINE lanes v_sub(lanes a, lanes b)
{
    return _mm512_sub_ps(a, b);
}

INLINE lanes v_mul(lanes a, lanes b)
{
    return _mm512_mul_ps(a, b);
}

INLINE lanes v_div(lanes a, lanes b)
{
    return _mm512_div_ps(a, b);
}

INLINE lanes v_min(lanes a, lanes b)
{
    return _mm512_min_ps(a, b);
}

INLINE lanes v_max(lanes a, lanes b)
{
    return _mm512_max_ps(a, b);
}

INLINE lanes v_fma(lanes a, lanes b, lanes c)
{
    return _mm512_fmadd_ps(a, b, c);
}

INLINE lanes v_fnma(lanes a, lanes b, lanes c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

INLINE lanes v_round(lanes x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
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
    return sum_8(_mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)));
}

INLINE float max_lanes(lanes v)
{
    const __m256 h = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

/* The last n values, fewer than a vector; `fill` in the other lanes. Nothing is read or written beyond n. */
INLINE lanes load_last(const float *x, size_t n, float fill)
{
    return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), (__mmask16)((1u << n) - 1), x);
}

INLINE void store_last(float *out, size_t n, lanes v)
{
    _mm512_mask_storeu_ps(out, (__mmask16)((1u << n) - 1), v);
}

INLINE lanes v_exp2(lanes sum, lanes k, lanes x, lanes least)
{
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, least, _CMP_NLT_UQ), sum, k);
}

/* --- weights ------------------------------------------------------------------------------------------------------- */

INLINE __m256i load_halves(const uint8_t *row, size_t i)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)(row + 2 * i));
}

INLINE float half(uint16_t bits)
{
    return _cvtsh_ss(bits);
}

INLINE lanes load_f16(const uint8_t *row, size_t i)
{
    return _mm512_cvtph_ps(load_halves(row, i));
}

INLINE lanes load_bf16(const uint8_t *row, size_t i)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_halves(row, i)), 16));
}

/* The scale by the hardware's conversion: exact, so it is the reference's value. */
INLINE lanes load_q8_0(const uint8_t *row, size_t i)
{
    const uint8_t *block = row + i / QUANT_Q8_BLOCK * QUANT_Q8_BYTES;
    const __m512i q =
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(block + 2 + i % QUANT_Q8_BLOCK)));
    return _mm512_mul_ps(v_set(half((uint16_t)(block[0] | block[1] << 8))), _mm512_cvtepi32_ps(q));
}

/* --- Q8_0 blocks --------------------------------------------------------------------------------------------------- */

typedef __m256i block;
typedef __m256 sums;

INLINE block load_block(const int8_t *q)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)q);
}

/* dpbusd wants one side unsigned: w + 128. The sum is then 128 times the sum of x too large, which is taken off again:
 * all of it integers, so the result is exact. */
INLINE block block_extra(block x)
{
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8((char)0x80), x);
}

INLINE __m256i dot4(block w, block x, block extra)
{
    const __m256i above = _mm256_xor_si256(w, _mm256_set1_epi8((char)0x80));
    return _mm256_sub_epi32(_mm256_dpbusd_epi32(_mm256_setzero_si256(), above, x), extra);
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
INLINE __m128i round_bounded(lanes v)
{
    const lanes sign = _mm512_and_ps(v, _mm512_set1_ps(-0.0f)),
                half = _mm512_or_ps(sign, _mm512_set1_ps(0x1.fffffep-2f));
    const __mmask16 known = _mm512_cmp_ps_mask(v, v, _CMP_ORD_Q); /* a NaN becomes 0 */
    v = _mm512_max_ps(_mm512_min_ps(v, _mm512_set1_ps(127.0f)), _mm512_set1_ps(-127.0f));
    return _mm512_cvtepi32_epi8(_mm512_maskz_cvttps_epi32(known, _mm512_add_ps(v, half)));
}

ISA static void quantise(const float *x, size_t n, int8_t *q, float *d)
{
    for (size_t b = 0; b < n / QUANT_Q8_BLOCK; b++, x += QUANT_Q8_BLOCK, q += QUANT_Q8_BLOCK) {
        const lanes u = _mm512_loadu_ps(x), v = _mm512_loadu_ps(x + LANES);
        lanes top = _mm512_max_ps(_mm512_abs_ps(u), _mm512_setzero_ps()); /* a NaN leaves the second */
        top = _mm512_max_ps(_mm512_abs_ps(v), top);
        d[b] = max_lanes(top) / 127.0f;
        const lanes inverse = _mm512_set1_ps(d[b] != 0.0f ? 1.0f / d[b] : 0.0f);
        _mm_storeu_si128((__m128i *)(void *)q, round_bounded(_mm512_mul_ps(u, inverse)));
        _mm_storeu_si128((__m128i *)(void *)(q + LANES), round_bounded(_mm512_mul_ps(v, inverse)));
    }
}

ISA static double sum_squares(const float *x, size_t n)
{
    __m512d acc = _mm512_setzero_pd();
    size_t i = 0;
    for (; i + LANES / 2 <= n; i += LANES / 2) {
        const __m512d v = _mm512_cvtps_pd(_mm256_loadu_ps(x + i));
        acc = _mm512_fmadd_pd(v, v, acc);
    }
    const __m256d half = _mm256_add_pd(_mm512_castpd512_pd256(acc), _mm512_extractf64x4_pd(acc, 1));
    const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
    double sum = _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
    for (; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

/* --- packed rows --------------------------------------------------------------------------------------------------- */

/* Sixteen E4M3 codes as f16 with an exponent that is 8 too small; NaN codes as NaN. */
INLINE lanes widen_e4m3(__m128i codes)
{
    const __m256i c = _mm256_cvtepu8_epi16(codes), low = _mm256_and_si256(c, _mm256_set1_epi16(0x7f));
    const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(c, _mm256_set1_epi16(0x80)), 8);
    const __m256i nan = _mm256_cmpeq_epi16(low, _mm256_set1_epi16(0x7f));
    return _mm512_cvtph_ps(_mm256_or_si256(_mm256_or_si256(sign, _mm256_slli_epi16(low, 7)), nan));
}

ISA static void unpack_kv(const uint8_t *in, size_t n, size_t n_rot, float *x)
{
    const size_t plain = n - n_rot;
    const uint8_t *scales = in + plain, *tail = in + quant_packed_kv_bytes(n, n_rot) - 2 * n_rot;
    for (size_t b = 0; b < plain / QUANT_KV_BLOCK; b++) {
        const lanes s = _mm512_set1_ps(quant_e8m0_to_f32(scales[b]) * 256.0f);
        for (size_t i = b * QUANT_KV_BLOCK; i < (b + 1) * QUANT_KV_BLOCK; i += LANES)
            _mm512_storeu_ps(x + i,
                             _mm512_mul_ps(widen_e4m3(_mm_loadu_si128((const __m128i *)(const void *)(in + i))), s));
    }
    size_t i = 0;
    for (; i + LANES <= n_rot; i += LANES)
        _mm512_storeu_ps(x + plain + i, load_bf16(tail, i));
    for (; i < n_rot; i++)
        x[plain + i] = one_bf16(tail, i);
}

ISA static void unpack_index(const uint8_t *in, size_t n, float *x)
{
    const __m128i doubled = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    const uint8_t *scales = in + n / 2;
    for (size_t b = 0; b < n / QUANT_INDEX_BLOCK; b++, in += QUANT_INDEX_BLOCK / 2, x += QUANT_INDEX_BLOCK) {
        const lanes s = _mm512_set1_ps(quant_e8m0_to_f32(scales[b])), half = _mm512_set1_ps(0.5f);
        const __m128i codes = _mm_loadu_si128((const __m128i *)(const void *)in), mask = _mm_set1_epi8(0xf);
        const __m128i even = _mm_and_si128(codes, mask), odd = _mm_and_si128(_mm_srli_epi16(codes, 4), mask);
        const __m128i parts[2] = { _mm_unpacklo_epi8(even, odd), _mm_unpackhi_epi8(even, odd) };
        for (size_t k = 0; k < 2; k++) {
            const lanes v = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_shuffle_epi8(doubled, parts[k])));
            _mm512_storeu_ps(x + k * LANES, _mm512_mul_ps(_mm512_mul_ps(v, half), s));
        }
    }
}

const cpu_kernels cpu_kernels_avx512 = {
    "avx512",  CPU_AVX2 | CPU_AVX512, tile_f32,     tile_f16,     tile_bf16,
    tile_q8_0, tile_q8_0_q8,          weighted_sum, quantise,     softmax,
    swiglu,    sum_squares,           unpack_kv,    unpack_index,
};
#endif
