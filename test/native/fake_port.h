// A device in memory: what is put in enters, what leaves is kept or handed on, and every piece of
// it can be refused as a kernel refuses.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "io/port.h"
#include "test/native/packets.h"
#include "wire/segment.h"

namespace gwlb::test {

// A packet of a device, or a datagram with its peer.
struct Item {
  Bytes bytes;
  uint32_t address = 0;
  uint16_t port = 0;
  uint16_t segment = 0;  // entering: a super-packet of so many payload bytes each
};

class FakePort final : public io::Port {
 public:
  // 0, or the error that a send of this piece meets, the `number`th of all.
  using Refusal = std::function<int(const Item& piece, uint64_t number)>;
  // On the worker's thread.
  using Leave = std::function<void(Item&& piece)>;

  explicit FakePort(uint32_t bytes_max = 1 << 16) : bytes_max_(bytes_max) {
    fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  }
  ~FakePort() override { close(fd_); }

  // Before there are packets.
  void refuse(Refusal refusal) { refusal_ = std::move(refusal); }
  void leave(Leave leave) { leave_ = std::move(leave); }
  // Gives a batch in two halves: the second lies in its slots meanwhile.
  void in_halves() { halves_ = true; }

  // Any thread.
  void put(std::vector<Item> items) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (Item& item : items) in_.push_back(std::move(item));
    tell();
  }
  void put(Item item) {
    std::vector<Item> one;
    one.push_back(std::move(item));
    put(std::move(one));
  }
  // The next receive() meets a lasting error.
  void break_with(int number) {
    const std::lock_guard<std::mutex> lock(mutex_);
    broken_ = number;
    tell();
  }
  std::vector<Item> take_sent() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(sent_, {});
  }
  bool empty() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return in_.empty() && second_ == 0;
  }

  int fd() const override { return fd_; }
  uint32_t receive(batch::PacketBatch& batch, uint16_t endpoint, io::Rest* rest,
                   io::OsError* error) override;
  void send(batch::PacketBatch& batch, const uint16_t* packets, uint32_t n) override;
  io::PortOffloads offloads() const override { return {}; }
  io::PortCounters counters() override { return {}; }

 private:
  void tell() {
    const uint64_t one = 1;
    static_cast<void>(!write(fd_, &one, sizeof one));
  }
  void take_in(batch::PacketBatch& batch, uint32_t i, uint16_t endpoint, const Item& item);
  int put_out(batch::PacketBatch& batch, uint32_t i, const uint8_t* front, uint32_t front_bytes,
              const uint8_t* rest, uint32_t rest_bytes);
  void send_super(batch::PacketBatch& batch, uint32_t i);

  const uint32_t bytes_max_;
  int fd_ = -1;
  bool halves_ = false;
  Refusal refusal_;
  Leave leave_;
  uint64_t pieces_ = 0;  // of send()
  uint32_t second_ = 0;  // packets of the second half
  uint32_t first_ = 0;   // and of the first

  std::mutex mutex_;
  std::deque<Item> in_;
  std::vector<Item> sent_;
  int broken_ = 0;
};

inline void FakePort::take_in(batch::PacketBatch& batch, uint32_t i, uint16_t endpoint,
                              const Item& item) {
  const auto bytes = static_cast<uint32_t>(item.bytes.size());
  const uint32_t room =
      item.segment != 0 ? batch.slot_bytes() : std::min(bytes_max_, batch.slot_bytes());
  batch.reset(i, std::min(bytes, room));
  if (batch.length[i] > 0) std::memcpy(batch.packet(i), item.bytes.data(), batch.length[i]);
  batch.endpoint[i] = endpoint;
  batch.address[i] = item.address;
  batch.port[i] = item.port;
  if (bytes > room) return batch.drop(i, base::DropReason::receive_truncated);
  if (item.segment == 0) return;
  wire::SuperPacket super;
  if (!wire::parse_super_packet(batch.packet(i), bytes, item.segment, &super)) {
    return batch.drop(i, base::DropReason::bad_super_packet);
  }
  if (super.count > 1) batch.make_super(i, super.count, super.headers, super.segment);
}

inline uint32_t FakePort::receive(batch::PacketBatch& batch, uint16_t endpoint, io::Rest* rest,
                                  io::OsError* error) {
  const std::lock_guard<std::mutex> lock(mutex_);
  *rest = io::Rest::none;
  if (second_ > 0) {
    // It may not have been touched: its packets are as they were read, one slot each.
    for (uint32_t i = 0; i < second_; ++i) {
      const uint32_t from = first_ + i;
      const uint32_t slot = batch.slot_offset(from);
      uint32_t bytes;
      Item peer;
      std::memcpy(&bytes, batch.slot(from), sizeof bytes);
      std::memcpy(&peer.address, batch.slot(from) + 4, sizeof peer.address);
      std::memcpy(&peer.port, batch.slot(from) + 8, sizeof peer.port);
      batch.place(i, slot + base::kHeadroom, bytes, slot, slot + batch.stride());
      batch.endpoint[i] = endpoint;
      batch.address[i] = peer.address;
      batch.port[i] = peer.port;
    }
    batch.count = std::exchange(second_, 0);
    if (!in_.empty()) *rest = io::Rest::some;
    return batch.count;
  }
  uint64_t told;
  if (in_.empty() && broken_ == 0) static_cast<void>(!read(fd_, &told, sizeof told));
  if (broken_ != 0) *error = {broken_, "read", "fake"};
  batch.count = 0;
  bool even = broken_ == 0;
  while (batch.count < batch.capacity() && !in_.empty() && broken_ == 0) {
    const uint32_t i = batch.count++;
    take_in(batch, i, endpoint, in_.front());
    even = even && batch.pending(i) && !batch.is_super(i);
    in_.pop_front();
  }
  if (!in_.empty()) *rest = io::Rest::some;
  if (!halves_ || !even || batch.count < 2) return batch.count;
  first_ = batch.count / 2;
  second_ = batch.count - first_;
  for (uint32_t from = first_; from < batch.count; ++from) {
    std::memcpy(batch.slot(from), &batch.length[from], 4);
    std::memcpy(batch.slot(from) + 4, &batch.address[from], 4);
    std::memcpy(batch.slot(from) + 8, &batch.port[from], 2);
  }
  batch.count = first_;
  *rest = io::Rest::in_batch;
  return first_;
}

// 0, or why it was refused.
inline int FakePort::put_out(batch::PacketBatch& batch, uint32_t i, const uint8_t* front,
                             uint32_t front_bytes, const uint8_t* rest, uint32_t rest_bytes) {
  Item item;
  item.bytes.assign(front, front + front_bytes);
  if (rest_bytes > 0) item.bytes.insert(item.bytes.end(), rest, rest + rest_bytes);
  item.address = batch.address[i];
  item.port = batch.port[i];
  const int why = refusal_ ? refusal_(item, pieces_++) : 0;
  if (why != 0) return why;
  if (leave_) {
    leave_(std::move(item));
    return 0;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  sent_.push_back(std::move(item));
  return 0;
}

// Cuts it, each piece with what is in front of the inner packet.
inline void FakePort::send_super(batch::PacketBatch& batch, uint32_t i) {
  const uint32_t prefix = batch.inner[i] - batch.offset[i];
  wire::SuperPacket super;
  const bool ok = wire::parse_super_packet(batch.packet(i) + prefix, batch.length[i] - prefix,
                                           batch.segment[i], &super);
  GWLB_ASSERT(ok);
  uint32_t lost = 0, lost_bytes = 0;
  Bytes front(batch.packet(i), batch.packet(i) + prefix);
  front.resize(prefix + wire::kSegmentHeadersMax);
  for (uint32_t k = 0; k < super.count; ++k) {
    wire::write_segment_headers(super, k, front.data() + prefix);
    const int why = put_out(batch, i, front.data(), prefix + super.headers,
                            wire::segment_payload_at(super, k), wire::segment_payload(super, k));
    if (why == 0) continue;
    batch.drop(i, io::refusal(why));
    ++lost;
    lost_bytes += super.headers + wire::segment_payload(super, k);
  }
  if (lost == 0) return;
  batch.packets[i] = static_cast<uint16_t>(lost);
  batch.lost_bytes[i] = lost_bytes;
}

inline void FakePort::send(batch::PacketBatch& batch, const uint16_t* packets, uint32_t n) {
  for (uint32_t k = 0; k < n; ++k) {
    const uint32_t i = packets[k];
    if (batch.is_super(i)) {
      send_super(batch, i);
      continue;
    }
    const int why = put_out(batch, i, batch.packet(i), batch.length[i], nullptr, 0);
    if (why != 0) batch.drop(i, io::refusal(why));
  }
}

}  // namespace gwlb::test
