// SPDX-License-Identifier: Apache-2.0
#include "drivers/habanalabs/error_capture.h"

#include <time.h>

#include <algorithm>

namespace causeway::habanalabs {

int64_t KtimeNs() {
  timespec now{};
  (void)clock_gettime(CLOCK_MONOTONIC, &now);  // cannot fail: the clock exists and the pointer is good
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

template <typename T>
bool ErrorCapture::Keep(std::optional<T>& record, T value) {
  value.timestamp = KtimeNs();
  const std::lock_guard lock(mutex_);
  if (record) return false;
  record = value;
  return true;
}

void ErrorCapture::Arm() {
  const std::lock_guard lock(mutex_);
  armed_ = true;
  cs_timeout_.reset();
  undefined_opcode_.reset();
  razwi_.reset();
  razwi_misc_.reset();
  page_fault_.reset();
  user_mappings_.clear();
  hw_err_.reset();
  fw_err_.reset();
  user_engine_err_.reset();
}

bool ErrorCapture::CsTimeout(uint64_t seq) {
  {
    const std::lock_guard lock(mutex_);
    if (!armed_) return false;  // cs_timeout.write_enable
  }
  return Keep(cs_timeout_, {.timestamp = 0, .seq = seq});
}

bool ErrorCapture::UndefinedOpcode(const uapi::hl_info_undefined_opcode_event& event) {
  {
    const std::lock_guard lock(mutex_);
    if (!armed_) return false;  // undef_opcode.write_enable
  }
  return Keep(undefined_opcode_, event);
}

bool ErrorCapture::Razwi(uint64_t address, std::span<const uint16_t> engines, uint8_t flags) {
  uapi::hl_info_razwi_event event{};
  if (engines.size() > std::size(event.engine_id)) return false;
  event.addr = address;
  std::ranges::copy(engines, event.engine_id);
  event.num_of_possible_engines = static_cast<uint16_t>(engines.size());
  event.flags = flags;
  return Keep(razwi_, event);
}

// gaudi_print_and_get_razwi_info() of v6.1 with one initiator.
bool ErrorCapture::RazwiMisc(uint64_t address, uint16_t engine, uint8_t type) {
  return Keep(razwi_misc_, {.timestamp = 0,
                            .addr = address,
                            .engine_id_1 = engine,
                            .engine_id_2 = uapi::kHlRazwiNaEngine,
                            .no_engine_id = 0,
                            .error_type = type,
                            .pad = {}});
}

bool ErrorCapture::PageFault(uint64_t address, uint16_t engine,
                             const std::function<std::vector<uapi::hl_user_mapping>()>& mappings) {
  {
    const std::lock_guard lock(mutex_);
    if (page_fault_) return false;
  }
  // Not under the lock: the list is the context's, which has locks of its own.
  std::vector<uapi::hl_user_mapping> list = mappings ? mappings() : std::vector<uapi::hl_user_mapping>{};
  uapi::hl_page_fault_info fault{};
  fault.timestamp = KtimeNs();
  fault.addr = address;
  fault.engine_id = engine;
  const std::lock_guard lock(mutex_);
  if (page_fault_) return false;
  page_fault_ = fault;
  user_mappings_ = std::move(list);
  return true;
}

bool ErrorCapture::HwErr(uint16_t event_id) { return Keep(hw_err_, {.timestamp = 0, .event_id = event_id, .pad = {}}); }

bool ErrorCapture::FwErr(uint16_t type, uint16_t event_id) {
  return Keep(fw_err_, {.timestamp = 0, .err_type = type, .event_id = event_id, .pad = 0});
}

bool ErrorCapture::UserEngineErr(uint16_t engine, uint16_t count) {
  return Keep(user_engine_err_, {.timestamp = 0, .engine_id = engine, .error_count = count, .pad = 0});
}

std::vector<uapi::hl_user_mapping> ErrorCapture::user_mappings() const {
  const std::lock_guard lock(mutex_);
  return user_mappings_;
}

}  // namespace causeway::habanalabs
