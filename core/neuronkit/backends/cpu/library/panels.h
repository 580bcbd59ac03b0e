// Rows times panels: columns of PANEL sums, in the order in which they are added up.
//
// After Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): a panel stays in the
// first-level cache while all rows pass by, TILE_ROWS at a time.

#pragma once

#include <algorithm>
#include <cstdint>

#include "vectors.h"

namespace {

constexpr int TILE_ROWS = 6;  // 6 x 2 sums, two vectors of the panel and one value of a row: 15 of 16 registers
constexpr int PANEL = 2 * LANES;

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

// Adds rows [count, depth], width apart, times a panel [depth, PANEL] to sums [count, there], apart from each other.
//
// begun: PANEL values that the sums begin with; null to go on with what they are.
inline void multiply(int64_t count, const float* rows, int64_t width, const float* panel, int64_t depth, float* sums,
                     int64_t apart, int64_t there, const float* begun) {
  int64_t parts = (count + TILE_ROWS - 1) / TILE_ROWS;
  for (int64_t part = 0; part < parts; part++) {
    int64_t some = count / parts + (part < count % parts);
    if (there == PANEL) {
      tile<TILE_ROWS>(some, rows, width, panel, depth, sums, apart, begun);
    } else {
      float edge[TILE_ROWS * PANEL] = {};
      for (int64_t row = 0; row < some && !begun; row++) std::copy_n(sums + row * apart, there, edge + row * PANEL);
      tile<TILE_ROWS>(some, rows, width, panel, depth, edge, PANEL, begun);
      for (int64_t row = 0; row < some; row++) std::copy_n(edge + row * PANEL, there, sums + row * apart);
    }
    rows += some * width;
    sums += some * apart;
  }
}

// Writes LANES columns of LANES rows as LANES parts of rows of a panel.
template <class Value>
inline void transpose(const Value* const* rows, int64_t column, float* to) {
  __m256 by_two[LANES], by_four[LANES];
#pragma GCC unroll 8
  for (int pair = 0; pair < LANES; pair += 2) {
    __m256 even = load(rows[pair] + column), odd = load(rows[pair + 1] + column);
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
  for (int row = 0; row < 4; row++) {
    _mm256_store_ps(to + row * PANEL, _mm256_permute2f128_ps(by_four[row], by_four[row + 4], 0x20));
    _mm256_store_ps(to + (row + 4) * PANEL, _mm256_permute2f128_ps(by_four[row], by_four[row + 4], 0x31));
  }
}

// Makes a panel [depth, PANEL] of rows [there, depth]; the last of them stands for rows that there are not.
template <class Value>
inline void arrange(const Value* from, int64_t apart, int64_t there, int64_t depth, float* panel) {
  const Value* rows[PANEL];
  for (int64_t row = 0; row < PANEL; row++) rows[row] = from + std::min(row, there - 1) * apart;
  int64_t column = 0;
  for (; column + LANES <= depth; column += LANES)
    for (int half = 0; half < PANEL; half += LANES) transpose(rows + half, column, panel + column * PANEL + half);
  for (; column < depth; column++)
    for (int64_t row = 0; row < PANEL; row++) panel[column * PANEL + row] = single(rows[row][column]);
}

}  // namespace
