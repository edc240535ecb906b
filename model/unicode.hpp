// UTF-8, the character classes that pre-tokenizers ask for, and canonical composition.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace spearfish::model {

// One character of a text. Ill-formed bytes are one character each, of no class and kept as they are, so that nothing
// that a caller passes is lost: `code` is then kIllFormed + the byte.
struct Utf8 {
  uint32_t code;
  uint32_t length; // bytes
};
inline constexpr uint32_t kIllFormed = 0x80000000;
Utf8 utf8_at(std::string_view text, size_t position); // position < text.size()

// Bytes that a character starting with this byte has, 1 to 4; 0 if no character starts so.
uint32_t utf8_length(uint8_t lead);

void append_utf8(std::string& out, uint32_t code); // kIllFormed + b: the byte b

bool is_letter(uint32_t code); // general category L
bool is_number(uint32_t code); // general category N
bool is_space(uint32_t code);  // White_Space

// GPT-2's alphabet: each byte as a printable character.
std::array<uint32_t, 256> byte_alphabet();

// Canonical composition (NFC). Ill-formed bytes pass unchanged.
std::string nfc(std::string_view text);

} // namespace spearfish::model
