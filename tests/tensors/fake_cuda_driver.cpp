// Answers as a CUDA driver does on the machine that FAKE_CUDA describes: "VERSION GPUS MAJOR MINOR". It
// starts only where CUDA_VISIBLE_DEVICES names one of the GPUs.
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

struct Machine {
  int version = 13000, gpus = 1, major = 9, minor = 0;
};

Machine machine() {
  Machine found;
  const char* const text = std::getenv("FAKE_CUDA");
  if (text != nullptr)
    (void)std::sscanf(text, "%d %d %d %d", &found.version, &found.gpus, &found.major, &found.minor);
  return found;
}

}  // namespace

// The names are those of the driver.
// NOLINTBEGIN(readability-identifier-naming)
extern "C" {

int cuDriverGetVersion(int* version) {
  *version = machine().version;
  return 0;
}

int cuInit(unsigned) {
  const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  constexpr int kNoDevice = 100;
  return visible != nullptr && std::atoi(visible) < machine().gpus ? 0 : kNoDevice;
}

int cuDeviceGet(int* device, int) {
  *device = 0;
  return 0;
}

int cuDeviceGetName(char* name, int size, int) {
  std::snprintf(name, static_cast<size_t>(size), "Fake GPU");
  return 0;
}

int cuDeviceTotalMem_v2(size_t* bytes, int) {
  *bytes = size_t{80} << 30;
  return 0;
}

int cuDeviceGetAttribute(int* value, int attribute, int) {
  constexpr int kMajor = 75;
  *value = attribute == kMajor ? machine().major : machine().minor;
  return 0;
}

}  // extern "C"
// NOLINTEND(readability-identifier-naming)
