// SPDX-License-Identifier: Apache-2.0
// causeway config: shows the built-in machine, or checks a file.
#include "cli/failure.h"
#include "cli/verbs.h"
#include "config/config.h"

namespace causeway::cli {

int Config(const ConfigOptions& options) {
  if (options.check.empty()) {
    fmt::print("{}", config::DefaultConfigText());
    return 0;
  }
  const config::ParseOutcome outcome = config::LoadConfig(options.check);
  for (const config::ConfigError& error : outcome.errors) fmt::print(stderr, "{}\n", error.ToString());
  if (!outcome.config) return kExitFailure;
  fmt::print("{}: machine '{}', {} accelerators, {} NICs: well\n", options.check, outcome.config->name,
             outcome.config->accelerators.size(), outcome.config->nics.size());
  return 0;
}

}  // namespace causeway::cli
