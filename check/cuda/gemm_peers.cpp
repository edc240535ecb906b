// cuBLASLt by dlopen: nothing links it, and a machine without it only lacks the comparison.
#include "check/gemm_peers.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include <dlfcn.h>

#include "check/bench.hpp"
#include "check/problem.hpp"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

namespace spf::check {
namespace {

constexpr int64_t kWorkspace = int64_t{32} << 20;

struct Library {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtMatmulDescCreate) product_create;
  decltype(&cublasLtMatmulDescDestroy) product_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) product_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmul) multiply;
};

// The name of the first function that `handle` lacks, or nullptr.
const char* load(void* handle, Library* library) {
  const char* missing = nullptr;
  const auto find = [&](auto* function, const char* name) {
    *function = reinterpret_cast<std::remove_reference_t<decltype(*function)>>(dlsym(handle, name));
    if (*function == nullptr && missing == nullptr) missing = name;
  };
  find(&library->create, "cublasLtCreate");
  find(&library->destroy, "cublasLtDestroy");
  find(&library->product_create, "cublasLtMatmulDescCreate");
  find(&library->product_destroy, "cublasLtMatmulDescDestroy");
  find(&library->product_set, "cublasLtMatmulDescSetAttribute");
  find(&library->layout_create, "cublasLtMatrixLayoutCreate");
  find(&library->layout_destroy, "cublasLtMatrixLayoutDestroy");
  find(&library->preference_create, "cublasLtMatmulPreferenceCreate");
  find(&library->preference_destroy, "cublasLtMatmulPreferenceDestroy");
  find(&library->preference_set, "cublasLtMatmulPreferenceSetAttribute");
  find(&library->heuristic, "cublasLtMatmulAlgoGetHeuristic");
  find(&library->multiply, "cublasLtMatmul");
  return missing;
}

void expect(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Failure(std::string(what) + ": cuBLAS status " + std::to_string(static_cast<int>(status)));
}

// out[m,n] = x[m,k] W[n,k]^T. In the library's column-major terms: an n x m matrix, W transposed times x.
class Product {
 public:
  Product(const Library& library, cublasLtHandle_t handle, bool fp8, int64_t m, int64_t n, int64_t k, const void* one)
      : library_(library), handle_(handle) {
    const cudaDataType_t type = fp8 ? CUDA_R_8F_E4M3 : CUDA_R_16BF;
    expect(library.product_create(&product_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    const cublasOperation_t transposed = CUBLAS_OP_T;
    set(CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
    if (fp8) {
      set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &one, sizeof one);
      set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &one, sizeof one);
    }
    const auto wide = [](int64_t extent) { return static_cast<uint64_t>(extent); };
    expect(library.layout_create(&weight_, type, wide(k), wide(n), k), "cublasLtMatrixLayoutCreate");
    expect(library.layout_create(&x_, type, wide(k), wide(m), k), "cublasLtMatrixLayoutCreate");
    expect(library.layout_create(&out_, CUDA_R_16BF, wide(n), wide(m), n), "cublasLtMatrixLayoutCreate");
    cublasLtMatmulPreference_t preference = nullptr;
    expect(library.preference_create(&preference), "cublasLtMatmulPreferenceCreate");
    const size_t most = kWorkspace;
    (void)library.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most);
    int found = 0;
    const cublasStatus_t status =
        library.heuristic(handle, product_, weight_, x_, out_, out_, preference, 1, &choice_, &found);
    (void)library.preference_destroy(preference);
    usable_ = status == CUBLAS_STATUS_SUCCESS && found > 0;
  }
  ~Product() {
    for (cublasLtMatrixLayout_t layout : {weight_, x_, out_})
      if (layout != nullptr) (void)library_.layout_destroy(layout);
    if (product_ != nullptr) (void)library_.product_destroy(product_);
  }
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  bool usable() const { return usable_; }
  void run(const void* weight, const void* x, void* out, void* workspace, void* stream) const {
    const float one = 1.0f, zero = 0.0f;
    expect(library_.multiply(handle_, product_, &one, weight, weight_, x, x_, &zero, out, out_, out, out_,
                             &choice_.algo, workspace, kWorkspace, static_cast<cudaStream_t>(stream)),
           "cublasLtMatmul");
  }

 private:
  void set(cublasLtMatmulDescAttributes_t what, const void* value, size_t bytes) {
    expect(library_.product_set(product_, what, value, bytes), "cublasLtMatmulDescSetAttribute");
  }

  const Library& library_;
  cublasLtHandle_t handle_;
  cublasLtMatmulDesc_t product_ = nullptr;
  cublasLtMatrixLayout_t weight_ = nullptr, x_ = nullptr, out_ = nullptr;
  cublasLtMatmulHeuristicResult_t choice_ = {};
  bool usable_ = false;
};

class CublasLt final : public GemmPeers {
 public:
  CublasLt(Memory& memory, const Library& library) : memory_(memory), library_(library) {
    expect(library_.create(&handle_), "cublasLtCreate");
    workspace_ = memory.allocate(kWorkspace);
    one_ = memory.allocate(sizeof(float));
    const float one = 1.0f;
    memory.write(one_.data(), &one, sizeof one);
  }
  ~CublasLt() override { (void)library_.destroy(handle_); }

  std::map<std::string, PeerTime> time(int64_t m, int64_t n, int64_t k) override {
    std::map<std::string, PeerTime> times;
    for (const bool fp8 : {false, true}) {
      const PeerTime time = this->time(fp8, m, n, k);
      if (time.us > 0) times[fp8 ? "cublaslt_fp8" : "cublaslt_bf16"] = time;
    }
    return times;
  }

  double best_rate(bool fp8) override {
    constexpr int64_t kEdge = 8192;
    const double us = time(fp8, kEdge, kEdge, kEdge).us;
    return us > 0 ? 2e6 * kEdge * kEdge * kEdge / us : 0;
  }

 private:
  // Zeros where the library takes no such product.
  PeerTime time(bool fp8, int64_t m, int64_t n, int64_t k) {
    const Product product(library_, handle_, fp8, m, n, k, one_.data());
    if (!product.usable()) return {};
    const int64_t element = fp8 ? 1 : 2, stride = (n * k * element + 255) / 256 * 256;
    const int count = static_cast<int>(std::clamp<int64_t>(kRotate / stride + 1, kFewestLaunches, kMostLaunches));
    const int slots = static_cast<int>(std::clamp<int64_t>(kRotate / stride + 1, 1, count));
    const Block weights = memory_.allocate(stride * slots), x = memory_.allocate(m * k * element),
                out = memory_.allocate(m * n * 2);
    fill(fp8, weights.data(), n * k);
    fill(fp8, x.data(), m * k);
    for (int slot = 1; slot < slots; ++slot)
      memory_.copy(weights.data() + slot * stride, weights.data(), n * k * element);
    const GraphTimes times = time_graph(
        memory_, {.launches = count, .fewest = std::min(slots, 4), .rest = true, .sustained = true},
        [&](int index, void* stream) {
          product.run(weights.data() + index % slots * stride, x.data(), out.data(), workspace_.data(), stream);
        });
    return {median(times.each), times.sustained, true};
  }

  // Random numbers: a product of zeros takes less power, and so less time.
  void fill(bool fp8, std::byte* to, int64_t count) {
    const int64_t element = fp8 ? 1 : 2, some = std::min<int64_t>(count, 1 << 22);
    const Codes codes = make_codes(fp8 ? SPF_E4M3 : SPF_BF16, some, Pattern::kPlain, 7);
    memory_.write(to, codes.data(), some * element);
    for (int64_t at = some; at < count; at += some)
      memory_.copy(to + at * element, to, std::min(some, count - at) * element);
  }

  Memory& memory_;
  Library library_;
  cublasLtHandle_t handle_ = nullptr;
  Block workspace_, one_;
};

} // namespace

std::unique_ptr<GemmPeers> open_gemm_peers(Memory& memory, std::string* why) {
  if (memory.is_cpu()) {
    *why = "cuBLASLt is a library for GPUs";
    return nullptr;
  }
  const std::string name = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
  void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL); // stays for the life of the process
  if (handle == nullptr) {
    *why = "there is no " + name + " where the loader looks";
    return nullptr;
  }
  Library library = {};
  if (const char* missing = load(handle, &library)) {
    *why = name + " has no " + missing;
    return nullptr;
  }
  return std::make_unique<CublasLt>(memory, library);
}

} // namespace spf::check

#else

namespace spf::check {

std::unique_ptr<GemmPeers> open_gemm_peers(Memory&, std::string* why) {
  *why = "this was built without cublasLt.h";
  return nullptr;
}

} // namespace spf::check

#endif
