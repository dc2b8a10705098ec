// SPDX-License-Identifier: Apache-2.0
// The error records that INFO tells: struct hl_error_info. Each keeps the first occurrence since the compute node was
// opened; it survives reset and close, so that a monitor on the control node can read it afterwards.
//
// Source: linux v6.12 drivers/accel/habanalabs/common/device.c hl_capture_...(), hl_enable_err_info_capture().
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "uapi/habanalabs.h"

namespace causeway::habanalabs {

class ErrorCapture {
 public:
  // hl_enable_err_info_capture(), at every open: forgets all and takes the next of each kind.
  void Arm();

  // Each is true when this one was kept. Time stamps are taken here (ktime, ns).
  bool CsTimeout(uint64_t seq);
  bool UndefinedOpcode(const uapi::hl_info_undefined_opcode_event& event);         // its timestamp is not looked at
  bool Razwi(uint64_t address, std::span<const uint16_t> engines, uint8_t flags);  // at most 128 engines
  // v6.1 has one record for both of these. `type`: kHlRazwiMisc...
  bool RazwiMisc(uint64_t address, uint16_t engine, uint8_t type);
  // `mappings` is asked only when the fault is kept: hl_capture_user_mappings().
  bool PageFault(uint64_t address, uint16_t engine,
                 const std::function<std::vector<uapi::hl_user_mapping>()>& mappings);
  bool HwErr(uint16_t event_id);
  bool FwErr(uint16_t type, uint16_t event_id);  // HL_INFO_FW_...
  bool UserEngineErr(uint16_t engine, uint16_t count);

  std::optional<uapi::hl_info_cs_timeout_event> cs_timeout() const { return Get(cs_timeout_); }
  std::optional<uapi::hl_info_undefined_opcode_event> undefined_opcode() const { return Get(undefined_opcode_); }
  std::optional<uapi::hl_info_razwi_event> razwi() const { return Get(razwi_); }
  std::optional<uapi::hl_info_razwi_event_misc> razwi_misc() const { return Get(razwi_misc_); }
  std::optional<uapi::hl_page_fault_info> page_fault() const { return Get(page_fault_); }
  std::vector<uapi::hl_user_mapping> user_mappings() const;
  std::optional<uapi::hl_info_hw_err_event> hw_err() const { return Get(hw_err_); }
  std::optional<uapi::hl_info_fw_err_event> fw_err() const { return Get(fw_err_); }
  std::optional<uapi::hl_info_engine_err_event> user_engine_err() const { return Get(user_engine_err_); }

 private:
  template <typename T>
  std::optional<T> Get(const std::optional<T>& record) const {
    const std::lock_guard lock(mutex_);
    return record;
  }
  template <typename T>
  bool Keep(std::optional<T>& record, T value);

  mutable std::mutex mutex_;  // guards what follows
  bool armed_ = false;        // no CS and no opcode can fail before the first open
  std::optional<uapi::hl_info_cs_timeout_event> cs_timeout_;
  std::optional<uapi::hl_info_undefined_opcode_event> undefined_opcode_;
  std::optional<uapi::hl_info_razwi_event> razwi_;
  std::optional<uapi::hl_info_razwi_event_misc> razwi_misc_;
  std::optional<uapi::hl_page_fault_info> page_fault_;
  std::vector<uapi::hl_user_mapping> user_mappings_;
  std::optional<uapi::hl_info_hw_err_event> hw_err_;
  std::optional<uapi::hl_info_fw_err_event> fw_err_;
  std::optional<uapi::hl_info_engine_err_event> user_engine_err_;
};

// ktime_get() in ns.
int64_t KtimeNs();

}  // namespace causeway::habanalabs
