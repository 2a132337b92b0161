#include "longlora/core/read_bandwidth.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstring>
#include <new>
#include <thread>
#include <vector>

#include "longlora/core/memory.h"

namespace longlora {
namespace {

constexpr int kPasses = 5;
constexpr int64_t kBytesPerThread = int64_t{256} << 20;

// Memory in large pages where the system has them, as the weights of a model are.
class Words {
 public:
  explicit Words(int64_t bytes) : bytes_(static_cast<size_t>(bytes)) {
    void* const mapped = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    ::madvise(mapped, bytes_, MADV_HUGEPAGE);
    words_ = static_cast<uint64_t*>(mapped);
    std::fill_n(words_, size(), 1);
  }
  ~Words() { ::munmap(words_, bytes_); }
  Words(const Words&) = delete;
  Words& operator=(const Words&) = delete;

  size_t size() const { return bytes_ / sizeof(uint64_t); }
  const uint64_t* data() const { return words_; }

 private:
  uint64_t* words_;
  size_t bytes_;
};

// Reads all words once, in many chains and some way ahead, so that reading and not adding takes the time.
uint64_t sum_of(const Words& words) {
  typedef uint64_t Line __attribute__((vector_size(64)));
  constexpr size_t kLine = 8, kAhead = 128 * kLine;
  Line sums[4] = {};
  for (size_t i = 0; i + 4 * kLine <= words.size(); i += 4 * kLine)
    for (size_t l = 0; l < 4; ++l) {
      const uint64_t* const place = words.data() + i + l * kLine;
      __builtin_prefetch(place + kAhead);
      Line line;
      std::memcpy(&line, place, sizeof line);
      sums[l] += line;
    }
  const Line all = sums[0] + sums[1] + sums[2] + sums[3];
  uint64_t sum = 0;
  for (size_t l = 0; l < kLine; ++l) sum += all[l];
  return sum;
}

}  // namespace

double measure_read_bandwidth(int64_t threads) {
  threads = std::max<int64_t>(1, threads);
  const int64_t bytes = std::min(kBytesPerThread, available_memory_bytes() / (4 * threads));
  std::barrier gate(threads);
  std::atomic<uint64_t> sink = 0;
  std::vector<double> seconds(kPasses);
  const auto read = [&](bool keeps_time) {
    const Words words(bytes);
    for (double& pass : seconds) {
      gate.arrive_and_wait();
      const auto start = std::chrono::steady_clock::now();
      sink += sum_of(words);
      gate.arrive_and_wait();
      if (keeps_time) pass = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
  };
  {
    std::vector<std::jthread> others;
    others.reserve(static_cast<size_t>(threads - 1));
    for (int64_t i = 1; i < threads; ++i) others.emplace_back(read, false);
    read(true);
  }
  return static_cast<double>(bytes * threads) / *std::min_element(seconds.begin(), seconds.end());
}

}  // namespace longlora
