// Vectors of float32 for x86 CPUs with AVX2, and how values of other types become such.

#pragma once

#include <immintrin.h>

#include <cstdint>
#include <limits>

namespace {

constexpr int LANES = 8;

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

template <class Value>
inline float single(Value value) {
  Value some[LANES] = {value};
  return _mm256_cvtss_f32(load(some));
}

inline float total(__m256 values) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps(values, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

// Of values that are not numbers it may say anything.
inline float greatest(__m256 values) {
  __m128 half = _mm_max_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps(values, 1));
  half = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

// Returns e to the power of values that are not above 0: what Cephes (Moshier) has as expf, its range and polynomial; 0
// for what float32 holds only as a subnormal number, and not a number for what is none.
inline __m256 exponential(__m256 values) {
  const __m256 least = _mm256_set1_ps(-87.336544f);
  __m256 held = _mm256_max_ps(least, values);  // the second where one is not a number
  __m256 twos = _mm256_round_ps(_mm256_mul_ps(held, _mm256_set1_ps(1.44269504088896341f)),
                                _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 rest = _mm256_fnmadd_ps(twos, _mm256_set1_ps(0.693359375f), held);  // ln 2 in two parts
  rest = _mm256_fnmadd_ps(twos, _mm256_set1_ps(-2.12194440e-4f), rest);
  __m256 power = _mm256_set1_ps(1.9875691500e-4f);
  for (float next : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
    power = _mm256_fmadd_ps(power, rest, _mm256_set1_ps(next));
  power = _mm256_fmadd_ps(power, _mm256_mul_ps(rest, rest), _mm256_add_ps(rest, _mm256_set1_ps(1.0f)));
  __m256i exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(twos), _mm256_set1_epi32(127)), 23);
  __m256 result = _mm256_mul_ps(power, _mm256_castsi256_ps(exponent));
  return _mm256_and_ps(result, _mm256_cmp_ps(values, least, _CMP_NLT_UQ));
}

// Returns x / 2 (1 + erf(x / sqrt 2)), the error function as torch has it: formula 7.1.26 of Abramowitz and Stegun,
// "Handbook of Mathematical Functions" (1964), whose error is below 1.5e-7.
inline __m256 gelu(__m256 values) {
  const __m256 one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f);
  __m256 scaled = _mm256_mul_ps(values, _mm256_set1_ps(0.70710678118654752f));
  __m256 size = _mm256_andnot_ps(sign, scaled);
  __m256 part = _mm256_div_ps(one, _mm256_fmadd_ps(size, _mm256_set1_ps(0.3275911f), one));
  __m256 rest = _mm256_set1_ps(1.061405429f);
  for (float next : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f})
    rest = _mm256_fmadd_ps(rest, part, _mm256_set1_ps(next));
  __m256 power = exponential(_mm256_xor_ps(sign, _mm256_mul_ps(scaled, scaled)));
  __m256 error = _mm256_fnmadd_ps(_mm256_mul_ps(rest, part), power, one);
  error = _mm256_or_ps(error, _mm256_and_ps(sign, scaled));
  __m256 half = _mm256_mul_ps(values, _mm256_set1_ps(0.5f));
  return _mm256_fmadd_ps(half, error, half);
}

}  // namespace
