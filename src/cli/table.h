// SPDX-License-Identifier: Apache-2.0
// Tables and amounts as people read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace causeway::cli {

enum class Align { kLeft, kRight };

// Columns two blanks apart, as wide as their widest cell; no trailing blanks.
class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // Missing cells are empty. Precondition: not more cells than columns.
  void Add(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  std::string Render(std::string_view indent = "") const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "0", "512 B", "1.50 GiB", "96 GiB": three significant digits, exact multiples without a fraction.
std::string FormatBytes(uint64_t bytes);
// A terminal, a log or a file may not like what is in other people's text: control characters become '?'.
std::string Printable(std::string_view text);

}  // namespace causeway::cli
