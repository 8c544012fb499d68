#include "backend/cpu/kernels.h"
#include "quant/quant.h"

#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

const cpu_kernels *const cpu_kernel_variants[] = {
    &cpu_kernels_scalar,
#if defined(__x86_64__)
    &cpu_kernels_avx2,
    &cpu_kernels_avx512,
#elif defined(__aarch64__)
    &cpu_kernels_neon,
#endif
};
const size_t n_cpu_kernel_variants = sizeof cpu_kernel_variants / sizeof cpu_kernel_variants[0];

#if defined(__x86_64__)
/* clang 14 does not know "f16c" in __builtin_cpu_supports(). */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

bool cpu_has(uint32_t needs)
{
    uint32_t have = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        have |= CPU_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        have |= CPU_AVX512;
#elif defined(__aarch64__)
    have |= CPU_NEON; /* part of the baseline */
#endif
    return (needs & ~have) == 0;
}

bool cpu_kernels_of_type(const cpu_kernels *k, uint32_t type, tile_fn **tile, tile_q8_fn **tile_q8)
{
    const struct {
        uint32_t type;
        tile_fn *tile;
        tile_q8_fn *tile_q8;
    } types[] = {
        { QUANT_F32, k->f32, NULL },
        { QUANT_F16, k->f16, NULL },
        { QUANT_BF16, k->bf16, NULL },
        { QUANT_Q8_0, k->q8_0, k->q8_0_q8 },
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].type == type) {
            *tile = types[i].tile;
            *tile_q8 = types[i].tile_q8;
            return true;
        }
    return false;
}

const cpu_kernels *cpu_kernels_find(const char *name)
{
    for (size_t i = n_cpu_kernel_variants; i-- > 0;)
        if ((!name || strcmp(name, cpu_kernel_variants[i]->name) == 0) && cpu_has(cpu_kernel_variants[i]->needs))
            return cpu_kernel_variants[i];
    return NULL;
}
