// SPDX-License-Identifier: Apache-2.0
// Sequences of uverbs write commands, plain and extended, on one file, with what a program does between them.
#include "tests/fuzz/uverbs_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static auto* const bench = new causeway::fuzz::UverbsFuzz;
  causeway::fuzz::Input in(data, size);
  bench->Run(in, [&] {
    if (in.Byte() < 0xd0) {
      bench->WriteStep(in);
    } else {
      bench->OtherStep(in);
    }
  });
  return 0;
}
