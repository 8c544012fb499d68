# The flags that every translation unit of ds4 gets.
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
