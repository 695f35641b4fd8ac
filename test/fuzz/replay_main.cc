// Runs a fuzz target without libFuzzer: every file of its corpus, each file cut at every length,
// and N random mutations of them. The random numbers are seeded by a constant, so a run repeats.
//
//   replay [--mutations N] [--save FILE] [FILE-OR-FOLDER...]
//
// Each input is a heap block of exactly its size, so that AddressSanitizer sees a read behind it.
// The input that ended the run is written to FILE; give it as argument to run it alone.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "test/fuzz/fuzz.h"

extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kCutsMax = 2048;  // lengths tried of each seed
constexpr size_t kInputBytesMax = 65536;

const uint8_t* current_data = nullptr;
size_t current_size = 0;
const char* save_path = nullptr;

void save_current() {
  if (save_path == nullptr || current_data == nullptr) return;
  const int file = open(save_path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
  if (file < 0) return;
  const ssize_t written = write(file, current_data, current_size);
  close(file);
  const char text[] = "the input that did it was saved\n";
  if (written == static_cast<ssize_t>(current_size) && write(2, text, sizeof text - 1) < 0) return;
}

void on_abort(int) {
  save_current();
  std::signal(SIGABRT, SIG_DFL);
  std::raise(SIGABRT);
}

void run(const uint8_t* data, size_t size) {
  const std::unique_ptr<uint8_t[]> block(new uint8_t[size]);
  if (size > 0) std::memcpy(block.get(), data, size);
  current_data = block.get();
  current_size = size;
  LLVMFuzzerTestOneInput(block.get(), size);
  current_data = nullptr;
}

// SplitMix64.
class Random {
 public:
  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  size_t below(size_t bound) { return bound == 0 ? 0 : static_cast<size_t>(next() % bound); }

 private:
  uint64_t state_ = 6081;
};

void write_number(Bytes* input, size_t at, Random* random) {
  static constexpr uint32_t kEdges[] = {0,    1,    4,      8,      20,         40,        0x7f,
                                        0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff};
  const uint32_t value = kEdges[random->below(std::size(kEdges))];
  const size_t width = size_t{1} << random->below(3);
  const bool big = random->below(2) == 0;
  for (size_t i = 0; i < width && at + i < input->size(); ++i) {
    const size_t shift = 8 * (big ? width - 1 - i : i);
    (*input)[at + i] = static_cast<uint8_t>(value >> shift);
  }
}

void mutate(Bytes* input, const std::vector<Bytes>& seeds, Random* random) {
  const size_t at = random->below(input->size());
  switch (random->below(8)) {
    case 0:
    case 1:
      if (!input->empty()) (*input)[at] ^= static_cast<uint8_t>(1u << random->below(8));
      break;
    case 2:
      if (!input->empty()) (*input)[at] = static_cast<uint8_t>(random->next());
      break;
    case 3:
      write_number(input, at, random);
      break;
    case 4:
      input->resize(random->below(input->size() + 1));
      break;
    case 5: {  // a piece again, or out
      const size_t end = std::min(input->size(), at + 1 + random->below(16));
      const Bytes piece(input->begin() + static_cast<std::ptrdiff_t>(at),
                        input->begin() + static_cast<std::ptrdiff_t>(end));
      const auto where = input->begin() + static_cast<std::ptrdiff_t>(at);
      if (random->below(2) == 0) {
        input->insert(where, piece.begin(), piece.end());
      } else {
        input->erase(where, input->begin() + static_cast<std::ptrdiff_t>(end));
      }
      break;
    }
    case 6: {  // the head of this one, the tail of another
      if (seeds.empty()) break;
      const Bytes& other = seeds[random->below(seeds.size())];
      const size_t from = random->below(other.size() + 1);
      input->resize(at);
      input->insert(input->end(), other.begin() + static_cast<std::ptrdiff_t>(from), other.end());
      break;
    }
    default:
      for (size_t i = 1 + random->below(24); i > 0; --i) {
        input->push_back(static_cast<uint8_t>(random->next()));
      }
  }
  if (input->size() > kInputBytesMax) input->resize(kInputBytesMax);
}

void add_file(const std::filesystem::path& path, std::vector<Bytes>* seeds) {
  std::ifstream file(path, std::ios::binary);
  seeds->emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

void add(const char* argument, std::vector<Bytes>* seeds) {
  std::error_code error;
  if (!std::filesystem::is_directory(argument, error)) {
    if (std::filesystem::exists(argument, error)) add_file(argument, seeds);
    return;
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(argument, error)) {
    if (entry.is_regular_file(error)) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const auto& file : files) add_file(file, seeds);
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t mutations = 0;
  std::vector<Bytes> seeds;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--mutations") == 0 && i + 1 < argc) {
      mutations = std::strtoull(argv[++i], nullptr, 10);
    } else if (std::strcmp(argv[i], "--save") == 0 && i + 1 < argc) {
      save_path = argv[++i];
    } else {
      add(argv[i], &seeds);
    }
  }
  std::signal(SIGABRT, on_abort);
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(save_current);

  uint64_t runs = 0;
  for (const Bytes& seed : seeds) {
    run(seed.data(), seed.size());
    ++runs;
    if (mutations == 0) continue;
    for (size_t length = 0; length < std::min(seed.size(), kCutsMax); ++length, ++runs) {
      run(seed.data(), length);
    }
  }
  Random random;
  for (uint64_t i = 0; i < mutations; ++i, ++runs) {
    Bytes input = seeds.empty() ? Bytes() : seeds[random.below(seeds.size())];
    for (size_t step = 1 + random.below(6); step > 0; --step) mutate(&input, seeds, &random);
    run(input.data(), input.size());
  }
  const char* slash = std::strrchr(argv[0], '/');
  std::printf("%s: %zu seeds, %llu runs, all good\n", slash == nullptr ? argv[0] : slash + 1,
              seeds.size(), static_cast<unsigned long long>(runs));
  return 0;
}
