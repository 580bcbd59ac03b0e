// A tensor that a compiled graph gives, by torch's stable C interface.

#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include <cstdint>

namespace {

struct Tensor {
  void* data = nullptr;
  int64_t axes = 0, *sizes = nullptr, *strides = nullptr;
  int32_t dtype = 0;
  bool readable = false;

  explicit Tensor(AtenTensorHandle handle) {
    readable = !aoti_torch_get_data_ptr(handle, &data) && !aoti_torch_get_dim(handle, &axes) &&
               !aoti_torch_get_sizes(handle, &sizes) && !aoti_torch_get_strides(handle, &strides) &&
               !aoti_torch_get_dtype(handle, &dtype);
  }

  // How far apart its values along an axis are; 0 where there is one, which then stands for any number.
  int64_t step(int64_t axis) const { return sizes[axis] == 1 ? 0 : strides[axis]; }

  bool contiguous() const {
    int64_t stride = 1;
    for (int64_t axis = axes; axis-- > 0; stride *= sizes[axis])
      if (sizes[axis] != 1 && strides[axis] != stride) return false;
    return true;
  }
};

}  // namespace
