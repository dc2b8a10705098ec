// SPDX-License-Identifier: Apache-2.0
// The causeway command: its command line, and how it ends.
#include <fmt/core.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "cli/failure.h"
#include "cli/installation.h"
#include "cli/program.h"
#include "cli/verbs.h"

namespace causeway::cli {
namespace {

using Verb = std::function<int()>;

// A verb's line in the help, its examples, and what runs when it is chosen.
CLI::App* AddVerb(CLI::App& app, Verb& chosen, const char* name, const char* help, const char* examples, Verb verb) {
  CLI::App* sub = app.add_subcommand(name, help);
  sub->footer(std::string("Examples:\n") + examples);
  sub->callback([&chosen, verb = std::move(verb)] { chosen = verb; });
  return sub;
}

// "run" takes its own options up to PROG; everything from there on is PROG's, whatever it looks like.
std::vector<std::string> TakeProgram(const std::vector<std::string>& words, size_t run_at, size_t* program_at) {
  constexpr const char* kWithValue[] = {"--name", "-n", "--config", "-c"};
  size_t at = run_at + 1;
  while (at < words.size() && words[at].size() > 1 && words[at][0] == '-') {
    if (words[at] == "--") {
      *program_at = at;
      return {words.begin() + static_cast<std::ptrdiff_t>(at) + 1, words.end()};
    }
    bool has_value = false;
    for (const char* option : kWithValue) has_value = has_value || words[at] == option;
    at += has_value ? 2 : 1;
  }
  at = std::min(at, words.size());
  *program_at = at;
  return {words.begin() + static_cast<std::ptrdiff_t>(at), words.end()};
}

// *asked: the verb, once it is known to be one.
int RunCommand(std::vector<std::string> words, std::string* asked) {
  CLI::App app{"Causeway: accelerators and RDMA NICs that are not there, at the Linux user API.", "causeway"};
  app.set_version_flag("--version", std::string("causeway ") + CAUSEWAY_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  causeway demo                              RDMA between two accelerators' memories\n"
      "  causeway run -- ibv_devinfo                any program, on a machine of its own\n"
      "  causeway up && eval \"$(causeway env)\"      every program of this shell, on one machine\n\n"
      "`causeway VERB --help` says more of each.");
  Verb chosen;

  UpOptions up;
  CLI::App* verb = AddVerb(app, chosen, "up", "start a machine that stays until `causeway down`",
                           "  causeway up\n"
                           "  causeway up --name lab --config lab.toml\n"
                           "  causeway up --foreground -v",
                           [&] { return Up(up); });
  verb->add_option("-n,--name", up.name, "the machine's name (default: the configuration's, \"default\")");
  verb->add_option("-c,--config", up.config, "machine description (default: the built-in one, `causeway config`)");
  verb->add_flag("-f,--foreground", up.foreground, "stay, log to the terminal, end on ^C");
  verb->add_flag("-v,--verbose", up.verbose, "log debug messages too");

  DownOptions down;
  verb = AddVerb(app, chosen, "down", "end a machine",
                 "  causeway down\n"
                 "  causeway down --name lab\n"
                 "  causeway down --all",
                 [&] { return Down(down); });
  CLI::Option* down_name = verb->add_option("-n,--name", down.name, "which machine (default: \"default\")");
  verb->add_flag("-a,--all", down.all, "every machine that `causeway up` started")->excludes(down_name);

  const auto add_query = [&](CLI::App* query, QueryOptions& options, const char* name_help) {
    query->add_option("-n,--name", options.name, name_help);
    query->add_flag("-j,--json", options.json, "one JSON document");
  };
  constexpr const char* kWhich = "which machine (default: the one of this shell, else \"default\")";

  QueryOptions ps;
  verb = AddVerb(app, chosen, "ps", "show machines, their programs and what those hold",
                 "  causeway ps\n"
                 "  causeway ps --name lab --json",
                 [&] { return Ps(ps); });
  add_query(verb, ps, "only this machine");

  RunOptions run;
  verb = AddVerb(app, chosen, "run", "run a program on a machine",
                 "  causeway run -- ibv_devinfo -v\n"
                 "  causeway run --config lab.toml -- ./my_program --its-own-option\n"
                 "  causeway run --name lab -- ib_write_bw -d rxe0\n\n"
                 "Without --name: the machine of this shell (`causeway env`), else \"default\" if it is up, else one\n"
                 "that is made for PROG and removed when PROG ends. The exit status is PROG's, 128 + N when signal N\n"
                 "ended it, 127 when it is not found, 126 when it cannot be executed or served.",
                 [&] { return Run(run); });
  verb->add_option("-n,--name", run.name, "a machine that is up");
  verb->add_option("-c,--config", run.config, "a machine made for PROG from this description");
  verb->add_flag("-v,--verbose", run.verbose, "a machine made for PROG logs debug messages too");
  // For the help only: TakeProgram() has taken these words away.
  verb->add_option("PROG", run.program, "the program and its arguments; a -- may stand before it");

  EnvOptions env;
  verb = AddVerb(app, chosen, "env", "print what a shell exports to put its programs on a machine",
                 "  eval \"$(causeway env)\"\n"
                 "  causeway env --name lab --fish | source",
                 [&] { return Env(env); });
  verb->add_option("-n,--name", env.name, kWhich);
  CLI::Option* fish = verb->add_flag_callback(
      "--fish", [&] { env.shell = Shell::kFish; }, "for fish");
  verb->add_flag_callback(
          "--csh", [&] { env.shell = Shell::kCsh; }, "for csh and tcsh")
      ->excludes(fish);

  DemoOptions demo;
  verb = AddVerb(app, chosen, "demo", "RDMA between two accelerators' memories, with the way each transfer took",
                 "  causeway demo\n"
                 "  causeway demo picture.png\n"
                 "  causeway demo --size 1G --json",
                 [&] { return Demo(demo); });
  CLI::Option* file = verb->add_option("FILE", demo.file, "move this file's bytes instead of pseudo-random data");
  verb->add_option("-s,--size", demo.size, "how much pseudo-random data; suffixes K, M, G (default: 256M)")
      ->excludes(file);
  verb->add_flag("-j,--json", demo.json, "one JSON document");

  ConfigOptions config;
  verb = AddVerb(app, chosen, "config", "print the built-in machine description, or check one",
                 "  causeway config > lab.toml\n"
                 "  causeway config --check lab.toml",
                 [&] { return Config(config); });
  verb->add_option("--check", config.check, "say what is wrong with this file");

  QueryOptions explain;
  verb = AddVerb(app, chosen, "explain", "say why the machine refused what it last refused",
                 "  causeway explain\n"
                 "  causeway explain --name lab --json",
                 [&] { return Explain(explain); });
  add_query(verb, explain, kWhich);

  QueryOptions links;
  verb = AddVerb(app, chosen, "links", "bytes per PCIe link and per route",
                 "  causeway links\n"
                 "  causeway links --json",
                 [&] { return Links(links); });
  add_query(verb, links, kWhich);

  InjectOptions inject;
  verb = AddVerb(app, chosen, "inject", "make an accelerator fail: ECC, page fault, heartbeat, reset ...",
                 "  causeway inject --list\n"
                 "  causeway inject gaudi0 ecc --uncorrectable\n"
                 "  causeway inject accel0 page-fault --address 0xfff0000100200000 --engine 45\n"
                 "  causeway inject gaudi1 reset --at submit --after 3\n"
                 "  causeway inject gaudi1 thermal --celsius 80 --json\n\n"
                 "The fault goes in where the hardware would report it; programs see what the driver makes of it:\n"
                 "events, error records, errno, a reset. Other devices and programs go on.",
                 [&] { return Inject(inject); });
  verb->add_option("DEVICE", inject.device, "name, node or bus address: gaudi0, /dev/accel/accel0, 0000:03:00.0");
  verb->add_option("FAULT", inject.fault, "which fault (--list)");
  verb->add_option("-n,--name", inject.name, kWhich);
  verb->add_flag("-j,--json", inject.json, "one JSON document");
  verb->add_flag("-l,--list", inject.list, "list the faults and their options");
  verb->add_option("--address", inject.address, "page-fault, razwi: the address");
  verb->add_option("--engine", inject.engine, "whose fault it is: engine id (default: the first PCI DMA)");
  verb->add_option("--stream", inject.stream, "undefined-opcode: 0 to 3, 4 for the lower CP");
  verb->add_option("--index", inject.index, "ecc: the HBM stack");
  verb->add_option("--celsius", inject.celsius, "thermal: degrees more (default 60)");
  verb->add_option("--event", inject.event, "event: its number");
  verb->add_option("--at", inject.at, "reset: now or submit");
  verb->add_option("--after", inject.after, "reset: at the Nth command submission from now on (default 1)");
  verb->add_flag("--write", inject.write, "razwi: a write");
  verb->add_flag("--uncorrectable", inject.uncorrectable, "ecc: cannot be corrected");
  verb->add_flag("--critical", inject.critical, "event: the firmware says it is critical");

  TopOptions top;
  verb = AddVerb(app, chosen, "top", "live view of devices, engines, memory, links and queue pairs",
                 "  causeway top\n"
                 "  causeway top --name lab --interval 0.5\n"
                 "  causeway top --json | jq .accelerators\n\n"
                 "Ends with q or ^C. With --json, or when the output is no terminal, it looks once over one interval.",
                 [&] { return Top(top); });
  verb->add_option("-n,--name", top.name, kWhich);
  verb->add_flag("-j,--json", top.json, "one JSON document");
  verb->add_option("-i,--interval", top.interval, "seconds between two looks (default 1)")
      ->check(CLI::Range(0.1, 3600.0));

  const auto has_verb = [&](const std::string& name) {
    return !app.get_subcommands([&](CLI::App* each) { return each->get_name() == name; }).empty();
  };
  if (words.empty()) {
    fmt::print(stderr, "{}", app.help());
    return kExitUsage;
  }
  if (words[0].empty() || (words[0][0] != '-' && !has_verb(words[0]))) {
    Fail(kExitUsage, "there is no verb '{}'; `causeway --help` lists them", words[0]);
  }
  if (words[0][0] != '-') *asked = words[0];
  if (words[0] == "run") {
    size_t program_at = words.size();
    run.program = TakeProgram(words, 0, &program_at);
    words.resize(program_at);
  }
  try {
    std::vector<std::string> reversed(words.rbegin(), words.rend());  // CLI11 takes its words from the back
    app.parse(std::move(reversed));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // help, version
    Fail(kExitUsage, "{}; `causeway {}--help` says more", error.what(), asked->empty() ? "" : *asked + " ");
  }
  return chosen();
}

// Inside `run` or `env` this command has the library preloaded like any program. A machine that it starts must see the
// real system, so it begins again without it; CAUSEWAY_MACHINE still says where it is.
void ShedLibrary(char** argv) {
  const char* preload = std::getenv("LD_PRELOAD");
  if (preload == nullptr || std::strstr(preload, "libcauseway.so") == nullptr) return;
  std::string rest = PreloadFor({}, "libcauseway.so", preload);
  rest.erase(0, rest.find(':') == std::string::npos ? rest.size() : rest.find(':') + 1);
  if (rest.empty()) {
    ::unsetenv("LD_PRELOAD");
  } else {
    ::setenv("LD_PRELOAD", rest.c_str(), 1);
  }
  ::execv("/proc/self/exe", argv);
  // It did not work: go on with it; only machines started from here would notice.
}

}  // namespace
}  // namespace causeway::cli

int main(int argc, char** argv) {
  using namespace causeway::cli;
  std::string verb;
  const auto say = [&verb](const char* what) {
    fmt::print(stderr, "causeway{}{}: {}\n", verb.empty() ? "" : " ", verb, what);
  };
  try {
    ShedLibrary(argv);
    return RunCommand({argv + 1, argv + argc}, &verb);
  } catch (const Failure& failure) {
    say(failure.what());
    return failure.status();
  } catch (const std::exception& error) {
    say(error.what());
    return kExitFailure;
  }
}
