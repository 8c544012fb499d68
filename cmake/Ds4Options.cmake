# The flags that every translation unit of ds4 gets.
include(CheckCCompilerFlag)
include(CheckPIESupported)
add_library(ds4_options INTERFACE)
target_include_directories(ds4_options INTERFACE ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src)
target_compile_definitions(ds4_options INTERFACE _GNU_SOURCE DS4_VERSION="${PROJECT_VERSION}")
target_compile_options(ds4_options INTERFACE
    -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
    -fvisibility=hidden -fno-math-errno -ffp-contract=off)
# -ffp-contract=off: a multiply-add is written where it is meant, so that the scalar reference, the vector kernels and
# every compiler round at the same places.
# The same sources give the same bytes in any folder; a debugger that is started in the source folder finds them.
target_compile_options(ds4_options INTERFACE -ffile-prefix-map=${CMAKE_SOURCE_DIR}=.)
# Sources of programs: a cast may not drop `const`, and a number changes its type only where that is written down. Tests make
# numbers for comparisons all the time and are left out; so are builds with sanitizers, whose checks hide from the compiler
# what values an expression can have.
if(NOT DS4_SANITIZE)
    set(DS4_SOURCE_WARNINGS -Wcast-qual -Wconversion)
endif()

# A network server: overflows of the stack and of known objects end the process, and addresses are random. Sanitizers
# bring stronger checks of the same kind, which _FORTIFY_SOURCE would hide from them; it also needs an optimiser. With the stack
# protector, gcc 12 aligns some variables wrongly under ASan, which UBSan then reports.
check_c_compiler_flag("-Werror -fstack-clash-protection" DS4_HAS_STACK_CLASH_PROTECTION) # not in every clang
if(DS4_HAS_STACK_CLASH_PROTECTION)
    target_compile_options(ds4_options INTERFACE -fstack-clash-protection)
endif()
target_link_options(ds4_options INTERFACE LINKER:-z,relro,-z,now)
check_pie_supported(LANGUAGES C) # with CMAKE_POSITION_INDEPENDENT_CODE, programs are linked with -pie
if(NOT DS4_SANITIZE)
    target_compile_options(ds4_options INTERFACE -fstack-protector-strong
        $<$<CONFIG:Release,RelWithDebInfo,MinSizeRel>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=3>)
endif()
if(DS4_WERROR)
    target_compile_options(ds4_options INTERFACE -Werror)
endif()
if(DS4_FAULTS)
    target_compile_definitions(ds4_options INTERFACE DS4_KV_FAULTS=1)
endif()
if(DS4_SANITIZE)
    target_compile_options(ds4_options INTERFACE -fsanitize=${DS4_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(ds4_options INTERFACE -fsanitize=${DS4_SANITIZE})
endif()
