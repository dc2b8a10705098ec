// SPDX-License-Identifier: Apache-2.0
// Sources: linux v6.12 drivers/accel/habanalabs/common/habanalabs_ioctl.c hl_debug_ioctl(), debug_coresight();
// gaudi/gaudi_coresight.c, gaudi2/gaudi2_coresight.c gaudi..._debug_coresight().
#include "drivers/habanalabs/debug.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

namespace causeway::habanalabs {
namespace {

constexpr uint32_t kStructSize[] = {sizeof(uapi::hl_debug_params_etr),
                                    sizeof(uapi::hl_debug_params_etr),
                                    uapi::kHlDebugStmSize,
                                    0,
                                    uapi::kHlDebugBmonSize,
                                    sizeof(uapi::hl_debug_params_spmu),
                                    0};
constexpr uint32_t kMaxOutput = 4u << 20;  // KMALLOC_MAX_SIZE: a larger kzalloc() fails
constexpr uint32_t kSpmuMaxCounters = 6;   // SPMU_MAX_COUNTERS

// How many components of a kind there are; reg_idx names one. Gaudi: enum gaudi_debug_..._regs_index. Gaudi2 has more
// of each; its bounds are not looked at.
struct Components {
  uint32_t etf, stm, funnel, bmon, spmu;
};
constexpr Components kGaudiComponents = {.etf = 48, .stm = 46, .funnel = 76, .bmon = 121, .spmu = 40};
constexpr Components kGaudi2Components = {
    .etf = UINT32_MAX, .stm = UINT32_MAX, .funnel = UINT32_MAX, .bmon = UINT32_MAX, .spmu = UINT32_MAX};

// gaudi_etr_validate_address(), gaudi2_etr_validate_address(): host, device or SRAM memory, whole.
bool IsEtrBuffer(const AsicProperties& properties, uint64_t address, uint64_t size) {
  const auto inside = [&](uint64_t start, uint64_t end) {
    return address >= start && address < end && size <= end - address;
  };
  if (properties.asic == gaudi::Asic::kGaudi && address >> 50 != 0) return false;
  return inside(properties.host.start, properties.host.end) ||
         inside(properties.dram_user_base_address, properties.dram_end_address) ||
         (properties.dram_supports_virtual_memory && inside(properties.dram.start, properties.dram.end)) ||
         inside(properties.sram_user_base_address, properties.sram_user_base_address + properties.sram_user_size);
}

Status Etr(const AsicProperties& properties, const uapi::hl_debug_args& args, std::span<const std::byte> input) {
  if (args.enable == 0) return {};
  if (input.empty()) return Err(EINVAL);
  uapi::hl_debug_params_etr params;
  std::memcpy(&params, input.data(), sizeof(params));
  if (params.buffer_size == 0) return Err(EINVAL);
  if (!IsEtrBuffer(properties, params.buffer_address, params.buffer_size)) return Err(EINVAL);
  return {};
}

Status Spmu(const uapi::hl_debug_args& args, std::span<const std::byte> input, size_t output_size) {
  if (args.enable != 0) {
    if (input.empty()) return Err(EINVAL);
    uapi::hl_debug_params_spmu params;
    std::memcpy(&params, input.data(), sizeof(params));
    if (params.event_types_num < 3 || params.event_types_num > kSpmuMaxCounters) return Err(EINVAL);
    return {};
  }
  // The events' counters, then overflow and cycles.
  const size_t values = output_size / sizeof(uint64_t);
  if (values < 3 || values - 2 > kSpmuMaxCounters) return Err(EINVAL);
  return {};
}

Status Component(const AsicProperties& properties, const uapi::hl_debug_args& args, std::span<const std::byte> input,
                 size_t output_size) {
  const Components& count = properties.asic == gaudi::Asic::kGaudi ? kGaudiComponents : kGaudi2Components;
  const auto configure = [&](uint32_t components) -> Status {
    if (args.reg_idx >= components) return Err(EINVAL);
    if (args.enable != 0 && input.empty()) return Err(EINVAL);
    return {};
  };
  switch (args.op) {
    case uapi::kHlDebugEtr: return Etr(properties, args, input);
    case uapi::kHlDebugEtf: return configure(count.etf);
    case uapi::kHlDebugStm: return configure(count.stm);
    case uapi::kHlDebugBmon: return configure(count.bmon);
    case uapi::kHlDebugFunnel:
      if (args.reg_idx >= count.funnel) return Err(EINVAL);
      return {};
    case uapi::kHlDebugSpmu:
      if (args.reg_idx >= count.spmu) return Err(EINVAL);
      return Spmu(args, input, output_size);
    default: return {};  // TIMESTAMP: set up by the driver itself
  }
}

// debug_coresight().
Status DebugCoresight(HlFile& file, kernel::Task& task, uapi::hl_debug_args& args) {
  args.input_size = std::min(args.input_size, kStructSize[args.op]);
  std::vector<std::byte> input;
  if (args.input_ptr != 0 && args.input_size != 0) {
    input.resize(kStructSize[args.op]);
    CW_CHECK(task.memory().CopyFrom(std::span(input).first(args.input_size), args.input_ptr));
  }
  std::vector<std::byte> output;
  if (args.output_ptr != 0 && args.output_size != 0) {
    if (args.output_size > kMaxOutput) return Err(ENOMEM);
    output.resize(args.output_size);
  }
  CW_CHECK(Component(file.device().properties(), args, input, output.size()));
  if (output.empty()) return {};
  return task.memory().CopyTo(args.output_ptr, output);
}

}  // namespace

Status DebugIoctl(HlFile& file, kernel::Task& task, uapi::hl_debug_args& args) {
  HlDevice& device = file.device();
  if (!device.operational()) return Err(EBUSY);
  if (args.op == uapi::kHlDebugSetMode) return device.SetDebugMode(args.enable != 0);
  if (args.op > uapi::kHlDebugSetMode) return Err(EINVAL);
  if (!device.in_debug()) return Err(EFAULT);
  return DebugCoresight(file, task, args);
}

}  // namespace causeway::habanalabs
