// SPDX-License-Identifier: Apache-2.0
#include "machine/reports.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/checked.h"
#include "ipc/channel.h"
#include "uapi/habanalabs.h"

namespace causeway::machine {
namespace {

using Json = nlohmann::ordered_json;

// Resident set of this process, /proc/self/statm.
uint64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * kPageSize;
}

Json Version() { return {{"version", CAUSEWAY_VERSION}, {"protocol", ipc::kProtocolVersion}, {"pid", ::getpid()}}; }

Json Nics(const ReportSources& s) {
  const auto contexts = s.infiniband.Contexts();
  Json nics = Json::array();
  for (const auto& device : s.infiniband.Devices()) {
    size_t open = 0, pds = 0, mrs = 0, cqs = 0, qps = 0;
    Json openers = Json::array();
    for (const auto& context : contexts) {
      if (context.device != device.name) continue;
      ++open;
      pds += context.pds;
      mrs += context.mrs;
      cqs += context.cqs;
      qps += context.qps;
      openers.push_back(context.pid);
    }
    nics.push_back({{"name", device.name},
                    {"at", device.function->bdf().ToString()},
                    {"node", device.node},
                    {"netdev", device.netdev},
                    {"contexts", open},
                    {"pds", pds},
                    {"mrs", mrs},
                    {"cqs", cqs},
                    {"qps", qps},
                    {"opened_by", std::move(openers)}});
  }
  return nics;
}

Json RdmaCm(const ReportSources& s) {
  const auto counts = s.rdma_cm.Count();
  return {
      {"ids", counts.ids}, {"listening", counts.listening}, {"connected", counts.connected}, {"groups", counts.groups}};
}

Json Counters(const roce::NicCounters& counters) {
  const auto value = [](const std::atomic<uint64_t>& counter) { return counter.load(std::memory_order_relaxed); };
  return {{"sent_pkts", value(counters.sent_pkts)},
          {"rcvd_pkts", value(counters.rcvd_pkts)},
          {"duplicate_request", value(counters.duplicate_request)},
          {"out_of_seq_request", value(counters.out_of_seq_request)},
          {"rcvd_rnr_err", value(counters.rcvd_rnr_err)},
          {"send_rnr_err", value(counters.send_rnr_err)},
          {"rcvd_seq_err", value(counters.rcvd_seq_err)},
          {"ack_deferred", value(counters.ack_deferred)},
          {"retry_exceeded_err", value(counters.retry_exceeded_err)},
          {"retry_rnr_exceeded_err", value(counters.retry_rnr_exceeded_err)},
          {"completer_retry_err", value(counters.completer_retry_err)},
          {"send_err", value(counters.send_err)},
          {"link_downed", value(counters.link_downed)},
          {"rdma_sends", value(counters.rdma_sends)},
          {"rdma_recvs", value(counters.rdma_recvs)}};
}

// One row per region of host memory, with the way its peers reach it.
Json HostRegions(const ReportSources& s) {
  std::map<uint32_t, std::string> names;
  for (const auto& device : s.infiniband.Devices()) names[device.nic] = device.name;
  Json regions = Json::array();
  for (const auto& region : s.nics.HostRegions()) {
    const char* const way = region.shared_bytes == region.length ? "shared"
                            : region.shared_bytes == 0           ? "process_vm"
                                                                 : "both";
    regions.push_back({{"pid", region.pid},
                       {"nic", names[region.nic]},
                       {"lkey", fmt::format("{:#x}", region.key)},
                       {"address", fmt::format("{:#x}", region.address)},
                       {"size", region.length},
                       {"way", way}});
  }
  return regions;
}

Json Ps(const ReportSources& s) {
  const auto files = s.files.List();
  Json programs = Json::array();
  for (const auto& program : s.server.Programs()) {
    Json names = Json::array();
    for (const auto& file : files) {
      if (file.opener == program.pid) names.push_back(file.name);
    }
    programs.push_back(
        {{"pid", program.pid}, {"command", program.comm}, {"threads", program.threads}, {"files", std::move(names)}});
  }
  Json open = Json::array();
  for (const auto& file : files) open.push_back({{"pid", file.opener}, {"name", file.name}});

  Json accelerators = Json::array();
  for (const auto& device : s.habanalabs.Report()) {
    accelerators.push_back({{"name", device.name},
                            {"type", device.type},
                            {"at", device.bdf},
                            {"node", device.node},
                            {"opened_by", device.opener == 0 ? Json() : Json(device.opener)},
                            {"used_bytes", device.dram_used},
                            {"memory_bytes", device.dram_size},
                            {"resident_bytes", device.hbm_resident},
                            {"dmabufs", device.dmabufs}});
  }
  Json gpus = Json::array();
  for (const auto& device : s.drm.Report()) {
    gpus.push_back({{"name", device.name},
                    {"at", device.bdf},
                    {"node", device.node},
                    {"used_bytes", device.used_bytes},
                    {"memory_bytes", device.vram_bytes}});
  }
  return {{"pid", ::getpid()},
          {"resident_bytes", ResidentBytes()},
          {"host_memory_bytes", s.memories.resident_bytes(ipc::kHostMemory)},
          {"programs", std::move(programs)},
          {"files", std::move(open)},
          {"accelerators", std::move(accelerators)},
          {"nics", Nics(s)},
          {"gpus", std::move(gpus)},
          {"rdma_cm", RdmaCm(s)},
          {"mrs", HostRegions(s)}};
}

Json Hops(const std::vector<pci::Hop>& hops) {
  Json list = Json::array();
  for (const auto& hop : hops) list.push_back({{"from", hop.from}, {"to", hop.to}});
  return list;
}

Json Links(const ReportSources& s) {
  Json links = Json::array();
  for (const auto& link : s.bus.Links()) {
    links.push_back({{"from", link.from}, {"to", link.to}, {"bytes", link.bytes}});
  }
  return {{"links", std::move(links)}};
}

Json Routes(const ReportSources& s) {
  Json routes = Json::array();
  for (const auto& route : s.bus.Routes()) {
    routes.push_back({{"initiator", route.initiator},
                      {"target", route.target},
                      {"bytes_read", route.bytes_read},
                      {"bytes_written", route.bytes_written},
                      {"crosses_host_memory", s.bus.CrossesHostMemory(route.route)},
                      {"hops", Hops(route.hops)}});
  }
  return {{"routes", std::move(routes)}};
}

Json Explain(const ReportSources& s) {
  Json refusals = Json::array();
  for (const auto& refusal : s.refusals.Snapshot()) {
    const std::chrono::duration<double> since = refusal.time.time_since_epoch();
    refusals.push_back({{"time", since.count()},
                        {"what", refusal.what},
                        {"rule", refusal.rule},
                        {"provider", refusal.provider},
                        {"client", refusal.client},
                        {"remedy", refusal.remedy}});
  }
  return {{"refusals", std::move(refusals)}};
}

Json Stats(const ReportSources& s) {
  uint32_t threads = 0;
  for (const auto& program : s.server.Programs()) threads += program.threads;
  Json memories = Json::array();
  for (uint32_t memory = 0; memory < s.memories.count(); ++memory) {
    memories.push_back({{"name", s.memories.name(memory)},
                        {"bytes", s.memories.size(memory)},
                        {"resident_bytes", s.memories.resident_bytes(memory)}});
  }
  Json nics = Json::object();
  for (const auto& device : s.infiniband.Devices()) nics[device.name] = Counters(s.nics.counters(device.nic));
  return {{"threads", threads},
          {"free_slots", s.server.free_slots()},
          {"files", s.files.size()},
          {"memories", std::move(memories)},
          {"nics", std::move(nics)}};
}

// Counters that only grow, and states: what two looks make rates of.
Json Top(const ReportSources& s) {
  const auto or_null = [](const auto& value) { return value ? Json(*value) : Json(); };
  Json accelerators = Json::array();
  for (const auto& device : s.habanalabs.Report()) {
    accelerators.push_back({{"name", device.name},
                            {"type", device.type},
                            {"status", device.status_name},
                            {"opened_by", device.opener == 0 ? Json() : Json(device.opener)},
                            {"used_bytes", device.dram_used},
                            {"memory_bytes", device.dram_size},
                            {"resident_bytes", device.hbm_resident},
                            {"dmabufs", device.dmabufs},
                            {"busy_engines", device.busy_engines},
                            {"power_mw", or_null(device.power_mw)},
                            {"temperature_mc", or_null(device.temperature_mc)},
                            {"clock_mhz", or_null(device.clock_mhz)},
                            {"active_submissions", device.active_cs},
                            {"submissions", device.completed_cs},
                            {"hard_resets", device.hard_resets}});
  }
  Json nics = Nics(s);
  size_t i = 0;
  for (const auto& device : s.infiniband.Devices()) {
    const roce::NicCounters& counters = s.nics.counters(device.nic);
    nics[i]["sent_pkts"] = counters.sent_pkts.load(std::memory_order_relaxed);
    nics[i]["rcvd_pkts"] = counters.rcvd_pkts.load(std::memory_order_relaxed);
    ++i;
  }
  const std::chrono::duration<double> time = std::chrono::steady_clock::now().time_since_epoch();
  Json top = {{"time", time.count()},
              {"programs", s.server.Programs().size()},
              {"files", s.files.size()},
              {"resident_bytes", ResidentBytes()},
              {"accelerators", std::move(accelerators)},
              {"nics", std::move(nics)}};
  top.update(Links(s));
  return top;
}

Json Config(const ReportSources& s) {
  std::ifstream file(s.folder + "/config.toml", std::ios::binary);
  if (!file) return {{"config", nullptr}};
  std::ostringstream text;
  text << file.rdbuf();
  return {{"config", text.str()}};
}

}  // namespace

std::map<std::string, ControlServer::Handler> ReportHandlers(const ReportSources& sources) {
  return {
      {"version", [](const auto&) { return Version(); }},
      {"ps", [sources](const auto&) { return Ps(sources); }},
      {"links", [sources](const auto&) { return Links(sources); }},
      {"routes", [sources](const auto&) { return Routes(sources); }},
      {"explain", [sources](const auto&) { return Explain(sources); }},
      {"stats", [sources](const auto&) { return Stats(sources); }},
      {"top", [sources](const auto&) { return Top(sources); }},
      {"config", [sources](const auto&) { return Config(sources); }},
  };
}

}  // namespace causeway::machine
