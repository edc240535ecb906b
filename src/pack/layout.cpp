#include "pack/layout.hpp"

#include <array>
#include <cstring>
#include <string>

#include "core/status.hpp"
#include "pack/bf16_rows.hpp"
#include "pack/block_rows.hpp"
#include "pack/cpu_n16.hpp"
#include "pack/k128.hpp"
#include "pack/marlin.hpp"
#include "pack/reference.hpp"
#include "pack/sparse24.hpp"

namespace spf::pack {
namespace {

constexpr std::array kLayouts = {
    &kReferenceLayout, //
    &kCpuN16Layout,    //
    &kMarlinLayout,    //
    &kMarlinA8Layout,  //
    &kMarlinA8E4m3Layout, &kK128Layout,        &kK128E4m3Layout, &kSparse24Layout,
    &kBlockRowsLayout,    &kBlockRowsA8Layout, &kBf16RowsLayout,
};

std::string layout_names() {
  std::string names;
  for (const LayoutRow* row : kLayouts) names += (names.empty() ? "" : ", ") + std::string(row->name);
  return names;
}

// describe() for a row that is already found and a scheme that is already checked.
void fill(const LayoutRow& row, const spf_quant_scheme& scheme, int64_t n, int64_t k, spf_packed_weight* header) {
  *header = {};
  header->struct_size = sizeof(spf_packed_weight);
  header->scheme = scheme;
  header->scheme.struct_size = sizeof(spf_quant_scheme);
  std::strncpy(header->layout, row.name, sizeof(header->layout) - 1);
  header->layout_version = row.version;
  header->n = n;
  header->k = k;
  header->device = {SPF_CPU, 0};
  row.describe(*header);
}

} // namespace

std::span<const LayoutRow* const> all_layouts() { return kLayouts; }

const LayoutRow* find_layout(const char* name) {
  for (const LayoutRow* row : kLayouts)
    if (std::strcmp(row->name, name) == 0) return row;
  return nullptr;
}

spf_status describe(const spf_quant_scheme& scheme, const char* layout, int64_t n, int64_t k, const char* op,
                    spf_packed_weight* header) {
  if (spf_status st = formats::check_scheme(scheme, op)) return st;
  if (spf_status st = formats::check_extents(n, k, op)) return st;
  if (layout == nullptr) return fail(SPF_INVALID_ARGUMENT, op, "pack", "layout", "NULL", layout_names());
  const LayoutRow* row = find_layout(layout);
  if (row == nullptr) return fail(SPF_NOT_FOUND, op, "pack", "layout", layout, layout_names());
  const char* why = "";
  if (!row->accepts(scheme, &why))
    return fail(SPF_UNSUPPORTED, op, "pack", "scheme", "not one for layout " + std::string(layout), why);
  fill(*row, scheme, n, k, header);
  return SPF_OK;
}

spf_status pack(const spf_quantized_weight& weight, const char* layout, void* memory, size_t bytes, const char* op,
                spf_packed_weight* packed) {
  if (spf_status st = formats::check(weight, op)) return st;
  spf_packed_weight header;
  if (spf_status st = describe(weight.scheme, layout, weight.n, weight.k, op, &header)) return st;
  if (bytes < header.bytes)
    return fail(SPF_INVALID_ARGUMENT, op, "pack", "bytes", std::to_string(bytes),
                "at least " + std::to_string(header.bytes));
  if (header.bytes > 0 && memory == nullptr)
    return fail(SPF_INVALID_ARGUMENT, op, "pack", "memory", "NULL",
                "a pointer to " + std::to_string(header.bytes) + " bytes");
  if (reinterpret_cast<uintptr_t>(memory) % kSectionAlign != 0)
    return fail(SPF_INVALID_ALIGNMENT, op, "pack", "memory", std::to_string(reinterpret_cast<uintptr_t>(memory)),
                "a multiple of " + std::to_string(kSectionAlign));
  if (header.bytes > 0) std::memset(memory, 0, header.bytes);
  header.data = memory;
  if (spf_status st = find_layout(layout)->pack(formats::Decoder(weight), header)) return st;
  *packed = header;
  return SPF_OK;
}

spf_status check_indices(const char* field, const int32_t* index, int64_t count, int64_t limit) {
  for (int64_t i = 0; i < count; ++i)
    if (index[i] < 0 || index[i] >= limit)
      return fail(SPF_CORRUPT_DATA, "unpack", "unpack", std::string(field) + "[" + std::to_string(i) + "]",
                  std::to_string(index[i]), "0 to " + std::to_string(limit - 1));
  return SPF_OK;
}

spf_status check_packed(const spf_packed_weight& packed, const char* op) {
  if (spf_status st = check_struct_size(&packed, sizeof(spf_packed_weight), op, "packed")) return st;
  if (std::memchr(packed.layout, 0, sizeof(packed.layout)) == nullptr)
    return fail(SPF_CORRUPT_DATA, op, "validate", "packed.layout", "no end of string", layout_names());
  spf_packed_weight want;
  if (spf_status st = describe(packed.scheme, packed.layout, packed.n, packed.k, op, &want)) return st;
  if (packed.layout_version != want.layout_version)
    return fail(SPF_CORRUPT_DATA, op, "validate", "packed.layout_version", std::to_string(packed.layout_version),
                std::to_string(want.layout_version));
  const struct {
    const char* field;
    uint64_t found, allowed;
  } fields[] = {
      {"packed.padded_n", static_cast<uint64_t>(packed.padded_n), static_cast<uint64_t>(want.padded_n)},
      {"packed.padded_k", static_cast<uint64_t>(packed.padded_k), static_cast<uint64_t>(want.padded_k)},
      {"packed.bytes", packed.bytes, want.bytes},
      {"packed.scales_offset", packed.scales_offset, want.scales_offset},
      {"packed.zeros_offset", packed.zeros_offset, want.zeros_offset},
      {"packed.g_idx_offset", packed.g_idx_offset, want.g_idx_offset},
      {"packed.global_offset", packed.global_offset, want.global_offset},
  };
  for (const auto& f : fields)
    if (f.found != f.allowed)
      return fail(SPF_CORRUPT_DATA, op, "validate", f.field, std::to_string(f.found), std::to_string(f.allowed));
  if (packed.bytes > 0 && packed.data == nullptr)
    return fail(SPF_INVALID_ARGUMENT, op, "validate", "packed.data", "NULL", "the packed bytes");
  if (packed.bytes > 0 && reinterpret_cast<uintptr_t>(packed.data) % kSectionAlign != 0)
    return fail(SPF_INVALID_ALIGNMENT, op, "validate", "packed.data",
                std::to_string(reinterpret_cast<uintptr_t>(packed.data)),
                "a multiple of " + std::to_string(kSectionAlign));
  return SPF_OK;
}

} // namespace spf::pack
