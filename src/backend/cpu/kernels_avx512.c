/* The kernels in avx512: 16 lanes, 32 registers, tiles of 4 rows and 4 vectors; VNNI for 8-bit weights. */
#include "backend/cpu/kernels.h"

#if defined(__x86_64__)
#include "quant/quant.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define ISA    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")))
#define INLINE ISA static inline __attribute__((always_inline))

enum { LANES = 16, TILE_ROWS = 4, TILE_X = 4 };
typedef __m512 lanes;
typedef lanes load_fn(const uint8_t *row, size_t i);
typedef float load_one_fn(const uint8_t *row, size_t i);

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

/* --- weights of each type, widened -------------------------------------------------------------------------------- */

INLINE lanes load_f32(const uint8_t *row, size_t i)
{
    return _mm512_loadu_ps((const float *)(const void *)(row + 4 * i));
}

INLINE float one_f32(const uint8_t *row, size_t i)
{
    float x;
    memcpy(&x, row + 4 * i, sizeof x);
    return x;
}

INLINE __m256i load_halves(const uint8_t *row, size_t i)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)(row + 2 * i));
}

INLINE uint16_t one_half(const uint8_t *row, size_t i)
{
    return (uint16_t)(row[2 * i] | row[2 * i + 1] << 8);
}

INLINE lanes load_f16(const uint8_t *row, size_t i)
{
    return _mm512_cvtph_ps(load_halves(row, i));
}

INLINE float one_f16(const uint8_t *row, size_t i)
{
    return quant_f16_to_f32(one_half(row, i));
}

INLINE lanes load_bf16(const uint8_t *row, size_t i)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_halves(row, i)), 16));
}

INLINE float one_bf16(const uint8_t *row, size_t i)
{
    return quant_bf16_to_f32(one_half(row, i));
}

/* A block's scale by the hardware's conversion: exact, so it is the reference's value. */
INLINE float block_scale(const uint8_t *block)
{
    return _cvtsh_ss(one_half(block, 0));
}

INLINE lanes load_q8_0(const uint8_t *row, size_t i)
{
    const uint8_t *block = row + i / QUANT_Q8_BLOCK * QUANT_Q8_BYTES;
    const __m512i q =
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(block + 2 + i % QUANT_Q8_BLOCK)));
    return _mm512_mul_ps(_mm512_set1_ps(block_scale(block)), _mm512_cvtepi32_ps(q));
}

INLINE float one_q8_0(const uint8_t *row, size_t i)
{
    (void)row, (void)i;
    return 0.0f; /* never asked: a row is a whole number of blocks */
}

/* --- tiles ------------------------------------------------------------------------------------------------------- */

/* The shapes are constants after inlining, so the accumulators live in registers. */
INLINE void tile_fixed(float *out, size_t stride, const uint8_t *const *rows, const size_t n_rows,
                       const float *const *x, const size_t n_x, size_t n, load_fn *load, load_one_fn *load_one)
{
    lanes acc[TILE_ROWS][TILE_X];
    size_t c = 0;
    for (size_t i = 0; i < n_rows; i++)
        for (size_t j = 0; j < n_x; j++)
            acc[i][j] = _mm512_setzero_ps();
    for (; c + LANES <= n; c += LANES) {
        lanes v[TILE_X];
        for (size_t j = 0; j < n_x; j++)
            v[j] = _mm512_loadu_ps(x[j] + c);
        for (size_t i = 0; i < n_rows; i++) {
            const lanes w = load(rows[i], c);
            for (size_t j = 0; j < n_x; j++)
                acc[i][j] = _mm512_fmadd_ps(w, v[j], acc[i][j]);
        }
    }
    for (size_t i = 0; i < n_rows; i++)
        for (size_t j = 0; j < n_x; j++) {
            float sum = sum_lanes(acc[i][j]);
            for (size_t k = c; k < n; k++)
                sum += load_one(rows[i], k) * x[j][k];
            out[j * stride + i] = sum;
        }
}

INLINE void tile(float *out, size_t stride, const uint8_t *const *rows, size_t n_rows, const float *const *x,
                 size_t n_x, size_t n, load_fn *load, load_one_fn *load_one)
{
    size_t i = 0;
    for (; i + TILE_ROWS <= n_rows; i += TILE_ROWS) {
        size_t j = 0;
        for (; j + TILE_X <= n_x; j += TILE_X)
            tile_fixed(out + j * stride + i, stride, rows + i, TILE_ROWS, x + j, TILE_X, n, load, load_one);
        for (; j < n_x; j++)
            tile_fixed(out + j * stride + i, stride, rows + i, TILE_ROWS, x + j, 1, n, load, load_one);
    }
    for (; i < n_rows; i++) {
        size_t j = 0;
        for (; j + TILE_X <= n_x; j += TILE_X)
            tile_fixed(out + j * stride + i, stride, rows + i, 1, x + j, TILE_X, n, load, load_one);
        for (; j < n_x; j++)
            tile_fixed(out + j * stride + i, stride, rows + i, 1, x + j, 1, n, load, load_one);
    }
}

#define TILE_OF(type)                                                                                                  \
    ISA static void tile_##type(float *out, size_t stride, const uint8_t *const *rows, size_t n_rows,                  \
                                const float *const *x, size_t n_x, size_t n)                                           \
    {                                                                                                                  \
        tile(out, stride, rows, n_rows, x, n_x, n, load_##type, one_##type);                                           \
    }
TILE_OF(f32)
TILE_OF(f16)
TILE_OF(bf16)
TILE_OF(q8_0)

/* --- Q8_0 against quantised vectors ------------------------------------------------------------------------------- */

/* dpbusd wants one side unsigned: w + 128. The sum is then 128 times the sum of x too large, which is taken off again:
 * all of it integers, so the result is exact. */
INLINE __m256i correction(__m256i x)
{
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8((char)0x80), x);
}

INLINE __m256i dot4(__m256i w, __m256i x, __m256i extra)
{
    const __m256i above = _mm256_xor_si256(w, _mm256_set1_epi8((char)0x80));
    return _mm256_sub_epi32(_mm256_dpbusd_epi32(_mm256_setzero_si256(), above, x), extra);
}

INLINE void tile_q8(float *out, size_t stride, const uint8_t *const *rows, const size_t n_rows, const q8_vector *x,
                    const size_t n_x, size_t n)
{
    __m256 acc[TILE_ROWS][TILE_X];
    for (size_t i = 0; i < n_rows; i++)
        for (size_t j = 0; j < n_x; j++)
            acc[i][j] = _mm256_setzero_ps();
    for (size_t b = 0; b < n / QUANT_Q8_BLOCK; b++) {
        __m256i q[TILE_X], extra[TILE_X];
        for (size_t j = 0; j < n_x; j++) {
            q[j] = _mm256_loadu_si256((const __m256i *)(const void *)(x[j].q + b * QUANT_Q8_BLOCK));
            extra[j] = correction(q[j]);
        }
        for (size_t i = 0; i < n_rows; i++) {
            const uint8_t *block = rows[i] + b * QUANT_Q8_BYTES;
            const __m256i w = _mm256_loadu_si256((const __m256i *)(const void *)(block + 2));
            const float d = block_scale(block);
            for (size_t j = 0; j < n_x; j++)
                acc[i][j] = _mm256_fmadd_ps(_mm256_set1_ps(d * x[j].d[b]), _mm256_cvtepi32_ps(dot4(w, q[j], extra[j])),
                                            acc[i][j]);
        }
    }
    for (size_t i = 0; i < n_rows; i++)
        for (size_t j = 0; j < n_x; j++)
            out[j * stride + i] = sum_8(acc[i][j]);
}

ISA static void tile_q8_0_q8(float *out, size_t stride, const uint8_t *const *rows, size_t n_rows, const q8_vector *x,
                             size_t n_x, size_t n)
{
    size_t i = 0;
    for (; i + TILE_ROWS <= n_rows; i += TILE_ROWS) {
        size_t j = 0;
        for (; j + TILE_X <= n_x; j += TILE_X)
            tile_q8(out + j * stride + i, stride, rows + i, TILE_ROWS, x + j, TILE_X, n);
        for (; j < n_x; j++)
            tile_q8(out + j * stride + i, stride, rows + i, TILE_ROWS, x + j, 1, n);
    }
    for (; i < n_rows; i++)
        for (size_t j = 0; j < n_x; j++)
            tile_q8(out + j * stride + i, stride, rows + i, 1, x + j, 1, n);
}

/* --- sums of rows ------------------------------------------------------------------------------------------------- */

ISA static void weighted_sum(float *out, const float *const *rows, const float *p, size_t n_rows, size_t dim)
{
    size_t c = 0;
    for (; c + 4 * LANES <= dim; c += 4 * LANES) {
        lanes acc[4] = { _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps() };
        for (size_t i = 0; i < n_rows; i++) {
            const lanes weight = _mm512_set1_ps(p[i]);
            for (size_t k = 0; k < 4; k++)
                acc[k] = _mm512_fmadd_ps(weight, _mm512_loadu_ps(rows[i] + c + k * LANES), acc[k]);
        }
        for (size_t k = 0; k < 4; k++)
            _mm512_storeu_ps(out + c + k * LANES, acc[k]);
    }
    for (; c < dim; c++) {
        float sum = 0.0f;
        for (size_t i = 0; i < n_rows; i++)
            sum += p[i] * rows[i][c];
        out[c] = sum;
    }
}

/* --- quantising, exponentials ------------------------------------------------------------------------------------- */

/* e^x: x = k ln 2 + r with |r| <= ln 2 / 2, then the series of e^r to r^7 (the rest is below 6e-9). Within 2 ulp where the
 * result is a normal number, 0 below, and large but finite from 88 on; a NaN stays one. */
INLINE lanes exp_lanes(lanes x)
{
    const lanes least = _mm512_set1_ps(-87.3f), most = _mm512_set1_ps(88.0f);
    const lanes bounded = _mm512_max_ps(least, _mm512_min_ps(most, x)); /* of two, the second where one is NaN */
    const lanes k = _mm512_roundscale_ps(_mm512_mul_ps(bounded, _mm512_set1_ps(0x1.715476p0f)),
                                         _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    lanes r = _mm512_fnmadd_ps(k, _mm512_set1_ps(0x1.62e4p-1f), bounded); /* 15 bits of ln 2: the product is exact */
    r = _mm512_fnmadd_ps(k, _mm512_set1_ps(0x1.7f7d1cp-20f), r);          /* the others */
    lanes sum = _mm512_set1_ps(1.0f / 5040);
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f / 720));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f / 120));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f / 24));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f / 6));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(0.5f));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f));
    const __mmask16 normal = _mm512_cmp_ps_mask(x, least, _CMP_NLT_UQ);
    return _mm512_maskz_scalef_ps(normal, sum, k);
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

ISA static void softmax(float *scores, size_t n, float scale, float sink)
{
    const size_t whole = n / LANES * LANES, rest = n - whole;
    const lanes s = _mm512_set1_ps(scale);
    lanes top = _mm512_set1_ps(sink), sum = _mm512_setzero_ps();
    for (size_t i = 0; i < whole; i += LANES) {
        const lanes v = _mm512_mul_ps(_mm512_loadu_ps(scores + i), s);
        _mm512_storeu_ps(scores + i, v);
        top = _mm512_max_ps(v, top); /* a NaN in v leaves top */
    }
    if (rest) {
        const lanes v = _mm512_mul_ps(load_last(scores + whole, rest, 0.0f), s);
        store_last(scores + whole, rest, v);
        top = _mm512_max_ps(load_last(scores + whole, rest, sink), top);
    }
    const float best = max_lanes(top);
    const lanes bests = _mm512_set1_ps(best);
    for (size_t i = 0; i < whole; i += LANES) {
        const lanes e = exp_lanes(_mm512_sub_ps(_mm512_loadu_ps(scores + i), bests));
        _mm512_storeu_ps(scores + i, e);
        sum = _mm512_add_ps(sum, e);
    }
    if (rest) {
        const lanes e = exp_lanes(_mm512_sub_ps(load_last(scores + whole, rest, -INFINITY), bests));
        store_last(scores + whole, rest, e);
        sum = _mm512_add_ps(sum, e);
    }
    const lanes inverse = _mm512_set1_ps(1.0f / (sum_lanes(sum) + expf(sink - best)));
    for (size_t i = 0; i < whole; i += LANES)
        _mm512_storeu_ps(scores + i, _mm512_mul_ps(_mm512_loadu_ps(scores + i), inverse));
    if (rest)
        store_last(scores + whole, rest, _mm512_mul_ps(load_last(scores + whole, rest, 0.0f), inverse));
}

INLINE lanes swiglu_lanes(lanes gate, lanes up, float limit, float weight)
{
    if (limit > 0.0f) {
        gate = _mm512_min_ps(_mm512_set1_ps(limit), gate);
        up = _mm512_max_ps(_mm512_set1_ps(-limit), _mm512_min_ps(_mm512_set1_ps(limit), up));
    }
    const lanes e = exp_lanes(_mm512_sub_ps(_mm512_setzero_ps(), gate));
    const lanes silu = _mm512_div_ps(gate, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
    return _mm512_mul_ps(_mm512_mul_ps(silu, up), _mm512_set1_ps(weight));
}

ISA static void swiglu(float *out, const float *gate, const float *up, size_t n, float limit, float weight)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm512_storeu_ps(out + i, swiglu_lanes(_mm512_loadu_ps(gate + i), _mm512_loadu_ps(up + i), limit, weight));
    if (i < n)
        store_last(out + i, n - i,
                   swiglu_lanes(load_last(gate + i, n - i, 0.0f), load_last(up + i, n - i, 0.0f), limit, weight));
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

const cpu_kernels cpu_kernels_avx512 = {
    "avx512",     CPU_AVX2 | CPU_AVX512, tile_f32, tile_f16, tile_bf16, tile_q8_0,
    tile_q8_0_q8, weighted_sum,          quantise, softmax,  swiglu,    sum_squares,
};
#endif
