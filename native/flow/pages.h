// Memory of the tables: mapped once, on huge pages where the kernel gives them, and touched before
// the first packet. A first touch costs 2 us a page, a table on small pages up to twice a lookup at
// ten million flows; neither belongs on the packet path.
#pragma once

#include <cstddef>

namespace gwlb::flow {

class Pages {
 public:
  Pages() = default;
  Pages(Pages&& other) noexcept : data_(other.data_), bytes_(other.bytes_) {
    other.data_ = nullptr;
    other.bytes_ = 0;
  }
  Pages& operator=(Pages&&) = delete;
  ~Pages();

  // Zeroed memory of at least `bytes`, aligned to a page (to 2 MiB from 2 MiB on) and prefaulted.
  // data() is null where the kernel refuses.
  static Pages map(size_t bytes);
  // The same, not prefaulted: for what is needed by few. The system gives each page when it is
  // first written.
  static Pages reserve(size_t bytes);

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }  // what is mapped: whole pages of 4 KiB

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace gwlb::flow
