/* How many cores are counted, over made-up trees of /sys and /proc and the processors that this process really has. */
#include "base/cores.h"
#include "support/support.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

static cpu_set_t ours;

static void put(const char *path, const char *text)
{
    char full[512], *slash;
    snprintf(full, sizeof full, TEST_SCRATCH "/root/%s", path);
    slash = strrchr(full, '/');
    *slash = 0;
    test_empty_folder(full);
    *slash = '/';
    test_write_file(full, text, strlen(text));
}

static int empty_root(void **state)
{
    (void)state;
    test_empty_folder(TEST_SCRATCH "/root");
    return sched_getaffinity(0, sizeof ours, &ours);
}

static uint32_t counted(void)
{
    return cores_usable_below(TEST_SCRATCH "/root");
}

/* Gives all processors from `first` to `last` of this process one core. */
static void share_core(int first, int last)
{
    char path[96], list[32];
    for (int cpu = first; cpu <= last; cpu++) {
        snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
        snprintf(list, sizeof list, "%d-%d\n", first, last);
        put(path, list);
    }
}

static void without_facts_every_processor_counts(void **state)
{
    (void)state;
    assert_int_equal(counted(), CPU_COUNT(&ours));
    assert_in_range(cores_usable(), 1, CPU_COUNT(&ours));
}

static void processors_of_one_core_count_once(void **state)
{
    (void)state;
    int first = 0, last = CPU_SETSIZE - 1;
    while (!CPU_ISSET(first, &ours))
        first++;
    while (!CPU_ISSET(last, &ours))
        last--;
    share_core(first, last);
    assert_int_equal(counted(), 1);
}

static void a_core_whose_first_processor_is_not_ours_counts_too(void **state)
{
    (void)state;
    int first = 0;
    while (!CPU_ISSET(first, &ours))
        first++;
    char path[96];
    snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", first);
    put(path, "4095,0\n"); /* a list that begins with a processor outside the set */
    assert_int_equal(counted(), CPU_COUNT(&ours));
}

static void a_quota_of_the_control_group_or_of_one_above_it_is_kept(void **state)
{
    (void)state;
    const uint32_t n = (uint32_t)CPU_COUNT(&ours);
    put("proc/self/cgroup", "0::/outer/inner\n");
    put("sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n");
    assert_int_equal(counted(), n);
    put("sys/fs/cgroup/outer/inner/cpu.max", "150000 100000\n"); /* one and a half: two threads can use it */
    assert_int_equal(counted(), n < 2 ? n : 2);
    put("sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/cpu.max", "20000 100000\n");
    assert_int_equal(counted(), 1);
    put("sys/fs/cgroup/cpu.max", "20000 0\n"); /* nonsense is no limit */
    assert_int_equal(counted(), n);
    put("proc/self/cgroup", "12:pids:/outer/inner\n0::/\n"); /* version 1 */
    assert_int_equal(counted(), n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(without_facts_every_processor_counts, empty_root),
        cmocka_unit_test_setup(processors_of_one_core_count_once, empty_root),
        cmocka_unit_test_setup(a_core_whose_first_processor_is_not_ours_counts_too, empty_root),
        cmocka_unit_test_setup(a_quota_of_the_control_group_or_of_one_above_it_is_kept, empty_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
