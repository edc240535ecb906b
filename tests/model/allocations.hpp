// How often this thread has asked for memory. Linked in, allocations.cpp counts every operator new.
#pragma once

#include <cstdint>

namespace model_test {
int64_t allocations();
} // namespace model_test
