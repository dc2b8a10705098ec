// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <string>

namespace causeway::log {
namespace {

spdlog::level::level_enum ToSpdlog(Level level) {
  switch (level) {
    case Level::kDebug: return spdlog::level::debug;
    case Level::kInfo: return spdlog::level::info;
    case Level::kWarn: return spdlog::level::warn;
    case Level::kError: return spdlog::level::err;
  }
  return spdlog::level::err;
}

}  // namespace

void Configure(std::string_view path, Level level) {
  auto logger =
      path.empty() ? spdlog::stderr_color_mt("causeway") : spdlog::basic_logger_mt("causeway", std::string(path));
  logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %L %v");
  logger->set_level(ToSpdlog(level));
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

void Write(Level level, std::string_view message) { spdlog::log(ToSpdlog(level), message); }

bool Enabled(Level level) { return spdlog::should_log(ToSpdlog(level)); }

}  // namespace causeway::log
