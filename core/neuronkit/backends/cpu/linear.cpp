// Linear layers in float32 for x86 CPUs with AVX2: rows [count, width] times a weight [outputs, width] as a checkpoint
// stores it.
//
// Few rows are dot products, which read each weight once. More are tiles of TILE_ROWS x PANEL sums over DEPTH columns,
// after Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): PANEL outputs of the weight
// are put into the order of the sums in a buffer that stays in the first-level cache while all rows pass by.

#include <immintrin.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include <algorithm>
#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace {

constexpr int LANES = 8;
constexpr int TILE_ROWS = 6;  // 6 x 2 sums, two vectors of the weight and one value of a row: 15 of 16 registers
constexpr int PANEL = 2 * LANES;
constexpr int64_t DEPTH = 384;       // a panel takes 24 KiB of a first-level cache of 32
constexpr int64_t BLOCK_ROWS = 192;  // DEPTH columns of them take 288 KiB of a second-level cache
constexpr int64_t GROUP = 2;         // panels that a thread takes at once
constexpr int64_t FEW_ROWS = 8;
constexpr int64_t AHEAD = 1024;     // bytes
constexpr int64_t SMALL = 1 << 16;  // multiplications that are not worth a second thread

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

inline __m256 load(const float* from) { return _mm256_loadu_ps(from); }
inline __m256 load(const BFloat16* from) {
  __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
inline __m256 load(const Float16* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
inline __m256 load(const int8_t* from) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}

template <class Weight>
inline float single(Weight value) {
  Weight some[LANES] = {value};
  return _mm256_cvtss_f32(load(some));
}

inline float total(__m256 sums) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

struct Threads {
  int64_t number = 0, count = 1;
  Threads() {
#ifdef _OPENMP
    number = omp_get_thread_num();
    count = omp_get_num_threads();
#endif
  }
};

// Adds depth columns to PANEL sums of some rows, or to what they begin with.
template <int ROWS>
void tile(int64_t some, const float* values, int64_t width, const float* panel, int64_t depth, float* sums,
          int64_t apart, const float* begun) {
  if constexpr (ROWS > 0) {
    if (some != ROWS) return tile<ROWS - 1>(some, values, width, panel, depth, sums, apart, begun);
    __m256 left[ROWS], right[ROWS];
#pragma GCC unroll 8
    for (int row = 0; row < ROWS; row++) {
      const float* first = begun ? begun : sums + row * apart;
      left[row] = load(first);
      right[row] = load(first + LANES);
    }
    for (int64_t column = 0; column < depth; column++) {
      __m256 lower = _mm256_load_ps(panel + column * PANEL), upper = _mm256_load_ps(panel + column * PANEL + LANES);
#pragma GCC unroll 8
      for (int row = 0; row < ROWS; row++) {
        __m256 value = _mm256_broadcast_ss(values + row * width + column);
        left[row] = _mm256_fmadd_ps(value, lower, left[row]);
        right[row] = _mm256_fmadd_ps(value, upper, right[row]);
      }
    }
#pragma GCC unroll 8
    for (int row = 0; row < ROWS; row++) {
      _mm256_storeu_ps(sums + row * apart, left[row]);
      _mm256_storeu_ps(sums + row * apart + LANES, right[row]);
    }
  }
}

template <class Weight>
struct Linear {
  const float* rows;
  const Weight* weight;
  const float* bias;  // null for none
  float* out;
  int64_t count, width, outputs;

  void run() const {
    if (count <= FEW_ROWS) return dots<FEW_ROWS>();
    tiles();
  }

  bool small() const { return count * width * outputs <= SMALL; }

  template <int MOST>
  void dots() const {
    if constexpr (MOST > 0) {
      if (count != MOST) return dots<MOST - 1>();
      constexpr int PLACES = MOST < 3 ? 4 : MOST < 5 ? 2 : 1;  // a core that reads in one place waits for memory
#pragma omp parallel if (!small())
      {
        Threads threads;
        int64_t from = outputs * threads.number / threads.count, to = outputs * (threads.number + 1) / threads.count;
        int64_t apart = (to - from) / PLACES;
        for (int64_t n = from; n < from + apart; n++) dot<MOST, PLACES>(n, apart);
        for (int64_t n = from + apart * PLACES; n < to; n++) dot<MOST, 1>(n, 0);
      }
    }
  }

  // Outputs n, n + apart, ... of all rows.
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
#pragma GCC unroll 8
        for (int place = 0; place < PLACES; place++)
          sums[place][row] = _mm256_fmadd_ps(taken[place], values, sums[place][row]);
      }
    }
    for (int place = 0; place < PLACES; place++)
      for (int row = 0; row < ROWS; row++) {
        float sum = total(sums[place][row]);
        for (int64_t rest = k; rest < width; rest++)
          sum += single(from[place * apart * width + rest]) * rows[row * width + rest];
        int64_t output = n + place * apart;
        out[row * outputs + output] = sum + (bias ? bias[output] : 0.0f);
      }
  }

  void tiles() const {
    int64_t panels = (outputs + PANEL - 1) / PANEL, groups = (panels + GROUP - 1) / GROUP;
    int64_t blocks = (count + BLOCK_ROWS - 1) / BLOCK_ROWS;
#pragma omp parallel if (!small())
    {
      alignas(64) float panel[DEPTH * PANEL];
#pragma omp for schedule(dynamic)
      for (int64_t unit = 0; unit < blocks * groups; unit++) {
        int64_t block = unit % blocks, group = unit / blocks;
        int64_t from = count * block / blocks, to = count * (block + 1) / blocks;
        for (int64_t k = 0; k < width; k += DEPTH)
          for (int64_t number = group * GROUP; number < std::min(panels, (group + 1) * GROUP); number++) {
            int64_t depth = std::min(DEPTH, width - k);
            arrange(number * PANEL, k, depth, panel);
            multiply(from, to, number * PANEL, k, depth, panel);
          }
      }
    }
  }

  // Puts [PANEL outputs from n, depth columns from k] in the order [depth, PANEL], zeros for outputs that there are
  // not.
  void arrange(int64_t n, int64_t k, int64_t depth, float* panel) const {
    const Weight* from = weight + n * width + k;
    int64_t there = std::min<int64_t>(PANEL, outputs - n), column = 0;
    if (there == PANEL)
      for (; column + LANES <= depth; column += LANES)
        for (int half = 0; half < PANEL; half += LANES)
          transpose(from + half * width + column, panel + column * PANEL + half);
    for (; column < depth; column++)
      for (int64_t output = 0; output < PANEL; output++)
        panel[column * PANEL + output] = output < there ? single(from[output * width + column]) : 0.0f;
  }

  // Writes LANES columns of LANES outputs as LANES parts of rows of a panel.
  void transpose(const Weight* from, float* to) const {
    __m256 by_two[LANES], by_four[LANES];
#pragma GCC unroll 8
    for (int pair = 0; pair < LANES; pair += 2) {
      __m256 even = load(from + pair * width), odd = load(from + (pair + 1) * width);
      by_two[pair] = _mm256_unpacklo_ps(even, odd);
      by_two[pair + 1] = _mm256_unpackhi_ps(even, odd);
    }
#pragma GCC unroll 8
    for (int four = 0; four < LANES; four += 4)
#pragma GCC unroll 8
      for (int half = 0; half < 2; half++) {
        __m256 low = by_two[four + half], high = by_two[four + half + 2];
        by_four[four + 2 * half] = _mm256_shuffle_ps(low, high, _MM_SHUFFLE(1, 0, 1, 0));
        by_four[four + 2 * half + 1] = _mm256_shuffle_ps(low, high, _MM_SHUFFLE(3, 2, 3, 2));
      }
#pragma GCC unroll 8
    for (int column = 0; column < 4; column++) {
      _mm256_storeu_ps(to + column * PANEL, _mm256_permute2f128_ps(by_four[column], by_four[column + 4], 0x20));
      _mm256_storeu_ps(to + (column + 4) * PANEL, _mm256_permute2f128_ps(by_four[column], by_four[column + 4], 0x31));
    }
  }

  // Adds depth columns from k to the outputs of a panel, for rows from..to; the first columns begin with the bias.
  void multiply(int64_t from, int64_t to, int64_t n, int64_t k, int64_t depth, const float* panel) const {
    int64_t there = std::min<int64_t>(PANEL, outputs - n), parts = (to - from + TILE_ROWS - 1) / TILE_ROWS;
    float added[PANEL] = {};
    if (bias && k == 0) std::copy(bias + n, bias + n + there, added);
    const float* begun = k == 0 ? added : nullptr;
    for (int64_t part = 0, row = from; part < parts; part++) {
      int64_t some = (to - from) / parts + (part < (to - from) % parts);
      const float* values = rows + row * width + k;
      float* sums = out + row * outputs + n;
      if (there == PANEL) {
        tile<TILE_ROWS>(some, values, width, panel, depth, sums, outputs, begun);
      } else {
        float edge[TILE_ROWS * PANEL] = {};
        for (int64_t i = 0; i < some && !begun; i++)
          std::copy(sums + i * outputs, sums + i * outputs + there, edge + i * PANEL);
        tile<TILE_ROWS>(some, values, width, panel, depth, edge, PANEL, begun);
        for (int64_t i = 0; i < some; i++) std::copy(edge + i * PANEL, edge + i * PANEL + there, sums + i * outputs);
      }
      row += some;
    }
  }
};

template <class Weight>
AOTITorchError run(const void* rows, const void* weight, const void* bias, void* out, int64_t count, int64_t width,
                   int64_t outputs) {
  Linear<Weight>{static_cast<const float*>(rows),
                 static_cast<const Weight*>(weight),
                 static_cast<const float*>(bias),
                 static_cast<float*>(out),
                 count,
                 width,
                 outputs}
      .run();
  return AOTI_TORCH_SUCCESS;
}

struct Tensor {
  void* data = nullptr;
  int64_t axes = 0, *sizes = nullptr, *strides = nullptr;
  int32_t dtype = 0;
  bool right = false;

  explicit Tensor(AtenTensorHandle handle) {
    right = !aoti_torch_get_data_ptr(handle, &data) && !aoti_torch_get_dim(handle, &axes) &&
            !aoti_torch_get_sizes(handle, &sizes) && !aoti_torch_get_strides(handle, &strides) &&
            !aoti_torch_get_dtype(handle, &dtype);
    int64_t stride = 1;
    for (int64_t axis = axes; right && axis-- > 0; stride *= sizes[axis])
      right = sizes[axis] == 1 || strides[axis] == stride;
  }
};

}  // namespace

extern "C" AOTITorchError NEURONKIT_LINEAR(AtenTensorHandle rows_handle, AtenTensorHandle weight_handle,
                                           AtenTensorHandle* bias_handle, AtenTensorHandle* result) {
  constexpr int64_t MOST_AXES = 8;
  Tensor rows(rows_handle), weight(weight_handle);
  int32_t float32 = aoti_torch_dtype_float32();
  if (!rows.right || !weight.right || rows.dtype != float32 || rows.axes < 1 || rows.axes > MOST_AXES ||
      weight.axes != 2)
    return AOTI_TORCH_FAILURE;
  int64_t width = weight.sizes[1], outputs = weight.sizes[0], count = 1, sizes[MOST_AXES], strides[MOST_AXES];
  if (rows.sizes[rows.axes - 1] != width) return AOTI_TORCH_FAILURE;
  const void* bias = nullptr;
  if (bias_handle) {
    Tensor added(*bias_handle);
    if (!added.right || added.dtype != float32 || added.axes != 1 || added.sizes[0] != outputs)
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
  return taken ? taken(rows.data, weight.data, bias, out, count, width, outputs) : AOTI_TORCH_FAILURE;
}
