// SPDX-License-Identifier: Apache-2.0
// What `causeway top` shows, from two answers of the op "top": rates, and the text for a terminal of a given size.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace causeway::cli {

// The later answer, with what was added per second: submissions_per_second of accelerators, sent_per_second and
// received_per_second (packets) of NICs, bytes_per_second of links, and "seconds" between the two.
nlohmann::ordered_json WithRates(const nlohmann::ordered_json& before, const nlohmann::ordered_json& after);

struct TerminalSize {
  size_t columns = 80, rows = 24;  // rows 0: as many as there are
};
// Lines of at most `columns` characters, at most `rows` of them, each ended by '\n'. What does not fit in a line is
// cut; when rows run out, the last one says how many are missing.
std::string RenderTop(const std::string& machine, const nlohmann::ordered_json& sample, const TerminalSize& size);

}  // namespace causeway::cli
