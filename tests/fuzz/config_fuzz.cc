// SPDX-License-Identifier: Apache-2.0
// The machine's TOML file: every text gives a config or errors with a place in the text, and a config can be built.
#include "base/checked.h"
#include "config/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace causeway;  // NOLINT
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto outcome = config::ParseConfig(text, "machine.toml");
  CW_INVARIANT(outcome.config.has_value() == outcome.errors.empty());
  for (const auto& error : outcome.errors) CW_INVARIANT(!error.message.empty() && !error.ToString().empty());
  if (outcome.config) CW_INVARIANT(config::BuildTopology(*outcome.config) != nullptr);
  return 0;
}
