// SPDX-License-Identifier: Apache-2.0
// One open accelerator node, shared by everything made from it: the last object closes it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "causeway/accelerator.h"
#include "uapi/habanalabs.h"

namespace causeway::detail {

class Device {
 public:
  static std::shared_ptr<Device> Open(const std::string& path);
  explicit Device(int fd, std::string path) : fd_(fd) { info_.path = std::move(path); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device();

  int fd() const { return fd_; }
  const AcceleratorInfo& info() const { return info_; }
  bool gaudi2() const { return info_.generation == Generation::kGaudi2; }

  // 0 or a positive errno; repeated on EINTR. The argument is the row's struct.
  int Try(uapi::HlIoctlRow row, void* argument) const;
  // @throws Error, named `call`
  void Do(uapi::HlIoctlRow row, void* argument, const char* call, const char* hint = "") const;
  // INFO into `out`. 0 or a positive errno.
  int Info(uint32_t op, void* out, uint32_t bytes, uint32_t parameter = 0) const;

  // Gaudi has no allocator of its own: its DRAM is divided up here, first fit. 0: no room (address 0 is the driver's).
  uint64_t TakeDram(uint64_t bytes);
  void GiveDram(uint64_t address);

  // Sync objects and monitors for programs, lowest first. false: none left.
  bool TakeSemaphore(uint32_t* sob, uint32_t* monitor);
  void GiveSemaphore(uint32_t sob, uint32_t monitor);

  int notification_fd();

 private:
  void ReadInfo();

  const int fd_;
  bool drm_numbers_ = false;  // the node answers DRM ioctl numbers only (Linux >= 6.7)
  AcceleratorInfo info_;

  std::mutex mutex_;
  std::map<uint64_t, uint64_t> dram_;  // Gaudi: address -> bytes, taken
  std::set<uint32_t> free_sobs_, free_monitors_;
  uint32_t next_sob_ = 0, next_monitor_ = 0, sobs_ = 0, monitors_ = 0;
  int notification_fd_ = -1;
};

}  // namespace causeway::detail
