#include "model/unicode.hpp"

#include <algorithm>
#include <cstddef>
#include <unordered_map>
#include <vector>

#include "model/unicode_tables.hpp"

namespace spearfish::model {
namespace {

template <class Ranges>
auto find_range(const Ranges& ranges, uint32_t code) {
  const auto it =
      std::lower_bound(ranges.begin(), ranges.end(), code, [](const auto& r, uint32_t c) { return r.last < c; });
  return it != ranges.end() && it->first <= code ? it : ranges.end();
}

// Hangul syllables are made of leading, vowel and trailing parts by arithmetic (Unicode, section 3.12).
constexpr uint32_t kSyllables = 0xac00, kLeads = 0x1100, kVowels = 0x1161, kTrails = 0x11a7;
constexpr uint32_t kLeadCount = 19, kVowelCount = 21, kTrailCount = 28;
constexpr uint32_t kSyllableCount = kLeadCount * kVowelCount * kTrailCount;

uint8_t combining_class(uint32_t code) {
  if (code < 0x300) return 0;
  const auto it = find_range(kCombiningClasses, code);
  return it == kCombiningClasses.end() ? 0 : it->combining_class;
}

void decompose(uint32_t code, std::vector<uint32_t>& out) {
  if (code < 0xc0) return out.push_back(code);
  if (code - kSyllables < kSyllableCount) {
    const uint32_t index = code - kSyllables, trail = index % kTrailCount;
    out.push_back(kLeads + index / (kVowelCount * kTrailCount));
    out.push_back(kVowels + index / kTrailCount % kVowelCount);
    if (trail != 0) out.push_back(kTrails + trail);
    return;
  }
  const auto it = std::lower_bound(kDecompositions.begin(), kDecompositions.end(), code,
                                   [](const Decomposition& d, uint32_t c) { return d.code < c; });
  if (it == kDecompositions.end() || it->code != code) return out.push_back(code);
  decompose(it->first, out); // a first part may decompose again, a second never does
  if (it->second != 0) out.push_back(it->second);
}

uint32_t compose(uint32_t first, uint32_t second) { // 0: they do not compose
  if (first - kLeads < kLeadCount && second - kVowels < kVowelCount)
    return kSyllables + ((first - kLeads) * kVowelCount + (second - kVowels)) * kTrailCount;
  if (first - kSyllables < kSyllableCount && (first - kSyllables) % kTrailCount == 0 && second > kTrails &&
      second - kTrails < kTrailCount)
    return first + (second - kTrails);
  static const std::unordered_map<uint64_t, uint32_t> pairs = [] {
    std::unordered_map<uint64_t, uint32_t> map;
    for (const Decomposition& d : kDecompositions)
      if (d.composes) map.emplace(uint64_t{d.first} << 32 | d.second, d.code);
    return map;
  }();
  const auto it = pairs.find(uint64_t{first} << 32 | second);
  return it == pairs.end() ? 0 : it->second;
}

} // namespace

uint32_t utf8_length(uint8_t lead) {
  return lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
}

Utf8 utf8_at(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[position + i]); };
  const uint8_t lead = byte(0);
  const Utf8 ill{kIllFormed + lead, 1};
  const uint32_t length = utf8_length(lead);
  if (length == 1) return {lead, 1};
  if (length == 0 || text.size() - position < length) return ill;
  uint32_t code = lead & (0x7fu >> length);
  for (uint32_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return ill;
    code = code << 6 | (byte(i) & 0x3fu);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000}; // shorter forms exist for less
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  return code < kLeast[length] || code > 0x10ffff || surrogate ? ill : Utf8{code, length};
}

void append_utf8(std::string& out, uint32_t code) {
  const auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
  if (code >= kIllFormed) return put(code - kIllFormed);
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xe0 | code >> 12);
    } else {
      put(0xf0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3f));
    }
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

bool is_letter(uint32_t code) {
  if (code < 0x80) return (code | 0x20) - 'a' < 26;
  return find_range(kLetters, code) != kLetters.end();
}

bool is_number(uint32_t code) {
  if (code < 0x80) return code - '0' < 10;
  return find_range(kNumbers, code) != kNumbers.end();
}

bool is_space(uint32_t code) {
  if (code < 0x80) return code == ' ' || code - '\t' < 5;
  return code == 0x85 || code == 0xa0 || code == 0x1680 || code - 0x2000 < 11 || code == 0x2028 || code == 0x2029 ||
         code == 0x202f || code == 0x205f || code == 0x3000;
}

std::string nfc(std::string_view text) {
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x80; }))
    return std::string(text);
  std::vector<uint32_t> codes;
  for (size_t at = 0; at < text.size();) {
    const Utf8 c = utf8_at(text, at);
    decompose(c.code, codes);
    at += c.length;
  }
  // Marks after a starter go into the order of their classes, equal ones staying as they are.
  for (size_t i = 0; i < codes.size();) {
    size_t end = i;
    while (end < codes.size() && combining_class(codes[end]) != 0) ++end;
    std::stable_sort(codes.begin() + static_cast<std::ptrdiff_t>(i), codes.begin() + static_cast<std::ptrdiff_t>(end),
                     [](uint32_t a, uint32_t b) { return combining_class(a) < combining_class(b); });
    i = end + 1;
  }
  // A mark joins the last starter unless something between them blocks it.
  std::vector<uint32_t> out;
  size_t starter = SIZE_MAX;
  int last_class = -1; // of what follows the starter; -1: nothing does
  for (const uint32_t code : codes) {
    const int cls = combining_class(code);
    if (starter != SIZE_MAX && (last_class < cls || last_class == -1)) {
      if (const uint32_t joined = compose(out[starter], code)) {
        out[starter] = joined;
        continue;
      }
    }
    if (cls == 0) {
      starter = out.size();
      last_class = -1;
    } else {
      last_class = cls;
    }
    out.push_back(code);
  }
  std::string result;
  result.reserve(text.size());
  for (const uint32_t code : out) append_utf8(result, code);
  return result;
}

std::array<uint32_t, 256> byte_alphabet() {
  std::array<uint32_t, 256> codes = {};
  uint32_t next = 0x100;
  for (uint32_t b = 0; b < 256; ++b) {
    const bool itself = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    codes[b] = itself ? b : next++;
  }
  return codes;
}

} // namespace spearfish::model
