// One operand in device memory: a view of any strides and alignment inside storage that is poisoned around it, so that
// a write outside the view, or a read of a byte that is not the view's, shows.
#pragma once

#include <vector>

#include "check/memory.hpp"
#include "check/problem.hpp"
#include "spearfish/tensor.h"

namespace spf::check {

// How an operand lies in memory.
struct Layout {
  std::vector<int64_t> stride; // elements; empty = contiguous
  int64_t misalign = 0;        // bytes of the base past a 256-byte boundary
  bool flush_end = false;      // the last byte of the view is the last before memory that faults; excludes misalign
};

std::vector<int64_t> contiguous_strides(const std::vector<int64_t>& shape);

class Buffer {
 public:
  Buffer(Memory& memory, const OperandShape& operand, const Layout& layout);

  // Fills everything around the view with a byte, and the view with codes (or, if there are none, with that byte too).
  void put(const Codes& codes, uint8_t poison);
  // The view's codes as they are in device memory now. Also remembers what happened around the view: see damage().
  Codes get();
  // The codes that the view holds after put(): equal to those given unless elements share memory (broadcast).
  Codes held() const;
  // What the last get() found outside the view, as a sentence; "" if nothing was touched.
  const std::string& damage() const { return damage_; }

  const spf_tensor& view() const { return view_; }

 private:
  // A stretch of device memory that is mirrored on the host: all of it, or the neighbourhood of a row where rows are
  // far apart.
  struct Segment {
    int64_t begin; // byte offset from the view's first element
    std::vector<std::byte> image;
    int64_t end() const { return begin + static_cast<int64_t>(image.size()); }
  };

  template <class Body>
  void each_run(Body&& body) const; // body(byte offset from the base, element index in C order, elements)
  void add_segments();
  template <class Segments>
  static auto* mirror(Segments& segments, int64_t offset);

  Memory& memory_;
  spf_tensor view_ = {};
  int64_t size_ = 1;   // bytes of an element
  int64_t extent_ = 0; // bytes that the view spans
  int64_t before_ = 0; // bytes of the block before the view
  Block block_;
  std::vector<Segment> segments_;
  std::string damage_;
};

} // namespace spf::check
