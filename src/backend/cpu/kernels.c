#include "backend/cpu/kernels.h"

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
/* clang 14 has no word for it. */
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

const cpu_kernels *cpu_kernels_find(const char *name)
{
    for (size_t i = n_cpu_kernel_variants; i-- > 0;)
        if ((!name || strcmp(name, cpu_kernel_variants[i]->name) == 0) && cpu_has(cpu_kernel_variants[i]->needs))
            return cpu_kernel_variants[i];
    return NULL;
}
