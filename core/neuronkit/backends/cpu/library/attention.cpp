// Attention in float32: softmax(scale x queries x keys^T + mask) x values, for each head.
//
// Keys are taken KEYS at a time, with maxima and sums that go on from one time to the next, after Milakov and
// Gimelshein, "Online normalizer calculation for softmax" (2018), and Dao et al., "FlashAttention" (2022). Keys and
// values are multiplied as panels, or, for few queries, read in their own order.

#include <algorithm>
#include <cmath>
#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "panels.h"
#include "tensor.h"

namespace {

constexpr int64_t KEYS = 256;
constexpr int64_t ROWS = 96;         // their scores of KEYS take 96 KiB of a second-level cache
constexpr int64_t FEWEST_ROWS = 24;  // not worth a second arrangement of keys and values
constexpr int64_t FEW_ROWS = 3;
constexpr int64_t UNITS = 4;        // for each thread
constexpr int64_t SMALL = 1 << 14;  // multiplications that are not worth a second thread
constexpr float NONE = -std::numeric_limits<float>::infinity();

inline int threads() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

// Lanes below some are on.
inline __m256 first(int64_t some) {
  __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(some)), lanes));
}

inline void scale_row(float* row, int64_t size, float by) {
  int64_t column = 0;
  for (; column + LANES <= size; column += LANES)
    _mm256_storeu_ps(row + column, _mm256_mul_ps(load(row + column), _mm256_set1_ps(by)));
  for (; column < size; column++) row[column] *= by;
}

// What a mask adds to scores: a number, or, for a flag that is off, minus infinity.
inline __m256 added(const float* mask) { return load(mask); }
inline __m256 added(const bool* mask) {
  __m256i flags = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(mask)));
  __m256 off = _mm256_castsi256_ps(_mm256_cmpeq_epi32(flags, _mm256_setzero_si256()));
  return _mm256_and_ps(off, _mm256_set1_ps(NONE));
}
template <class Mask>
inline __m256 added(const Mask* mask, int64_t some) {
  if (some >= LANES) return added(mask);
  Mask part[LANES] = {};
  std::copy_n(mask, some, part);
  return added(part);
}

// [batch, heads, rows, size] in any order of the first three axes; steps are 0 where one value stands for all.
template <class Value>
struct Strided {
  const Value* data;  // null for no mask
  int64_t batch, head, row;

  explicit Strided(const Tensor& tensor)
      : data(static_cast<const Value*>(tensor.data)),
        batch(tensor.step(0)),
        head(tensor.step(1)),
        row(tensor.step(2)) {}
  Strided() : data(nullptr), batch(0), head(0), row(0) {}

  const Value* at(int64_t of_batch, int64_t of_head, int64_t of_row) const {
    return data ? data + of_batch * batch + of_head * head + of_row * row : nullptr;
  }
};

// The sums of VECTORS parts of values, each value weighed.
template <int VECTORS>
inline void weighed(const float* weights, int64_t there, const float* values, int64_t apart, float* sums, bool begins) {
  __m256 held[VECTORS];
#pragma GCC unroll 8
  for (int part = 0; part < VECTORS; part++) held[part] = begins ? _mm256_setzero_ps() : load(sums + part * LANES);
  for (int64_t key = 0; key < there; key++) {
    __m256 weight = _mm256_broadcast_ss(weights + key);
#pragma GCC unroll 8
    for (int part = 0; part < VECTORS; part++)
      held[part] = _mm256_fmadd_ps(weight, load(values + key * apart + part * LANES), held[part]);
  }
#pragma GCC unroll 8
  for (int part = 0; part < VECTORS; part++) _mm256_storeu_ps(sums + part * LANES, held[part]);
}

template <class Mask>
struct Attention {
  Strided<float> queries, keys, values;
  Strided<Mask> mask;
  float* out;                     // [batch, count, heads, size]
  int64_t batch, heads, sharing;  // so many heads share keys and values
  int64_t count, length, size;
  float scale;

  struct Scratch {
    alignas(64) float panel[KEYS * PANEL];
    alignas(64) float scores[ROWS * KEYS];
    float most[ROWS], shares[ROWS];
  };

  void run() const {
    int64_t pairs = batch * heads;
    int64_t blocks = std::min((UNITS * threads() + pairs - 1) / pairs, (count + FEWEST_ROWS - 1) / FEWEST_ROWS);
    blocks = std::max(blocks, (count + ROWS - 1) / ROWS);
#pragma omp parallel if (pairs * count * length * size > SMALL)
    {
      Scratch scratch;
#pragma omp for schedule(dynamic)
      for (int64_t unit = 0; unit < pairs * blocks; unit++) {
        int64_t pair = unit / blocks, block = unit % blocks;
        rows(pair / heads, pair % heads, count * block / blocks, count * (block + 1) / blocks, scratch);
      }
    }
  }

  // Queries from..to of one head.
  void rows(int64_t of_batch, int64_t head, int64_t from, int64_t to, Scratch& scratch) const {
    int64_t some = to - from, apart = heads * size;
    float* sums = out + (of_batch * count + from) * apart + head * size;
    std::fill_n(scratch.most, some, NONE);
    std::fill_n(scratch.shares, some, 0.0f);
    bool few = some <= FEW_ROWS && size % LANES == 0;
    for (int64_t key = 0; key < length; key += KEYS) {
      int64_t there = std::min(KEYS, length - key);
      const float* asked = queries.at(of_batch, head, from);
      const float* held = keys.at(of_batch, head / sharing, key);
      const float* given = values.at(of_batch, head / sharing, key);
      if (few)
        scores_of_few(some, asked, held, there, scratch.scores);
      else
        scores(some, asked, held, there, scratch);
      for (int64_t row = 0; row < some; row++) {
        const Mask* allowed = mask.at(of_batch, head, from + row);
        float kept = weigh(scratch.scores + row * KEYS, allowed ? allowed + key : nullptr, there, scratch.most[row],
                           scratch.shares[row]);
        if (key) scale_row(sums + row * apart, size, kept);
      }
      if (few)
        for (int64_t row = 0; row < some; row++)
          add_in_order<LANES>(scratch.scores + row * KEYS, there, given, sums + row * apart, size, key == 0);
      else
        add(some, scratch, there, given, sums, apart, key == 0);
    }
    for (int64_t row = 0; row < some; row++)
      if (length && scratch.shares[row] != 0.0f)  // 0: the mask allows nothing, of which torch too makes zeros
        scale_row(sums + row * apart, size, 1.0f / scratch.shares[row]);
      else
        std::fill_n(sums + row * apart, size, 0.0f);
  }

  void scores(int64_t some, const float* asked, const float* held, int64_t there, Scratch& scratch) const {
    const float zeros[PANEL] = {};
    for (int64_t key = 0; key < there; key += PANEL)
      for (int64_t column = 0; column < size; column += KEYS) {
        int64_t depth = std::min(KEYS, size - column);
        arrange(held + key * keys.row + column, keys.row, std::min<int64_t>(PANEL, there - key), depth, scratch.panel);
        multiply(some, asked + column, queries.row, scratch.panel, depth, scratch.scores + key, KEYS, PANEL,
                 column == 0 ? zeros : nullptr);
      }
  }

  void scores_of_few(int64_t some, const float* asked, const float* held, int64_t there, float* found) const {
    for (int64_t key = 0; key < there; key += LANES) {
      const float* from[LANES];
      for (int64_t lane = 0; lane < LANES; lane++) from[lane] = held + std::min(key + lane, there - 1) * keys.row;
      for (int64_t row = 0; row < some; row++) {
        __m256 sums[LANES];
#pragma GCC unroll 8
        for (int lane = 0; lane < LANES; lane++) sums[lane] = _mm256_setzero_ps();
        for (int64_t column = 0; column < size; column += LANES) {
          __m256 query = load(asked + row * queries.row + column);
#pragma GCC unroll 8
          for (int lane = 0; lane < LANES; lane++)
            sums[lane] = _mm256_fmadd_ps(query, load(from[lane] + column), sums[lane]);
        }
        __m256 lower = _mm256_hadd_ps(_mm256_hadd_ps(sums[0], sums[1]), _mm256_hadd_ps(sums[2], sums[3]));
        __m256 upper = _mm256_hadd_ps(_mm256_hadd_ps(sums[4], sums[5]), _mm256_hadd_ps(sums[6], sums[7]));
        __m256 halves = _mm256_permute2f128_ps(lower, upper, 0x31);
        _mm256_storeu_ps(found + row * KEYS + key, _mm256_add_ps(_mm256_permute2f128_ps(lower, upper, 0x20), halves));
      }
    }
  }

  // Makes weights of the scores of a query; returns by what its sums so far must be multiplied.
  float weigh(float* scores, const Mask* allowed, int64_t there, float& most, float& share) const {
    __m256 high = _mm256_set1_ps(NONE), sum = _mm256_setzero_ps();
    for (int64_t key = 0; key < there; key += LANES) {
      __m256 score = _mm256_mul_ps(load(scores + key), _mm256_set1_ps(scale));
      if (allowed) score = _mm256_add_ps(score, added(allowed + key, there - key));
      if (there - key < LANES) score = _mm256_blendv_ps(_mm256_set1_ps(NONE), score, first(there - key));
      _mm256_storeu_ps(scores + key, score);
      high = _mm256_max_ps(score, high);
    }
    float before = most;
    most = std::max(before, greatest(high));
    __m256 base = _mm256_set1_ps(most == NONE ? 0.0f : most);
    for (int64_t key = 0; key < there; key += LANES) {
      __m256 weight = exponential(_mm256_sub_ps(load(scores + key), base));
      _mm256_storeu_ps(scores + key, weight);
      sum = _mm256_add_ps(sum, weight);
    }
    float kept = _mm256_cvtss_f32(exponential(_mm256_sub_ps(_mm256_set1_ps(before), base)));
    share = share * kept + total(sum);
    return kept;
  }

  void add(int64_t some, Scratch& scratch, int64_t there, const float* given, float* sums, int64_t apart,
           bool begins) const {
    const float zeros[PANEL] = {};
    for (int64_t column = 0; column < size; column += PANEL) {
      int64_t wide = std::min<int64_t>(PANEL, size - column);
      for (int64_t key = 0; key < there; key++)
        std::copy_n(given + key * values.row + column, wide, scratch.panel + key * PANEL);
      multiply(some, scratch.scores, KEYS, scratch.panel, there, sums + column, apart, wide, begins ? zeros : nullptr);
    }
  }

  template <int VECTORS>
  void add_in_order(const float* weights, int64_t there, const float* given, float* sums, int64_t left,
                    bool begins) const {
    if constexpr (VECTORS > 0) {
      for (; left >= VECTORS * LANES; left -= VECTORS * LANES) {
        weighed<VECTORS>(weights, there, given, values.row, sums, begins);
        given += VECTORS * LANES;
        sums += VECTORS * LANES;
      }
      add_in_order<VECTORS / 2>(weights, there, given, sums, left, begins);
    }
  }
};

template <class Mask>
void run(const Tensor& queries, const Tensor& keys, const Tensor& values, const Tensor* mask, double scale,
         float* out) {
  Attention<Mask>{Strided<float>(queries),
                  Strided<float>(keys),
                  Strided<float>(values),
                  mask ? Strided<Mask>(*mask) : Strided<Mask>(),
                  out,
                  queries.sizes[0],
                  queries.sizes[1],
                  queries.sizes[1] / keys.sizes[1],
                  queries.sizes[2],
                  keys.sizes[2],
                  queries.sizes[3],
                  static_cast<float>(scale)}
      .run();
}

// Whether it is [batch, heads, rows, size] with contiguous rows, of float32.
bool heads_of_rows(const Tensor& tensor) {
  return tensor.readable && tensor.dtype == aoti_torch_dtype_float32() && tensor.axes == 4 &&
         (tensor.sizes[3] == 1 || tensor.strides[3] == 1);
}

bool fits(const Tensor& queries, const Tensor& keys, const Tensor& values) {
  return heads_of_rows(queries) && heads_of_rows(keys) && heads_of_rows(values) && queries.sizes[0] == keys.sizes[0] &&
         keys.sizes[1] > 0 && queries.sizes[1] % keys.sizes[1] == 0 && queries.sizes[3] == keys.sizes[3] &&
         std::equal(keys.sizes, keys.sizes + 4, values.sizes);
}

bool fits(const Tensor& mask, const Tensor& queries, int64_t length) {
  if (!mask.readable || mask.axes != 4 || mask.sizes[3] != length || (length != 1 && mask.strides[3] != 1))
    return false;
  for (int axis = 0; axis < 3; axis++)
    if (mask.sizes[axis] != 1 && mask.sizes[axis] != queries.sizes[axis]) return false;
  return mask.dtype == aoti_torch_dtype_float32() || mask.dtype == aoti_torch_dtype_bool();
}

}  // namespace

extern "C" AOTITorchError NEURONKIT_ATTENTION(AtenTensorHandle queries_handle, AtenTensorHandle keys_handle,
                                              AtenTensorHandle values_handle, AtenTensorHandle* mask_handle,
                                              double scale, AtenTensorHandle* result) {
  Tensor queries(queries_handle), keys(keys_handle), values(values_handle);
  Tensor mask(mask_handle ? *mask_handle : queries_handle);
  if (!fits(queries, keys, values) || (mask_handle && !fits(mask, queries, keys.sizes[2]))) return AOTI_TORCH_FAILURE;
  int64_t heads = queries.sizes[1], count = queries.sizes[2], size = queries.sizes[3];
  int64_t sizes[4] = {queries.sizes[0], count, heads, size}, strides[4] = {count * heads * size, heads * size, size, 1};
  int32_t float32 = aoti_torch_dtype_float32();
  if (aoti_torch_empty_strided(4, sizes, strides, float32, aoti_torch_device_type_cpu(), 0, result))
    return AOTI_TORCH_FAILURE;
  void* out = nullptr;
  if (aoti_torch_get_data_ptr(*result, &out)) return AOTI_TORCH_FAILURE;
  if (sizes[0] * count * heads * size == 0) return AOTI_TORCH_SUCCESS;
  bool flags = mask_handle && mask.dtype == aoti_torch_dtype_bool();
  (flags ? run<bool> : run<float>)(queries, keys, values, mask_handle ? &mask : nullptr, scale,
                                   static_cast<float*>(out));
  return AOTI_TORCH_SUCCESS;
}
