/* Links the static library into a C program: every symbol that it needs must come with it. */
#include "spearfish/version.h"

#include <stdio.h>

int main(void) {
  puts(spf_version_string());
  return spf_version() == 10000 * SPF_VERSION_MAJOR + 100 * SPF_VERSION_MINOR + SPF_VERSION_PATCH ? 0 : 1;
}
