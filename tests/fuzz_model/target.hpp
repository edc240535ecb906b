// What a fuzz target is here: bytes in, refusals allowed, anything else a finding.
//
// Built with -DSPEARFISH_FUZZ=ON (clang) each target is a libFuzzer program. In every build the same function replays
// the committed corpus, its truncations, and a fixed sequence of damaged copies: see replay.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
