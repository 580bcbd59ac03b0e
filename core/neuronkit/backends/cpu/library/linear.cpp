// Linear layers in float32: rows [count, width] times a weight [outputs, width] as a checkpoint stores it.
//
// Few rows are dot products, which read each weight once. More are multiplied by panels of DEPTH columns of the weight.

#include <algorithm>
#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "panels.h"
#include "tensor.h"

namespace {

constexpr int64_t DEPTH = 384;       // a panel takes 24 KiB of a first-level cache of 32
constexpr int64_t BLOCK_ROWS = 192;  // DEPTH columns of them take 288 KiB of a second-level cache
constexpr int64_t FEW_ROWS = 8;
constexpr int64_t AHEAD = 1024;     // bytes
constexpr int64_t SMALL = 1 << 16;  // multiplications that are not worth a second thread

struct Threads {
  int64_t number = 0, count = 1;
  Threads() {
#ifdef _OPENMP
    number = omp_get_thread_num();
    count = omp_get_num_threads();
#endif
  }
};

template <class Weight>
struct Linear {
  const float* rows;
  const Weight* weight;
  const float* bias;  // null for none
  float* out;
  int64_t count, width, outputs;
  bool activates;  // by GELU

  void run() const {
    if (count <= FEW_ROWS) return dots<FEW_ROWS>();
    tiles();
  }

  bool small() const { return count * width * outputs <= SMALL; }

  template <int MOST>
  void dots() const {
    if constexpr (MOST > 0) {
      if (count != MOST) return dots<MOST - 1>();
      // A core that reads in one place waits for memory; in three, sums of four rows take 12 of 16 registers.
      constexpr int PLACES = MOST < 3 ? 4 : MOST < 5 ? 3 : 2;
#pragma omp parallel if (!small())
      {
        Threads threads;
        int64_t from = outputs * threads.number / threads.count, to = outputs * (threads.number + 1) / threads.count;
        int64_t apart = (to - from) / PLACES;
        for (int64_t n = from; n < from + apart; n++) dot<MOST, PLACES>(n, apart);
        for (int64_t n = from + apart * PLACES; n < to; n++) dot<MOST, PLACES>(n, 0);
        activate(0, count, from, to);
      }
    }
  }

  // Outputs n, n + apart, ... of all rows; one output where that is 0.
  template <int ROWS, int PLACES>
  inline void dot(int64_t n, int64_t apart) const {
    __m256 sums[PLACES][ROWS];
#pragma GCC unroll 8
    for (int place = 0; place < PLACES; place++)
#pragma GCC unroll 8
      for (int row = 0; row < ROWS; row++) sums[place][row] = _mm256_setzero_ps();
    const Weight* from = weight + n * width;
    int64_t k = 0;
    for (; k + LANES <= width; k += LANES) {
      __m256 taken[PLACES];
#pragma GCC unroll 8
      for (int place = 0; place < PLACES; place++) {
        const Weight* at = from + place * apart * width + k;
        taken[place] = load(at);
        _mm_prefetch(reinterpret_cast<const char*>(at) + AHEAD, _MM_HINT_T0);
      }
#pragma GCC unroll 8
      for (int row = 0; row < ROWS; row++) {
        __m256 values = load(rows + row * width + k);
        asm("" : "+x"(values));  // or compilers read it from memory again for each place
#pragma GCC unroll 8
        for (int place = 0; place < PLACES; place++)
          sums[place][row] = _mm256_fmadd_ps(taken[place], values, sums[place][row]);
      }
    }
#pragma GCC unroll 8
    for (int place = 0; place < PLACES; place++)
#pragma GCC unroll 8
      for (int row = 0; row < ROWS; row++) {
        int64_t output = n + place * apart;
        out[row * outputs + output] = total(sums[place][row]) + (bias ? bias[output] : 0.0f);
      }
    if (k == width) return;
    for (int place = 0; place < (apart ? PLACES : 1); place++) add_rest(n + place * apart, k);
  }

  // Adds the columns from k on to an output of all rows.
  [[gnu::noinline]] void add_rest(int64_t output, int64_t k) const {
    for (int64_t row = 0; row < count; row++)
      for (int64_t rest = k; rest < width; rest++)
        out[row * outputs + output] += single(weight[output * width + rest]) * rows[row * width + rest];
  }

  // Outputs from..to of rows first..last, which are still in a cache.
  [[gnu::noinline]] void activate(int64_t first, int64_t last, int64_t from, int64_t to) const {
    for (int64_t row = first; row < last && activates; row++) {
      float* values = out + row * outputs;
      int64_t n = from;
      for (; n + LANES <= to; n += LANES) _mm256_storeu_ps(values + n, gelu(load(values + n)));
      for (; n < to; n++) values[n] = _mm256_cvtss_f32(gelu(_mm256_set1_ps(values[n])));
    }
  }

  void tiles() const {
    int64_t panels = (outputs + PANEL - 1) / PANEL, blocks = (count + BLOCK_ROWS - 1) / BLOCK_ROWS;
#pragma omp parallel if (!small())
    {
      alignas(64) float panel[DEPTH * PANEL];
#pragma omp for schedule(dynamic)
      for (int64_t unit = 0; unit < blocks * panels; unit++) {
        int64_t block = unit % blocks, n = unit / blocks * PANEL, there = std::min<int64_t>(PANEL, outputs - n);
        int64_t from = count * block / blocks, to = count * (block + 1) / blocks;
        float begun[PANEL] = {};
        if (bias) std::copy_n(bias + n, there, begun);
        for (int64_t k = 0; k < width; k += DEPTH) {
          int64_t depth = std::min(DEPTH, width - k);
          arrange(weight + n * width + k, width, there, depth, panel);
          multiply(to - from, rows + from * width + k, width, panel, depth, out + from * outputs + n, outputs, there,
                   k == 0 ? begun : nullptr);
        }
        activate(from, to, n, n + there);
      }
    }
  }
};

template <class Weight>
AOTITorchError run(const void* rows, const void* weight, const void* bias, void* out, int64_t count, int64_t width,
                   int64_t outputs, bool activates) {
  Linear<Weight>{static_cast<const float*>(rows),
                 static_cast<const Weight*>(weight),
                 static_cast<const float*>(bias),
                 static_cast<float*>(out),
                 count,
                 width,
                 outputs,
                 activates}
      .run();
  return AOTI_TORCH_SUCCESS;
}

}  // namespace

extern "C" AOTITorchError NEURONKIT_LINEAR(AtenTensorHandle rows_handle, AtenTensorHandle weight_handle,
                                           AtenTensorHandle* bias_handle, int32_t activates, AtenTensorHandle* result) {
  constexpr int64_t MOST_AXES = 8;
  Tensor rows(rows_handle), weight(weight_handle);
  int32_t float32 = aoti_torch_dtype_float32();
  if (!rows.readable || !weight.readable || !rows.contiguous() || !weight.contiguous() || rows.dtype != float32 ||
      rows.axes < 1 || rows.axes > MOST_AXES || weight.axes != 2)
    return AOTI_TORCH_FAILURE;
  int64_t width = weight.sizes[1], outputs = weight.sizes[0], count = 1, sizes[MOST_AXES], strides[MOST_AXES];
  if (rows.sizes[rows.axes - 1] != width) return AOTI_TORCH_FAILURE;
  const void* bias = nullptr;
  if (bias_handle) {
    Tensor added(*bias_handle);
    if (!added.readable || !added.contiguous() || added.dtype != float32 || added.axes != 1 ||
        added.sizes[0] != outputs)
      return AOTI_TORCH_FAILURE;
    bias = added.data;
  }
  int64_t stride = 1;
  for (int64_t axis = rows.axes; axis-- > 0; stride *= sizes[axis]) {
    sizes[axis] = axis == rows.axes - 1 ? outputs : rows.sizes[axis];
    strides[axis] = stride;
    if (axis < rows.axes - 1) count *= sizes[axis];
  }
  if (aoti_torch_empty_strided(rows.axes, sizes, strides, float32, aoti_torch_device_type_cpu(), 0, result))
    return AOTI_TORCH_FAILURE;
  void* out = nullptr;
  if (aoti_torch_get_data_ptr(*result, &out)) return AOTI_TORCH_FAILURE;
  if (count == 0) return AOTI_TORCH_SUCCESS;
  auto taken = weight.dtype == float32                       ? run<float>
               : weight.dtype == aoti_torch_dtype_bfloat16() ? run<BFloat16>
               : weight.dtype == aoti_torch_dtype_float16()  ? run<Float16>
               : weight.dtype == aoti_torch_dtype_int8()     ? run<int8_t>
                                                             : nullptr;
  return taken ? taken(rows.data, weight.data, bias, out, count, width, outputs, activates != 0) : AOTI_TORCH_FAILURE;
}
