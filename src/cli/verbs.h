// SPDX-License-Identifier: Apache-2.0
// The command's verbs, one file each. main.cc fills the options from the command line; each verb returns the exit
// status, or throws Failure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace causeway::cli {

struct UpOptions {
  std::optional<std::string> name;  // else the configuration's
  std::string config;
  bool foreground = false;
  bool verbose = false;
};
int Up(const UpOptions& options);

struct DownOptions {
  std::optional<std::string> name;
  bool all = false;
};
int Down(const DownOptions& options);

struct QueryOptions {
  std::optional<std::string> name;
  bool json = false;
};
int Ps(const QueryOptions& options);
int Explain(const QueryOptions& options);
int Links(const QueryOptions& options);

struct InjectOptions {
  std::optional<std::string> name;
  bool json = false;
  bool list = false;
  std::string device, fault;
  std::optional<std::string> address;  // decimal or 0x...
  std::optional<uint32_t> engine, stream, index, event;
  std::optional<int64_t> celsius;
  std::optional<uint64_t> after;
  std::optional<std::string> at;
  bool write = false, uncorrectable = false, critical = false;
};
int Inject(const InjectOptions& options);

struct TopOptions {
  std::optional<std::string> name;
  bool json = false;
  double interval = 1;  // seconds
};
int Top(const TopOptions& options);

struct RunOptions {
  std::optional<std::string> name;
  std::string config;  // not "": a private machine made from this file
  bool verbose = false;
  std::vector<std::string> program;  // PROG ARGS...
};
int Run(const RunOptions& options);

enum class Shell { kPosix, kCsh, kFish };
struct EnvOptions {
  std::optional<std::string> name;
  Shell shell = Shell::kPosix;
};
int Env(const EnvOptions& options);

struct ConfigOptions {
  std::string check;  // file to check; "": print the built-in machine
};
int Config(const ConfigOptions& options);

struct DemoOptions {
  std::string file;
  std::string size = "256M";
  bool json = false;
};
int Demo(const DemoOptions& options);

}  // namespace causeway::cli
