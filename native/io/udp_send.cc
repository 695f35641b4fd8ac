// UdpSender::send: a batch's packets by socket, consecutive ones of one size to one peer as trains
// (UDP_SEGMENT), super-packets cut into trains. What it takes is in
// udp_send_scratch.h, sockets and their errors are in udp_sender.cc.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/assert.h"
#include "io/port.h"
#include "io/udp.h"
#include "io/udp_send_scratch.h"
#include "io/udp_socket.h"
#include "wire/fragment.h"
#include "wire/segment.h"

namespace gwlb::io {

using batch::PacketBatch;

namespace {

// How long send() waits for a full send buffer, once per call.
constexpr int kSendWaitMs = 3;
// A socket that is asked for ICMP errors reports one by refusing a packet that has nothing to do
// with it; so often such a packet is sent again. A way that is gone for good refuses it as often.
constexpr uint32_t kSendTries = 3;
// After a train that the kernel refused although its packets went one by one (it fragments no
// train: their size is above the path's MTU) so many calls try no train of that size.
constexpr uint32_t kTrainPause = 4096;

// The kernel does not send this as a train; one by one it may.
bool refuses_train(int number) {
  return number == EINVAL || number == EMSGSIZE || number == EIO || number == EOPNOTSUPP;
}

// One of those that a packet is cut into: its headers are written, its payload lies where it did.
struct Piece {
  uint32_t headers;
  const uint8_t* payload;
  uint32_t bytes;
};
Piece write_piece(const wire::SuperPacket& super, uint32_t k, uint8_t* to) {
  wire::write_segment_headers(super, k, to);
  return {super.headers, wire::segment_payload_at(super, k), wire::segment_payload(super, k)};
}
Piece write_piece(const wire::Ipv4Fragments& cut, uint32_t k, uint8_t* to) {
  wire::write_fragment_header(cut, k, to);
  return {wire::fragment_headers(cut, k), wire::fragment_payload_at(cut, k),
          wire::fragment_payload(cut, k)};
}

// A packet that goes as it is.
struct Whole {
  const uint8_t* packet;
  uint32_t segment;
  static constexpr uint32_t headers = 0, count = 1;
};
Piece write_piece(const Whole& whole, uint32_t, uint8_t*) {
  return {0, whole.packet, whole.segment};
}

}  // namespace

// One call of send(): messages are built for one socket at a time, and sent when it has no more
// packets or there is no more room.
class UdpSender::Sending {
 public:
  Sending(PacketBatch& batch, UdpSendScratch::Memory& memory, const UdpSockets& sockets)
      : batch_(batch), m_(memory), trains_(sockets.trains), finish_(sockets.finish) {
    if (m_.train_pause != 0 && --m_.train_pause == 0) m_.train_bytes_max = kTrainPayloadMax;
  }

  void begin_socket(int fd) {
    fd_ = fd;
    names_source_ = false;
  }
  // One that is bound to more addresses than a packet may come from.
  void begin_fallback(int fd, bool ipv6) {
    fd_ = fd;
    names_source_ = batch_.paths != nullptr;
    ipv6_ = ipv6;
  }

  void add(uint16_t i) {
    m_.lost[i] = 0;
    if (batch_.leaves_in_pieces(i)) {
      add_cut(i);
    } else if (!join_train(i)) {
      add_message(i);
    }
  }

  void flush() {
    if (finish_ != nullptr) return flush_finished();
    uint32_t at = 0;
    uint32_t tries = 0;  // of the message at `at`, for what an earlier one met
    while (at < messages_) {
      const int n = sendmmsg(fd_, m_.headers + at, messages_ - at, MSG_DONTWAIT);
      if (n > 0) {
        for (int k = 0; k < n; ++k) sent_ += m_.segments[at++];
        tries = 0;
        continue;
      }
      const int why = n < 0 ? errno : EIO;
      if (why == EINTR) continue;
      if (is_full(why)) {
        if (wait()) continue;
        for (; at < messages_; ++at) lose(at, 0, m_.segments[at], DropReason::send_would_block);
        break;
      }
      if (m_.segments[at] > 1 && refuses_train(why)) {
        send_one_by_one(at);
      } else if (why != EMSGSIZE && is_passing(why) && ++tries < kSendTries) {
        continue;
      } else {
        lose(at, 0, m_.segments[at], DropReason::send_failed);
      }
      ++at;
      tries = 0;
    }
    messages_ = vectors_ = header_bytes_ = 0;
  }

  uint32_t sent() const { return sent_; }

 private:
  using DropReason = base::DropReason;

  void flush_finished() {
    for (uint32_t at = 0; at < messages_; ++at) {
      const int why = send_message(m_.headers[at].msg_hdr);
      if (why == 0) {
        ++sent_;
      } else {
        lose(at, 0, 1, refusal(why));
      }
    }
    messages_ = vectors_ = header_bytes_ = 0;
  }

  static bool is_full(int why) { return refusal(why) == DropReason::send_would_block; }

  // Once per call.
  bool wait() {
    if (waited_) return false;
    waited_ = true;
    pollfd writable{fd_, POLLOUT, 0};
    poll(&writable, 1, kSendWaitMs);
    return true;
  }

  // An empty message to where packet i goes.
  uint32_t open_message(uint16_t i) {
    const uint32_t k = messages_++;
    msghdr& header = m_.headers[k].msg_hdr;
    header.msg_iov = m_.vectors + vectors_;
    header.msg_iovlen = 0;
    header.msg_control = nullptr;
    header.msg_controllen = 0;
    if (batch_.paths == nullptr) {
      m_.destinations[k].ipv4.sin_addr.s_addr = htonl(batch_.address[i]);
      m_.destinations[k].ipv4.sin_port = htons(batch_.port[i]);
    } else {
      follow_path(k, i);
    }
    m_.packet[k] = i;
    m_.segments[k] = 0;
    return k;
  }

  void follow_path(uint32_t k, uint16_t i) {
    const batch::OuterPath& path = batch_.paths[i];
    msghdr& header = m_.headers[k].msg_hdr;
    // A socket of one address has that address's family.
    const bool ipv6 = names_source_ ? ipv6_ : !is_mapped(path.peer);
    header.msg_namelen =
        write_address(path.peer, batch_.port[i], path.interface, ipv6, &m_.destinations[k]);
    if (!names_source_) return;
    header.msg_control = m_.sources[k].bytes;
    header.msg_controllen = write_source(path, ipv6_, &m_.sources[k]);
  }

  bool goes_same_way(uint32_t k, uint16_t i) const {
    if (batch_.paths != nullptr) {
      const uint16_t j = m_.packet[k];
      return batch_.paths[j] == batch_.paths[i] && batch_.port[j] == batch_.port[i];
    }
    return m_.destinations[k].ipv4.sin_addr.s_addr == htonl(batch_.address[i]) &&
           m_.destinations[k].ipv4.sin_port == htons(batch_.port[i]);
  }

  void make_train(uint32_t k, uint32_t segment_bytes) {
    const auto bytes = static_cast<uint16_t>(segment_bytes);
    std::memcpy(m_.controls[k].bytes + CMSG_LEN(0), &bytes, sizeof bytes);
    m_.headers[k].msg_hdr.msg_control = m_.controls[k].bytes;
    m_.headers[k].msg_hdr.msg_controllen = sizeof m_.controls[k];
  }

  void add_message(uint16_t i) {
    if (messages_ == kMessages || vectors_ == kVectors) flush();
    const uint32_t k = open_message(i);
    m_.vectors[vectors_++] = {batch_.packet(i), batch_.length[i]};
    m_.headers[k].msg_hdr.msg_iovlen = 1;
    m_.segments[k] = 1;
    train_segment_ = train_bytes_ = batch_.length[i];
  }

  // Into the last message, if that is a train's beginning.
  bool join_train(uint16_t i) {
    if (!trains_ || names_source_ || messages_ == 0 || train_segment_ == 0 ||
        vectors_ == kVectors) {
      return false;
    }
    const uint32_t k = messages_ - 1;
    const uint32_t length = batch_.length[i];
    if (length > train_segment_ || train_segment_ > m_.train_bytes_max || length == 0 ||
        train_bytes_ + length > kTrainPayloadMax || m_.segments[k] == kTrainSegmentsMax ||
        !goes_same_way(k, i)) {
      return false;
    }
    m_.vectors[vectors_++] = {batch_.packet(i), length};
    ++m_.headers[k].msg_hdr.msg_iovlen;
    if (++m_.segments[k] == 2) make_train(k, train_segment_);
    train_bytes_ += length;
    if (length < train_segment_) train_segment_ = 0;  // only the last may be shorter
    return true;
  }

  // Cuts packet i: headers are written beside, payloads stay where they are.
  void add_cut(uint16_t i) {
    const uint32_t prefix = batch_.inner[i] - batch_.offset[i];
    GWLB_ASSERT(prefix <= base::kGeneveHeaderBytesMax);
    const uint8_t* inner = batch_.packet(i) + prefix;
    const uint32_t length = batch_.length[i] - prefix;
    if (!batch_.is_super(i)) return add_fragments(i, prefix, inner, length, 0);
    wire::SuperPacket super;
    const bool ok = wire::parse_super_packet(inner, length, batch_.segment[i], &super);
    GWLB_ASSERT(ok);
    if (!batch_.is_fragmented(i)) return add_pieces(i, prefix, super, true);
    for (uint32_t k = 0; k < super.count; ++k) {
      add_fragments(i, prefix, m_.segment, wire::write_segment(super, k, m_.segment), k);
      flush();  // the next one lies in the same place
    }
  }

  // Of the k-th packet that packet i stands for; one that fits goes as it is.
  void add_fragments(uint16_t i, uint32_t prefix, const uint8_t* packet, uint32_t length,
                     uint32_t k) {
    wire::Ipv4Fragments cut;
    if (wire::parse_fragments(packet, length, batch_.fragment[i], &cut)) {
      add_pieces(i, prefix, cut, cut.even(), k);
    } else {
      add_pieces(i, prefix, Whole{packet, length}, true, k);
    }
  }

  // As trains where the pieces are `even`: all but the last of one length. What is in front of the
  // inner packet, `prefix` bytes, is in front of each. `of`: of fragments, which packet's they are.
  template <class Cut>
  void add_pieces(uint16_t i, uint32_t prefix, const Cut& cut, bool even, uint32_t of = 0) {
    const uint32_t header_max = prefix + cut.headers;
    const uint32_t each = header_max + cut.segment;
    const bool train = trains_ && even && each <= m_.train_bytes_max;
    const uint32_t fit = train ? std::min(kTrainSegmentsMax, kTrainPayloadMax / each) : 1;
    for (uint32_t from = 0; from < cut.count;) {
      const uint32_t count = std::min<uint32_t>(std::max(fit, 1u), cut.count - from);
      if (messages_ == kMessages || vectors_ + 2 * count > kVectors ||
          header_bytes_ + count * header_max > kHeaderBytes) {
        flush();
      }
      const uint32_t k = open_message(i);
      for (uint32_t s = from; s < from + count; ++s) {
        uint8_t* to = m_.segment_headers + header_bytes_;
        std::memcpy(to, batch_.packet(i), prefix);
        const Piece piece = write_piece(cut, s, to + prefix);
        const uint32_t header = prefix + piece.headers;
        header_bytes_ += header;
        m_.vectors[vectors_++] = {to, header};
        m_.vectors[vectors_++] = {const_cast<uint8_t*>(piece.payload), piece.bytes};
      }
      m_.headers[k].msg_hdr.msg_iovlen = 2 * count;
      m_.segments[k] = static_cast<uint16_t>(count);
      m_.fragment_of[k] = static_cast<uint16_t>(of);
      if (count > 1) make_train(k, each);
      from += count;
    }
    train_segment_ = 0;  // what follows begins its own
  }

  // Segments [from, from + count) of message k did not go.
  void lose(uint32_t k, uint32_t from, uint32_t count, DropReason why) {
    uint16_t i = m_.packet[k];
    if (batch_.is_fragmented(i)) return lose_fragment(k, why);
    if (batch_.is_super(i)) {
      const iovec* pieces = m_.headers[k].msg_hdr.msg_iov + size_t{2} * from;
      uint32_t bytes = count * batch_.headers[i];
      for (uint32_t n = 0; n < count; ++n)
        bytes += static_cast<uint32_t>(pieces[2 * n + 1].iov_len);
      return lose_packets(i, count, bytes, why);
    }
    for (uint32_t n = 0; n < from; ++n) i = m_.next[i];
    for (uint32_t n = 0; n < count; ++n, i = m_.next[i]) batch_.drop(i, why);
  }

  // A packet of which one fragment is lost is lost, once.
  void lose_fragment(uint32_t k, DropReason why) {
    const uint16_t i = m_.packet[k];
    const uint16_t of = m_.fragment_of[k];
    if (m_.lost[i] != 0 && m_.lost_last[i] == of) return;
    m_.lost_last[i] = of;
    lose_packets(i, 1, batch_.inner_bytes(i, of), why);
  }

  // Of those that packet i stands for.
  void lose_packets(uint16_t i, uint32_t count, uint32_t bytes, DropReason why) {
    if (m_.lost[i] == 0) batch_.lost_bytes[i] = 0;
    m_.lost[i] = static_cast<uint16_t>(m_.lost[i] + count);
    batch_.packets[i] = m_.lost[i];
    batch_.lost_bytes[i] += bytes;
    batch_.drop(i, why);
  }

  // A train that the kernel refused.
  void send_one_by_one(uint32_t k) {
    msghdr header = m_.headers[k].msg_hdr;
    const uint32_t segments = m_.segments[k];
    const size_t each = header.msg_iovlen / segments;
    header.msg_control = nullptr;
    header.msg_controllen = 0;
    header.msg_iovlen = each;
    uint32_t largest = 0;
    bool any = false;
    for (uint32_t s = 0; s < segments; ++s, header.msg_iov += each) {
      uint32_t bytes = 0;
      for (size_t v = 0; v < each; ++v) bytes += static_cast<uint32_t>(header.msg_iov[v].iov_len);
      largest = std::max(largest, bytes);
      const int why = send_message(header);
      if (why == 0) {
        ++sent_;
        any = true;
      } else {
        lose(k, s, 1, refusal(why));
      }
    }
    if (!any) return;
    m_.train_bytes_max = std::min(m_.train_bytes_max, largest - 1);
    m_.train_pause = kTrainPause;
  }

  // 0, or why not.
  int send_message(const msghdr& header) {
    for (uint32_t tries = 1;;) {
      if (finish_ == nullptr ? sendmsg(fd_, &header, MSG_DONTWAIT) >= 0 : send_finished(header))
        return 0;
      const int why = errno;
      if (why == EINTR) continue;
      if (is_full(why) && wait()) continue;
      if (is_full(why) || why == EMSGSIZE || !is_passing(why) || tries++ == kSendTries) return why;
    }
  }

  // The kernel leaves the checksum to the device unless more may be appended; nothing is.
  bool send_finished(const msghdr& header) {
    const std::lock_guard<std::mutex> lock(finish_->of(fd_));
    const msghdr nothing{};
    return sendmsg(fd_, &header, MSG_DONTWAIT | MSG_MORE) >= 0 &&
           sendmsg(fd_, &nothing, MSG_DONTWAIT) >= 0;
  }

  PacketBatch& batch_;
  UdpSendScratch::Memory& m_;
  const bool trains_;
  UdpFinish* const finish_;  // null where a device may finish checksums
  int fd_ = -1;
  bool names_source_ = false;  // each message says which address it is sent from
  bool ipv6_ = false;          // of the socket that needs that
  uint32_t messages_ = 0;
  uint32_t vectors_ = 0;
  uint32_t header_bytes_ = 0;
  uint32_t train_segment_ = 0;  // segment size of the last message; 0: nothing can join it
  uint32_t train_bytes_ = 0;
  uint32_t sent_ = 0;
  bool waited_ = false;
};

uint32_t UdpSender::send(PacketBatch& batch, const uint16_t* packets, uint32_t n,
                         UdpSendScratch& scratch) const {
  const UdpSockets set = {fds_.data(), sockets(), -1, false, trains_, finish_.get()};
  return send_from(set, batch, packets, n, scratch);
}

uint32_t UdpSender::send_from(const UdpSockets& sockets, PacketBatch& batch,
                              const uint16_t* packets, uint32_t n, UdpSendScratch& scratch) {
  UdpSendScratch::Memory& m = *scratch.memory_;
  GWLB_ASSERT(sockets.count < m.first.size());
  const uint32_t fallback = sockets.count;
  uint32_t used = 0;
  for (uint32_t k = 0; k < n; ++k) {
    const uint16_t i = packets[k];
    const bool outside = sockets.fallback >= 0 && batch.source_port[i] == UdpSockets::kNone;
    const uint32_t socket = outside ? fallback : batch.source_port[i] % sockets.count;
    m.next[i] = kEnd;
    if (m.first[socket] == kEnd) {
      m.first[socket] = i;
      m.sockets[used++] = static_cast<uint16_t>(socket);
    } else {
      m.next[m.last[socket]] = i;
    }
    m.last[socket] = i;
  }
  Sending sending(batch, m, sockets);
  for (uint32_t g = 0; g < used; ++g) {
    const uint32_t socket = m.sockets[g];
    if (socket == fallback) {
      sending.begin_fallback(sockets.fallback, sockets.fallback_ipv6);
    } else {
      sending.begin_socket(sockets.fds[socket]);
    }
    for (uint16_t i = m.first[socket]; i != kEnd; i = m.next[i]) sending.add(i);
    sending.flush();
    m.first[socket] = kEnd;
  }
  return sending.sent();
}

}  // namespace gwlb::io
