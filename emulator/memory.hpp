// Device memory of the emulated device: host memory that ends at a page nobody may touch.
#pragma once

#include <cstddef>

namespace spf::emulated {

// On 16 bytes, its end within 15 bytes of the guard page. nullptr if there is not as much.
void* allocate_device(size_t bytes);
// False for a pointer that was not allocated.
bool free_device(void* pointer);
size_t device_bytes_in_use();

} // namespace spf::emulated
