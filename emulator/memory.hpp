// Device memory of the emulated device: host memory that ends at a page nobody may touch.
#pragma once

#include <cstddef>

namespace spf::emulated {

enum class Owner { kNobody, kDevice, kPinnedHost };

// On 16 bytes, its end within 15 bytes of the guard page. nullptr if there is not as much.
void* allocate(size_t bytes, Owner owner);
// False for a pointer that was not allocated.
bool release(void* pointer, Owner owner);
size_t device_bytes_in_use();

// Whose memory a pointer lies in, and how many bytes are left there.
struct Extent {
  Owner owner;
  size_t left;
};
Extent extent_at(const void* pointer);

} // namespace spf::emulated
