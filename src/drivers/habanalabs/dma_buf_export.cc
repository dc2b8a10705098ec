// SPDX-License-Identifier: Apache-2.0
// Source: linux v6.12 drivers/accel/habanalabs/common/memory.c, from export_dmabuf_from_addr() to hl_dmabuf_attach(),
// hl_map_dmabuf() and alloc_sgt_from_device_pages(); v6.1 for E1.
#include "drivers/habanalabs/dma_buf_export.h"

#include <fcntl.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "base/checked.h"
#include "dmabuf/dma_buf.h"
#include "pci/p2p.h"

namespace causeway::habanalabs {
namespace {

// Adjacent bytes of device memory, by their place in the HBM.
struct Run {
  uint64_t offset;
  uint64_t len;
};

std::string Describe(const pci::Function& function) { return function.name() + " (" + function.bdf().ToString() + ")"; }

// struct hl_dmabuf_priv with habanalabs_dmabuf_ops. The exporter is static: no pin, no move, no mmap.
class HlDmaBufOps : public dmabuf::DmaBufOps {
 public:
  // `file` is empty with rules E1; `va` is the mapping that ExportGet() counted, if any.
  HlDmaBufOps(HlDevice& device, Ref<HlFile> file, Ref<HlCtx> ctx, std::optional<uint64_t> va, std::vector<Run> runs)
      : device_(device), file_(std::move(file)), ctx_(std::move(ctx)), va_(va), runs_(std::move(runs)) {
    device_.dmabuf_export_cnt().fetch_add(1, std::memory_order_relaxed);
  }
  // hl_release_dmabuf(); the context's reference goes before the file's.
  ~HlDmaBufOps() override {
    if (va_) ctx_->ExportPut(*va_);
    device_.dmabuf_export_cnt().fetch_sub(1, std::memory_order_relaxed);
  }

  // hl_dmabuf_attach(): never fails; an importer without a path finds out when it maps.
  Status Attach(dmabuf::DmaBuf&, dmabuf::DmaBufAttachment& attachment) override {
    const auto verdict = pci::P2pDistance(device_.bus().topology(), device_.function(), attachment.importer());
    if (!verdict.allowed) attachment.peer2peer = false;
    return {};
  }

  Result<dmabuf::SgTable> MapDmaBuf(dmabuf::DmaBufAttachment& attachment, dmabuf::Direction) override {
    if (!attachment.peer2peer) {
      Refuse(attachment);
      return Err(EPERM);
    }
    const uint64_t segment = AlignDown(attachment.max_segment, kPageSize);
    if (segment < kPageSize) return Err(EINVAL);
    dmabuf::SgTable table;
    const uint64_t bar = device_.function().bar(gaudi::kHbmBar).base;
    for (const Run& run : runs_) {
      for (uint64_t at = 0; at < run.len;) {
        const uint64_t len = std::min(segment, run.len - at);
        const auto address = device_.bus().MapResource(attachment.importer(), bar + run.offset + at, len);
        if (!address) {
          Unmap(attachment, table);
          return Err(address.error());
        }
        table.push_back({.dma_address = *address, .len = len});
        at += len;
      }
    }
    return table;
  }
  void UnmapDmaBuf(dmabuf::DmaBufAttachment& attachment, const dmabuf::SgTable& table, dmabuf::Direction) override {
    Unmap(attachment, table);
  }

 private:
  void Unmap(dmabuf::DmaBufAttachment& attachment, const dmabuf::SgTable& table) {
    for (const dmabuf::SgEntry& entry : table) {
      device_.bus().UnmapResource(attachment.importer(), entry.dma_address, entry.len);
    }
  }

  // hl_map_dmabuf() decides the errno, so it tells why.
  void Refuse(const dmabuf::DmaBufAttachment& attachment) {
    const pci::Function& importer = attachment.importer();
    kernel::Refusal refusal;
    refusal.what = "dma-buf of " + device_.function().name() + " mapped for " + importer.name() + ": EPERM";
    refusal.provider = Describe(device_.function());
    refusal.client = Describe(importer);
    const auto verdict = pci::P2pDistance(device_.bus().topology(), device_.function(), importer);
    if (!verdict.allowed) {
      refusal.rule = verdict.rule_text;
      if (!verdict.detail.empty()) refusal.rule += " (" + verdict.detail + ")";
      refusal.remedy = verdict.remedy;
    } else {
      refusal.rule = "hl_map_dmabuf(): the importer attached without allow_peer2peer";
      refusal.remedy = "use an importer that accepts peer-to-peer addresses";
    }
    device_.refusals().Add(std::move(refusal));
  }

  HlDevice& device_;        // outlives every file
  const Ref<HlFile> file_;  // before ctx_: destroyed after it
  const Ref<HlCtx> ctx_;
  const std::optional<uint64_t> va_;
  const std::vector<Run> runs_;
};

// validate_export_params_common(). E1 (v6.1) takes any size from a page on, the later rules whole pages.
Status ValidateCommon(const AsicProperties& properties, uint64_t address, uint64_t size) {
  if (!IsAligned(address, kPageSize)) return Err(EINVAL);
  if (size < kPageSize) return Err(EINVAL);
  if (properties.export_rules == ExportRules::kE4 && !IsAligned(size, kPageSize)) return Err(EINVAL);
  return {};
}

// validate_export_params_no_mmu().
Result<std::vector<Run>> ValidatePhysical(HlDevice& device, uint64_t address, uint64_t size) {
  const AsicProperties& properties = device.properties();
  CW_CHECK(ValidateCommon(properties, address, size));
  uint64_t end = 0;
  if (address < properties.dram_user_base_address || !CheckedAdd(address, size, &end) ||
      end > properties.dram_end_address) {
    return Err(EINVAL);
  }
  const uint64_t offset = address - properties.dram_base_address;
  if (!InRange(offset, size, device.function().bar(gaudi::kHbmBar).size)) return Err(EINVAL);
  return std::vector<Run>{{.offset = offset, .len = size}};
}

// validate_export_params(). Returns the bytes [offset, + size) of the allocation, neighbours merged.
// Deviation: offset + size does not wrap here.
Result<std::vector<Run>> ValidateMapped(HlDevice& device, uint64_t address, uint64_t size, uint64_t offset,
                                        const PhysPgPack& pack) {
  const AsicProperties& properties = device.properties();
  CW_CHECK(ValidateCommon(properties, address, size));
  if (!IsAligned(offset, kPageSize) || !InRange(offset, size, pack.total_size)) return Err(EINVAL);
  // Every page of the allocation must lie in the BAR, exported or not.
  const uint64_t page_size = properties.dram_page_size;
  for (const uint64_t page : pack.pages) {
    const uint64_t at = page - properties.dram_base_address;
    if (!InRange(at, page_size, device.function().bar(gaudi::kHbmBar).size)) return Err(EINVAL);
  }
  std::vector<Run> runs;
  for (uint64_t at = offset, left = size; left != 0;) {
    const uint64_t in_page = at % page_size;
    const uint64_t len = std::min(left, page_size - in_page);
    const uint64_t start = pack.pages[at / page_size] - properties.dram_base_address + in_page;
    if (!runs.empty() && runs.back().offset + runs.back().len == start) {
      runs.back().len += len;
    } else {
      runs.push_back({.offset = start, .len = len});
    }
    at += len;
    left -= len;
  }
  return runs;
}

}  // namespace

Result<int> ExportDmaBuf(HlFile& file, kernel::Task& task, uint64_t addr, uint64_t size, uint64_t offset,
                         uint32_t flags) {
  HlDevice& device = file.device();
  const AsicProperties& properties = device.properties();
  const bool e1 = properties.export_rules == ExportRules::kE1;
  if (e1 && properties.dram_supports_virtual_memory) return Err(EOPNOTSUPP);
  if (e1) offset = 0;  // no such field in that header

  std::unique_ptr<HlDmaBufOps> ops;
  const Ref<HlFile> held = e1 ? Ref<HlFile>() : Ref<HlFile>::Share(&file);
  if (properties.dram_supports_virtual_memory) {
    CW_TRY(const auto pack, file.ctx().ExportGet(addr));
    auto runs = ValidateMapped(device, addr + offset, size, offset, *pack);
    if (!runs) {
      file.ctx().ExportPut(addr);
      return Err(runs.error());
    }
    ops = std::make_unique<HlDmaBufOps>(device, held, file.ctx_ref(), addr, std::move(*runs));
  } else {
    if (offset != 0) return Err(EINVAL);
    CW_TRY(auto runs, ValidatePhysical(device, addr, size));
    ops = std::make_unique<HlDmaBufOps>(device, held, file.ctx_ref(), std::nullopt, std::move(runs));
  }
  // From here on a failure ends in ~HlDmaBufOps, which undoes everything.
  CW_TRY(auto dmabuf,
         dmabuf::DmaBuf::Export(
             {.exporter_name = "habanalabs", .size = size, .ops = std::move(ops), .function = &device.function()}));
  return task.InstallFile(std::move(dmabuf), flags & (O_CLOEXEC | O_NONBLOCK));
}

}  // namespace causeway::habanalabs
