# SPDX-License-Identifier: Apache-2.0
# One room, one target, its unit tests. Warnings and sanitizers come from causeway_options.

option(CAUSEWAY_WERROR "Warnings are errors (on in CI)" OFF)
set(CAUSEWAY_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize= (address,undefined or thread)")
option(CAUSEWAY_FUZZ "Fuzz targets search, by libFuzzer (clang; target fuzz_targets is all that is to be built)" OFF)

add_library(causeway_options INTERFACE)
target_compile_features(causeway_options INTERFACE cxx_std_23)
# -Wno-maybe-uninitialized: GCC 12 takes the error of a std::expected<void, E> that holds none for an uninitialised read.
target_compile_options(causeway_options INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wno-maybe-uninitialized -fno-strict-aliasing
  -Wno-missing-field-initializers  # designated initialisers that leave the rest at its default are our habit
  # A source of a unity build is no header, whatever GCC takes it for.
  $<$<BOOL:${CMAKE_UNITY_BUILD}>:-Wno-subobject-linkage>
  $<$<BOOL:${CAUSEWAY_WERROR}>:-Werror>)
target_include_directories(causeway_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
if(CAUSEWAY_SANITIZE)
  target_compile_options(causeway_options INTERFACE -fsanitize=${CAUSEWAY_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  target_link_options(causeway_options INTERFACE -fsanitize=${CAUSEWAY_SANITIZE})
endif()
# Of test sources: what a sanitizer adds to them makes them slow to optimise, and little of the run's time is spent there.
set(CAUSEWAY_TEST_OPTIONS)
if(CAUSEWAY_SANITIZE)
  set(CAUSEWAY_TEST_OPTIONS -O0)
endif()
if(CAUSEWAY_SANITIZE MATCHES "thread")
  # GCC says of each std::atomic_thread_fence() that the sanitizer does not know it: it may report what is in order.
  target_compile_options(causeway_options INTERFACE -Wno-tsan)
endif()
if(CAUSEWAY_FUZZ)
  target_compile_options(causeway_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# causeway_module(base SRCS log.cc DEPS fmt::fmt TESTS checked_test.cc)
# makes causeway_base, and base_test when tests are built. Without SRCS the module is its headers.
function(causeway_module name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SRCS;DEPS;TESTS;TEST_DEPS")
  if(arg_SRCS)
    add_library(causeway_${name} STATIC ${arg_SRCS})
    target_link_libraries(causeway_${name} PUBLIC ${arg_DEPS} causeway_options)
  else()
    add_library(causeway_${name} INTERFACE)
    target_link_libraries(causeway_${name} INTERFACE ${arg_DEPS} causeway_options)
  endif()
  if(BUILD_TESTING AND arg_TESTS)
    add_executable(${name}_test ${arg_TESTS})
    target_link_libraries(${name}_test PRIVATE causeway_${name} ${arg_TEST_DEPS} GTest::gmock GTest::gtest_main)
    target_compile_options(${name}_test PRIVATE ${CAUSEWAY_TEST_OPTIONS})
    gtest_discover_tests(${name}_test PROPERTIES LABELS unit DISCOVERY_TIMEOUT 60)
  endif()
endfunction()
