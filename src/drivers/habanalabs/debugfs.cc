// SPDX-License-Identifier: Apache-2.0
// Source: linux v6.12 drivers/accel/habanalabs/common/debugfs.c; hl_access_dev_mem() and the ASICs' memory regions.
#include "drivers/habanalabs/debugfs.h"

#include <fmt/format.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <span>

#include "drivers/habanalabs/engine_status.h"
#include "kernel/kstrto.h"

namespace causeway::habanalabs {
namespace {

constexpr uint32_t kMaxDmaSize = 128u << 20;  // SZ_128M

// struct hl_dbg_device_entry.
struct Entry {
  explicit Entry(HlDevice& of) : device(of) {}
  HlDevice& device;
  std::atomic<uint64_t> addr{0};
  std::atomic<bool> stop_on_err{true};
  std::mutex mutex;  // guards what follows
  std::string data_dma;
};

bool Inside(uint64_t address, uint64_t bytes, uint64_t start, uint64_t size) {
  return address >= start && bytes <= size && address - start <= size - bytes;
}

bool InReset(const HlDevice& device) {
  const auto status = device.status();
  return status == uapi::kHlStatusInReset || status == uapi::kHlStatusInResetAfterDeviceRelease;
}

// hl_is_device_va().
bool IsDeviceVa(const AsicProperties& properties, uint64_t address) {
  const auto in = [&](const VaRangeProperties& range) {
    return range.end != 0 && address >= range.start && address < range.end;
  };
  return (properties.dram_supports_virtual_memory && in(properties.dram)) || in(properties.host) ||
         in(properties.host_huge);
}

// hl_is_device_internal_memory_va().
bool IsInternalMemory(HlDevice& device, uint64_t address, uint64_t bytes) {
  const AsicProperties& properties = device.properties();
  const gaudi::AddressMap& map = device.board().map();
  const bool is_virtual = properties.dram_supports_virtual_memory;
  const uint64_t start = is_virtual ? properties.dram.start : properties.dram_base_address;
  const uint64_t end = is_virtual ? properties.dram.end : properties.dram_end_address;
  return Inside(address, bytes, start, end - start) || Inside(address, bytes, map.sram_base, map.sram_size);
}

// What hl_access_mem() does before it touches anything. True: registers.
Result<bool> Check(HlDevice& device, uint64_t address, uint32_t bytes) {
  const gaudi::AddressMap& map = device.board().map();
  if (IsDeviceVa(device.properties(), address)) {
    // device_va_to_pa(); a host page is reached only where no IOMMU stands before the device (device_iommu_mapped()).
    const auto kind = device.MappingAt(address, bytes);
    if (!kind) return Err(EINVAL);
    if (*kind == MappingKind::kHost && device.bus().topology().iommu() != pci::IommuMode::kOff) return Err(EINVAL);
    return false;
  }
  if (Inside(address, bytes, map.cfg_base, map.cfg_size)) return true;
  const uint64_t hbm = device.properties().dram_end_address - map.dram_base;
  if (Inside(address, bytes, map.sram_base, map.sram_size) || Inside(address, bytes, map.dram_base, hbm)) return false;
  return Err(EINVAL);
}

using Store = kernel::Tree::StoreFn;

kernel::Tree::ShowFn ShowData(std::shared_ptr<Entry> entry, uint32_t bytes) {
  return [entry, bytes]() -> Result<std::string> {
    if (InReset(entry->device)) return std::string();
    CW_TRY(const uint64_t value, DebugRead(entry->device, entry->addr, bytes));
    return fmt::format("0x{:0{}x}\n", value, bytes * 2);
  };
}
Store StoreData(std::shared_ptr<Entry> entry, uint32_t bytes) {
  return [entry, bytes](std::string_view text) -> Status {
    if (InReset(entry->device)) return {};
    CW_TRY(const uint64_t value, kernel::Kstrtoull(text, 16, bytes == 4 ? UINT32_MAX : UINT64_MAX));
    return DebugWrite(entry->device, entry->addr, value, bytes);
  };
}

// hl_dma_size_write(). gaudi2_debugfs_read_dma() reads by the open context's mappings, and fails without a context.
Status ReadDma(Entry& entry, std::string_view text) {
  HlDevice& device = entry.device;
  const uint64_t address = entry.addr;
  if (InReset(device)) return {};
  CW_TRY(const uint64_t size, kernel::Kstrtoull(text, 16, UINT32_MAX));
  if (size == 0 || size > kMaxDmaSize || !IsInternalMemory(device, address, size)) return Err(EINVAL);
  const std::lock_guard lock(entry.mutex);
  entry.data_dma.clear();
  if (device.properties().asic == gaudi::Asic::kGaudi2 && !device.HasComputeCtx()) return Err(EIO);
  std::string bytes(size, '\0');
  if (!device.board().engines().ReadMemory(address, std::as_writable_bytes(std::span(bytes)))) return Err(EIO);
  entry.data_dma = std::move(bytes);
  return {};
}

// hl_device_write(). Suspending tells the firmware that nobody reads its memory, and resuming that it is read: nothing
// that a program could see.
Status StoreDevice(HlDevice& device, std::string_view text) {
  if (text.starts_with("disable")) {
    device.SetDisabled(true);
  } else if (text.starts_with("enable")) {
    device.SetDisabled(false);
  } else if (text.starts_with("cpu_timeout")) {
    device.DisableCpu();
  } else if (!text.starts_with("suspend") && !text.starts_with("resume")) {
    return Err(EINVAL);
  }
  return {};
}

Status AddStopOnErr(kernel::Tree& tree, const std::string& folder, const std::shared_ptr<Entry>& entry) {
  if (entry->device.properties().asic == gaudi::Asic::kGaudi2) {  // not configurable
    return tree.AddAttribute(
        folder + "/stop_on_err", 0644, []() -> Result<std::string> { return Err(EOPNOTSUPP); },
        [](std::string_view) -> Status { return Err(EOPNOTSUPP); });
  }
  return tree.AddAttribute(
      folder + "/stop_on_err", 0644,
      [entry]() -> Result<std::string> {
        return fmt::format("{}\n", entry->stop_on_err ? 1 : 0) + '\0';  // the driver copies the terminator, too
      },
      [entry](std::string_view text) -> Status {
        if (InReset(entry->device)) return {};
        CW_TRY(const uint64_t value, kernel::Kstrtoull(text, 10, UINT32_MAX));
        entry->stop_on_err = value != 0;
        (void)entry->device.Reset(kResetHard);  // hl_device_reset() without a kind
        return {};
      });
}

Status AddFiles(kernel::Tree& tree, const std::string& folder, const std::shared_ptr<Entry>& entry) {
  HlDevice& device = entry->device;
  const auto add = [&](const char* name, uint32_t mode, kernel::Tree::ShowFn show, Store store) {
    return tree.AddAttribute(folder + "/" + name, mode, std::move(show), std::move(store));
  };
  CW_CHECK(add(
      "addr", 0644, [entry]() -> Result<std::string> { return fmt::format("0x{:016x}\n", entry->addr.load()); },
      [entry](std::string_view text) -> Status {
        CW_TRY(entry->addr, kernel::Kstrtoull(text.substr(0, 23), 0));  // simple_attr_write()'s buffer
        return {};
      }));
  CW_CHECK(add("data32", 0644, ShowData(entry, 4), StoreData(entry, 4)));
  CW_CHECK(add("data64", 0644, ShowData(entry, 8), StoreData(entry, 8)));
  CW_CHECK(add("dma_size", 0200, {}, [entry](std::string_view text) { return ReadDma(*entry, text); }));
  CW_CHECK(add("data_dma", 0400,
               [entry]() -> Result<std::string> {
                 const std::lock_guard lock(entry->mutex);
                 return entry->data_dma;
               },
               {}));
  CW_CHECK(add(
      "device", 0644,
      []() -> Result<std::string> {
        return std::string("Valid values: disable, enable, suspend, resume, cpu_timeout\n");
      },
      [&device](std::string_view text) { return StoreDevice(device, text); }));
  // Deprecated: takes anything, says nothing.
  CW_CHECK(add(
      "clk_gate", 0644, []() -> Result<std::string> { return std::string(); },
      [](std::string_view) -> Status { return {}; }));
  CW_CHECK(add("engines", 0444,
               [&device]() -> Result<std::string> {
                 if (InReset(device)) return std::string();
                 return EngineStatusText(device.properties().asic, device.BusyEngines());
               },
               {}));
  CW_CHECK(add(
      "timeout_locked", 0644,
      [&device]() -> Result<std::string> { return fmt::format("{}\n", device.timeout_locked_sec().load()) + '\0'; },
      [&device](std::string_view text) -> Status {
        CW_TRY(const uint64_t seconds, kernel::Kstrtoull(text, 10, UINT32_MAX));
        device.timeout_locked_sec() = static_cast<uint32_t>(seconds);
        return {};
      }));
  if (device.properties().flavour != Flavour::kMisc) {
    CW_CHECK(add(
        "device_release_watchdog_timeout", 0644,
        [&device]() -> Result<std::string> {
          return fmt::format("{}\n", device.device_release_watchdog_timeout_sec().load());
        },
        [&device](std::string_view text) -> Status {
          CW_TRY(const uint64_t seconds, kernel::Kstrtoull(text.substr(0, 23), 0));
          device.device_release_watchdog_timeout_sec() = static_cast<uint32_t>(seconds);  // debugfs_u32_set()
          return {};
        }));
  }
  return AddStopOnErr(tree, folder, entry);
}

}  // namespace

Result<uint64_t> DebugRead(HlDevice& device, uint64_t address, uint32_t bytes) {
  CW_TRY(const bool registers, Check(device, address, bytes));
  uint64_t value = 0;
  if (registers) {
    const auto offset = static_cast<uint32_t>(address - device.board().map().cfg_base);
    value = device.board().engines().ReadRegister(offset);
    if (bytes == 8) value |= uint64_t{device.board().engines().ReadRegister(offset + 4)} << 32;
    return value;
  }
  if (!device.board().engines().ReadMemory(address, std::as_writable_bytes(std::span(&value, 1)).first(bytes))) {
    return Err(EINVAL);
  }
  return value;
}

Status DebugWrite(HlDevice& device, uint64_t address, uint64_t value, uint32_t bytes) {
  CW_TRY(const bool registers, Check(device, address, bytes));
  if (registers) {
    const auto offset = static_cast<uint32_t>(address - device.board().map().cfg_base);
    device.board().WriteRegister(offset, static_cast<uint32_t>(value));
    if (bytes == 8) device.board().WriteRegister(offset + 4, static_cast<uint32_t>(value >> 32));
    return {};
  }
  if (!device.board().engines().WriteMemory(address, std::as_bytes(std::span(&value, 1)).first(bytes))) {
    return Err(EINVAL);
  }
  return {};
}

Status AddDebugfs(kernel::Tree& tree, const NodeNames& names, uint32_t index, HlDevice& device) {
  const std::string root = "/sys/kernel/debug/";
  const std::string legacy = root + "habanalabs/hl" + std::to_string(index);
  const auto entry = std::make_shared<Entry>(device);
  if (names.device_class == "habanalabs") {
    (void)tree.Remove(legacy);  // an accelN's second name gives way
    return AddFiles(tree, legacy, entry);
  }
  const std::string folder = root + "accel/" + device.function().bdf().ToString();
  CW_CHECK(AddFiles(tree, folder, entry));
  CW_CHECK(tree.AddLink(root + "accel/" + std::to_string(index), device.function().bdf().ToString()));
  const Status linked = tree.AddLink(legacy, "../accel/" + device.function().bdf().ToString());
  if (!linked && linked.error() != Errno(EEXIST)) return linked;  // an hlN of its own is there
  return {};
}

}  // namespace causeway::habanalabs
