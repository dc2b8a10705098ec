// SPDX-License-Identifier: Apache-2.0
// Ids as programs hold them, and their events: linux v6.1 drivers/infiniband/core/ucma.c.
#include <endian.h>
#include <sys/random.h>

#include <algorithm>
#include <cstring>

#include "drivers/rdma_cm/cm.h"
#include "drivers/rdma_cm/ucm_file.h"

namespace causeway::rdma_cm {
namespace {

// Bits of a big-endian SA record (core/packer.c ib_pack()): `offset` counts from the first bit.
void PutBits(uint32_t (&words)[16], unsigned offset, unsigned bits, uint32_t value) {
  uint32_t& word = words[offset / 32];
  const unsigned shift = 32 - offset % 32 - bits;
  const uint32_t mask = (bits == 32 ? ~0u : (1u << bits) - 1) << shift;
  word = htobe32((be32toh(word) & ~mask) | ((value << shift) & mask));
}

uint32_t GetBits(const uint32_t (&words)[16], unsigned offset, unsigned bits) {
  const unsigned shift = 32 - offset % 32 - bits;
  return (be32toh(words[offset / 32]) >> shift) & (bits == 32 ? ~0u : (1u << bits) - 1);
}

// sa_query.c path_rec_table.
template <typename Record, typename Visit>
void EachField(Record& r, Visit visit) {
  visit(11 * 32 + 4, 20, r.flow_label);
  visit(11 * 32 + 24, 8, r.hop_limit);
  visit(12 * 32 + 0, 8, r.traffic_class);
  visit(12 * 32 + 8, 1, r.reversible);
  visit(12 * 32 + 9, 7, r.numb_path);
  visit(12 * 32 + 16, 16, r.pkey);
  visit(13 * 32 + 0, 12, r.qos_class);
  visit(13 * 32 + 12, 4, r.sl);
  visit(13 * 32 + 16, 2, r.mtu_selector);
  visit(13 * 32 + 18, 6, r.mtu);
  visit(13 * 32 + 24, 2, r.rate_selector);
  visit(13 * 32 + 26, 6, r.rate);
  visit(14 * 32 + 0, 2, r.packet_life_time_selector);
  visit(14 * 32 + 2, 6, r.packet_life_time);
  visit(14 * 32 + 8, 8, r.preference);
}

}  // namespace

void PathRecord::Pack(uint32_t (&to)[16]) const {
  std::memset(to, 0, sizeof(to));
  const uint64_t sid = htobe64(service_id);
  std::memcpy(&to[0], &sid, sizeof(sid));
  std::memcpy(&to[2], dgid.data(), dgid.size());
  std::memcpy(&to[6], sgid.data(), sgid.size());
  PutBits(to, 10 * 32, 16, 0x100u | dmac[0]);
  PutBits(to, 10 * 32 + 16, 16, static_cast<uint32_t>(dmac[1]) << 8 | dmac[2]);
  PutBits(to, 11 * 32, 1, dmac[3] & 1u);
  EachField(*this, [&](unsigned offset, unsigned bits, uint32_t value) { PutBits(to, offset, bits, value); });
}

PathRecord PathRecord::Unpack(const uint32_t (&from)[16]) {
  PathRecord record;
  uint64_t sid = 0;
  std::memcpy(&sid, &from[0], sizeof(sid));
  record.service_id = be64toh(sid);
  std::memcpy(record.dgid.data(), &from[2], record.dgid.size());
  std::memcpy(record.sgid.data(), &from[6], record.sgid.size());
  EachField(record, [&](unsigned offset, unsigned bits, auto& field) {
    field = static_cast<std::remove_reference_t<decltype(field)>>(GetBits(from, offset, bits));
  });
  return record;
}

uapi::ib_user_path_rec PathRecord::ToUser() const {
  uapi::ib_user_path_rec user = {};
  std::ranges::copy(dgid, user.dgid);
  std::ranges::copy(sgid, user.sgid);
  user.flow_label = htobe32(flow_label);
  user.reversible = reversible;
  user.mtu = mtu;
  user.pkey = htobe16(pkey);
  user.hop_limit = hop_limit;
  user.traffic_class = traffic_class;
  user.numb_path = numb_path;
  user.sl = sl;
  user.mtu_selector = mtu_selector;
  user.rate_selector = rate_selector;
  user.rate = rate;
  user.packet_life_time_selector = packet_life_time_selector;
  user.packet_life_time = packet_life_time;
  user.preference = preference;
  return user;
}

uapi::ib_uverbs_ah_attr AddressVector::ToUser() const {
  uapi::ib_uverbs_ah_attr user = {};
  std::ranges::copy(dgid, user.grh.dgid);
  user.grh.flow_label = flow_label;
  user.grh.sgid_index = sgid_index;
  user.grh.hop_limit = hop_limit;
  user.grh.traffic_class = traffic_class;
  user.sl = sl;
  user.static_rate = static_rate;
  user.is_global = 1;
  user.port_num = port_num;
  return user;
}

Cm::~Cm() = default;

Ref<Id> Cm::CreateId(UcmFile* file, uint64_t uid, uint16_t ps, uint8_t qp_type) {
  auto id = MakeRef<Id>();
  id->file = file;
  id->uid = uid;
  id->ps = ps;
  id->qp_type = qp_type;
  (void)!::getrandom(&id->seq_num, sizeof(id->seq_num), 0);
  id->seq_num &= 0xffffff;
  AllocNumber(*id);
  return id;
}

// xa_alloc(): the lowest free number, from 0. Taken until Destroy(), seen by nobody before Publish().
void Cm::AllocNumber(Id& id) {
  if (free_ids_.empty()) {
    id.number = next_id_++;
  } else {
    id.number = free_ids_.extract(free_ids_.begin()).value();
  }
}

void Cm::Publish(const Ref<Id>& id) {
  id->is_public = true;
  id->file->ids.push_back(id);
  ids_.emplace(id->number, id);
}

Result<Ref<Id>> Cm::Find(UcmFile* file, uint32_t number) const {
  const auto it = ids_.find(number);
  if (it == ids_.end()) return Err(ENOENT);
  if (it->second->file != file) return Err(EINVAL);
  return it->second;
}

Result<Ref<Id>> Cm::FindBound(UcmFile* file, uint32_t number) const {
  CW_TRY(auto id, Find(file, number));
  if (!id->nic) return Err(EINVAL);
  return id;
}

// rdma_destroy_id(), _destroy_id().
void Cm::DestroyCmaId(Id& id) {
  id.state = State::kDestroying;
  id.resolve_timer = 0;
  if (id.cm) DestroyConnection(id, false);
  ReleaseDevice(id);
  ReleasePort(id);
}

uint32_t Cm::Destroy(const Ref<Id>& id) {
  ids_.erase(id->number);
  id->is_public = false;
  DestroyCmaId(*id);
  // ucma_cleanup_ctx_events()
  auto dropped = id->file->DropEvents(readiness_, [&](const UcmFile::Queued& queued) { return queued.id == id; });
  id->file->ids.remove(id);
  for (const UcmFile::Queued& queued : dropped) {
    if (queued.conn && queued.conn->is_public) (void)Destroy(queued.conn);
  }
  for (const auto& mc : id->multicasts) multicasts_.erase(mc->id);
  id->multicasts.clear();
  free_ids_.insert(id->number);
  return id->events_reported;
}

// The part of ucma_migrate_id() after its checks.
void Cm::Migrate(const Ref<Id>& id, UcmFile* to) {
  UcmFile* const from = std::exchange(id->file, to);
  from->ids.remove(id);
  to->ids.push_back(id);
  auto moved = from->DropEvents(readiness_, [&](const UcmFile::Queued& queued) { return queued.id == id; });
  if (moved.empty()) return;
  to->events.splice(to->events.end(), moved);
  readiness_.SetReadable(to->id());
}

// ucma_create_uevent(), ucma_event_handler(): what happens to an id that its program has not accepted yet is not told.
void Cm::QueueEvent(const Ref<Id>& id, Event event) {
  if (id->uid == 0) return;
  UcmFile::Queued queued = {.id = id, .conn = {}, .mc = event.mc};
  queued.resp.uid = event.mc ? event.mc->uid : id->uid;
  queued.resp.id = event.mc ? event.mc->id : id->number;
  queued.resp.event = event.event;
  queued.resp.status = static_cast<uint32_t>(event.status);
  if (id->qp_type == kQptUd) {
    queued.resp.param.ud = event.ud;
  } else {
    queued.resp.param.conn = event.conn;
  }
  queued.resp.ece = {.vendor_id = event.ece.vendor_id, .attr_mod = event.ece.attr_mod};
  id->file->events.push_back(std::move(queued));
  readiness_.SetReadable(id->file->id());
}

// ucma_connect_event_handler(). False: the backlog is full.
bool Cm::QueueConnectRequest(Id& listener, const Ref<Id>& conn, Event event) {
  if (listener.backlog == 0) return false;
  --listener.backlog;
  conn->file = listener.file;
  AllocNumber(*conn);
  UcmFile::Queued queued = {.id = Ref<Id>::Share(&listener), .conn = conn, .mc = {}};
  queued.resp.uid = listener.uid;
  queued.resp.id = conn->number;
  queued.resp.event = event.event;
  if (listener.qp_type == kQptUd) {
    queued.resp.param.ud = event.ud;
  } else {
    queued.resp.param.conn = event.conn;
  }
  queued.resp.ece = {.vendor_id = event.ece.vendor_id, .attr_mod = event.ece.attr_mod};
  Publish(conn);
  listener.file->events.push_back(std::move(queued));
  readiness_.SetReadable(listener.file->id());
  return true;
}

std::vector<Cm::IdReport> Cm::Report(size_t nic) const {
  std::vector<IdReport> reports;
  for (const auto& [number, id] : ids_) {
    if (id->nic == nic) {
      reports.push_back({id, id->res_id, false});
    } else if (!id->nic && id->state == State::kListen && nic < id->listen_res_ids.size()) {
      reports.push_back({id, id->listen_res_ids[nic], true});
    }
  }
  return reports;
}

Cm::Counts Cm::Count() const {
  Counts counts = {.groups = multicasts_.size()};
  for (const auto& [number, id] : ids_) {
    ++counts.ids;
    if (id->state == State::kListen) ++counts.listening;
    if (id->cm && id->cm->state == CmState::kEstablished) ++counts.connected;
  }
  return counts;
}

}  // namespace causeway::rdma_cm
