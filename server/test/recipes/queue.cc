// Stands in for a program that judges packets in a queue of the kernel: drops those that hold "GET
// /admin", tells of those that hold "unusual". Arguments: the queue's number.
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

extern "C" {
#include <libnetfilter_queue/libnetfilter_queue.h>
}

namespace {

constexpr std::uint32_t kWholePacket = 0xffff;

int judge(nfq_q_handle* queue, nfgenmsg*, nfq_data* data, void*) {
  const nfqnl_msg_packet_hdr* header = nfq_get_msg_packet_hdr(data);
  if (header == nullptr) return -1;
  unsigned char* bytes = nullptr;
  const int length = nfq_get_payload(data, &bytes);
  const std::string_view packet(reinterpret_cast<const char*>(bytes), length > 0 ? length : 0);
  const bool drops = packet.find("GET /admin") != packet.npos;
  if (drops) std::puts("drop");
  if (packet.find("unusual") != packet.npos) std::puts("alert");
  return nfq_set_verdict(queue, ntohl(header->packet_id), drops ? NF_DROP : NF_ACCEPT, 0, nullptr);
}

int fail(const char* what) {
  std::perror(what);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const auto number = static_cast<std::uint16_t>(argc > 1 ? std::atoi(argv[1]) : 0);
  nfq_handle* handle = nfq_open();
  if (handle == nullptr) return fail("nfq_open");
  nfq_q_handle* queue = nfq_create_queue(handle, number, &judge, nullptr);
  if (queue == nullptr) return fail("nfq_create_queue");
  if (nfq_set_mode(queue, NFQNL_COPY_PACKET, kWholePacket) < 0) return fail("nfq_set_mode");
  // Super-packets as they are; otherwise the kernel cuts them for each reader.
  nfq_set_queue_flags(queue, NFQA_CFG_F_GSO, NFQA_CFG_F_GSO);
  std::puts("ready");
  alignas(8) static char buffer[1 << 17];
  for (;;) {
    const ssize_t length = recv(nfq_fd(handle), buffer, sizeof(buffer), 0);
    // ENOBUFS: packets that did not fit are dropped, and the next ones come.
    if (length > 0) nfq_handle_packet(handle, buffer, static_cast<int>(length));
  }
}
