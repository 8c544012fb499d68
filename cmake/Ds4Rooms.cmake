# One static library per room, one program per file in src/cli and src/tools, one CTest test per tests/<room>/test_*.c.

# ds4_room(NAME USES room... LIBRARIES target...)
function(ds4_room name)
    cmake_parse_arguments(ROOM "" "" "USES;LIBRARIES" ${ARGN})
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.c)
    set_property(GLOBAL APPEND PROPERTY DS4_ROOMS ${name})
    if(NOT sources)
        add_library(ds4_${name} INTERFACE)
        return()
    endif()
    add_library(ds4_${name} STATIC ${sources})
    target_link_libraries(ds4_${name} PUBLIC ds4_options)
    target_compile_options(ds4_${name} PRIVATE ${DS4_SOURCE_WARNINGS})
    foreach(used ${ROOM_USES})
        target_link_libraries(ds4_${name} PUBLIC ds4_${used})
    endforeach()
    target_link_libraries(ds4_${name} PUBLIC ${ROOM_LIBRARIES})
endfunction()

# src/cli/ds4.c -> ds4, src/cli/ds4_server.c -> ds4-server, src/tools/ds4_logits.c -> ds4-logits. Other files of
# src/cli belong to all of its programs; files of src/tools are one program each.
function(ds4_programs)
    file(GLOB mains CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/cli/ds4*.c ${CMAKE_SOURCE_DIR}/src/tools/ds4_*.c)
    file(GLOB shared CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/cli/*.c)
    list(FILTER shared EXCLUDE REGEX "/ds4[^/]*\\.c$")
    add_library(ds4_cli STATIC ${shared})
    target_link_libraries(ds4_cli PUBLIC ds4_server PkgConfig::EDIT)
    target_compile_options(ds4_cli PRIVATE ${DS4_SOURCE_WARNINGS})
    # Where programs find the default model, seen from their own folder: no path of this machine gets into them.
    file(RELATIVE_PATH installed ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_DATADIR}/ds4/ds4-mini.gguf)
    file(RELATIVE_PATH built ${CMAKE_RUNTIME_OUTPUT_DIRECTORY} ${CMAKE_SOURCE_DIR}/models/ds4-mini.gguf)
    target_compile_definitions(ds4_cli PRIVATE DS4_MODEL_INSTALLED="${installed}" DS4_MODEL_BUILT="${built}")
    foreach(main ${mains})
        get_filename_component(name ${main} NAME_WE)
        string(REPLACE "_" "-" program ${name})
        add_executable(${program} ${main})
        target_link_libraries(${program} PRIVATE ds4_cli ds4_api ds4_server ds4_options)
        target_compile_options(${program} PRIVATE ${DS4_SOURCE_WARNINGS})
        install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    endforeach()
endfunction()

# A test is ended by its watchdog (no processor time used, or far too much), never by a wall clock: a busy machine fails nothing.
set(DS4_WATCHDOG ${DS4_TEST_PYTHON} ${CMAKE_SOURCE_DIR}/tests/support/watchdog.py)

# ds4_test(ROOM NOUN SOURCE...): the test ROOM/NOUN.
function(ds4_test room noun)
    set(target test-${room}-${noun})
    add_executable(${target} ${ARGN})
    target_link_libraries(${target} PRIVATE ds4_${room} ds4_test_support)
    target_compile_definitions(${target} PRIVATE
        TEST_DATA="${CMAKE_SOURCE_DIR}/tests/data" TEST_MODELS="${CMAKE_SOURCE_DIR}/models"
        TEST_SCRATCH="${CMAKE_BINARY_DIR}/scratch/${target}" TEST_BUILD="${CMAKE_BINARY_DIR}")
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME ${room}/${noun} COMMAND ${DS4_WATCHDOG} $<TARGET_FILE:${target}>)
    set_tests_properties(${room}/${noun} PROPERTIES SKIP_RETURN_CODE 77) # this build has nothing that it could test
endfunction()

# Each test gets TEST_DATA (tests/data) and MODELS (models/) as absolute paths, and a folder of its own to write in.
function(ds4_tests)
    file(GLOB support CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/support/*.c)
    add_library(ds4_test_support STATIC ${support})
    target_link_libraries(ds4_test_support PUBLIC ds4_text ds4_quant PkgConfig::CMOCKA)
    target_include_directories(ds4_test_support PUBLIC ${CMAKE_SOURCE_DIR}/tests)
    add_executable(tiny-model ${CMAKE_SOURCE_DIR}/tests/e2e/write_tiny_model.c) # for tests/e2e
    target_link_libraries(tiny-model PRIVATE ds4_options ds4_test_support)
    set_target_properties(tiny-model PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    if(NOT DS4_SANITIZE) # their run-time libraries want to be the first
        add_library(hang-disk MODULE ${CMAKE_SOURCE_DIR}/tests/e2e/hang_disk.c) # for tests/e2e
        target_link_libraries(hang-disk PRIVATE ds4_options)
        set_target_properties(hang-disk PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    endif()
    get_property(rooms GLOBAL PROPERTY DS4_ROOMS)
    foreach(room ${rooms})
        file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${room}/test_*.c)
        # Doubles of the rooms below: linked before the real ones, so that those stay out.
        file(GLOB stubs CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${room}/stub_*.c)
        foreach(test ${tests})
            get_filename_component(name ${test} NAME_WE)
            string(REPLACE "test_" "" noun ${name})
            ds4_test(${room} ${noun} ${test} ${stubs})
            # Again over memory that the host cannot touch: nothing above the backend's interface may read a device's.
            if(room MATCHES "^(backend|model|engine)$" AND NOT noun MATCHES "^(kernels|config|sampler|candidates)$")
                ds4_test(${room} ${noun}-device ${test} ${stubs} ${CMAKE_SOURCE_DIR}/tests/backend/mock_device.c)
                target_compile_definitions(test-${room}-${noun}-device PRIVATE TEST_MOCK_DEVICE)
            endif()
        endforeach()
    endforeach()
    # tests/base/test_pool.c holds threads back at their start, and moves the clock.
    target_link_options(test-backend-ops PRIVATE LINKER:--wrap=pool_run) # it counts tasks
    target_link_options(test-backend-ops-device PRIVATE LINKER:--wrap=pool_run)
    target_link_options(test-base-pool PRIVATE LINKER:--wrap=pthread_create,--wrap=clock_monotonic_us)
endfunction()

# bench/kv_NOUN.c -> bench-kv-NOUN, built on demand: cmake --build build --target bench-kv-locks
function(ds4_benches)
    file(GLOB benches CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/kv_*.c)
    foreach(bench ${benches})
        get_filename_component(name ${bench} NAME_WE)
        string(REPLACE "_" "-" name ${name})
        add_executable(bench-${name} EXCLUDE_FROM_ALL ${bench})
        target_link_libraries(bench-${name} PRIVATE ds4_kv ds4_options)
        set_target_properties(bench-${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
    endforeach()
    target_link_options(bench-kv-locks PRIVATE # it measures how long locks are held
        LINKER:--wrap=pthread_mutex_lock,--wrap=pthread_mutex_unlock,--wrap=pthread_cond_wait,--wrap=pthread_cond_timedwait)
    if(DS4_TESTS) # their support library has the vocabulary
        add_executable(bench-grammar EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/grammar.c)
        target_link_libraries(bench-grammar PRIVATE ds4_chat ds4_test_support ds4_options)
        set_target_properties(bench-grammar PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
    endif()
endfunction()

# Tests written in Python: the structure of the sources, the installed tree, and tests/cli/test_*.py, which drive programs of
# this build (DS4_BUILD names the folder).
function(ds4_script_tests)
    if(NOT DS4_FAULTS) # the sources are the same in every build; what a release must not hold shows in a release
        add_test(NAME structure/sources COMMAND ${DS4_TEST_PYTHON} ${CMAKE_SOURCE_DIR}/tests/structure/check_structure.py
            --release $<TARGET_FILE:ds4_base> --program $<TARGET_FILE:ds4-server> --nm ${CMAKE_NM})
        add_test(NAME structure/rules COMMAND ${DS4_TEST_PYTHON} ${CMAKE_SOURCE_DIR}/tests/structure/test_structure.py)
    endif()
    file(GLOB scripts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/cli/test_*.py)
    foreach(script ${scripts})
        get_filename_component(name ${script} NAME_WE)
        string(REPLACE "test_" "" noun ${name})
        add_test(NAME cli/${noun} COMMAND ${DS4_WATCHDOG} ${DS4_TEST_PYTHON} ${script})
        set_tests_properties(cli/${noun} PROPERTIES ENVIRONMENT
            "DS4_BUILD=${CMAKE_BINARY_DIR};XDG_CACHE_HOME=${CMAKE_BINARY_DIR}/scratch/cache") # no test in the user's cache
    endforeach()
    # What `make check` leaves to `make test`: tests that take many seconds.
    set_tests_properties(cli/exactness PROPERTIES LABELS slow)
    if(NOT DS4_FAULTS)
        set_tests_properties(structure/rules PROPERTIES LABELS slow)
    endif()
    if(NOT DS4_SANITIZE) # a program without the sanitizer cannot load a library that has it
        add_test(NAME api/install COMMAND ${DS4_WATCHDOG} ${DS4_TEST_PYTHON} ${CMAKE_SOURCE_DIR}/tests/api/test_install.py)
        set_tests_properties(api/install PROPERTIES ENVIRONMENT "DS4_BUILD=${CMAKE_BINARY_DIR};CC=${CMAKE_C_COMPILER}")
    endif()
endfunction()

# tests/fuzz/fuzz_NOUN.c defines LLVMFuzzerTestOneInput; corpora are in tests/fuzz/corpus/NOUN.
function(ds4_fuzzers)
    file(GLOB fuzzers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz_*.c)
    foreach(fuzzer ${fuzzers})
        get_filename_component(name ${fuzzer} NAME_WE)
        string(REPLACE "_" "-" target ${name})
        add_executable(${target} ${fuzzer})
        target_link_libraries(${target} PRIVATE ds4_test_support ds4_server ds4_options -fsanitize=fuzzer)
        target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
        target_compile_definitions(${target} PRIVATE TEST_DATA="${CMAKE_SOURCE_DIR}/tests/data"
            TEST_MODELS="${CMAKE_SOURCE_DIR}/models")
        set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
    endforeach()
endfunction()
