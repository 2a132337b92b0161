#include "longlora/tensors/gpu.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <sstream>
#include <string_view>

#include "longlora/core/error.h"
#include "longlora/tensors/gpu_internal.h"

namespace longlora::tensors {
namespace {

constexpr const char* kVisibleGpus = "CUDA_VISIBLE_DEVICES";
// What libtorch 2.11 for CUDA 13 asks of driver and GPU.
constexpr int kLeastDriver = 13000;  // as cuDriverGetVersion() counts
constexpr int kLeastMajor = 7, kLeastMinor = 5;

// The few functions of the driver that are needed before libtorch is there. The driver is never unloaded.
class Driver {
 public:
  // Throws ResourceError where there is no driver.
  explicit Driver(const std::string& library) : handle_(::dlopen(library.c_str(), RTLD_NOW)) {
    if (handle_ == nullptr)
      throw ResourceError(fmt::format(
          "[--device cuda] expected an NVIDIA driver ({}), found none; install it, or use --device "
          "cpu",
          library));
  }

  int version() const {
    int version = 0;
    call<int*>("cuDriverGetVersion", &version);
    return version;
  }
  // Returns false where no GPU is visible.
  bool start() const { return call<unsigned>("cuInit", 0u) == 0; }

  // Describes the only GPU that is visible.
  Gpu gpu() const {
    constexpr int kMajor = 75, kMinor = 76, kNameBytes = 128;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_…
    Gpu gpu;
    int device = 0;
    size_t total = 0;
    char name[kNameBytes] = {};
    call<int*, int>("cuDeviceGet", &device, 0);
    call<char*, int, int>("cuDeviceGetName", name, kNameBytes - 1, device);
    call<size_t*, int>("cuDeviceTotalMem_v2", &total, device);
    call<int*, int, int>("cuDeviceGetAttribute", &gpu.major, kMajor, device);
    call<int*, int, int>("cuDeviceGetAttribute", &gpu.minor, kMinor, device);
    gpu.name = name;
    gpu.total_bytes = static_cast<int64_t>(total);
    return gpu;
  }

  GpuMemory memory() const {
    size_t free = 0, total = 0;
    if (call<size_t*, size_t*>("cuMemGetInfo_v2", &free, &total) != 0)
      throw ResourceError("[GPU] expected its driver to tell how much memory is free, got an error");
    return {static_cast<int64_t>(free), static_cast<int64_t>(total)};
  }

 private:
  template <typename... Arguments>
  int call(const char* name, Arguments... arguments) const {
    auto* const function = reinterpret_cast<int (*)(Arguments...)>(::dlsym(handle_, name));
    constexpr int kNotFound = 500;  // CUDA_ERROR_NOT_FOUND
    return function == nullptr ? kNotFound : function(arguments...);
  }

  void* handle_;
};

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

std::string flag_of(int index) {
  return index == 0 ? std::string("--device cuda") : fmt::format("--device cuda:{}", index);
}

Gpu find_gpu(int index, const std::string& driver_library) {
  const Driver driver(driver_library);
  if (const int version = driver.version(); version < kLeastDriver)
    throw ResourceError(
        fmt::format("[{}] expected a driver for CUDA {} or newer, got one for CUDA {}.{}; update the NVIDIA "
                    "driver, or use "
                    "--device cpu",
                    flag_of(index), kLeastDriver / 1000, version / 1000, version % 1000 / 10));
  const auto present = environment(kVisibleGpus);
  const auto only = internal::only_visible_gpu(present, index);
  // The variable is set before the driver starts, because it reads it then, and makes no context on any other
  // GPU.
  if (only) ::setenv(kVisibleGpus, only->c_str(), /*overwrite=*/1);
  if (!only || !driver.start())
    throw ResourceError(fmt::format(
        "[{}] expected a GPU of number {}, found none{}; nvidia-smi lists those of this machine, --device "
        "cpu "
        "needs none",
        flag_of(index), index, present ? fmt::format(" among {}={}", kVisibleGpus, *present) : ""));
  Gpu gpu = driver.gpu();
  gpu.index = index;
  if (gpu.major < kLeastMajor || (gpu.major == kLeastMajor && gpu.minor < kLeastMinor))
    throw ResourceError(fmt::format(
        "[{}] expected a GPU of compute capability {}.{} or newer, got {} of {}.{}; use --device cpu",
        flag_of(index), kLeastMajor, kLeastMinor, gpu.name, gpu.major, gpu.minor));
  return gpu;
}

// Loads libtorch's CUDA operators, which register themselves with those that are there; the libraries that
// they need come along.
void load_operators(int index, const std::string& library) {
  // Segments that grow leave no holes between tensors whose sizes differ from batch to batch.
  if (!environment("PYTORCH_ALLOC_CONF") && !environment("PYTORCH_CUDA_ALLOC_CONF"))
    ::setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True", /*overwrite=*/0);
  if (::dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) return;
  const char* const reason = ::dlerror();
  throw ResourceError(fmt::format(
      "[{}] expected libtorch's CUDA library {} and what it needs, got: {}; "
      "./quickstart.sh --build-only --cuda fetches them, the Python wheel finds torch's, --device cpu "
      "needs none",
      flag_of(index), library, reason == nullptr ? "no reason" : reason));
}

}  // namespace

std::optional<std::string> internal::only_visible_gpu(const std::optional<std::string>& present, int index) {
  if (!present) return std::to_string(index);
  std::istringstream list(*present);
  std::string entry;
  for (int i = 0; std::getline(list, entry, ','); ++i) {
    if (entry.empty() || entry == "-1") return std::nullopt;  // CUDA stops there, too
    if (i == index) return entry;
  }
  return std::nullopt;
}

DeviceRequest parse_device(const std::string& text) {
  if (text == "auto") return {};
  if (text == "cpu") return {DeviceKind::kCpu, 0};
  if (text == "cuda") return {DeviceKind::kCuda, 0};
  constexpr std::string_view kPrefix = "cuda:";
  DeviceRequest request = {DeviceKind::kCuda, -1};
  if (text.starts_with(kPrefix)) {
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + kPrefix.size(), end, request.index);
    if (error == std::errc() && stop == end && request.index >= 0) return request;
  }
  throw UsageError(
      fmt::format("[--device] expected auto, cpu, cuda or cuda:N with the number of a GPU, got {}", text));
}

ChosenDevice internal::choose_device(const DeviceRequest& request, const DeviceLibraries& libraries) {
  if (request.kind == DeviceKind::kCpu) return {};
  ChosenDevice chosen;
  std::optional<Gpu> found;
  try {
    found = find_gpu(request.index, libraries.driver);
    load_operators(request.index, libraries.torch);
    chosen.gpu = found;
  } catch (const ResourceError& error) {
    if (request.kind == DeviceKind::kCuda) throw;
    // Nothing is said about a machine that has no GPU.
    if (found) chosen.passed_over = error.what();
  }
  return chosen;
}

ChosenDevice choose_device(const DeviceRequest& request) {
  return internal::choose_device(request, {});
}

GpuMemory gpu_memory() {
  return Driver(internal::DeviceLibraries().driver).memory();
}

}  // namespace longlora::tensors
